//! Whether two quantities rise together.

use ggpo_train::metrics::spearman;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::Interval;

/// Spearman's rank correlation and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankCorrelation {
    /// The correlation of the ranks, from -1 to 1; equal numbers share the mean of
    /// their ranks.
    pub value: f64,
    /// Its interval by Fisher's transformation; absent for fewer than four pairs
    /// and for a correlation of -1 or 1, where the transformation is infinite.
    pub interval: Option<Interval>,
}

/// Spearman's rank correlation of pairs `(x, y)` with its interval of `level`:
/// `tanh(atanh(r) +- z sqrt((1 + r^2 / 2) / (n - 3)))`, Fisher's transformation
/// with the variance of Bonett and Wright (2000) for ranks in the place of
/// Fisher's `1 / (n - 3)`, which is too small for them.
///
/// It is an approximation for independent pairs: rough below 10 pairs, where there
/// are many ties and where r is above 0.95; runs that share a seed, a task or a
/// method are not independent, and then it is too narrow.
///
/// `None` if a side does not vary, holds a NaN, or if `level` is not inside (0, 1).
pub fn rank_correlation(pairs: &[(f64, f64)], level: f64) -> Option<RankCorrelation> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    if x.iter().chain(&y).any(|value| value.is_nan()) || !(level > 0.0 && level < 1.0) {
        return None;
    }
    let value = spearman(&x, &y)?;
    let known = pairs.len() > 3 && value.abs() < 1.0;
    let interval = known.then(|| {
        let variance = (1.0 + value.powi(2) / 2.0) / (pairs.len() - 3) as f64;
        let reach = Normal::standard().inverse_cdf(0.5 + level / 2.0) * variance.sqrt();
        Interval {
            low: (value.atanh() - reach).tanh(),
            high: (value.atanh() + reach).tanh(),
        }
    });
    Some(RankCorrelation { value, interval })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn correlations_by_hand() {
        // 1 - 6 * (1 + 1 + 0 + 1 + 1) / (5 * 24) = 0.8; scipy.stats.spearmanr agrees.
        let pairs = [(1.0, 2.0), (2.0, 1.0), (3.0, 3.5), (4.0, 9.0), (5.0, 8.0)];
        let found = rank_correlation(&pairs, 0.95).expect("both vary");
        assert!((found.value - 0.8).abs() < 1e-12);
        // atanh(0.8) = 1.0986123, sqrt(1.32 / 2) = 0.8124038.
        let reach = 1.959963985 * 0.812403840;
        let ends = [-1.0_f64, 1.0].map(|sign| (1.098612289 + sign * reach).tanh());
        let interval = found.interval.expect("five pairs");
        assert!((interval.low - ends[0]).abs() < 1e-8);
        assert!((interval.high - ends[1]).abs() < 1e-8);
    }

    #[test]
    fn what_has_no_interval() {
        let line: Vec<_> = (0..6).map(|i| (f64::from(i), f64::from(i).exp())).collect();
        let found = rank_correlation(&line, 0.95).expect("both vary");
        assert_eq!((found.value, found.interval), (1.0, None));
        let few = rank_correlation(&[(1.0, 2.0), (2.0, 1.0), (3.0, 4.0)], 0.95);
        assert_eq!(few.and_then(|found| found.interval), None);
        assert_eq!(rank_correlation(&[(1.0, 1.0); 5], 0.95), None);
        assert_eq!(rank_correlation(&[], 0.95), None);
        assert_eq!(rank_correlation(&[(1.0, 2.0), (f64::NAN, 1.0)], 0.95), None);
        assert_eq!(rank_correlation(&line, 0.0), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_value(
            pairs in prop::collection::vec((-9i32..9, -9i32..9), 4..30),
        ) {
            let pairs: Vec<_> = pairs.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
            if let Some(RankCorrelation { value, interval: Some(interval) }) =
                rank_correlation(&pairs, 0.9)
            {
                prop_assert!(-1.0 <= interval.low && interval.low <= value);
                prop_assert!(value <= interval.high && interval.high <= 1.0);
            }
        }
    }
}
