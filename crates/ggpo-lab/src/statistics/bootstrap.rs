//! Intervals by drawing from the data again.

use ggpo_tensor::random::{Purpose, Stream};

use super::Interval;
use super::summary::quantile_of_sorted;

/// Samples drawn for a bootstrap interval.
const RESAMPLES: u64 = 10_000;

/// The 95 % interval of the mean of paired differences by the percentile
/// bootstrap: the middle 95 % of the means of 10,000 samples drawn from the
/// differences with replacement (Efron 1979); `None` of nothing.
///
/// With few pairs it is too narrow; of one pair it is a point. The same
/// differences and seed give the same interval.
pub fn bootstrap_interval(differences: &[f64], seed: u64) -> Option<Interval> {
    let stream = Stream::new(seed, Purpose::Bootstrap, 0, 0);
    let count = differences.len() as u64;
    let resampled_mean = |resample: u64| {
        let draw = |i| differences[stream.below(resample * count + i, count) as usize];
        (0..count).map(draw).sum::<f64>() / count as f64
    };
    if differences.is_empty() {
        return None;
    }
    let mut means: Vec<f64> = (0..RESAMPLES).map(resampled_mean).collect();
    means.sort_by(f64::total_cmp);
    Some(Interval {
        low: quantile_of_sorted(&means, 0.025)?,
        high: quantile_of_sorted(&means, 0.975)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::{mean, quantile, standard_deviation};

    #[test]
    fn bootstrap_comes_near_the_normal_interval() {
        let stream = Stream::new(3, Purpose::Data, 0, 0);
        let differences: Vec<f64> = (0..400)
            .map(|i| 0.5 + f64::from(stream.normal(i)))
            .collect();
        let interval = bootstrap_interval(&differences, 1).expect("an interval");
        let center = mean(&differences).expect("values");
        let error = standard_deviation(&differences).expect("values") / 20.0;
        // The ends of 10,000 resamples scatter by about 0.03 standard errors.
        assert!((interval.low - (center - 1.96 * error)).abs() < 0.15 * error);
        assert!((interval.high - (center + 1.96 * error)).abs() < 0.15 * error);
        assert_eq!(bootstrap_interval(&differences, 1), Some(interval));
        assert_ne!(bootstrap_interval(&differences, 2), Some(interval));
        assert_eq!(bootstrap_interval(&[], 1), None);
    }

    proptest! {
        #[test]
        fn intervals_lie_within_the_data(
            differences in prop::collection::vec(-5.0..5.0f64, 1..6),
            seed: u64,
        ) {
            let Interval { low, high } = bootstrap_interval(&differences, seed).expect("data");
            let (least, most) = (quantile(&differences, 0.0), quantile(&differences, 1.0));
            // Rounding of a mean of equal numbers.
            prop_assert!(least.expect("data") - 1e-12 <= low && low <= high);
            prop_assert!(high <= most.expect("data") + 1e-12);
        }
    }
}
