//! What noise on the merged weight does to the peak of [`frozen_a`](super::frozen_a):
//! the prediction that GGPO is held against.
//!
//! A step of descent at noise `eps_j ~ N(0, v)`, `v = sigma^2 ||W'||^2 / n`, on the one
//! row `W' = B A`, with `C = X^T X / N`:
//!
//! * *Held*, v counts as a constant: the gradient is that of the loss plus `eps C`,
//!   whose mean is 0. The mean of B follows plain descent step for step, to the
//!   solution of minimum norm, and the peak stays.
//! * *Reparameterised*, `eps = sqrt(v(W')) z` is differentiated through `||W'||`: the
//!   gradient gains `<G(W' + eps), eps> W' / ||W'||^2`, whose mean is `lambda W'` with
//!   `lambda = sigma^2 tr C / n`. The mean of B follows the descent of a ridge.

use faer::{Col, ColRef};
use ggpo_tensor::random::{Purpose, Stream};

use super::linear::{EXAMPLES, INPUTS, Problem, RANKS, least_squares, ridge};
use super::{Calibration, Curve};
use crate::statistics::{mean, median};

/// Repetitions of the stated gates.
pub const REPETITIONS: u32 = 2_000;
/// GGPO's noise in language models.
const SIGMA: f64 = 0.03;
/// Noise of the descents that are followed: a ridge of about 0.09.
const LARGE_SIGMA: f64 = 0.3;
/// A ridge that takes the peak away.
const RIDGE: f64 = 0.1;
/// Expected heights at rank N: under the ridge of [`SIGMA`], and under [`RIDGE`].
const HEIGHTS: [f64; 2] = [17.0, 2.2];
/// How far the heights may be from these, as shares, after [`REPETITIONS`]; the
/// first is the mean of a law with a long tail.
const GATES: [f64; 2] = [0.1, 0.05];

/// Step of the descents. The largest eigenvalue of `A C A^T` is about 4 at rank N.
const RATE: f64 = 0.2;
const STEPS: u32 = 200;
/// Descents with noise of which the mean is taken, on each of the [`PROBLEMS`].
const DESCENTS: u32 = 100;
const PROBLEMS: u32 = 2;
/// How many standard errors any coordinate of the mean B may be off.
const STANDARD_ERRORS: f64 = 5.0;

/// Measures both: the curves over the rank that the two forms imply, and whether
/// descents with noise do follow the descents that imply them.
///
/// The gates on the heights are wider for fewer repetitions than [`REPETITIONS`],
/// with the root of their ratio.
pub fn calibrate(repetitions: u32) -> Calibration {
    let wider = (f64::from(REPETITIONS) / f64::from(repetitions.max(1)))
        .sqrt()
        .max(1.0);
    let [plain, weak, strong] = curves(repetitions);
    let [held, reparameterised] = [false, true].map(furthest);
    let examples = EXAMPLES as f64;
    let heights = [weak.at(examples), strong.at(examples)];
    let near = |i: usize| (heights[i] / HEIGHTS[i] - 1.0).abs() <= wider * GATES[i];
    let peak = plain.peak();
    let follows = held.max(reparameterised) <= STANDARD_ERRORS;
    Calibration {
        name: "peak-under-noise".into(),
        question: "What should held and reparameterised noise do to the peak over LoRA's \
                   rank?"
            .into(),
        theory: format!(
            "Held noise leaves the mean solution and so the peak at rank {EXAMPLES} as they \
             are. Reparameterised noise is a ridge of sigma^2 tr C / n: at sigma {SIGMA} the \
             mean error at the peak is near {}, and a ridge of {RIDGE} takes it to {}.",
            HEIGHTS[0], HEIGHTS[1]
        ),
        measured: format!(
            "The mean of {DESCENTS} descents at sigma {LARGE_SIGMA} is at most {held:.1} \
             standard errors from plain descent when held, and {reparameterised:.1} from \
             that of the ridge when reparameterised. Over {repetitions} repetitions the peak \
             of the medians is at rank {peak} without a ridge; the mean error at rank \
             {EXAMPLES} is {:.2} with the ridge of sigma {SIGMA} and {:.2} with {RIDGE}.",
            heights[0], heights[1]
        ),
        gate: format!(
            "At most {STANDARD_ERRORS} standard errors; the peak at rank {EXAMPLES}; heights \
             within {:.0} % and {:.0} %.",
            100.0 * wider * GATES[0],
            100.0 * wider * GATES[1]
        ),
        passed: follows && peak == examples && near(0) && near(1),
        axes: ["rank".into(), "squared error on fresh data".into()],
        curves: vec![plain, weak, strong],
    }
}

/// The test error over the rank: the median without a ridge, where the mean does
/// not exist at the peak, and the means with that of [`SIGMA`] and with [`RIDGE`].
fn curves(repetitions: u32) -> [Curve; 3] {
    let mut errors = vec![[const { Vec::new() }; 3]; RANKS.len()];
    for repetition in 0..repetitions {
        let problem = Problem::draw(repetition);
        let weak = strength(&problem, SIGMA);
        for (rank, [none, by_noise, large]) in RANKS.into_iter().zip(&mut errors) {
            let (design, targets) = (problem.design(rank), problem.targets.as_ref());
            let b = least_squares(design, targets);
            none.push(problem.error(b.as_ref()));
            for (errors, penalty) in [(by_noise, weak), (large, RIDGE)] {
                let b = ridge(design, targets, penalty);
                errors.push(b.map_or(f64::INFINITY, |b| problem.error(b.as_ref())));
            }
        }
    }
    let curve = |name: String, column: usize, summary: fn(&[f64]) -> Option<f64>| {
        let points = RANKS.iter().zip(&errors);
        let height = |errors: &[Vec<f64>; 3]| summary(&errors[column]).unwrap_or(f64::NAN);
        Curve::new(
            name,
            points.map(|(&rank, errors)| [rank as f64, height(errors)]),
        )
    };
    [
        curve("no noise, or held: median".into(), 0, median),
        curve(format!("reparameterised, sigma {SIGMA}: mean"), 1, mean),
        curve(format!("ridge {RIDGE}: mean"), 2, mean),
    ]
}

/// The ridge of reparameterised noise, `lambda = sigma^2 tr C / n`.
fn strength(problem: &Problem, sigma: f64) -> f64 {
    sigma * sigma * problem.inputs.squared_norm_l2() / (EXAMPLES * INPUTS) as f64
}

/// How far any coordinate of the mean B after [`DESCENTS`] descents with noise at
/// rank N is from the descent that its form implies, in standard errors.
fn furthest(reparameterised: bool) -> f64 {
    let mut largest = 0.0_f64;
    for repetition in 0..PROBLEMS {
        let problem = Problem::draw(repetition);
        let implied = Descent {
            problem: &problem,
            sigma: 0.0,
            reparameterised,
            penalty: match reparameterised {
                true => strength(&problem, LARGE_SIGMA),
                false => 0.0,
            },
        };
        let noisy = Descent {
            sigma: LARGE_SIGMA,
            penalty: 0.0,
            ..implied
        };
        let expected = implied.end(0);
        let ends: Vec<Col<f64>> = (0..DESCENTS).map(|seed| noisy.end(seed)).collect();
        for i in 0..EXAMPLES {
            let offs: Vec<f64> = ends.iter().map(|end| end[i] - expected[i]).collect();
            largest = largest.max(standard_errors(&offs));
        }
    }
    largest
}

/// How many standard errors the mean of the values is from 0.
fn standard_errors(values: &[f64]) -> f64 {
    let centre = mean(values).unwrap_or(f64::NAN);
    let deviation = crate::statistics::standard_deviation(values).unwrap_or(f64::NAN);
    let found = (centre / deviation).abs() * (values.len() as f64).sqrt();
    if found.is_nan() { f64::INFINITY } else { found }
}

/// Descent on B at rank N from B = 0.
#[derive(Clone, Copy)]
struct Descent<'a> {
    problem: &'a Problem,
    sigma: f64,
    reparameterised: bool,
    /// Of an explicit ridge.
    penalty: f64,
}

impl Descent<'_> {
    /// B after [`STEPS`] steps: length N.
    fn end(&self, seed: u32) -> Col<f64> {
        let mut b = Col::<f64>::zeros(EXAMPLES);
        let mut normals = [0.0_f32; INPUTS];
        for step in 0..STEPS {
            if self.sigma > 0.0 {
                let stream = Stream::new(u64::from(seed), Purpose::Perturbation, step, 0);
                stream.fill_normal(0, &mut normals);
            }
            let gradient = self.gradient(b.as_ref(), &normals);
            b -= RATE * gradient;
        }
        b
    }

    /// The gradient of B at `eps = sigma ||W'|| / sqrt(n) z`.
    fn gradient(&self, b: ColRef<'_, f64>, z: &[f32; INPUTS]) -> Col<f64> {
        let design = self.problem.design(EXAMPLES);
        // A is orthonormal: ||W'|| = ||B||.
        let square = b.squared_norm_l2();
        let deviation = self.sigma * (square / INPUTS as f64).sqrt();
        let mut residual = design * b - &self.problem.targets;
        let mut pull = self.penalty;
        if deviation > 0.0 {
            let eps = Col::from_fn(INPUTS, |j| deviation * f64::from(z[j]));
            let shift = &self.problem.inputs * &eps;
            residual += &shift;
            if self.reparameterised {
                // <G(W' + eps), eps> is <X eps, residual> / N.
                pull += shift.transpose() * &residual / (EXAMPLES as f64 * square);
            }
        }
        design.transpose() * residual / EXAMPLES as f64 + pull * b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_does_to_the_peak_what_theory_says() {
        let found = calibrate(40);
        assert!(found.passed, "{found:#?}");
        assert!(!calibrate(0).passed);
    }

    /// Reparameterised noise is not held noise: the test would see it.
    #[test]
    fn the_forms_are_told_apart() {
        let problem = Problem::draw(0);
        let plain = Descent {
            problem: &problem,
            sigma: 0.0,
            reparameterised: false,
            penalty: 0.0,
        };
        let noisy = Descent {
            sigma: LARGE_SIGMA,
            reparameterised: true,
            ..plain
        };
        let expected = plain.end(0);
        let ends: Vec<Col<f64>> = (0..DESCENTS).map(|seed| noisy.end(seed)).collect();
        let off = |i: usize| {
            let offs: Vec<f64> = ends.iter().map(|end| end[i] - expected[i]).collect();
            standard_errors(&offs)
        };
        let largest = (0..EXAMPLES).map(off).fold(0.0, f64::max);
        assert!(largest > 2.0 * STANDARD_ERRORS, "{largest}");
        assert_eq!(standard_errors(&[1.0]), f64::INFINITY);
    }
}
