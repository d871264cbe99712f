//! One linear layer under the squared loss, reparameterised noise: a ridge.

use ndarray::Array2;
use proptest::prelude::*;

use super::one_layer::{Case, any_case};
use super::rig::{self, Layer, Strength};
use super::{ROUNDING, Regression, agree, diagonal, mean_over_noise, norm, size, squares, trace};

impl Case {
    /// What reparameterised noise adds to the gradient of W': `c_i W'_i`.
    fn ridge(&self, eps: &Array2<f64>) -> Array2<f64> {
        let merged = self.layer.merged();
        let gradient = self.data.gradient(&(&merged + eps));
        diagonal(&rig::pull(&self.layer, self.strength, eps, &gradient)).dot(&merged)
    }

    /// What bounds the terms of `c_i W'_i` and the rounding errors of v_i, whose
    /// own terms may cancel.
    fn ridge_scale(&self, eps: &Array2<f64>) -> f64 {
        let (layer, Strength { sigma, beta, .. }) = (&self.layer, self.strength);
        let (a, b, s) = (norm(&layer.a), norm(&layer.b), layer.scaling);
        let (up, down) = (
            layer.grad_a.as_ref().unwrap(),
            layer.grad_b.as_ref().unwrap(),
        );
        let weight = norm(&layer.weight) + s * a * b;
        let estimate = s * (b * norm(up) + norm(down) * a);
        let terms = weight.powi(2) + beta * estimate.powi(2);
        let merged = layer.merged();
        let gradient = self.data.gradient_scale(norm(&merged) + norm(eps));
        let rows = (0..merged.nrows()).map(|i| {
            let length = |matrix: &Array2<f64>| matrix.row(i).dot(&matrix.row(i)).sqrt();
            let v = self.deviations()[i].powi(2);
            let sum = self.inputs() as f64 * v / sigma.powi(2);
            length(eps) * gradient / sum * length(&merged) * (terms / sum).max(1.0)
        });
        rows.fold(0.0, f64::max)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law 2, the derivative: the gradient of `L(W' + sqrt(v(W')) z)` for fixed z
    /// and fixed `||G_i||` is `G_i + c_i W'_i` with
    /// `c_i = (sigma^2 / (n v_i)) <G_i(W' + eps), eps_i>`.
    ///
    /// Against differences over five points at steps h of a thousandth of the
    /// row's norm: their error is of the order of h^4 = 1e-12 of the loss per
    /// row norm, times a few tens for the fifth derivative, and rounding divided
    /// by h gives as much again.
    #[test]
    fn law_2_reparameterised_noise_has_the_gradient_of_its_formula(case in any_case()) {
        let (merged, eps) = (case.layer.merged(), case.noise());
        let formula = case.data.gradient(&(&merged + &eps)) + case.ridge(&eps);
        let before = case.deviations();
        let loss_at = |i: usize, j: usize, step: f64| {
            let mut layer = case.layer.clone();
            layer.weight[[i, j]] += step;
            let after = rig::deviations(&layer, case.strength);
            let factors: Vec<f64> = after.iter().zip(&before).map(|(x, y)| x / y).collect();
            case.data.loss(&(layer.merged() + diagonal(&factors).dot(&eps)))
        };
        let reach = norm(&case.data.x) * (norm(&merged) + norm(&eps)) + norm(&case.data.y);
        let loss_scale = reach * reach / case.data.count();
        for ((i, j), expected) in formula.indexed_iter() {
            let row_norm = merged.row(i).dot(&merged.row(i)).sqrt();
            let h = 1e-3 * row_norm;
            let near = loss_at(i, j, h) - loss_at(i, j, -h);
            let far = loss_at(i, j, 2.0 * h) - loss_at(i, j, -2.0 * h);
            let found = (8.0 * near - far) / (12.0 * h);
            let allowed = 1e-10 * loss_scale / row_norm;
            prop_assert!((found - expected).abs() <= allowed, "{found} {expected} {allowed:e}");
        }
    }

    /// Law 2: the mean of the extra gradient over an antithetic pair is
    /// `(sigma^2 / (n v_i)) eps_i C eps_i^T W'_i`, and its expectation is
    /// `lambda W'_i` with `lambda = sigma^2 tr C / n`: a ridge on W', of a
    /// strength that neither beta nor the gradient changes.
    ///
    /// The first is an identity for every eps, the second a mean of a polynomial
    /// of degree 2: only rounding is allowed.
    #[test]
    fn law_2_reparameterised_noise_is_a_ridge_on_the_merged_weight(case in any_case()) {
        let (merged, eps, n) = (case.layer.merged(), case.noise(), case.inputs() as f64);
        let covariance = case.data.covariance();
        let sigma_squared = case.strength.sigma.powi(2);
        let deviations = case.deviations();

        let forms = eps.dot(&covariance).dot(&eps.t());
        let factors: Vec<f64> = squares(&deviations)
            .iter()
            .zip(forms.diag())
            .map(|(v, form)| sigma_squared / (n * v) * form)
            .collect();
        let (plus, minus) = (case.ridge(&eps), case.ridge(&-&eps));
        let pair = (plus + minus) / 2.0;
        agree(&pair, &diagonal(&factors).dot(&merged), case.ridge_scale(&eps))?;

        let lambda = sigma_squared * trace(&covariance) / n;
        let mean = mean_over_noise(&deviations, case.inputs(), |eps| case.ridge(eps));
        let mut point = Array2::zeros(merged.dim());
        for (i, std) in deviations.iter().enumerate() {
            point[[i, 0]] = (merged.len() as f64).sqrt() * std;
        }
        agree(&mean.value, &(lambda * &merged), case.ridge_scale(&point))?;
    }
}

/// Law 2 at the defaults: at sigma 0.03 and inputs of unit variance the ridge is
/// `lambda = sigma^2 tr C / n = 9e-4`.
///
/// Inputs of entries +-1 have unit variance exactly; only rounding is allowed.
#[test]
fn law_2_at_the_default_sigma_the_ridge_is_9e_4() {
    let x = Array2::from_shape_fn((8, 3), |(t, j)| if t >> j & 1 == 0 { 1.0 } else { -1.0 });
    let case = Case {
        layer: Layer::random(1, 2, 3, 1, 2.0),
        strength: Strength {
            sigma: 0.03,
            beta: 0.01,
            exact: false,
        },
        data: Regression {
            y: Array2::zeros((8, 2)),
            x,
        },
        seed: 1,
    };
    let mean = mean_over_noise(&case.deviations(), 3, |eps| case.ridge(eps));
    let expected = 9e-4 * case.layer.merged();
    assert!(size(&(mean.value - expected)) <= ROUNDING * mean.largest);
}

/// Law 2, which weight: the ridge is on W', frozen part included, not on B A. At
/// the start, where B = 0, a ridge on B A has no gradient; this one pushes B
/// along `lambda s W A^T`.
///
/// Exact means; only rounding is allowed.
#[test]
fn law_2_the_ridge_acts_on_the_frozen_weight_too() {
    let mut layer = Layer::random(5, 3, 4, 2, 2.0).without_gradients();
    layer.b.fill(0.0);
    let case = Case {
        layer,
        strength: Strength::weights_only(0.5),
        data: Regression::random(5, 6, 4, 3),
        seed: 5,
    };
    let (layer, s) = (&case.layer, case.layer.scaling);
    let mean = mean_over_noise(&case.deviations(), 4, |eps| case.ridge(eps));
    let push = s * mean.value.dot(&layer.a.t());
    let lambda = 0.25 * trace(&case.data.covariance()) / 4.0;
    let expected = lambda * s * layer.weight.dot(&layer.a.t());
    assert!(size(&(push - &expected)) <= 10.0 * ROUNDING * mean.largest);
    assert!(size(&expected) > 0.1, "not a small effect: {expected}");
    assert_eq!(size(&layer.product()), 0.0);
}
