//! What a number of trials of settings leads to expect.

/// The expected best validation score after 1, 2, ... n trials, from the n scores
/// of trials whose settings were drawn independently (Dodge and others 2019,
/// "Show your work", section 3.2): the mean of the largest of k draws from the
/// distribution of the scores seen, `sum_i v_(i) ((i / n)^k - ((i - 1) / n)^k)`
/// over the scores in rising order. Higher must be better: negate a loss.
///
/// Its draws are with replacement, so that its k-th number is on average below the
/// true expectation, most at k = n (Tang and others 2020). NaN counts as the worst
/// score there is, in place of which the lowest other one is taken; empty if there
/// is no number at all.
pub fn expected_best(scores: &[f64]) -> Vec<f64> {
    let lowest = scores.iter().copied().fold(f64::NAN, f64::min);
    if lowest.is_nan() {
        return Vec::new();
    }
    let number = |&score: &f64| if score.is_nan() { lowest } else { score };
    let mut sorted: Vec<f64> = scores.iter().map(number).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let best_of = |trials: usize| {
        let share = |i: usize| (i as f64 / count).powf(trials as f64);
        let terms = sorted.iter().enumerate();
        terms
            .map(|(i, score)| score * (share(i + 1) - share(i)))
            .sum()
    };
    (1..=sorted.len()).map(best_of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_best_of_few_by_hand() {
        // The largest of two draws from {1, 2, 4}: 1 in 1, 2 in 3 and 4 in 5 of 9.
        let found = expected_best(&[4.0, 1.0, 2.0]);
        let expected = [7.0 / 3.0, 27.0 / 9.0, (1.0 + 2.0 * 7.0 + 4.0 * 19.0) / 27.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(expected_best(&[0.5]), [0.5]);
        assert_eq!(expected_best(&[f64::NAN, 0.5]), [0.5, 0.5]);
        assert!(expected_best(&[]).is_empty() && expected_best(&[f64::NAN]).is_empty());
    }

    proptest! {
        #[test]
        fn more_trials_are_never_worse(scores in prop::collection::vec(-3.0..3.0f64, 1..15)) {
            let found = expected_best(&scores);
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let best = scores.iter().copied().fold(f64::MIN, f64::max);
            prop_assert!((found[0] - mean).abs() < 1e-12);
            prop_assert!(found.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            prop_assert!(found.iter().all(|&expected| expected <= best + 1e-12));
        }
    }
}
