//! What can be said about a handful of runs, and about the course of a loss.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::metrics::all_equal;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation, with n - 1 in the denominator; `None` of fewer
/// than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The quantile at `share`, from 0 (smallest) to 1 (largest), on the line
/// between the two nearest values; `None` of nothing.
///
/// # Panics
/// If `share` is not from 0 to 1.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1");
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    if below == above {
        return Some(below);
    }
    Some(below + place.fract() * (above - below))
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

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

/// The 95 % interval of a share of which `successes` of `count` were seen, by
/// Wilson's score (1927): all p with `|s/n - p| <= z sqrt(p (1 - p) / n)`.
/// Unlike the normal interval it never leaves [0, 1] and is not a point where
/// all or none succeed. `None` of nothing.
pub fn wilson_interval(successes: usize, count: usize) -> Option<Interval> {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    let (n, share) = (count as f64, successes as f64 / count as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let reach = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    (count > 0).then(|| Interval {
        low: (centre - reach).max(0.0),
        high: (centre + reach).min(1.0),
    })
}

/// Most pairs whose signs are all tried out.
pub const MOST_PAIRS: usize = 20;

/// The exact two-sided p-value of paired differences under the hypothesis that
/// their signs are a matter of chance: the share of the 2^n choices of signs
/// that bring the sum as far from 0 as it is, or farther. It cannot be below
/// `2 / 2^n`, so with five pairs never below 0.0625.
///
/// `None` of nothing, and of more than [`MOST_PAIRS`] pairs.
pub fn sign_flip_p_value(differences: &[f64]) -> Option<f64> {
    let (first, rest) = differences.split_first()?;
    if differences.len() > MOST_PAIRS {
        return None;
    }
    let observed = differences.iter().sum::<f64>().abs();
    // Equal sums may differ by the rounding of their terms.
    let rounding = 1e-12 * differences.iter().map(|x| x.abs()).sum::<f64>();
    // A choice and its opposite are equally far from 0: the first sign can stay.
    let choices = 1u32 << rest.len();
    let sum = |choice: u32| {
        let signed = rest
            .iter()
            .enumerate()
            .map(|(i, x)| if choice >> i & 1 == 1 { -x } else { *x });
        first + signed.sum::<f64>()
    };
    let as_far = (0..choices).filter(|&choice| sum(choice).abs() >= observed - rounding);
    Some(as_far.count() as f64 / f64::from(choices))
}

/// The means of two independent samples compared, whose variances may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// Mean of the first less that of the second.
    pub difference: f64,
    /// Its standard error, `sqrt(s1^2 / n1 + s2^2 / n2)`.
    pub error: f64,
    /// The 95 % interval of the difference by the t distribution; a point if
    /// neither sample varies.
    pub interval: Interval,
}

/// Compares two independent samples by the t distribution with the degrees of
/// freedom of Welch (1947),
/// `(v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1))` with `v = s^2 / n`;
/// `None` if one of them has fewer than two values.
pub fn welch(first: &[f64], second: &[f64]) -> Option<Welch> {
    // Of the square of the mean's standard error.
    let variance = |values: &[f64]| {
        let deviation = standard_deviation(values)?;
        let deviation = if all_equal(values) { 0.0 } else { deviation };
        Some(deviation.powi(2) / values.len() as f64)
    };
    let (v1, v2) = (variance(first)?, variance(second)?);
    let difference = mean(first)? - mean(second)?;
    let error = (v1 + v2).sqrt();
    let mut reach = 0.0;
    if error > 0.0 {
        let share = |v: f64, values: &[f64]| v.powi(2) / (values.len() - 1) as f64;
        let degrees = (v1 + v2).powi(2) / (share(v1, first) + share(v2, second));
        reach = error * StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.975);
    }
    Some(Welch {
        difference,
        error,
        interval: Interval {
            low: difference - reach,
            high: difference + reach,
        },
    })
}

/// Cohen's d of paired differences: their mean over their standard deviation;
/// `None` of fewer than two, or if they are all the same.
pub fn cohens_d(differences: &[f64]) -> Option<f64> {
    if all_equal(differences) {
        return None;
    }
    Some(mean(differences)? / standard_deviation(differences)?)
}

/// The exponential moving average: beginning at the first value, each next is
/// `smoothing` times the value plus `1 - smoothing` times the one before.
///
/// # Panics
/// If `smoothing` is not in (0, 1].
pub fn smooth(values: &[f64], smoothing: f64) -> Vec<f64> {
    assert!(
        smoothing > 0.0 && smoothing <= 1.0,
        "smoothing is in (0, 1], not {smoothing}"
    );
    let mut average = values.first().copied().unwrap_or(0.0);
    let next = |&value: &f64| {
        average = smoothing * value + (1.0 - smoothing) * average;
        average
    };
    values.iter().map(next).collect()
}

/// How far a training loss rose again after it had fallen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bump {
    /// The largest rise of the smoothed loss above its lowest value before.
    pub height: f64,
    /// Steps from that lowest value until the loss is below it again, or else
    /// to the last step.
    pub length: usize,
    /// Whether the loss came below that lowest value again.
    pub recovered: bool,
}

/// The highest bump in a course of finite losses, smoothed by [`smooth`]; of
/// equally high ones the first. A loss that never rises has height and length 0.
///
/// # Panics
/// If `smoothing` is not in (0, 1].
pub fn bump(losses: &[f64], smoothing: f64) -> Bump {
    let smoothed = smooth(losses, smoothing);
    let (mut lowest, mut start, mut height) = (0, 0, 0.0);
    for (t, &loss) in smoothed.iter().enumerate() {
        if loss < smoothed[lowest] {
            lowest = t;
        }
        if loss - smoothed[lowest] > height {
            (start, height) = (lowest, loss - smoothed[lowest]);
        }
    }
    if height == 0.0 {
        return Bump {
            height,
            length: 0,
            recovered: true,
        };
    }
    let after = &smoothed[start..];
    let below = after.iter().position(|&loss| loss < after[0]);
    Bump {
        height,
        length: below.unwrap_or(after.len() - 1),
        recovered: below.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn summaries_by_hand() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(mean(&values), Some(2.5));
        assert_eq!(standard_deviation(&values), Some((5.0f64 / 3.0).sqrt()));
        assert_eq!(median(&values), Some(2.5));
        assert_eq!(median(&values[..3]), Some(3.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.25), Some(1.75));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
        assert_eq!(standard_deviation(&[1.0]), None);
        assert_eq!((mean(&[]), median(&[])), (None, None));
        assert_eq!(cohens_d(&[1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(cohens_d(&[0.1; 3]), None);
    }

    #[test]
    fn wilson_intervals_are_those_of_the_definition() {
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-4;
        // Newcombe (1998), table I: 81 of 263 and 15 of 148.
        for (successes, count, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson_interval(successes, count).unwrap();
            assert!(
                near(interval.low, low) && near(interval.high, high),
                "{successes} of {count}: {interval:?}"
            );
        }
        let (none, all) = (wilson_interval(0, 7), wilson_interval(7, 7));
        let (none, all) = (none.unwrap(), all.unwrap());
        assert!(none.low >= 0.0 && all.high <= 1.0);
        assert!(near(none.low, 0.0) && near(all.high, 1.0));
        assert!(near(none.high, 1.0 - all.low));
        assert_eq!(wilson_interval(0, 0), None);
    }

    #[test]
    fn exact_p_values_by_hand() {
        // Only the choices all plus and all minus are as far.
        assert_eq!(
            sign_flip_p_value(&[0.1, 0.2, 0.3, 0.4, 0.5]),
            Some(2.0 / 32.0)
        );
        // The 8 sums are 6, 4, 2, 0, 0, -2, -4, -6.
        assert_eq!(sign_flip_p_value(&[1.0, 2.0, 3.0]), Some(0.25));
        assert_eq!(sign_flip_p_value(&[-1.0, 2.0, 3.0]), Some(0.5));
        assert_eq!(sign_flip_p_value(&[0.0, 0.0]), Some(1.0));
        // 0.1 + 0.2 and 0.3 are equal here, though not in binary.
        assert_eq!(sign_flip_p_value(&[0.1, 0.2, -0.3]), Some(1.0));
        assert_eq!(sign_flip_p_value(&[]), None);
        assert_eq!(sign_flip_p_value(&[1.0; MOST_PAIRS + 1]), None);
    }

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

    #[test]
    fn independent_samples_as_scipy_compares_them() {
        let (a, b) = ([86.1, 85.4, 87.0], [85.2, 85.9, 84.6, 85.5]);
        let found = welch(&a, &b).expect("enough values");
        // scipy.stats.ttest_ind(a, b, equal_var=False), with 3.37 degrees of
        // freedom; the quantile is found by iteration, hence not to the last bit.
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-7, "{a} and {b}");
        near(found.difference, 0.86666666666666);
        near(found.error, 0.538000413052299);
        near(found.interval.low, -0.7441663993870835);
        near(found.interval.high, 2.4774997327204034);
        let point = Interval {
            low: 0.0,
            high: 0.0,
        };
        assert_eq!(welch(&[0.1; 3], &[0.1; 3]).map(|w| w.interval), Some(point));
        let one = welch(&[1.0, 2.0], &[5.0; 2]).expect("enough values");
        near(one.interval.low, -9.853102368087347);
        assert_eq!(welch(&[1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn smoothing_by_hand() {
        assert_eq!(smooth(&[4.0, 0.0, 2.0], 0.5), [4.0, 2.0, 2.0]);
        assert_eq!(smooth(&[4.0, 0.0, 2.0], 1.0), [4.0, 0.0, 2.0]);
        assert!(smooth(&[], 0.5).is_empty());
    }

    #[test]
    fn bumps_by_hand() {
        let bump_of = |losses: &[f64]| {
            let Bump {
                height,
                length,
                recovered,
            } = bump(losses, 1.0);
            (height, length, recovered)
        };
        // A small bump, then a larger one from step 4 until step 8.
        let losses = [5.0, 4.0, 4.5, 3.5, 3.0, 4.0, 5.0, 3.0, 2.0, 2.5];
        assert_eq!(bump_of(&losses), (2.0, 4, true));
        assert_eq!(bump_of(&losses[..7]), (2.0, 2, false));
        assert_eq!(bump_of(&[3.0, 2.0, 2.0, 1.0]), (0.0, 0, true));
        assert_eq!(bump_of(&[]), (0.0, 0, true));
    }

    proptest! {
        #[test]
        fn a_bump_is_the_largest_rise(
            losses in prop::collection::vec(0.0..10.0f64, 0..40),
            smoothing in 0.05..=1.0f64,
        ) {
            let smoothed = smooth(&losses, smoothing);
            let pairs = (0..smoothed.len()).flat_map(|t| (0..t).map(move |s| (s, t)));
            let rises = pairs.map(|(s, t)| smoothed[t] - smoothed[s]);
            let found = bump(&losses, smoothing);
            prop_assert_eq!(found.height, rises.fold(0.0, f64::max));
            prop_assert!(found.length < losses.len().max(1));
        }

        #[test]
        fn p_values_ignore_the_sign_and_the_scale(
            differences in prop::collection::vec(-9i32..10, 1..9),
        ) {
            let times = |factor: f64| {
                differences.iter().map(|&x| factor * f64::from(x)).collect::<Vec<_>>()
            };
            let least = 2.0 / 2f64.powi(differences.len() as i32);
            let p = sign_flip_p_value(&times(1.0)).expect("few pairs");
            prop_assert!((least..=1.0).contains(&p));
            prop_assert_eq!(sign_flip_p_value(&times(-0.1)), Some(p));
        }

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
