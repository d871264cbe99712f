//! Several tests in one table.

use super::smallest_sign_flip_p;

/// The p-values corrected for being k tests of one family, in the order given
/// (Holm 1979): sorted upwards, the i-th is multiplied by `k - i + 1`, is at least
/// as large as the one before and at most 1. One at most alpha then is
/// significant, with a chance of at most alpha that any true hypothesis is.
///
/// A p that is not a number counts as 1.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let p = |i: usize| {
        if p_values[i].is_nan() {
            1.0
        } else {
            p_values[i]
        }
    };
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p(i).total_cmp(&p(j)));
    let mut corrected = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        largest = largest.max((factor * p(i)).min(1.0));
        corrected[i] = largest;
    }
    corrected
}

/// The smallest p that the exact sign-flip test of `pairs` pairs can have as the
/// first of a family of `tests` after [`holm`]: `tests * 2 / 2^pairs`, at most 1.
///
/// At most 0.05 takes 6 pairs alone and 9 in a family of 8.
pub fn smallest_p_after_holm(pairs: usize, tests: usize) -> f64 {
    (smallest_sign_flip_p(pairs) * tests.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn corrections_are_those_of_statsmodels() {
        // statsmodels.stats.multitest.multipletests(p, method="holm")[1].
        let found = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        let expected = [0.04, 0.09, 0.09, 0.025, 0.5];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn pairs_that_a_family_needs() {
        for (tests, fewest) in [(1, 6), (8, 9), (0, 6)] {
            assert!(smallest_p_after_holm(fewest, tests) <= 0.05);
            assert!(smallest_p_after_holm(fewest - 1, tests) > 0.05);
        }
        assert_eq!(smallest_p_after_holm(0, 3), 1.0);
    }

    proptest! {
        #[test]
        fn a_correction_only_raises_and_keeps_the_order(
            p_values in prop::collection::vec(0.0..=1.0f64, 1..12),
        ) {
            let corrected = holm(&p_values);
            for (i, &p) in p_values.iter().enumerate() {
                prop_assert!(p <= corrected[i] && corrected[i] <= 1.0);
                for (j, &other) in p_values.iter().enumerate() {
                    prop_assert!(p > other || corrected[i] <= corrected[j]);
                }
            }
        }
    }
}
