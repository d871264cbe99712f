//! The factors A and B of `W' = W + s B A`.

use ndarray::Array2;
use proptest::prelude::*;

use super::rig::{self, Layer, Strength};
use super::{ROUNDING, agree, norm, size};
use crate::common::{any_layer, bits, normal};

/// `A A^T - B^T B`, r x r: 0 where the factors are balanced.
fn imbalance(layer: &Layer) -> Array2<f64> {
    layer.a.dot(&layer.a.t()) - layer.b.t().dot(&layer.b)
}

/// SGD with the gradients that belong to the factors `at`.
fn after_step(layer: &Layer, at: &Layer, gradient: &Array2<f64>, rate: f64) -> Layer {
    let mut gradients = at.clone();
    gradients.set_gradient(gradient.clone());
    let mut next = layer.clone();
    next.a.scaled_add(-rate, gradients.grad_a.as_ref().unwrap());
    next.b.scaled_add(-rate, gradients.grad_b.as_ref().unwrap());
    next
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law 7: for SGD on A and B and any gradient G of W',
    /// `change of (A A^T - B^T B) = eta^2 s^2 (B^T G G^T B - A G^T G A^T)`.
    ///
    /// An identity, so only rounding is allowed. Noise in the merged space
    /// enters through G alone, here `G = W' + eps - target`: it cannot balance
    /// the factors at first order in eta.
    #[test]
    fn law_7_noise_in_the_merged_space_cannot_balance_the_factors_at_first_order(
        layer in any_layer(), seed: u64, rate in 1e-3..1.0_f64, sigma in 0.01..2.0_f64,
        beta in 0.0..10.0_f64,
    ) {
        let strength = Strength { sigma, beta, exact: false };
        let (m, n) = layer.weight.dim();
        let target: Array2<f64> = normal(seed, 5, m, n);
        let gradient = layer.merged() + rig::noise(&layer, strength, seed) - target;
        let next = after_step(&layer, &layer, &gradient, rate);

        let (up, down) = (layer.b.t().dot(&gradient), gradient.dot(&layer.a.t()));
        let formula = (up.dot(&up.t()) - down.t().dot(&down)) * (rate * layer.scaling).powi(2);
        let moved = [&next.a, &next.b, &layer.a, &layer.b];
        let scale: f64 = moved.iter().map(|factor| norm(factor).powi(2)).sum();
        let scale = scale + rate * layer.scaling * norm(&layer.a) * norm(&layer.b) * norm(&gradient);
        agree(&(imbalance(&next) - imbalance(&layer)), &formula, scale)?;
    }

    /// Law 8: noise in proportion to the norms of the weights is invariant to
    /// `A -> c A, B -> B / c`. So is noise guided by the exact gradient of W'.
    ///
    /// For c a power of 2 no rounding changes, and the noise is the same bit for
    /// bit. For any other c the deviations may differ by rounding, as a root of
    /// a sum of terms that may cancel: the variances are compared, to the
    /// magnitude of their terms.
    #[test]
    fn law_8_noise_in_proportion_to_weight_norms_ignores_the_scale_of_the_factors(
        layer in any_layer(), seed: u64, sigma in 0.01..2.0_f64, beta in 0.0..10.0_f64,
        c in 0.01..100.0_f64, power in -8_i32..=8,
    ) {
        let exact = Strength { sigma, beta, exact: true };
        for strength in [Strength::weights_only(sigma), exact] {
            let doubled = rescaled(&layer, 2.0_f64.powi(power));
            let noise = rig::noise(&layer, strength, seed);
            prop_assert_eq!(bits(&noise), bits(&rig::noise(&doubled, strength, seed)));

            let before = variances(&layer, strength);
            let after = variances(&rescaled(&layer, c), strength);
            let reach = norm(&layer.weight) + layer.scaling * norm(&layer.a) * norm(&layer.b);
            let gradient = layer.grad_merged.as_ref().map_or(0.0, norm);
            let scale = (sigma * reach).powi(2) + sigma * sigma * beta * gradient.powi(2);
            agree(&after, &before, scale)?;
        }
    }
}

/// `A -> c A, B -> B / c`; the gradient of W' is what it was, those of the
/// factors follow from it.
fn rescaled(layer: &Layer, c: f64) -> Layer {
    let mut rescaled = layer.clone();
    rescaled.a.mapv_inplace(|a| c * a);
    rescaled.b.mapv_inplace(|b| b / c);
    rescaled.set_gradient(layer.grad_merged.clone().unwrap());
    rescaled
}

/// v_i, m x 1.
fn variances(layer: &Layer, strength: Strength) -> Array2<f64> {
    let deviations = rig::deviations(layer, strength);
    Array2::from_shape_fn((deviations.len(), 1), |(i, _)| deviations[i].powi(2))
}

/// Law 8, its limit: the gradient of equation 7, `s^2 (B B^T G + G A^T A)`, does
/// depend on the scale of the factors, and so does the noise that it guides. At
/// B = 0 its part of v_i, `sigma^2 beta ||G_i||^2 / n`, grows as c^4.
///
/// For c = 2 no rounding changes but in the sum that makes v_i.
#[test]
fn law_8_guidance_by_equation_7_depends_on_the_scale_of_the_factors() {
    let mut layer = Layer::random(8, 4, 6, 2, 1.0);
    layer.b.fill(0.0);
    layer.set_gradient(normal(8, 3, 4, 6));
    let strength = Strength {
        sigma: 1.0,
        beta: 0.1,
        exact: false,
    };
    let weights = variances(&layer, Strength::weights_only(1.0));
    let before = variances(&layer, strength);
    let after = variances(&rescaled(&layer, 2.0), strength);
    let expected = &weights + 16.0 * (&before - &weights);
    assert!(size(&(&after - &expected)) <= ROUNDING * size(&after));
    assert!(before.iter().zip(&weights).all(|(v, weight)| v > weight));
}

/// Law 7, the contrast: SAM on the factors does balance them at first order in
/// eta. For the gradients at `(A + p, B + q)` the identity has the further term
/// `-eta s (q^T G A^T - B^T G p^T) + transposed`.
///
/// The imbalance is a polynomial of degree 2 in eta, so differences over +-eta
/// give its first order to rounding. Merged-space noise of the same size gives 0.
#[test]
fn law_7_sam_on_the_factors_balances_them_at_first_order() {
    let layer = Layer::random(7, 4, 6, 2, 1.5);
    let target: Array2<f64> = normal(7, 5, 4, 6);
    let (radius, rate) = (0.1, 0.01);
    let (up, down) = (
        layer.grad_a.as_ref().unwrap(),
        layer.grad_b.as_ref().unwrap(),
    );
    let length = norm(up).hypot(norm(down));
    let mut at = layer.clone();
    at.a.scaled_add(radius / length, up);
    at.b.scaled_add(radius / length, down);
    let gradient = at.merged() - &target;

    let first_order = |at: &Layer| {
        let ahead = imbalance(&after_step(&layer, at, &gradient, rate));
        let back = imbalance(&after_step(&layer, at, &gradient, -rate));
        (ahead - back) / (2.0 * rate)
    };
    let (p, q) = (&at.a - &layer.a, &at.b - &layer.b);
    let half = q.t().dot(&gradient).dot(&layer.a.t()) - layer.b.t().dot(&gradient).dot(&p.t());
    let expected = -layer.scaling * (&half + &half.t());
    let found = first_order(&at);
    // Rounding of A A^T, divided by the rate.
    assert!(size(&(&found - &expected)) <= 1e-10, "{found} {expected}");
    assert!(size(&expected) > 0.1, "not a small effect: {expected}");
    assert!(size(&first_order(&layer)) <= 1e-10);
}
