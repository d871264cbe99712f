//! Sentences that say whether two methods differ.

use super::super::format::{counted, fixed, probability, signed};
use super::super::summary::{Comparison, LEVEL, Verdict, smallest_p};
use crate::repro::score::Score;
use crate::statistics::Interval;

/// Whether `method` scores better or worse than `other`.
pub(super) fn scores(score: Score, method: &str, other: &str, found: &Comparison) -> String {
    let verdict = found.verdict();
    let (decimals, unit) = (score.decimals(), score.difference_unit());
    if found.seeds() == 0 {
        return incomparable(method, other);
    }
    let name = score.name();
    if verdict == Verdict::NoDifference {
        let seeds = counted(found.seeds(), "seed");
        return format!(
            "between {method} and {other} there is no difference in {name} that {seeds} can show: \
             {}",
            numbers(found, decimals, unit),
        );
    }
    let is_higher = verdict == Verdict::Higher;
    let quality = match is_higher == score.higher_is_better() {
        true => "better",
        false => "worse",
    };
    let direction = if is_higher { "higher" } else { "lower" };
    format!(
        "{method} is {quality} than {other}: its {name} is {direction} by {}{unit} on average ({})",
        fixed(found.differences.mean().abs(), decimals),
        evidence(found, decimals),
    )
}

/// Whether the height of `method`'s loss bump is higher or lower.
pub(super) fn bump(method: &str, other: &str, found: &Comparison) -> String {
    if found.seeds() == 0 {
        return incomparable(method, other);
    }
    let numbers = numbers(found, 4, " nats");
    match found.verdict() {
        Verdict::Higher => {
            format!("the bump of {method} is higher than that of {other}: {numbers}")
        }
        Verdict::Lower => format!("the bump of {method} is lower than that of {other}: {numbers}"),
        Verdict::NoDifference => {
            let seeds = counted(found.seeds(), "seed");
            format!(
                "between the bumps of {method} and {other} there is no difference that {seeds} \
                 can show: {numbers}"
            )
        }
    }
}

fn incomparable(method: &str, other: &str) -> String {
    format!("{method} and {other} cannot be compared, since no seed gave numbers for both")
}

/// The mean difference with its evidence.
fn numbers(found: &Comparison, decimals: usize, unit: &str) -> String {
    let mean = signed(found.differences.mean(), decimals);
    format!(
        "mean difference {mean}{unit}, {}",
        evidence(found, decimals)
    )
}

/// The interval of the mean difference and p, and what to make of them.
fn evidence(found: &Comparison, decimals: usize) -> String {
    let mut words = match found.interval {
        None => "no interval".to_owned(),
        Some(Interval { low, high }) => {
            format!(
                "95 % interval {} to {}",
                signed(low, decimals),
                signed(high, decimals)
            )
        }
    };
    if found.p.is_finite() {
        words.push_str(&format!(", p = {}", probability(found.p)));
    }
    words + &caution(found)
}

/// What a reader must know about an interval without 0.
fn caution(found: &Comparison) -> String {
    let excludes_zero = found
        .interval
        .is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0);
    let (seeds, least) = (counted(found.seeds(), "seed"), smallest_p(found.seeds()));
    if !excludes_zero || found.p <= LEVEL || !found.p.is_finite() {
        String::new()
    } else if !found.has_enough_seeds() {
        format!(
            "; the interval excludes 0, but {seeds} cannot give a p below {}",
            probability(least)
        )
    } else if found.p <= least * 1.000_001 {
        format!(", the smallest that {seeds} can give: a hint rather than a proof")
    } else {
        ", which does not confirm it: a hint rather than a proof".to_owned()
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
    fn a_higher_accuracy_is_better() {
        let words = scores(Score::Accuracy, "A", "B", &compare(&[1.0; 6]));
        assert!(
            words.starts_with("A is better than B: its accuracy is higher by 1.00"),
            "{words}"
        );
        assert!(words.contains("p = 0.0312"), "{words}");
        let words = scores(Score::Accuracy, "A", "B", &compare(&[-1.0; 6]));
        assert!(
            words.starts_with("A is worse than B: its accuracy is lower by 1.00"),
            "{words}"
        );
    }

    #[test]
    fn a_lower_perplexity_is_better() {
        let words = scores(Score::Perplexity, "A", "B", &compare(&[-2.0; 6]));
        assert!(
            words.starts_with("A is better than B: its perplexity is lower by 2.000"),
            "{words}"
        );
        let words = scores(Score::Perplexity, "A", "B", &compare(&[2.0; 6]));
        assert!(
            words.starts_with("A is worse than B: its perplexity is higher by"),
            "{words}"
        );
    }

    #[test]
    fn without_evidence_there_is_no_verdict() {
        let words = scores(
            Score::Accuracy,
            "A",
            "B",
            &compare(&[1.0, -1.0, 0.5, -0.4, 0.0]),
        );
        assert!(
            words.contains("no difference in accuracy that 5 seeds can show"),
            "{words}"
        );
        let words = scores(Score::Accuracy, "A", "B", &compare(&[1.0, 2.0]));
        assert!(
            words.contains("2 seeds cannot give a p below 0.500"),
            "{words}"
        );
        let words = scores(Score::Accuracy, "A", "B", &compare(&[1.0]));
        assert!(
            words.contains("that 1 seed can show") && !words.contains("NaN"),
            "{words}"
        );
        let words = scores(Score::Accuracy, "A", "B", &compare(&[]));
        assert!(words.contains("cannot be compared"), "{words}");
    }

    #[test]
    fn five_seeds_give_a_hint() {
        let words = scores(
            Score::Accuracy,
            "A",
            "B",
            &compare(&[1.0, 1.1, 0.9, 1.0, 1.2]),
        );
        assert!(words.starts_with("A is better than B"), "{words}");
        assert!(
            words.contains("p = 0.0625, the smallest that 5 seeds can give"),
            "{words}"
        );
    }
}
