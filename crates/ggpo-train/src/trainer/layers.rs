//! What a perturbation sees of a model, and the audit of its gradient estimate.

use std::collections::BTreeMap;

use ggpo_lora::{AdaptedLayers, Adapter, LayerView};
use ggpo_model::{Parameters, lora_a, lora_b};
use ggpo_tensor::{Scalar, Tensor, view2};
use serde::{Deserialize, Serialize};

/// The adapted layers, as the perturbation sees them.
pub struct Layers<'a, T> {
    /// The parameters of the model.
    pub parameters: &'a Parameters<T>,
    /// The adapters, by the name of their module, in their order.
    pub adapters: Vec<(&'a String, &'a Adapter<T>)>,
    /// Gradients of the last step by the name of the parameter.
    pub gradients: &'a BTreeMap<String, Tensor<T>>,
}

impl<T: Scalar> AdaptedLayers<T> for Layers<'_, T> {
    fn count(&self) -> usize {
        self.adapters.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        let (module, adapter) = self.adapters[index];
        let weight = format!("{module}.weight");
        LayerView {
            weight: self.parameters.weight(&weight),
            a: view2(&adapter.a),
            b: view2(&adapter.b),
            scaling: adapter.scaling,
            grad_a: self.gradients.get(&lora_a(module)).map(view2),
            grad_b: self.gradients.get(&lora_b(module)).map(view2),
            grad_merged: self.gradients.get(&weight).map(view2),
        }
    }
}

/// How far equation 7 is from the exact gradient of one merged weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradientAudit {
    /// Name of the module.
    pub module: String,
    /// Norm of the gradient by equation 7, over the whole matrix.
    pub approximate: f64,
    /// Norm of the exact gradient, over the whole matrix.
    pub exact: f64,
}

impl GradientAudit {
    pub(super) fn of<T: Scalar>(module: &str, layer: &LayerView<'_, T>) -> Self {
        let norm = |squares: Vec<T>| squares.iter().map(|x| x.value()).sum::<f64>().sqrt();
        let exact = layer.grad_merged.expect("asked for");
        GradientAudit {
            module: module.to_owned(),
            approximate: norm(ggpo_lora::adapter_gradient_row_norms_squared(layer)),
            exact: norm(ggpo_lora::row_norms_squared(exact)),
        }
    }
}
