//! Quantiles of Student's t distribution.

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

/// The quantile of the t distribution with `degrees` of freedom at `share`;
/// `None` if the degrees are not positive or the share is not inside (0, 1).
///
/// The library finds it by an iteration that stops after about 8 digits; two
/// steps of Newton's make them 12.
pub(super) fn quantile(share: f64, degrees: f64) -> Option<f64> {
    let law = StudentsT::new(0.0, 1.0, degrees).ok()?;
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    // The lower tail, where the distribution function keeps its digits.
    let tail = share.min(1.0 - share);
    let mut t = law.inverse_cdf(tail);
    for _ in 0..2 {
        let next = t - (law.cdf(t) - tail) / law.pdf(t);
        if !next.is_finite() {
            break;
        }
        t = next;
    }
    Some(if share < 0.5 { t } else { -t })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_scipy() {
        // scipy.stats.t.ppf.
        for (share, degrees, expected) in [
            (0.975, 1.0, 12.706204736174694),
            (0.975, 2.0, 4.302652729749462),
            (0.95, 9.0, 1.833112932656237),
            (0.996875, 8.0, 3.676567780902171),
            (0.99, 3.37, 4.165208997548258),
            (0.0001, 5.0, -9.677566300882592),
            (0.975, 1000.0, 1.9623390808264083),
            (0.9, 0.5, 10.27032441023451),
            (0.5, 4.0, 0.0),
        ] {
            let found = quantile(share, degrees).expect("inside");
            assert!(
                (found - expected).abs() <= 1e-10 * (1.0 + expected.abs()),
                "{share} at {degrees}: {found} instead of {expected}"
            );
        }
        assert_eq!(quantile(1.0, 3.0), None);
        assert_eq!(quantile(0.9, 0.0), None);
    }
}
