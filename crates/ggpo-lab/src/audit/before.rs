//! A model as it stands before a step, for what is held against it afterwards.

use std::collections::BTreeMap;

use ggpo_lora::{Adapters, parameter_name};
use ggpo_model::{ActingWeights, Parameters};
use ggpo_tensor::{Tensor, WeightView, flat};
use ggpo_train::trainer::{LayerGradients, Layers};
use ndarray::ArrayView2;

use super::layers::digest;

/// A model as it stands before a step.
pub(super) struct Before {
    pub(super) parameters: Parameters<f32>,
    pub(super) adapters: Adapters<f32>,
    pub(super) acting: ActingWeights<f32>,
    /// Digests of the weights of the adapted layers.
    pub(super) weights: Vec<String>,
    /// Digests of all that must not change.
    pub(super) frozen: BTreeMap<String, String>,
    /// `||W'_i||^2` and `||G_i||^2` of every layer.
    pub(super) squares: Vec<[Vec<f32>; 2]>,
}

impl Before {
    /// The layers with these gradients.
    pub(super) fn layers<'s>(&'s self, gradients: &'s LayerGradients<f32>) -> Layers<'s, f32> {
        Layers {
            parameters: &self.parameters,
            adapters: &self.adapters,
            acting: &self.acting,
            gradients,
            optimizer: None,
        }
    }
}

/// The weight of a module.
pub(super) fn weight<'a>(parameters: &'a Parameters<f32>, module: &str) -> WeightView<'a, f32> {
    parameters.weight(&parameter_name(module, "weight"))
}

/// Digests of the bits of all parameters that are not trained.
pub(super) fn frozen(
    parameters: &Parameters<f32>,
    trained: &BTreeMap<String, Tensor<f32>>,
) -> BTreeMap<String, String> {
    let dense = parameters
        .iter()
        .filter(|(name, _)| !trained.contains_key(*name));
    let dense = dense.map(|(name, tensor)| {
        let flat = flat(tensor);
        let row = ArrayView2::from_shape((1, flat.len()), flat).expect("one row");
        (name.clone(), digest(row.into()))
    });
    let quantized = parameters.quantized.iter();
    let quantized = quantized.map(|(name, matrix)| (name.clone(), digest(matrix.into())));
    dense.chain(quantized).collect()
}
