//! One linear layer under the squared loss `L = ||X W'^T - Y||^2 / 2N`, held noise.

use ndarray::Array2;
use proptest::prelude::*;

use super::rig::{self, Layer, Strength};
use super::{ROUNDING, Regression, agree, diagonal, mean_over_noise, norm, size, squares, trace};

/// A layer with an adapter and gradients, noise of some strength, and data.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) layer: Layer,
    pub(super) strength: Strength,
    pub(super) data: Regression,
    pub(super) seed: u64,
}

prop_compose! {
    pub(super) fn any_case()(m in 1_usize..=4, n in 1_usize..=6)(
        m in Just(m),
        n in Just(n),
        rank in 1..=m.min(n).min(3),
        count in 1_usize..=10,
        seed in any::<u64>(),
        scaling in 0.25..4.0_f64,
        sigma in 0.01..2.0_f64,
        beta in 0.0..10.0_f64,
        exact in any::<bool>(),
    ) -> Case {
        Case {
            layer: Layer::random(seed, m, n, rank, scaling),
            strength: Strength { sigma, beta, exact },
            data: Regression::random(seed, count, n, m),
            seed,
        }
    }
}

impl Case {
    /// eps, as the crate draws it.
    pub(super) fn noise(&self) -> Array2<f64> {
        rig::noise(&self.layer, self.strength, self.seed)
    }

    pub(super) fn deviations(&self) -> Vec<f64> {
        rig::deviations(&self.layer, self.strength)
    }

    pub(super) fn inputs(&self) -> usize {
        self.layer.weight.ncols()
    }

    /// W' after a step of SGD on A and B with the gradient at `W' + eps`.
    fn merged_after_step(&self, eps: &Array2<f64>, rate: f64) -> Array2<f64> {
        let mut layer = self.layer.clone();
        layer.set_gradient(self.data.gradient(&(layer.merged() + eps)));
        layer.a.scaled_add(-rate, layer.grad_a.as_ref().unwrap());
        layer.b.scaled_add(-rate, layer.grad_b.as_ref().unwrap());
        layer.merged()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law 1: `G(W' + eps) = G(W') + eps C`, so `G(W' + eps) + G(W' - eps) = 2 G(W')`.
    ///
    /// An identity for every eps, so only rounding is allowed. Held noise of
    /// any strength, guided by the gradient or not, does nothing to the mean
    /// gradient: no ridge, no shrinking, no flatness.
    #[test]
    fn law_1_held_noise_leaves_the_mean_gradient_alone(case in any_case()) {
        let (merged, eps) = (case.layer.merged(), case.noise());
        let plain = case.data.gradient(&merged);
        let plus = case.data.gradient(&(&merged + &eps));
        let minus = case.data.gradient(&(&merged - &eps));
        let scale = case.data.gradient_scale(norm(&merged) + norm(&eps));
        agree(&plus, &(&plain + &eps.dot(&case.data.covariance())), scale)?;
        agree(&(plus + minus), &(2.0 * plain), scale)?;
    }

    /// Law 3: with LoRA under SGD one drift of held noise survives,
    /// `E[W' after a step] - W' after the step without noise
    /// = eta^2 s^3 D_v B A C^2`; at half the rate it is a quarter, so over a
    /// given time `eta t` it vanishes with the rate.
    ///
    /// A step is of degree 2 in eps, so the mean is exact and only rounding of
    /// what is averaged is allowed.
    #[test]
    fn law_3_the_drift_of_held_noise_is_of_second_order_in_the_rate(
        case in any_case(), rate in 0.01..0.5_f64,
    ) {
        let covariance = case.data.covariance();
        let variances = diagonal(&squares(&case.deviations()));
        let drift = variances.dot(&case.layer.product()).dot(&covariance).dot(&covariance)
            * case.layer.scaling.powi(3);
        for rate in [rate, rate / 2.0] {
            let still = case.merged_after_step(&Array2::zeros(case.layer.weight.dim()), rate);
            let mean = mean_over_noise(&case.deviations(), case.inputs(), |eps| {
                case.merged_after_step(eps, rate)
            });
            let scale = step_scale(&case, rate);
            agree(&(mean.value - still), &(rate * rate * &drift), scale)?;
        }
    }
}

/// What bounds the terms of a step with noise.
fn step_scale(case: &Case, rate: f64) -> f64 {
    let layer = &case.layer;
    let points = layer.weight.len() as f64;
    let reach = norm(&layer.merged()) + points.sqrt() * case.deviations().iter().sum::<f64>();
    let gradient = case.data.gradient_scale(reach);
    let (a, b, s) = (norm(&layer.a), norm(&layer.b), layer.scaling);
    let (a, b) = (a + rate * s * b * gradient, b + rate * s * a * gradient);
    norm(&layer.weight) + s * a * b
}

proptest! {
    // Each case walks through 2^5 runs.
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Law 1, in time: under SGD with held noise the mean of a trained full W'
    /// follows gradient descent step for step.
    ///
    /// The mean is taken over all 2^5 signs of the noise of five steps, each
    /// step with the deviations of its own weights and of the gradient before.
    /// The gradient is affine, so the mean is exact for any draws and only
    /// rounding is allowed.
    #[test]
    fn law_1_the_mean_of_a_trained_weight_follows_gradient_descent(case in any_case()) {
        let start = case.layer.merged();
        let rate = 0.5 / trace(&case.data.covariance());
        let strength = Strength { exact: true, ..case.strength };
        let runs = Runs { data: &case.data, strength, rate, seed: case.seed };
        let mut descent = start.clone();
        for _ in 0..5 {
            let gradient = case.data.gradient(&descent);
            descent.scaled_add(-rate, &gradient);
        }
        let mut largest = 0.0;
        let mean = runs.mean_after(5, &start, None, &mut largest);
        agree(&mean, &descent, largest + rate * case.data.gradient_scale(largest))?;
    }
}

struct Runs<'a> {
    data: &'a Regression,
    strength: Strength,
    rate: f64,
    seed: u64,
}

impl Runs<'_> {
    /// The mean of W' after `steps` more steps, over both signs of each noise.
    fn mean_after(
        &self,
        steps: u64,
        weight: &Array2<f64>,
        gradient: Option<&Array2<f64>>,
        largest: &mut f64,
    ) -> Array2<f64> {
        *largest = largest.max(norm(weight));
        if steps == 0 {
            return weight.clone();
        }
        let mut layer = rig::full(weight);
        if let Some(gradient) = gradient {
            layer.set_gradient(gradient.clone());
        }
        let eps = rig::noise(&layer, self.strength, self.seed ^ steps);
        *largest = largest.max(norm(weight) + norm(&eps));
        let mut branch = |eps: &Array2<f64>| {
            let gradient = self.data.gradient(&(weight + eps));
            let next = weight - &(self.rate * &gradient);
            self.mean_after(steps - 1, &next, Some(&gradient), largest)
        };
        (branch(&eps) + branch(&-&eps)) / 2.0
    }
}

/// Law 3, its size: the drift is there, far above the rounding that the property
/// allows, and it is the only effect that noise has on the mean.
#[test]
fn law_3_the_drift_is_well_above_rounding() {
    let case = Case {
        layer: Layer::random(3, 3, 4, 2, 2.0),
        strength: Strength::weights_only(1.0),
        data: Regression::random(3, 8, 4, 3),
        seed: 3,
    };
    let rate = 0.1;
    let still = case.merged_after_step(&Array2::zeros((3, 4)), rate);
    let mean = mean_over_noise(&case.deviations(), 4, |eps| {
        case.merged_after_step(eps, rate)
    });
    let drift = size(&(mean.value - still));
    assert!(drift > 1e6 * ROUNDING * mean.largest, "{drift}");
}
