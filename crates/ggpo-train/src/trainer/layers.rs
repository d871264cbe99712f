//! What a perturbation sees of a model, and the audit of its gradient estimate.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ggpo_lora::{
    Acting, ActingGradients, AdaptedLayers, Adapters, FactorView, LayerView, parameter_name,
};
use ggpo_model::{ActingWeights, Parameters};
use ggpo_tensor::{Scalar, Tensor, WeightView, flat, view2};
use serde::{Deserialize, Serialize};

use crate::optimizer::AdamW;

/// The adapted layers, as a perturbation sees them.
pub struct Layers<'a, T> {
    /// The parameters of the model.
    pub parameters: &'a Parameters<T>,
    /// The adapters.
    pub adapters: &'a Adapters<T>,
    /// What acts in their layers.
    pub acting: &'a ActingWeights<T>,
    /// The gradients that are known.
    pub gradients: &'a LayerGradients<T>,
    /// The optimiser, for its momenta.
    pub optimizer: Option<&'a AdamW<T>>,
}

/// Gradients of a step, as far as a perturbation reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGradients<T> {
    /// Of what acts, by the name of the module.
    pub acting: BTreeMap<String, ActingGradients<T>>,
    /// Of the merged weights, by the name of the weight.
    pub merged: BTreeMap<String, Tensor<T>>,
    /// Of the factors, by the name of the parameter.
    pub factors: BTreeMap<String, Tensor<T>>,
}

impl<T> Default for LayerGradients<T> {
    fn default() -> Self {
        LayerGradients {
            acting: BTreeMap::new(),
            merged: BTreeMap::new(),
            factors: BTreeMap::new(),
        }
    }
}

impl<T: Scalar> Layers<'_, T> {
    /// The module at `index`.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn module(&self, index: usize) -> &str {
        self.adapters.keys().nth(index).expect("a module")
    }

    fn weight(&self, module: &str) -> WeightView<'_, T> {
        self.parameters.weight(&parameter_name(module, "weight"))
    }
}

impl<T: Scalar> AdaptedLayers<T> for Layers<'_, T> {
    fn count(&self) -> usize {
        self.adapters.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        let module = self.module(index);
        let acting: &Acting<T> = &self.acting[module];
        let gradients = self.gradients.acting.get(module);
        let merged = self.gradients.merged.get(&parameter_name(module, "weight"));
        LayerView {
            grad_a: gradients.map(|gradients| view2(&gradients.a)),
            grad_b: gradients.map(|gradients| view2(&gradients.b)),
            grad_merged: merged.map(view2),
            ..acting.view(self.weight(module))
        }
    }

    fn factors(&self, index: usize) -> Vec<FactorView<'_, T>> {
        let module = self.module(index);
        let factors = self.adapters[module].factors().into_iter();
        factors
            .map(|(factor, _)| {
                let name = parameter_name(module, factor);
                let gradient = self.gradients.factors.get(&name);
                let momentum = self.optimizer.and_then(|adamw| adamw.momentum(&name));
                FactorView {
                    gradient: gradient.map(|gradient| Cow::Borrowed(flat(gradient))),
                    momentum: momentum.map(Cow::Borrowed),
                }
            })
            .collect()
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
    /// The audit of a layer, if its exact gradient is known.
    pub(super) fn of<T: Scalar>(module: &str, layer: &LayerView<'_, T>) -> Option<Self> {
        let norm = |squares: Vec<T>| squares.iter().map(|x| x.value()).sum::<f64>().sqrt();
        let exact = layer.grad_merged?;
        Some(GradientAudit {
            module: module.to_owned(),
            approximate: norm(ggpo_lora::adapter_gradient_row_norms_squared(layer)),
            exact: norm(ggpo_lora::row_norms_squared(exact)),
        })
    }
}
