//! Everything calculated on a family's batch: with and without adapter, norms
//! and deviations, and under a given noise.

use std::sync::Arc;

use ggpo_lora::{
    AdaptedLayers, Ggpo, GgpoConfig, LayerView, Perturbation, adapter_gradient_row_norms_squared,
    merged_row_norms_squared, row_norms_squared,
};
use ggpo_model::{Number, acting_weights};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor, tensor, view2};
use ggpo_train::Result;
use ggpo_train::trainer::{LayerGradients, Layers};
use ndarray::{ArrayViewMut2, s};

use super::Precision;
use super::family::{Family, Noise, Pass};
use super::names::layer_key;
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
    let layers = Layers {
        parameters: &family.adapted,
        adapters: &family.adapters,
        acting: &acting,
        gradients: &gradients,
        optimizer: None,
    };
    let exact = exact_gradients(family)?;
    let (sigma, beta) = (case.setting("sigma")?, case.setting("beta")?);
    let deviations =
        |beta| deviations(&layers, sigma, beta).map_err(|error| case.error(error.to_string()));
    let (usual, large) = (deviations(beta)?, deviations(LARGE_BETA.0)?);
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
        let mut quantity = section.quantity(format!("ggpo {what}"), Precision::norms);
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

/// The perturbation at a step whose last gradients are known.
fn deviations<T: Scalar>(layers: &Layers<'_, T>, sigma: f64, beta: f64) -> Result<Ggpo<T>> {
    let config = GgpoConfig {
        sigma,
        beta,
        ..GgpoConfig::default()
    };
    let mut ggpo = Ggpo::new(config, 0, 1)?;
    ggpo.begin_step(0, layers);
    Ok(ggpo)
}

/// A given noise matrix, m x n.
#[derive(Debug)]
struct Given<T>(Tensor<T>);

impl<T: Scalar> RowPerturbation<T> for Given<T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let rows = first_row..first_row + panel.nrows();
        panel.zip_mut_with(&view2(&self.0).slice(s![rows, ..]), |w, &eps| *w += eps);
    }
}

/// The noise that the case gives for every layer.
fn given_noise<T: Number>(family: &Family<T>, case: &mut Reference) -> Result<Noise<T>> {
    let mut noise = Noise::new();
    for module in family.adapters.keys() {
        let key = layer_key(module, "eps");
        let eps: Tensor<T> = case.take_as(&key)?;
        let weight = &family.parameters[&format!("{module}.weight")];
        if eps.shape() != weight.shape() {
            let (expected, found) = (weight.shape(), eps.shape());
            return Err(case.error(format!(
                "{key}: expected shape {expected:?}, found {found:?}"
            )));
        }
        noise.push(Some(Arc::new(Given(eps))));
    }
    Ok(noise)
}
