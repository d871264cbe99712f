//! The interval of a mean difference.

use ggpo_train::metrics::all_equal;
use serde::{Deserialize, Serialize};

use super::{mean, standard_deviation, student};

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The interval of the mean of paired differences by the t distribution,
/// `mean +- t s / sqrt(n)` with t the quantile at `(1 + level) / 2` of n - 1
/// degrees of freedom (Student 1908). In the unit of the differences.
///
/// Differences that are all the same give a point. `None` of fewer than two, of
/// one that is not finite, and if `level` is not inside (0, 1).
pub fn t_interval(differences: &[f64], level: f64) -> Option<Interval> {
    let deviation = standard_deviation(differences)?;
    let finite = differences.iter().all(|x| x.is_finite());
    if !(finite && level > 0.0 && level < 1.0) {
        return None;
    }
    if all_equal(differences) {
        let [value, ..] = *differences else {
            return None;
        };
        return Some(Interval {
            low: value,
            high: value,
        });
    }
    let count = differences.len() as f64;
    let centre = mean(differences)?;
    let reach = student::quantile(0.5 + level / 2.0, count - 1.0)? * deviation / count.sqrt();
    Some(Interval {
        low: centre - reach,
        high: centre + reach,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t_intervals_are_those_of_scipy() {
        // scipy.stats.ttest_1samp(d, 0).confidence_interval(level).
        let differences = [0.3, -0.1, 0.25, 0.4, 0.05, 0.6];
        for (level, low, high) in [
            (0.95, -0.011307367025121251, 0.5113073670251213),
            (0.9, 0.04516427854413502, 0.4548357214558648),
            (0.98, -0.09205524447761237, 0.5920552444776124),
        ] {
            let found = t_interval(&differences, level).expect("an interval");
            assert!((found.low - low).abs() < 1e-10, "{level}: {found:?}");
            assert!((found.high - high).abs() < 1e-10, "{level}: {found:?}");
        }
    }

    #[test]
    fn what_has_no_interval() {
        let point = Interval {
            low: 0.1,
            high: 0.1,
        };
        assert_eq!(t_interval(&[0.1; 3], 0.95), Some(point));
        assert_eq!(t_interval(&[0.1], 0.95), None);
        assert_eq!(t_interval(&[], 0.95), None);
        assert_eq!(t_interval(&[0.1, f64::NAN], 0.95), None);
        assert_eq!(t_interval(&[f64::INFINITY; 2], 0.95), None);
        assert_eq!(t_interval(&[0.1, 0.2], 1.0), None);
    }

    proptest! {
        #[test]
        fn a_higher_level_is_a_wider_interval(
            differences in prop::collection::vec(-5.0..5.0f64, 2..12),
            levels in (0.01..0.99f64, 0.01..0.99f64),
        ) {
            let (narrow, wide) = (levels.0.min(levels.1), levels.0.max(levels.1));
            let narrow = t_interval(&differences, narrow).expect("enough");
            let wide = t_interval(&differences, wide).expect("enough");
            prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        }
    }
}
