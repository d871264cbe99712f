//! What can be seen of a step: its passes, and what the parts of the method know.
//!
//! Looking changes nothing: a run that is observed has the bits of one that is not.

use std::collections::BTreeMap;

use ggpo_lora::{Perturbation, parameter_name};
use ggpo_model::{TracedLinear, acting_weights};
use ggpo_tensor::{Scalar, Tensor};

use super::{LayerGradients, Layers, Passes, Real, Trainable, Trainer};
use crate::optimizer::AdamW;

/// What was seen of the last step.
#[derive(Debug, Clone)]
pub struct Observed<T> {
    /// The gradients of the passes, before clipping; with the exact ones of the merged
    /// weights, but for quantised weights, which have none.
    pub gradients: LayerGradients<T>,
    /// What the adapted layers read and gave in the last micro-batch, by module.
    pub layers: BTreeMap<String, LayerTrace<T>>,
}

/// What one linear layer read and gave.
#[derive(Debug, Clone)]
pub struct LayerTrace<T> {
    /// Input, ... x in.
    pub x: Tensor<T>,
    /// Output, ... x out.
    pub y: Tensor<T>,
    /// Gradient of the output.
    pub dy: Option<Tensor<T>>,
}

impl<T: Scalar> Default for Observed<T> {
    fn default() -> Self {
        Observed {
            gradients: LayerGradients::default(),
            layers: BTreeMap::new(),
        }
    }
}

impl<T: Real> Trainer<T> {
    /// Lets every step from here on be seen. It costs the gradients of the merged
    /// weights, and memory for what the layers read and gave.
    pub fn observe(&mut self) {
        self.observed = Some(Observed::default());
    }

    /// What was seen of the last step; none without [`observe`](Self::observe).
    pub fn observed(&self) -> Option<&Observed<T>> {
        self.observed.as_ref()
    }

    /// The perturbation as the last step left it: what it drew, it draws again.
    pub fn perturbation(&self) -> Option<&dyn Perturbation<T>> {
        self.perturbation.as_deref()
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &AdamW<T> {
        &self.optimizer
    }

    /// Does `work` with the layers as the perturbation will see them when the next step
    /// begins.
    pub fn with_layers<R>(&self, work: impl FnOnce(&Layers<'_, T>) -> R) -> R {
        let Trainable {
            parameters,
            adapters,
            ..
        } = &self.trainable;
        let acting = acting_weights(parameters, adapters);
        work(&Layers {
            parameters,
            adapters,
            acting: &acting,
            gradients: &self.gradients,
            optimizer: Some(&self.optimizer),
        })
    }

    /// Keeps what the layers of a micro-batch have read and given, if that is wanted.
    pub(super) fn note(&mut self, traced: BTreeMap<String, TracedLinear<T>>) {
        let Some(observed) = &mut self.observed else {
            return;
        };
        let traces = traced
            .into_iter()
            .map(|(module, TracedLinear { x, y, dy })| {
                let dy = dy.gradient();
                (module, LayerTrace { x, y, dy })
            });
        observed.layers = traces.collect();
    }

    /// Shows the gradients of the passes, and takes away those that were calculated for
    /// that alone.
    pub(super) fn show(&mut self, passes: &mut Passes<T>) {
        let own = self.reads().exact;
        let Some(observed) = &mut self.observed else {
            return;
        };
        observed.gradients = LayerGradients::of(&passes.gradients, &passes.by_name);
        if own {
            return;
        }
        for module in self.trainable.adapters.keys() {
            let weight = parameter_name(module, "weight");
            passes.gradients.parameters.remove(&weight);
            passes.by_name.remove(&weight);
        }
    }
}
