//! Noise that the reference gives, and its gradient held or not.

use std::sync::Arc;

use ggpo_lora::perturbation::PerturbationConfig;
use ggpo_lora::{
    AdaptedLayers, Ggpo, GgpoConfig, MethodConfig, NoiseGradient, Perturbation,
    adapter_gradient_row_norms_squared,
};
use ggpo_model::{Number, acting_weights};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor, tensor, view2};
use ggpo_train::Result;
use ggpo_train::trainer::{LayerGradients, Layers};
use ndarray::{ArrayViewMut2, s};

use super::family::{Family, Noise};
use super::names::PREFIX;
use super::reference::Reference;
use super::section::Section;
use super::{Arithmetic, family_of};

/// A given noise matrix, m x n.
#[derive(Debug)]
pub(super) struct Given<T> {
    eps: Tensor<T>,
    weight_factors: Option<Vec<T>>,
}

impl<T: Scalar> Given<T> {
    /// Noise that counts as a constant.
    pub(super) fn held(eps: Tensor<T>) -> Self {
        Given {
            eps,
            weight_factors: None,
        }
    }

    /// Normal numbers, m x n, in place of those of a perturbation's noise, whose
    /// deviations and gradient they take over.
    fn in_place_of(ggpo: &Ggpo<T>, layer: usize, mut z: Tensor<T>) -> Self {
        let rows = z.outer_iter_mut().zip(ggpo.row_std(layer));
        for (mut row, &std) in rows {
            row.map_inplace(|z| *z *= std);
        }
        let noise = ggpo.noise(layer, 0);
        let factors = noise.as_ref().and_then(|noise| noise.weight_factors());
        Given {
            weight_factors: factors.map(<[T]>::to_vec),
            eps: z,
        }
    }
}

impl<T: Scalar> RowPerturbation<T> for Given<T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let rows = first_row..first_row + panel.nrows();
        panel.zip_mut_with(&view2(&self.eps).slice(s![rows, ..]), |w, &eps| *w += eps);
    }

    fn weight_factors(&self) -> Option<&[T]> {
        self.weight_factors.as_deref()
    }
}

/// The perturbation at a step whose last gradients are known.
pub(super) fn deviations<T: Scalar>(layers: &Layers<'_, T>, config: GgpoConfig) -> Result<Ggpo<T>> {
    let mut ggpo = Ggpo::new(config, 0, 1)?;
    ggpo.begin_step(0, layers);
    Ok(ggpo)
}

/// What stands before the values of each gradient of the noise.
const FORMS: [(&str, NoiseGradient); 2] = [
    ("held.", NoiseGradient::Held),
    ("reparameterised.", NoiseGradient::Reparameterised),
];

/// Compares passes under noise of given normal numbers `z`, its deviations by the
/// gradients of an unperturbed pass: held, and differentiated through the weight.
pub(super) fn check_noise<T: Number>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
    method: &MethodConfig,
) -> Result<()> {
    let Some(PerturbationConfig::Ggpo(config)) = method.perturbation else {
        return Err(file.error("expected a method with noise on the rows, found another"));
    };
    let modules = file.modules_of(PREFIX, ".z");
    let family = family_of(families, file, "held.logits", &modules)?;
    let before = family.adapted_pass(Noise::new(), Vec::new())?;
    let gradients = LayerGradients {
        acting: before.acting,
        ..LayerGradients::default()
    };
    let acting = acting_weights(&family.adapted, &family.adapters);
    let layers = family.layers(&acting, &gradients);
    let mut norms = section.quantity("grad_norm_approx", Arithmetic::norms);
    let mut normals: Vec<Tensor<T>> = Vec::new();
    for (index, (module, adapter)) in family.adapters.iter().enumerate() {
        let squares = adapter_gradient_row_norms_squared(&layers.layer(index));
        let roots: Vec<T> = squares.into_iter().map(T::sqrt).collect();
        let key = format!("{PREFIX}{module}.grad_norm_approx");
        norms.compare(file, &key, &tensor(&[roots.len()], roots))?;
        let (m, n) = adapter.dim();
        normals.push(file.take_shaped(&format!("{PREFIX}{module}.z"), &[m, n])?);
    }
    section.push(norms);
    for (prefix, noise_gradient) in FORMS {
        let config = GgpoConfig {
            noise_gradient,
            ..config
        };
        let ggpo = deviations(&layers, config)?;
        let noise: Noise<T> = normals
            .iter()
            .enumerate()
            .map(|(layer, z)| {
                let noise = Given::in_place_of(&ggpo, layer, z.clone());
                Some(Arc::new(noise) as Arc<dyn RowPerturbation<T>>)
            })
            .collect();
        let pass = family.adapted_pass(noise, Vec::new())?;
        section.outputs(file, prefix, &pass)?;
        section.gradients(file, &format!("{prefix}grad."), &pass)?;
    }
    Ok(())
}
