//! A toy on one line, `L = (a b - 1)^2 / 2`: the minima are `a b = 1`, the trace
//! of the Hessian there is `a^2 + b^2`, and the flattest has a = b.
//!
//! From (2, 0.6), 40,000 steps at the rate 0.005 with radius or noise 0.1. Two
//! numbers tell what a method seeks: the share that is kept of `a^2 - b^2`, 0 at
//! the flattest minimum, and the mean of `a b` over the last half of the steps.
//! SAM seeks the flat minimum; GGPO does not.
//!
//! Sampled numbers are means over fixed seeds and are compared to within six
//! standard errors. The standard errors come from the theory, not from the
//! sample:
//!
//! * `a b` moves by the rate times the mean force plus noise, so over N steps its
//!   mean is the fixed point minus the mean of the noise: with noise of deviation
//!   d on `a b`, `d / sqrt(N)` per seed, whatever the rate.
//! * `a^2 - b^2` is at most as far from its mean as the formula at each test says.
//! * The fixed points themselves hold to first order in the rate: 5 times
//!   `eta sigma^2` is allowed for that.

use ggpo_lora::Perturbation;
use ggpo_lora::perturbation::{Sam, SamConfig};
use ndarray::Array2;

use super::mean_over_normal;
use super::rig::{self, Layer, Run, Strength};
use crate::common::{Plain, normal};

const RATE: f64 = 0.005;
const STEPS: usize = 40_000;
const NOISE: f64 = 0.1;
const START: [f64; 2] = [2.0, 0.6];
/// `eta t` of a run.
const TIME: f64 = RATE * STEPS as f64;
/// Seeds of methods that cost nothing, and of those that run the crate's code.
const SEEDS: u64 = 32;
const RUNS: u64 = 2;
/// Of what is allowed for sampling.
const STANDARD_ERRORS: f64 = 6.0;
/// Of a fixed point, to higher order in the rate.
const BIAS: f64 = 5.0 * RATE * NOISE * NOISE;

/// `a^2 - b^2`.
fn imbalance([a, b]: [f64; 2]) -> f64 {
    a * a - b * b
}

/// What came of a run.
struct Outcome {
    /// The share kept of `a^2 - b^2`.
    kept: f64,
    /// The mean of `a b` over the last half of the steps.
    product: f64,
}

/// Gradient descent with the gradients of a and b that `gradient` gives for every
/// step.
fn run(mut gradient: impl FnMut(usize, [f64; 2]) -> [f64; 2]) -> Outcome {
    let mut point = START;
    let mut product = 0.0;
    for step in 0..STEPS {
        let [da, db] = gradient(step, point);
        point = [point[0] - RATE * da, point[1] - RATE * db];
        if step >= STEPS / 2 {
            product += point[0] * point[1] / (STEPS / 2) as f64;
        }
    }
    Outcome {
        kept: imbalance(point) / imbalance(START),
        product,
    }
}

/// The gradient of L at (p, q).
fn gradient_at([p, q]: [f64; 2]) -> [f64; 2] {
    [(p * q - 1.0) * q, (p * q - 1.0) * p]
}

/// The mean outcome over seeds of `perturbed(point, z)`, the point at which the
/// gradient is taken, for two normal numbers z.
fn mean_outcome(perturbed: impl Fn([f64; 2], [f64; 2]) -> [f64; 2]) -> Outcome {
    let mut mean = Outcome {
        kept: 0.0,
        product: 0.0,
    };
    for seed in 0..SEEDS {
        let z: Array2<f64> = normal(seed, 40, STEPS, 2);
        let outcome =
            run(|step, point| gradient_at(perturbed(point, [z[[step, 0]], z[[step, 1]]])));
        mean.kept += outcome.kept / SEEDS as f64;
        mean.product += outcome.product / SEEDS as f64;
    }
    mean
}

#[track_caller]
fn near(found: f64, expected: f64, allowed: f64) {
    let off = found - expected;
    assert!(
        off.abs() <= allowed,
        "{found} is {off:+.2e} from {expected}, allowed {allowed:.2e}"
    );
}

/// Gradient descent: `a^2 - b^2` is multiplied by `1 - eta^2 g_t^2` in every step,
/// g the derivative by `a b`, and the flow conserves it. It ends at `a b = 1`.
///
/// The product is an identity: rounding of 40,000 steps. g falls from 0.2 by at
/// least the factor `1 - eta 2 a b`, here 0.99, in a step, so all that is lost is
/// below `eta^2 0.04 / (1 - 0.99^2) = 5.1e-5`.
#[test]
fn toy_gradient_descent_keeps_the_imbalance() {
    let mut product = 1.0;
    let outcome = run(|_, [a, b]| {
        product *= 1.0 - (RATE * (a * b - 1.0)).powi(2);
        gradient_at([a, b])
    });
    near(outcome.kept, product, 1e-11);
    near(outcome.kept, 1.0, 5.1e-5);
    near(outcome.product, 1.0, 1e-11);
}

/// SAM on (a, b): of `a^2 - b^2` the share `exp(-2 rho^2 eta t)` is kept, 0.018,
/// and `a b` stays at 1.
///
/// With G the derivative at the perturbed point, s the sign of `a b - 1` and
/// `r^2 = a^2 + b^2`, each step multiplies `a^2 - b^2` by exactly
/// `1 - 2 eta G rho s / r - eta^2 G^2 (1 - rho^2 / r^2)`: an identity, compared to
/// the rounding of 40,000 steps. At `a b = 1` G is about `s rho r`, which makes
/// the second term `2 eta rho^2`. The last term adds `eta r^2 / 2` of that to the
/// exponent and the swing of `a b` around 1 at most as much again; r^2 falls from
/// 4.4 to 2 and is 2.33 on average, so the share is off by at most
/// `4 * 0.005 * 2.33`, 4.7 percent. The swing is `eta rho r^3` from step to step, at
/// most 0.0016 in the last half. The moves are the crate's own.
#[test]
fn toy_sam_on_the_factors_finds_the_flat_minimum() {
    let mut product = 1.0;
    let config = SamConfig {
        rho: NOISE,
        ..SamConfig::default()
    };
    let mut sam = Sam::new(config).unwrap();
    let mut layers = Plain(vec![one_weight()]);
    let outcome = run(|step, [a, b]| {
        let r = a.hypot(b);
        let s = (a * b - 1.0).signum();
        let layer = &mut layers.0[0];
        layer.a.fill(a);
        layer.b.fill(b);
        layer.set_gradient(Array2::from_elem((1, 1), a * b - 1.0));
        sam.begin_step(step as u32, &layers);
        assert!(sam.ascend(&layers), "there is a slope");
        let moves = sam.factor_moves(0).unwrap();
        let [p, q] = [a + moves[0][0], b + moves[1][0]];
        let g = p * q - 1.0;
        let square = (RATE * g).powi(2);
        product *= 1.0 - 2.0 * RATE * g * NOISE * s / r - square * (1.0 - (NOISE / r).powi(2));
        gradient_at([p, q])
    });
    near(outcome.kept / product, 1.0, 1e-9);
    let flow = (-2.0 * NOISE * NOISE * TIME).exp();
    near(outcome.kept / flow, 1.0, 0.047);
    near(outcome.product, 1.0, 0.0016);
}

/// Isotropic noise on (a, b): it balances as SAM does, `exp(-2 sigma^2 eta t)` =
/// 0.018, and its fixed point is at `a b = 1 - sigma^2`.
///
/// At a = b = 1 the noise makes `a^2 - b^2` wander by `4 eta sigma^2` in each
/// step's deviation and the balance pulls it back at the rate `2 eta sigma^2`: a
/// deviation of `2 sigma sqrt(eta)`. The noise on `a b` has the deviation
/// `sigma sqrt(a^2 + b^2)`, at most `1.5 sigma` in the last half. To the exponent the
/// next order in the rate adds `eta (a^2 + b^2) / 2` of it, as with SAM: 3 percent
/// of the share.
#[test]
fn toy_isotropic_noise_on_the_factors_finds_the_flat_minimum() {
    let outcome = mean_outcome(|[a, b], [y, z]| [a + NOISE * y, b + NOISE * z]);
    let flow = (-2.0 * NOISE * NOISE * TIME).exp();
    let wander = 2.0 * NOISE * RATE.sqrt() / imbalance(START) / (SEEDS as f64).sqrt();
    near(outcome.kept, flow, STANDARD_ERRORS * wander + 0.03 * flow);
    let sampling = 1.5 * NOISE / (SEEDS as f64 * STEPS as f64 / 2.0).sqrt();
    near(
        outcome.product,
        1.0 - NOISE * NOISE,
        STANDARD_ERRORS * sampling + BIAS,
    );
}

/// Noise on (a, b) in proportion to |a| and |b|: the flow conserves `a^2 - b^2`,
/// as it is invariant to `a -> c a, b -> b / c`, and `a b` shrinks to
/// `1 / (1 + sigma^2)`.
///
/// What the steps lose is `eta^2 E G^2` of about `2 sigma^2` each; the noise makes
/// `a^2 - b^2` wander by `4 eta sigma^2` a step, which nothing pulls back. The
/// noise on `a b` has the deviation `sqrt(2) sigma`.
#[test]
fn toy_proportional_noise_on_the_factors_keeps_the_imbalance() {
    let outcome = mean_outcome(|[a, b], [y, z]| [a * (1.0 + NOISE * y), b * (1.0 + NOISE * z)]);
    let variance = NOISE * NOISE;
    let lost = 2.0 * RATE * variance * TIME;
    let wander = 4.0 * variance * (RATE * TIME / SEEDS as f64).sqrt() / imbalance(START);
    near(
        outcome.kept,
        (-lost).exp(),
        STANDARD_ERRORS * wander + 0.1 * lost,
    );
    let sampling = (2.0_f64).sqrt() * NOISE / (SEEDS as f64 * STEPS as f64 / 2.0).sqrt();
    near(
        outcome.product,
        1.0 / (1.0 + variance),
        STANDARD_ERRORS * sampling + BIAS,
    );
}

/// The layer of one weight w' = a b with W = 0.
fn one_weight() -> Layer {
    let mut layer = Layer::random(0, 1, 1, 1, 1.0).without_gradients();
    layer.weight.fill(0.0);
    layer
}

/// Both forms of GGPO at its default beta: the mean outcome, and the largest
/// difference between the share kept and the product of `1 - eta^2 g_t^2`, g the
/// gradient of w'.
fn ggpo(reparameterised: bool) -> (Outcome, f64) {
    let strength = Strength {
        sigma: NOISE,
        beta: 0.01,
        exact: false,
    };
    let mut mean = Outcome {
        kept: 0.0,
        product: 0.0,
    };
    let mut largest = 0.0_f64;
    for seed in 0..RUNS {
        let mut noise = Run::new(strength, seed, STEPS as u32);
        let mut layers = Plain(vec![one_weight()]);
        let mut product = 1.0;
        let outcome = run(|step, [a, b]| {
            layers.0[0].a.fill(a);
            layers.0[0].b.fill(b);
            let eps = noise.noise(step as u32, &layers);
            let layer = &mut layers.0[0];
            let held = &eps + (a * b - 1.0);
            let mut g = held[[0, 0]];
            if reparameterised {
                g += rig::pull(layer, strength, &eps, &held)[0] * a * b;
            }
            product *= 1.0 - (RATE * g).powi(2);
            layer.set_gradient(Array2::from_elem((1, 1), g));
            [g * b, g * a]
        });
        largest = largest.max((outcome.kept - product).abs());
        mean.kept += outcome.kept / RUNS as f64;
        mean.product += outcome.product / RUNS as f64;
    }
    (mean, largest)
}

/// What both forms lose of `a^2 - b^2`: `eta^2 E g^2` of about `sigma^2` a step.
///
/// `sum g^2` has the relative deviation `sqrt(2 / T)`, 0.7 percent; the way to
/// `a b = 1` adds 0.2 percent, the swing of `a b` 1 percent and reparameterised
/// noise the `2 sigma^2` of its fourth moment: 10 percent of the loss is allowed.
#[track_caller]
fn keeps_the_imbalance((outcome, largest): &(Outcome, f64)) {
    let lost = RATE * NOISE * NOISE * TIME;
    near(outcome.kept, (-lost).exp(), 0.1 * lost);
    // An identity: rounding of 40,000 steps.
    assert!(*largest <= 1e-11, "{largest:e}");
}

/// The standard error of the mean of `a b` under noise on w' of deviation sigma.
fn sampling() -> f64 {
    NOISE / (RUNS as f64 * STEPS as f64 / 2.0).sqrt()
}

/// GGPO on w' = a b, held: the share kept of `a^2 - b^2` is exactly the product of
/// `1 - eta^2 g_t^2` (law 7), 0.990 here, and the mean of `a b` is 1 (law 1).
///
/// It does not seek the flat minimum. The noise is the crate's own.
#[test]
fn toy_held_ggpo_does_not_seek_the_flat_minimum() {
    let result = ggpo(false);
    keeps_the_imbalance(&result);
    near(result.0.product, 1.0, STANDARD_ERRORS * sampling() + BIAS);
}

/// GGPO on w' = a b, reparameterised: it keeps as much of `a^2 - b^2`, and the mean
/// of `a b` is that of a ridge of `sigma^2` on w', `1 / (1 + sigma^2)` (law 2).
///
/// It does not seek the flat minimum either: it shrinks.
#[test]
fn toy_reparameterised_ggpo_shrinks_and_does_not_seek_the_flat_minimum() {
    let result = ggpo(true);
    keeps_the_imbalance(&result);
    near(
        result.0.product,
        1.0 / (1.0 + NOISE * NOISE),
        STANDARD_ERRORS * sampling() + BIAS,
    );
}

/// One step of the two kinds of noise on (a, b), in expectation. `a^2 - b^2` changes
/// by `-2 eta sigma^2 (a^2 - b^2)` at first order in the rate under isotropic noise,
/// and not at all under noise in proportion to |a| and |b|.
///
/// Means of polynomials over two normal numbers: exact but for rounding.
#[test]
fn toy_of_the_noises_on_the_factors_only_the_isotropic_one_balances() {
    for [a, b] in [START, [1.0, 1.0], [0.3, 2.5], [-1.0, 0.5]] {
        // Minus the change at first order, over the rate.
        let force = |p: f64, q: f64| {
            let [da, db] = gradient_at([p, q]);
            2.0 * (a * da - b * db)
        };
        let mean =
            |f: &dyn Fn(f64, f64) -> f64| mean_over_normal(|y| mean_over_normal(|z| f(y, z)));
        let isotropic = mean(&|y, z| force(a + NOISE * y, b + NOISE * z));
        near(isotropic, 2.0 * NOISE * NOISE * imbalance([a, b]), 1e-13);
        let proportional = mean(&|y, z| force(a * (1.0 + NOISE * y), b * (1.0 + NOISE * z)));
        near(proportional, 0.0, 1e-13);
    }
}
