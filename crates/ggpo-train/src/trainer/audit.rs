//! How good the estimate of equation 7 is, on one batch.

use std::collections::BTreeMap;

use ggpo_autograd::Tape;
use ggpo_lora::{AdaptedLayers, parameter_name};
use ggpo_model::batch::Batch;
use ggpo_model::{Graph, acting_weights};
use ggpo_tensor::parallel::in_pool;

use super::{GradientAudit, LayerGradients, Layers, Real, Trainable, Trainer};

impl<T: Real> Trainer<T> {
    /// Norms of the gradient of the merged weights on one batch, without a
    /// perturbation: by equation 7 and exactly. Quantised weights, which have no exact
    /// gradient, are passed over.
    pub fn audit(&self, batch: &Batch) -> Vec<GradientAudit> {
        in_pool(|| T::audit(self, batch))
    }

    pub(super) fn audit_in_pool(&self, batch: &Batch) -> Vec<GradientAudit> {
        let Trainable {
            model,
            parameters,
            adapters,
            ..
        } = &self.trainable;
        let weight = |module: &String| parameter_name(module, "weight");
        let is_dense = |module: &&String| parameters.contains_key(&weight(module));
        let weights: Vec<String> = adapters.keys().filter(is_dense).map(weight).collect();
        if weights.is_empty() {
            return Vec::new();
        }
        let graph = Graph::for_evaluation(Tape::new(), parameters, adapters).training(weights);
        let loss = model.loss(&graph, batch);
        let found = graph.gradients(&loss, T::ONE);
        let gradients = LayerGradients {
            acting: found.acting,
            merged: found.parameters,
            factors: BTreeMap::new(),
        };
        let acting = acting_weights(parameters, adapters);
        let layers = Layers {
            parameters,
            adapters,
            acting: &acting,
            gradients: &gradients,
            optimizer: None,
        };
        (0..layers.count())
            .filter_map(|index| GradientAudit::of(layers.module(index), &layers.layer(index)))
            .collect()
    }
}
