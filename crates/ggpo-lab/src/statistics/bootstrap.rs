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

/// The 95 % interval of the mean of a table of paired differences, by drawing its
/// rows (seeds) and its columns (test items) again, each with replacement and each
/// on its own: the percentile bootstrap of Owen (2007, "The pigeonhole bootstrap").
/// It holds for other seeds *and* other items, where drawing seeds alone takes the
/// items for all there are.
///
/// `rows` has one row of equal length for each seed; 10,000 samples. Of an effect
/// of seed and item together it counts up to three times the variance, so it is
/// rather too wide there; of few rows or columns it is too narrow, as
/// [`bootstrap_interval`] is. The same table and seed give the same interval.
///
/// `None` of nothing, and of rows of different lengths.
pub fn bootstrap_table_interval(rows: &[Vec<f64>], seed: u64) -> Option<Interval> {
    let items = rows.first()?.len();
    if items == 0 || rows.iter().any(|row| row.len() != items) {
        return None;
    }
    let (seeds, items) = (rows.len() as u64, items as u64);
    let of_seeds = Stream::new(seed, Purpose::Bootstrap, 2, 0);
    let of_items = Stream::new(seed, Purpose::Bootstrap, 2, 1);
    let mut times = vec![0_u32; items as usize];
    let mut resampled_mean = |resample: u64| {
        times.fill(0);
        for draw in 0..items {
            times[of_items.below(resample * items + draw, items) as usize] += 1;
        }
        let row = |draw| &rows[of_seeds.below(resample * seeds + draw, seeds) as usize];
        let sum = |row: &Vec<f64>| -> f64 {
            let terms = row.iter().zip(&times);
            terms.map(|(x, &times)| x * f64::from(times)).sum()
        };
        (0..seeds).map(|draw| sum(row(draw))).sum::<f64>() / (seeds * items) as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(&mut resampled_mean).collect();
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

    /// Where all rows agree only the items vary, and where all columns agree only
    /// the seeds: the one-way bootstrap of these.
    #[test]
    fn a_table_that_varies_one_way_is_one_sample() {
        let stream = Stream::new(8, Purpose::Data, 0, 0);
        let values: Vec<f64> = (0..40).map(|i| f64::from(stream.normal(i))).collect();
        let expected = bootstrap_interval(&values, 1).expect("data");
        let width = expected.high - expected.low;
        let items = vec![values.clone(); 3];
        let seeds: Vec<Vec<f64>> = values.iter().map(|&x| vec![x; 3]).collect();
        for table in [items, seeds] {
            let found = bootstrap_table_interval(&table, 2).expect("a table");
            assert!((found.low - expected.low).abs() < 0.03 * width);
            assert!((found.high - expected.high).abs() < 0.03 * width);
        }
    }

    /// The mean of `a_s + b_i` varies by both: its variance is the sum.
    #[test]
    fn a_table_that_varies_both_ways_adds_the_variances() {
        let stream = Stream::new(9, Purpose::Data, 0, 0);
        let [a, b] = [0, 100].map(|from| {
            let values: Vec<f64> = (from..from + 30)
                .map(|i| f64::from(stream.normal(i)))
                .collect();
            values
        });
        let rows: Vec<Vec<f64>> = a
            .iter()
            .map(|a| b.iter().map(|b| a + 1.5 * b).collect())
            .collect();
        let width = |interval: Option<Interval>| interval.map(|i| i.high - i.low).expect("data");
        let b: Vec<f64> = b.iter().map(|b| 1.5 * b).collect();
        let expected = width(bootstrap_interval(&a, 1)).hypot(width(bootstrap_interval(&b, 1)));
        let found = width(bootstrap_table_interval(&rows, 1));
        assert!((found / expected - 1.0).abs() < 0.04, "{found} {expected}");
        assert_eq!(bootstrap_table_interval(&[], 1), None);
        assert_eq!(bootstrap_table_interval(&[vec![], vec![]], 1), None);
        assert_eq!(bootstrap_table_interval(&[vec![1.0], vec![]], 1), None);
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
