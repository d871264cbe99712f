//! LoRA with a frozen orthonormal A and the B of minimum norm: the test error over
//! the rank has a peak where the rank reaches the number of training examples, and
//! its expectation is known for every finite size (Breiman and Freedman 1983; Belkin,
//! Hsu and Xu 2020, "Two models of double descent for weak features").

use super::linear::{EXAMPLES, INPUTS, NOISE, Problem, RANKS, least_squares};
use super::{Calibration, Curve};
use crate::statistics::{mean, median};

/// Repetitions at which the gate is 5 %.
pub const REPETITIONS: u32 = 4_000;
/// How far a mean may be from theory, as a share of it, after [`REPETITIONS`].
const GATE: f64 = 0.05;
/// Ranks this near to N are not compared: there the mean hardly converges.
const NEAR: usize = 8;

/// The expected squared error on fresh data at rank r, noise included. With
/// `b = r / n` and `R = 1 - b + sigma^2` (a signal of norm 1):
/// `R (1 + r / (N - r - 1))` up to `r = N - 2`,
/// `b (1 - N / r) + R (1 + N / (r - N - 1))` from `r = N + 2` on, and infinite
/// between.
pub fn expected_error(rank: usize) -> f64 {
    let (r, examples) = (rank as f64, EXAMPLES as f64);
    let share = r / INPUTS as f64;
    let rest = 1.0 - share + NOISE * NOISE;
    if rank + 2 <= EXAMPLES {
        rest * (1.0 + r / (examples - r - 1.0))
    } else if rank >= EXAMPLES + 2 {
        share * (1.0 - examples / r) + rest * (1.0 + examples / (r - examples - 1.0))
    } else {
        f64::INFINITY
    }
}

/// Measures the curve. The gate on the mean is wider for fewer repetitions than
/// [`REPETITIONS`], with the root of their ratio.
pub fn calibrate(repetitions: u32) -> Calibration {
    let gate = GATE * (f64::from(REPETITIONS) / f64::from(repetitions.max(1))).sqrt();
    let mut errors = vec![Vec::new(); RANKS.len()];
    for repetition in 0..repetitions {
        let problem = Problem::draw(repetition);
        for (rank, errors) in RANKS.into_iter().zip(&mut errors) {
            let b = least_squares(problem.design(rank), problem.targets.as_ref());
            errors.push(problem.error(b.as_ref()));
        }
    }
    let curve = |name, summary: fn(&[f64]) -> Option<f64>| {
        let points = RANKS.iter().zip(&errors);
        Curve::new(
            name,
            points.map(|(&rank, errors)| [rank as f64, summary(errors).unwrap_or(f64::NAN)]),
        )
    };
    let theory = RANKS.map(|rank| [rank as f64, expected_error(rank)]);
    let (means, medians) = (
        curve("measured mean", mean),
        curve("measured median", median),
    );
    let compared = RANKS
        .into_iter()
        .filter(|rank| rank.abs_diff(EXAMPLES) > NEAR);
    let off = |rank: usize| (means.at(rank as f64) / expected_error(rank) - 1.0).abs();
    let (worst, at) = compared
        .map(|rank| (off(rank), rank))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((f64::NAN, 0));
    let peak = medians.peak();
    let shown = |rank: usize| {
        let (found, expected) = (means.at(rank as f64), expected_error(rank));
        format!("{found:.3} (theory {expected:.3}) at rank {rank}")
    };
    Calibration {
        name: "frozen-a".into(),
        question: "Does the measured test error of LoRA over the rank, with a frozen \
                   orthonormal A and the B of minimum norm, follow the curve that can be \
                   calculated?"
            .into(),
        theory: format!(
            "The mean error is known at every rank but {} to {}, where it is infinite; \
             the peak is at the number of examples, {EXAMPLES}.",
            EXAMPLES - 1,
            EXAMPLES + 1
        ),
        measured: format!(
            "Over {repetitions} repetitions {}, {} and {}; furthest from theory by {:.1} % \
             at rank {at}; the peak of the medians is at rank {peak}.",
            shown(20),
            shown(48),
            shown(128),
            100.0 * worst
        ),
        gate: format!(
            "Every mean within {:.1} % of theory for ranks more than {NEAR} from {EXAMPLES}, \
             and the peak of the medians at rank {EXAMPLES}.",
            100.0 * gate
        ),
        passed: worst <= gate && peak == EXAMPLES as f64,
        axes: ["rank".into(), "squared error on fresh data".into()],
        curves: vec![Curve::new("theory", theory), means, medians],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_errors_by_hand() {
        // (1 - 20/128 + 1/4) (1 + 20/11), and so on.
        for (rank, expected) in [(20, 3.0824), (48, 2.8667), (128, 1.0842)] {
            assert!((expected_error(rank) - expected).abs() < 1e-4, "{rank}");
        }
        assert!(
            [31, 32, 33]
                .iter()
                .all(|&rank| expected_error(rank).is_infinite())
        );
        assert_eq!(expected_error(0), 1.25);
    }

    #[test]
    fn the_peak_is_where_theory_has_it() {
        let found = calibrate(100);
        assert!(found.passed, "{found:#?}");
        assert_eq!(found.curves[0].points.len(), RANKS.len() - 3);
        // Without any repetition there is nothing to pass on.
        assert!(!calibrate(0).passed);
    }
}
