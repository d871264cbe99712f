//! A toy on one line, `L = (a b - 1)^2 / 2`: the minima are `a b = 1`, the trace of
//! the Hessian there is `a^2 + b^2`, and the flattest has a = b.
//!
//! From (2, 0.6), 40,000 steps of descent at the rate 0.005, with radius or noise
//! 0.1. Two numbers tell what a method seeks: the share that is kept of
//! `a^2 - b^2`, 0 at the flattest minimum, and the mean of `a b` over the last half
//! of the steps. SAM and noise on a and b seek the flat minimum; noise in proportion
//! to the weights, and so GGPO, does not.

use ggpo_tensor::random::{Purpose, Stream};

use super::{Calibration, Curve};

/// Seeds of the methods with noise.
pub const SEEDS: u32 = 16;
const RATE: f64 = 0.005;
const STEPS: usize = 40_000;
/// Noise, or SAM's radius.
const NOISE: f64 = 0.1;
const START: [f64; 2] = [2.0, 0.6];
/// `eta t` of a run.
const TIME: f64 = RATE * STEPS as f64;
/// Steps between two points of a curve.
const EVERY: usize = STEPS / 50;
/// What is allowed for sampling, in standard errors that come from the theory.
const STANDARD_ERRORS: f64 = 6.0;
/// What is allowed of a fixed point to higher order in the rate.
const BIAS: f64 = 5.0 * RATE * NOISE * NOISE;
/// Rounding of 40,000 steps.
const ROUNDING: f64 = 1e-11;

/// A method, at the point (a, b) of which `w' = a b` is the merged weight.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    Descent,
    /// SAM on (a, b).
    Sam,
    /// Noise of deviation 0.1 on a and on b.
    Isotropic,
    /// Noise on a and on b in proportion to |a| and |b|.
    Proportional,
    /// GGPO's weight term, with n = 1: noise of deviation `0.1 |w'|` on w', that
    /// counts as a constant.
    Held,
    /// The same, differentiated through `|w'|`.
    Reparameterised,
}

/// What theory says of a method, and how far off it may be.
struct Expectation {
    /// The share kept of `a^2 - b^2`.
    kept: [f64; 2],
    /// The mean of `a b`.
    product: [f64; 2],
}

impl Method {
    const ALL: [Self; 6] = [
        Self::Descent,
        Self::Sam,
        Self::Isotropic,
        Self::Proportional,
        Self::Held,
        Self::Reparameterised,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Descent => "gradient descent",
            Self::Sam => "SAM",
            Self::Isotropic => "isotropic noise on the factors",
            Self::Proportional => "proportional noise on the factors",
            Self::Held => "GGPO, held",
            Self::Reparameterised => "GGPO, reparameterised",
        }
    }

    fn is_noisy(self) -> bool {
        !matches!(self, Self::Descent | Self::Sam)
    }

    /// The gradient of (a, b) under two normal numbers.
    fn gradient(self, [a, b]: [f64; 2], [y, z]: [f64; 2]) -> [f64; 2] {
        let at = |p: f64, q: f64| [(p * q - 1.0) * q, (p * q - 1.0) * p];
        // The gradient g of w' reaches the factors as (g b, g a).
        let through = |g: f64| [g * b, g * a];
        match self {
            Self::Descent => at(a, b),
            Self::Sam => {
                let [da, db] = at(a, b);
                let length = da.hypot(db);
                let reach = if length > 0.0 { NOISE / length } else { 0.0 };
                at(a + reach * da, b + reach * db)
            }
            Self::Isotropic => at(a + NOISE * y, b + NOISE * z),
            Self::Proportional => at(a * (1.0 + NOISE * y), b * (1.0 + NOISE * z)),
            Self::Held => through(a * b + NOISE * (a * b).abs() * y - 1.0),
            Self::Reparameterised => {
                // d|w'| / dw' is the sign of w'.
                let slope = NOISE * y * (a * b).signum();
                let g = a * b + NOISE * (a * b).abs() * y - 1.0;
                through(g * (1.0 + slope))
            }
        }
    }

    /// The standard errors are those of theory: over the steps of a half the mean
    /// of `a b` varies as the mean of the noise does, `d / sqrt(steps)` for noise
    /// of deviation d on `a b`; the wandering of `a^2 - b^2` is `4 eta sigma^2` a step.
    fn expectation(self, seeds: u32) -> Expectation {
        let (seeds, variance) = (f64::from(seeds.max(1)), NOISE * NOISE);
        let flow = (-2.0 * variance * TIME).exp();
        let sampling = NOISE / (seeds * STEPS as f64 / 2.0).sqrt();
        let allowed = |deviation: f64| STANDARD_ERRORS * deviation * sampling + BIAS;
        // What the steps lose of a^2 - b^2: eta^2 E g^2 each.
        let lost = RATE * variance * TIME;
        let ridge = 1.0 / (1.0 + variance);
        let (kept, product) = match self {
            Self::Descent => ([1.0, 5.1e-5], [1.0, ROUNDING]),
            Self::Sam => ([flow, 0.047 * flow], [1.0, 0.0016]),
            Self::Isotropic => {
                let wander = 2.0 * NOISE * RATE.sqrt() / imbalance(START) / seeds.sqrt();
                let within = STANDARD_ERRORS * wander + 0.03 * flow;
                ([flow, within], [1.0 - variance, allowed(1.5)])
            }
            Self::Proportional => {
                let wander = 4.0 * variance * (RATE * TIME / seeds).sqrt() / imbalance(START);
                let within = STANDARD_ERRORS * wander + 0.2 * lost;
                ([(-2.0 * lost).exp(), within], [ridge, allowed(1.5)])
            }
            Self::Held => ([(-lost).exp(), 0.1 * lost], [1.0, allowed(1.0)]),
            Self::Reparameterised => ([(-lost).exp(), 0.1 * lost], [ridge, allowed(1.0)]),
        };
        Expectation { kept, product }
    }
}

/// `a^2 - b^2`.
fn imbalance([a, b]: [f64; 2]) -> f64 {
    a * a - b * b
}

/// What came of a method, as the mean over its seeds.
struct Outcome {
    /// The share kept of `a^2 - b^2` at the end.
    kept: f64,
    /// The mean of `a b` over the last half of the steps.
    product: f64,
    /// The share kept, every [`EVERY`] steps.
    course: Vec<f64>,
}

fn run(method: Method, seeds: u32) -> Outcome {
    let seeds = if method.is_noisy() { seeds } else { 1 };
    let mut mean = Outcome {
        kept: 0.0,
        product: 0.0,
        course: vec![0.0; STEPS / EVERY + 1],
    };
    let part = 1.0 / f64::from(seeds);
    let mut noise = vec![0.0_f32; 2 * STEPS];
    for seed in 0..seeds {
        if method.is_noisy() {
            Stream::new(u64::from(seed), Purpose::Perturbation, 0, 0).fill_normal(0, &mut noise);
        }
        let mut point = START;
        let share = |point| imbalance(point) / imbalance(START);
        for (step, z) in noise.chunks_exact(2).enumerate() {
            if step % EVERY == 0 {
                mean.course[step / EVERY] += part * share(point);
            }
            let [da, db] = method.gradient(point, [f64::from(z[0]), f64::from(z[1])]);
            point = [point[0] - RATE * da, point[1] - RATE * db];
            if step >= STEPS / 2 {
                mean.product += part * point[0] * point[1] / (STEPS / 2) as f64;
            }
        }
        mean.course[STEPS / EVERY] += part * share(point);
        mean.kept += part * share(point);
    }
    mean
}

/// Follows the six methods; with fewer seeds than [`SEEDS`] the gates are wider by
/// what sampling takes, which they say.
pub fn calibrate(seeds: u32) -> Calibration {
    let mut passed = seeds > 0;
    let (mut theory, mut measured, mut gates) = (Vec::new(), Vec::new(), Vec::new());
    let mut curves = Vec::new();
    for method in Method::ALL {
        let Expectation { kept, product } = method.expectation(seeds);
        let found = run(method, seeds);
        let within = |found: f64, [expected, off]: [f64; 2]| (found - expected).abs() <= off;
        passed &= within(found.kept, kept) && within(found.product, product);
        let name = method.name();
        theory.push(format!("{name} {:.4} and {:.4}", kept[0], product[0]));
        measured.push(format!("{name} {:.4} and {:.4}", found.kept, found.product));
        gates.push(format!("{name} {:.1e} and {:.1e}", kept[1], product[1]));
        let points = found.course.iter().enumerate();
        let time = |i: usize| (i * EVERY) as f64 * RATE;
        curves.push(Curve::new(name, points.map(|(i, &share)| [time(i), share])));
    }
    Calibration {
        name: "toy".into(),
        question: "Which methods move along the minima of (a b - 1)^2 / 2 to the flattest, \
                   and which shrink a b?"
            .into(),
        theory: format!(
            "The share kept of a^2 - b^2, and the mean of a b: {}.",
            theory.join("; ")
        ),
        measured: format!("Over {seeds} seeds: {}.", measured.join("; ")),
        gate: format!("Off by at most: {}.", gates.join("; ")),
        passed,
        axes: ["rate times steps".into(), "share kept of a^2 - b^2".into()],
        curves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_do_what_theory_says() {
        let found = calibrate(2);
        assert!(found.passed, "{found:#?}");
        assert_eq!(found.curves.len(), 6);
        assert!(!calibrate(0).passed);
    }

    /// For a gradient g of w' a step multiplies `a^2 - b^2` by `1 - eta^2 g^2`, and the
    /// two forms of GGPO have such gradients, whatever the noise.
    #[test]
    fn a_gradient_of_the_product_keeps_the_imbalance() {
        for method in [Method::Descent, Method::Held, Method::Reparameterised] {
            for (point, z) in [(START, [1.3, 0.0]), ([-1.0, 0.4], [-0.7, 2.0])] {
                let [da, db] = method.gradient(point, z);
                let g = da / point[1];
                let next = [point[0] - RATE * da, point[1] - RATE * db];
                let factor = 1.0 - (RATE * g).powi(2);
                let off = imbalance(next) - factor * imbalance(point);
                assert!(off.abs() < 1e-14, "{off:e}");
            }
        }
    }
}
