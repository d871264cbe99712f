//! Samples, one number per seed, and their comparison seed by seed.

use crate::statistics::{self, Interval};

/// Numbers of several runs, one per seed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The finite ones.
    pub(crate) values: Vec<f64>,
    /// Runs whose number is not finite.
    pub(crate) lost: usize,
}

impl Sample {
    pub(crate) fn new(all: impl IntoIterator<Item = f64>) -> Self {
        let (values, lost): (Vec<f64>, Vec<f64>) =
            all.into_iter().partition(|value| value.is_finite());
        Sample {
            values,
            lost: lost.len(),
        }
    }

    /// The mean; NaN of nothing.
    pub(crate) fn mean(&self) -> f64 {
        statistics::mean(&self.values).unwrap_or(f64::NAN)
    }

    /// The sample standard deviation; NaN of fewer than two.
    pub(crate) fn sd(&self) -> f64 {
        statistics::standard_deviation(&self.values).unwrap_or(f64::NAN)
    }

    /// The quantile; NaN of nothing.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        statistics::quantile(&self.values, q).unwrap_or(f64::NAN)
    }

    /// The smallest number; NaN of nothing.
    pub(crate) fn min(&self) -> f64 {
        self.values
            .iter()
            .copied()
            .reduce(f64::min)
            .unwrap_or(f64::NAN)
    }

    /// The largest number; NaN of nothing.
    pub(crate) fn max(&self) -> f64 {
        self.values
            .iter()
            .copied()
            .reduce(f64::max)
            .unwrap_or(f64::NAN)
    }
}

/// Largest p that lets several seeds say anything at all: with fewer seeds all
/// differences have the same sign too often by chance, and then every
/// bootstrap interval excludes 0.
pub(crate) const ATTAINABLE: f64 = 0.1;

/// The seed of all bootstrap samples.
const BOOTSTRAP_SEED: u64 = 0;

/// An effect so large comes from differences that are equal but for rounding.
const ROUNDING_ONLY: f64 = 1e6;

/// Level of the test that is usually asked for.
pub(crate) const LEVEL: f64 = 0.05;

/// The smallest p that the two-sided sign-flip test can give.
pub(crate) fn smallest_p(seeds: usize) -> f64 {
    if seeds == 0 {
        1.0
    } else {
        2.0 * 0.5_f64.powi(seeds as i32)
    }
}

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The interval of the difference lies above 0.
    Higher,
    /// The interval of the difference lies below 0.
    Lower,
    /// The interval holds 0, or there are too few seeds for one.
    NoDifference,
}

/// Differences to another method, seed by seed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// The differences.
    pub(crate) differences: Sample,
    /// 95 % bootstrap interval of the mean difference; absent for one seed.
    pub(crate) interval: Option<Interval>,
    /// Exact two-sided p of the sign-flip test; NaN without a pair, and of too
    /// many to try out.
    pub(crate) p: f64,
    /// Mean difference over its standard deviation; NaN if that is 0 or
    /// does not exist.
    pub(crate) effect: f64,
}

impl Comparison {
    /// Compares numbers with those of another method for the same seed.
    pub(crate) fn new(own: &[(u64, f64)], other: &[(u64, f64)]) -> Self {
        let pairs = own.iter().filter_map(|(seed, value)| {
            let (_, reference) = other.iter().find(|(found, _)| found == seed)?;
            Some(value - reference)
        });
        let differences = Sample::new(pairs);
        let values = &differences.values;
        let interval = statistics::bootstrap_interval(values, BOOTSTRAP_SEED);
        Comparison {
            // One difference has no spread.
            interval: interval.filter(|_| values.len() > 1),
            p: statistics::sign_flip_p_value(values).unwrap_or(f64::NAN),
            effect: statistics::cohens_d(values)
                .filter(|effect| effect.abs() < ROUNDING_ONLY)
                .unwrap_or(f64::NAN),
            differences,
        }
    }

    /// Seeds that both methods have.
    pub(crate) fn seeds(&self) -> usize {
        self.differences.values.len()
    }

    /// Whether there are enough seeds to say anything.
    pub(crate) fn has_enough_seeds(&self) -> bool {
        smallest_p(self.seeds()) <= ATTAINABLE
    }

    /// What it shows.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.interval {
            Some(Interval { low, .. }) if low > 0.0 && self.has_enough_seeds() => Verdict::Higher,
            Some(Interval { high, .. }) if high < 0.0 && self.has_enough_seeds() => Verdict::Lower,
            _ => Verdict::NoDifference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(differences: &[f64]) -> Comparison {
        let own: Vec<_> = (0..).zip(differences.iter().copied()).collect();
        let other: Vec<_> = own.iter().map(|(seed, _)| (*seed, 0.0)).collect();
        Comparison::new(&own, &other)
    }

    #[test]
    fn a_clear_difference_is_seen() {
        let found = compare(&[1.0, 1.2, 0.9, 1.1, 1.0]);
        assert_eq!(found.verdict(), Verdict::Higher);
        assert_eq!(found.p, smallest_p(5));
        assert_eq!(compare(&[-1.0; 6]).verdict(), Verdict::Lower);
    }

    #[test]
    fn differences_of_both_signs_are_none() {
        assert_eq!(
            compare(&[1.0, -1.1, 0.3, -0.4, 0.1]).verdict(),
            Verdict::NoDifference
        );
        assert_eq!(compare(&[0.0; 5]).verdict(), Verdict::NoDifference);
    }

    #[test]
    fn few_seeds_show_nothing() {
        assert_eq!(compare(&[1.0, 1.1]).verdict(), Verdict::NoDifference);
        let one = compare(&[1.0]);
        assert_eq!((one.interval, one.p), (None, 1.0));
        let none = compare(&[]);
        assert!(none.p.is_nan() && none.effect.is_nan());
    }

    #[test]
    fn pairs_are_made_by_seed() {
        let found = Comparison::new(&[(1, 3.0), (2, 5.0)], &[(2, 4.0), (3, 9.0)]);
        assert_eq!(found.differences.values, [1.0]);
    }
}
