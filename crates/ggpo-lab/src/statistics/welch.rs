//! Two independent samples.

use ggpo_train::metrics::all_equal;

use super::student;
use super::{Interval, mean, standard_deviation};

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
        reach = error * student::quantile(0.975, degrees)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
