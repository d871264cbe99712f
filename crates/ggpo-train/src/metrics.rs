//! Scores of predictions.

pub mod exact_match;
mod scores;

pub use scores::{ClassScores, Metric, RegressionScores, Scores};
pub(crate) use scores::{class_scores, regression_scores};

/// How often each class occurred, was predicted, and was predicted right. A table of
/// classes by classes would have no end with labels of a wrong column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    actual: Vec<u64>,
    predicted: Vec<u64>,
    right: Vec<u64>,
}

impl ClassCounts {
    /// Counts the pairs of predicted and actual class.
    ///
    /// # Panics
    /// If there is no pair, the lengths differ, or a class is not below
    /// `classes`.
    pub fn new(predicted: &[usize], actual: &[usize], classes: usize) -> Self {
        assert_eq!(predicted.len(), actual.len(), "a prediction for every row");
        assert!(!actual.is_empty(), "a score needs at least one row");
        let mut counts = ClassCounts {
            actual: vec![0; classes],
            predicted: vec![0; classes],
            right: vec![0; classes],
        };
        for (&predicted, &actual) in predicted.iter().zip(actual) {
            counts.actual[actual] += 1;
            counts.predicted[predicted] += 1;
            counts.right[actual] += u64::from(predicted == actual);
        }
        counts
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.actual.len()
    }

    /// Share of rows that were predicted right.
    pub fn accuracy(&self) -> f64 {
        let [right, all] = [&self.right, &self.actual].map(|of| of.iter().sum::<u64>());
        right as f64 / all as f64
    }

    /// Matthews correlation in Gorodkin's form for any number of classes (2004),
    /// from -1 to 1; of two classes it is the usual one. 0 where it is
    /// undefined: when all rows are of one class, or predicted to be.
    ///
    /// With c of s rows right, t_k rows of class k and p_k predictions of it:
    /// `(c s - sum t_k p_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2))`.
    pub fn matthews(&self) -> f64 {
        let (mut tp, mut pp, mut tt) = (0i128, 0i128, 0i128);
        for class in 0..self.classes() {
            let t = i128::from(self.actual[class]);
            let p = i128::from(self.predicted[class]);
            tp += t * p;
            pp += p * p;
            tt += t * t;
        }
        let sum = |counts: &[u64]| i128::from(counts.iter().sum::<u64>());
        let (s, c) = (sum(&self.actual), sum(&self.right));
        let (spread_p, spread_t) = (s * s - pp, s * s - tt);
        if spread_p == 0 || spread_t == 0 {
            return 0.0;
        }
        // One product and one root, so that a perfect score is exactly 1.
        (c * s - tp) as f64 / (spread_p as f64 * spread_t as f64).sqrt()
    }

    /// Harmonic mean of precision and recall of one class; 0 if it was predicted
    /// without ever occurring, or the other way round, and `None` if neither.
    ///
    /// # Panics
    /// If the class is out of range.
    pub fn f1(&self, class: usize) -> Option<f64> {
        let (predicted, actual) = (self.predicted[class], self.actual[class]);
        let both = 2 * self.right[class];
        (predicted + actual > 0).then(|| both as f64 / (predicted + actual) as f64)
    }

    /// Mean F1 of the classes that occur or were predicted.
    pub fn macro_f1(&self) -> f64 {
        let scores: Vec<f64> = (0..self.classes()).filter_map(|k| self.f1(k)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }
}

/// Share of predictions that are right.
///
/// # Panics
/// If there is none, or the lengths differ.
pub fn accuracy(predicted: &[usize], actual: &[usize]) -> f64 {
    assert_eq!(predicted.len(), actual.len(), "a prediction for every row");
    assert!(!actual.is_empty(), "a score needs at least one row");
    let right = predicted.iter().zip(actual).filter(|(p, a)| p == a).count();
    right as f64 / actual.len() as f64
}

/// [`ClassCounts::matthews`] of predictions.
///
/// # Panics
/// As [`ClassCounts::new`].
pub fn matthews(predicted: &[usize], actual: &[usize], classes: usize) -> f64 {
    ClassCounts::new(predicted, actual, classes).matthews()
}

/// F1 of class 1 of two, as GLUE has it for paraphrases; 0 if class 1 neither
/// occurs nor was predicted.
///
/// # Panics
/// As [`ClassCounts::new`], with two classes.
pub fn binary_f1(predicted: &[usize], actual: &[usize]) -> f64 {
    ClassCounts::new(predicted, actual, 2).f1(1).unwrap_or(0.0)
}

/// [`ClassCounts::macro_f1`] of predictions.
///
/// # Panics
/// As [`ClassCounts::new`].
pub fn macro_f1(predicted: &[usize], actual: &[usize], classes: usize) -> f64 {
    ClassCounts::new(predicted, actual, classes).macro_f1()
}

/// Whether no two values differ. Their deviations from the mean do not tell: the
/// mean is rounded.
pub fn all_equal(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Pearson's correlation, from -1 to 1; `None` if a side does not vary.
///
/// # Panics
/// If the lengths differ.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "correlation of pairs");
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    let spread = xx.sqrt() * yy.sqrt();
    if all_equal(x) || all_equal(y) || spread == 0.0 {
        return None;
    }
    Some((xy / spread).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, where equal numbers share
/// the mean of their ranks; `None` if a side does not vary.
///
/// # Panics
/// If the lengths differ.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

/// Ranks from 1; equal numbers share the mean of their ranks.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut ranks = vec![0.0; x.len()];
    let mut below = 0;
    for equal in order.chunk_by(|&i, &j| x[i] == x[j]) {
        let rank = below as f64 + (equal.len() + 1) as f64 / 2.0;
        for &i in equal {
            ranks[i] = rank;
        }
        below += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rounding of a handful of operations.
    const ROUNDING: f64 = 1e-12;

    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < ROUNDING,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn two_classes_by_hand() {
        // 3 true positives, 1 false negative, 2 false positives, 4 true negatives.
        let actual = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
        let predicted = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0];
        close(accuracy(&predicted, &actual), 0.7);
        close(matthews(&predicted, &actual, 2), 10.0 / 600f64.sqrt());
        close(binary_f1(&predicted, &actual), 6.0 / 9.0);
        close(
            macro_f1(&predicted, &actual, 2),
            (6.0 / 9.0 + 8.0 / 11.0) / 2.0,
        );
        let matrix = ClassCounts::new(&predicted, &actual, 2);
        let of = |counts: &[u64], class: usize| counts[class];
        let counts = [
            of(&matrix.right, 1),
            of(&matrix.actual, 1) - of(&matrix.right, 1),
            of(&matrix.predicted, 1) - of(&matrix.right, 1),
            of(&matrix.right, 0),
        ];
        assert_eq!(counts, [3, 1, 2, 4]);
        close(matrix.accuracy(), 0.7);
    }

    #[test]
    fn three_classes_by_hand() {
        let actual = [0, 0, 0, 1, 1, 2];
        let predicted = [0, 0, 1, 1, 2, 2];
        // c = 4, s = 6, t = (3, 2, 1), p = (2, 2, 2).
        close(
            matthews(&predicted, &actual, 3),
            12.0 / (24f64 * 22.0).sqrt(),
        );
        close(
            macro_f1(&predicted, &actual, 3),
            (0.8 + 0.5 + 2.0 / 3.0) / 3.0,
        );
        let wide = macro_f1(&predicted, &actual, 4);
        close(wide, macro_f1(&predicted, &actual, 3));
    }

    #[test]
    fn scores_at_their_limits() {
        let actual = [0, 1, 1, 0, 1];
        let opposite = actual.map(|class| 1 - class);
        assert_eq!(matthews(&actual, &actual, 2), 1.0);
        assert_eq!(matthews(&opposite, &actual, 2), -1.0);
        assert_eq!(matthews(&[1; 5], &actual, 2), 0.0);
        assert_eq!(matthews(&actual, &[1; 5], 2), 0.0);
        assert_eq!(binary_f1(&[0; 5], &actual), 0.0);
        assert_eq!(binary_f1(&[0; 5], &[0; 5]), 0.0);
        assert_eq!(macro_f1(&actual, &actual, 2), 1.0);
    }

    #[test]
    fn correlations_by_hand() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 10.0]);
        // Sums of products about the means: xy 13, xx 5, yy 50.
        close(pearson(&x, &y).expect("defined"), 13.0 / 250f64.sqrt());
        close(spearman(&x, &y).expect("defined"), 0.8);
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 5.0, 2.0]), [3.0, 1.0, 3.0, 5.0, 3.0]);
        assert_eq!(pearson(&x, &[0.1; 4]), None);
        assert_eq!(spearman(&[0.1; 4], &x), None);
        assert_eq!(pearson(&[], &[]), None);
    }

    /// Values of SciPy 1.17's `pearsonr` and `spearmanr`, with ties on both sides.
    #[test]
    fn correlations_agree_with_scipy() {
        let x = [0.5, 3.25, 4.75, 2.0, 2.0, 5.0, 1.25];
        let y = [1.0, 2.5, 4.0, 2.5, 0.5, 4.0, 4.0];
        close(pearson(&x, &y).expect("defined"), 0.6010929412448102);
        close(spearman(&x, &y).expect("defined"), 0.5003563792327016);
        let x = [1.0, 1.0, 2.0, 2.0, 3.0, -7.5];
        let y = [-2.0, 4.0, -2.0, 4.0, 1e3, 0.0];
        close(pearson(&x, &y).expect("defined"), 0.3490452873818194);
        close(spearman(&x, &y).expect("defined"), 0.4545454545454545);
    }

    /// Pearson's correlation over all pairs of points, without a mean: the
    /// covariance is the mean of products of differences, up to a factor.
    fn naive_pearson(x: &[f64], y: &[f64]) -> f64 {
        let sum = |a: &[f64], b: &[f64]| -> f64 {
            let all = (0..a.len()).flat_map(|i| (0..a.len()).map(move |j| (i, j)));
            all.map(|(i, j)| (a[i] - a[j]) * (b[i] - b[j])).sum()
        };
        sum(x, y) / (sum(x, x) * sum(y, y)).sqrt()
    }

    /// A rank by counting: those below, half of the equals, and a half.
    fn naive_ranks(x: &[f64]) -> Vec<f64> {
        let count = |of: &dyn Fn(&f64) -> bool| x.iter().filter(|x| of(x)).count() as f64;
        x.iter()
            .map(|x| count(&|other| other < x) + count(&|other| other == x) / 2.0 + 0.5)
            .collect()
    }

    fn pairs() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
        prop::collection::vec((0usize..3, 0usize..3), 1..60).prop_map(|p| p.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn names_of_classes_do_not_matter((predicted, actual) in pairs(), shift in 0usize..3) {
            let renamed = |x: &[usize]| x.iter().map(|k| (2 * k + shift) % 3).collect::<Vec<_>>();
            let (p, a) = (renamed(&predicted), renamed(&actual));
            prop_assert_eq!(matthews(&p, &a, 3), matthews(&predicted, &actual, 3));
            prop_assert_eq!(accuracy(&p, &a), accuracy(&predicted, &actual));
            let change = macro_f1(&p, &a, 3) - macro_f1(&predicted, &actual, 3);
            prop_assert!(change.abs() < ROUNDING);
        }

        #[test]
        fn matthews_is_symmetric_and_bounded((predicted, actual) in pairs()) {
            let score = matthews(&predicted, &actual, 3);
            prop_assert_eq!(score, matthews(&actual, &predicted, 3));
            prop_assert!((-1.0..=1.0).contains(&score));
        }

        #[test]
        fn matthews_of_two_classes_is_pearson((predicted, actual) in pairs()) {
            let two = |x: &[usize]| x.iter().map(|k| k.min(&1)).copied().collect::<Vec<_>>();
            let numbers = |x: &[usize]| x.iter().map(|&k| k as f64).collect::<Vec<_>>();
            let (p, a) = (two(&predicted), two(&actual));
            let expected = pearson(&numbers(&p), &numbers(&a)).unwrap_or(0.0);
            prop_assert!((matthews(&p, &a, 2) - expected).abs() < ROUNDING);
        }

        #[test]
        fn correlations_are_the_naive_ones(
            pairs in prop::collection::vec((-20i32..20, -20i32..20), 2..40),
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter()
                .map(|&(x, y)| (f64::from(x) / 4.0, f64::from(y) / 4.0))
                .unzip();
            prop_assert_eq!(ranks(&x), naive_ranks(&x));
            if let Some(found) = pearson(&x, &y) {
                prop_assert!((found - naive_pearson(&x, &y)).abs() < ROUNDING);
                let expected = naive_pearson(&naive_ranks(&x), &naive_ranks(&y));
                let found = spearman(&x, &y).expect("defined if Pearson's is");
                prop_assert!((found - expected).abs() < ROUNDING);
            } else {
                prop_assert!(all_equal(&x) || all_equal(&y));
            }
        }

        #[test]
        fn spearman_sees_only_the_order(
            pairs in prop::collection::vec((-20i32..20, -20i32..20), 2..40),
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter()
                .map(|&(x, y)| (f64::from(x), f64::from(y)))
                .unzip();
            let stretched: Vec<f64> = x.iter().map(|x| x.powi(3) + x).collect();
            prop_assert_eq!(spearman(&stretched, &y), spearman(&x, &y));
        }
    }
}
