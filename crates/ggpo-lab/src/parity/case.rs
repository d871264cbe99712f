//! Everything calculated on a family's batch: with and without adapter, norms
//! and deviations, and under a given noise.

use std::sync::Arc;

use ggpo_lora::{
    AdaptedLayers, GgpoConfig, LayerView, adapter_gradient_row_norms_squared,
    merged_row_norms_squared, row_norms_squared,
};
use ggpo_model::{Number, acting_weights};
use ggpo_tensor::{Scalar, Tensor, tensor, view2};
use ggpo_train::Result;
use ggpo_train::trainer::LayerGradients;

use super::Arithmetic;
use super::family::{Family, Noise, Pass};
use super::names::layer_key;
use super::noise::{Given, deviations};
use super::reference::Reference;
use super::section::Section;

/// Beta where the gradient term can be seen, and the name of its deviations.
const LARGE_BETA: (f64, &str) = (1000.0, "noise_std_beta_1000");

/// Compares everything in a family's case.
pub(super) fn check_case<T: Number>(
    section: &mut Section<'_>,
    family: &Family<T>,
    case: &mut Reference,
) -> Result<()> {
    let base = family.base_pass()?;
    section.outputs(case, "base.", &base)?;
    let lora = family.adapted_pass(Noise::new(), Vec::new())?;
    section.outputs(case, "lora.", &lora)?;
    section.gradients(case, "grad.", &lora)?;
    check_layers(section, family, lora, case)?;
    let noise = given_noise(family, case)?;
    let perturbed = family.adapted_pass(noise, Vec::new())?;
    section.outputs(case, "perturbed.", &perturbed)?;
    section.gradients(case, "perturbed.grad.", &perturbed)
}

/// A value of one layer, by the layer's number.
type OfLayer<'f, T> = dyn Fn(usize) -> Tensor<T> + 'f;

/// Compares norms, gradients of the merged weights, and deviations.
fn check_layers<T: Number>(
    section: &mut Section<'_>,
    family: &Family<T>,
    pass: Pass<T>,
    case: &mut Reference,
) -> Result<()> {
    let gradients = LayerGradients {
        acting: pass.acting,
        ..LayerGradients::default()
    };
    let acting = acting_weights(&family.adapted, &family.adapters);
    let layers = family.layers(&acting, &gradients);
    let exact = exact_gradients(family)?;
    let (sigma, beta) = (case.setting("sigma")?, case.setting("beta")?);
    let of = |beta| {
        let config = GgpoConfig {
            sigma,
            beta,
            ..GgpoConfig::default()
        };
        deviations(&layers, config).map_err(|error| case.error(error.to_string()))
    };
    let (usual, large) = (of(beta)?, of(LARGE_BETA.0)?);
    let rows = |values: &[T]| tensor(&[values.len()], values.to_vec());
    let roots = |squares: Vec<T>| rows(&squares.into_iter().map(T::sqrt).collect::<Vec<T>>());
    let quantities: [(&str, &OfLayer<'_, T>); 6] = [
        ("weight_norm", &|index| {
            roots(merged_norms_squared(&layers.layer(index)))
        }),
        ("grad_norm_approx", &|index| {
            roots(adapter_gradient_row_norms_squared(&layers.layer(index)))
        }),
        ("grad_norm_exact", &|index| {
            roots(row_norms_squared(view2(&exact[index])))
        }),
        ("grad_merged_exact", &|index| exact[index].clone()),
        ("noise_std", &|index| rows(usual.row_std(index))),
        (LARGE_BETA.1, &|index| rows(large.row_std(index))),
    ];
    for (what, value) in quantities {
        let mut quantity = section.quantity(format!("ggpo {what}"), Arithmetic::norms);
        for (index, module) in family.adapters.keys().enumerate() {
            quantity.compare(case, &layer_key(module, what), &value(index))?;
        }
        section.push(quantity);
    }
    Ok(())
}

/// `||W'_i||^2`, length m.
fn merged_norms_squared<T: Scalar>(layer: &LayerView<'_, T>) -> Vec<T> {
    merged_row_norms_squared(&row_norms_squared(layer.weight), layer)
}

/// Gradients of the merged weights, in the order of the adapters.
fn exact_gradients<T: Number>(family: &Family<T>) -> Result<Vec<Tensor<T>>> {
    let weights: Vec<String> = family
        .adapters
        .keys()
        .map(|module| format!("{module}.weight"))
        .collect();
    let pass = family.adapted_pass(Noise::new(), weights.clone())?;
    Ok(weights
        .iter()
        .map(|name| pass.gradients[name].clone())
        .collect())
}

/// The noise that the case gives for every layer.
fn given_noise<T: Number>(family: &Family<T>, case: &mut Reference) -> Result<Noise<T>> {
    let mut noise = Noise::new();
    for module in family.adapters.keys() {
        let weight = &family.parameters[&format!("{module}.weight")];
        let eps = case.take_shaped(&layer_key(module, "eps"), weight.shape())?;
        noise.push(Some(Arc::new(Given::held(eps))));
    }
    Ok(noise)
}
