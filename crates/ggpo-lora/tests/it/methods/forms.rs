//! Laws of all adapter forms.

use ggpo_lora::{
    Adapter, Adapters, Ggpo, GgpoConfig, Perturbation, adapter_gradient_row_norms_squared,
    find_factor, merged_row_norms_squared, parameter_name, row_norms_squared,
};
use ndarray::Array2;
use proptest::prelude::*;

use super::*;
use crate::common::norms_squared;

/// `<C, acting weight>`, the norms of DoRA's rows held at what they are.
fn loss(layer: &Adapted<f64>, adapter: &Adapter<f64>, c: &Array2<f64>) -> f64 {
    let mut acting = adapter.acting(layer.weight.view().into());
    if let (Some(magnitude), Some(held)) = (&mut acting.magnitude, &layer.acting.magnitude) {
        magnitude.norms = held.norms.clone();
    }
    (acting.to_dense(layer.weight.view().into()) * c).sum()
}

proptest! {
    /// What acts is `diag(m / n) (W + s B A + U V)`.
    #[test]
    fn the_acting_weight_is_the_product_formed(layer in any_adapted()) {
        let mut expected = layer.direction();
        for (mut row, factor) in expected.outer_iter_mut().zip(layer.row_factors()) {
            row.map_inplace(|w| *w *= factor);
        }
        let merged = layer.adapter.merge(layer.weight.view());
        // Cancellation in a row makes its factor large, and the row with it small.
        let most = layer.row_factors().iter().fold(1.0_f64, |most, f| most.max(f.abs()));
        agree(&merged, &expected, 1e2 * most)?;
    }

    /// The gradients of the factors against central differences. What acts is linear in
    /// every single element, so that differences over 2 are exact but for rounding.
    #[test]
    fn gradients_are_pulled_back_to_the_factors(layer in any_adapted(), seed: u64) {
        let mut layer = layer;
        let c: Array2<f64> = normal(seed, 9, layer.weight.nrows(), layer.weight.ncols());
        layer.set_gradient(&c);
        let names: Vec<&str> = layer.adapter.factors().iter().map(|(name, _)| *name).collect();
        for (name, gradient) in names.iter().zip(layer.factor_gradients()) {
            for (element, slope) in gradient.into_iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = layer.adapter.clone();
                    let factor = moved.factor_mut(name).unwrap();
                    factor.as_slice_mut().unwrap()[element] += shift;
                    loss(&layer, &moved, &c)
                };
                let (plus, minus) = (at(1.0), at(-1.0));
                let most = layer.row_factors().iter().fold(1.0_f64, |most, f| most.max(f.abs()));
                let scale = 1e2 * norm(&c) * most;
                let difference = (plus - minus) / 2.0;
                prop_assert!(
                    (difference - slope).abs() <= ROUNDING * scale,
                    "{name}[{element}]: {difference} {slope}"
                );
            }
        }
    }

    /// Row norms with a constant term, and equation 7 beside one.
    #[test]
    fn row_norms_are_those_of_the_matrices_formed(layer in any_adapted(), seed: u64) {
        let mut layer = layer;
        layer.stir(seed, 1.0);
        let estimate = norms_squared(&layer.estimated_gradient());
        let direction = norms_squared(&layer.direction());
        let layers = Layers(vec![layer]);
        let base = row_norms_squared(layers.0[0].weight.view());
        let view = layers.layer(0);
        // `||W|| + s ||B|| ||A|| + ||U|| ||V||` bounds the terms that may cancel.
        let size = |x: ArrayView2<'_, f64>| norm(&x.to_owned());
        let mut most = size(layers.0[0].weight.view()) + 1.5 * size(view.a) * size(view.b);
        if let Some([u, v]) = view.constant {
            most += size(u) * size(v);
        }
        agree(&merged_row_norms_squared(&base, &view), &direction, most * most)?;
        let (da, db) = (view.grad_a.unwrap(), view.grad_b.unwrap());
        let most = 1.5 * (size(view.b) * size(da) + size(db) * size(view.a));
        agree(&adapter_gradient_row_norms_squared(&view), &estimate, most * most)?;
    }

    /// `v_i = (sigma^2 / n) ( ||acting_i||^2 + beta ||G_i||^2 )`, G the gradient of the
    /// acting weight by equation 7: with magnitudes, that of W' over `m_i / n_i`.
    #[test]
    fn ggpo_is_on_the_acting_weight(
        layer in any_adapted(), seed: u64, sigma in 0.01..1.0_f64, beta in 0.0..10.0_f64,
    ) {
        let mut layer = layer;
        layer.stir(seed, 1.0);
        let factors = layer.row_factors();
        // Rows that nearly vanish have no accurate norm; rows that nearly have no
        // magnitude no accurate gradient.
        let usual = |factor: &f64| (1e-2..1e2).contains(&factor.abs());
        prop_assume!(factors.iter().all(usual));
        let acting = norms_squared(&layer.adapter.merge(layer.weight.view()));
        let estimate = norms_squared(&layer.estimated_gradient());
        let n = layer.weight.ncols() as f64;
        let config = GgpoConfig { sigma, beta, ..GgpoConfig::default() };
        let mut ggpo = Ggpo::new(config, 0, 1).unwrap();
        ggpo.begin_step(0, &Layers(vec![layer]));
        for (i, &std) in ggpo.row_std(0).iter().enumerate() {
            let gradient = estimate[i] / factors[i].powi(2);
            let expected = sigma.powi(2) / n * (acting[i] + beta * gradient);
            // The terms of a row's norm may cancel to a ten thousandth.
            prop_assert!((std * std - expected).abs() <= 1e-7 * expected, "{std} {expected}");
        }
    }
}

/// Also if one adapted module is inside of another.
#[test]
fn a_factor_is_found_by_the_name_of_its_parameter() {
    for form in 0..FORMS {
        let mut adapters = Adapters::new();
        for (seed, module) in ["block", "block.inner", "block.inner.lora_A"]
            .iter()
            .enumerate()
        {
            let layer = adapted::<f64>(form, seed as u64, (4, 5), 2, false);
            adapters.insert((*module).to_owned(), layer.adapter);
        }
        for (module, adapter) in adapters.clone() {
            for (factor, value) in adapter.factors() {
                let name = parameter_name(&module, factor);
                assert_eq!(
                    find_factor(&mut adapters, &name),
                    Some(&mut value.clone()),
                    "{name}"
                );
            }
        }
        for name in [
            "block",
            "block.weight",
            "other.lora_A.weight",
            "block.lora_C",
            "",
        ] {
            assert!(find_factor(&mut adapters, name).is_none(), "{name}");
        }
    }
}
