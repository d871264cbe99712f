//! Whether a difference is too small to matter.

use super::{Interval, t_interval};

/// Whether paired differences are equivalent to 0 within `margin`: both one-sided
/// t tests, of a mean of at most `-margin` and of at least `margin`, reject at
/// `alpha` (Schuirmann 1987). That is so just if the `1 - 2 alpha` interval of
/// [`t_interval`] lies inside `(-margin, margin)`. The margin is in the unit of
/// the differences.
///
/// `None` where there is no such interval.
pub fn equivalent(differences: &[f64], margin: f64, alpha: f64) -> Option<bool> {
    let Interval { low, high } = t_interval(differences, 1.0 - 2.0 * alpha)?;
    Some(-margin < low && high < margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_decides() {
        // statsmodels.stats.weightstats.DescrStatsW(d).ttost_mean(-m, m): the
        // larger p is 0.05 at the margin 0.45484.
        let differences = [0.3, -0.1, 0.25, 0.4, 0.05, 0.6];
        assert_eq!(equivalent(&differences, 0.4549, 0.05), Some(true));
        assert_eq!(equivalent(&differences, 0.454, 0.05), Some(false));
        assert_eq!(equivalent(&differences, 0.4549, 0.01), Some(false));
        // The margin itself is excluded, also where the interval is a point.
        assert_eq!(equivalent(&[0.5; 4], 0.5, 0.05), Some(false));
        assert_eq!(equivalent(&[0.5; 4], 0.6, 0.05), Some(true));
        assert_eq!(equivalent(&[0.5], 0.6, 0.05), None);
    }
}
