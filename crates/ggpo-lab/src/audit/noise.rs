//! The noise of a step, asked for once more after it.

use std::sync::Arc;

use ggpo_autograd::Tape;
use ggpo_model::{ActingWeights, Graph, Head, LayerPerturbation};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{RowPerturbation, view2};
use ggpo_train::trainer::Trainer;

use super::curvature::Point;
use super::document::{LayerFacts, Logits};
use super::slices::rows_of;

/// What a perturbation drew in the step that was done.
pub(super) struct StepNoise {
    layers: Vec<Option<Arc<dyn RowPerturbation<f32>>>>,
    /// Deviations of the rows of each layer; zeros where there is no noise.
    pub(super) deviations: Vec<Vec<f32>>,
}

impl StepNoise {
    /// The noise of the last step of a trainer.
    pub(super) fn of(trainer: &Trainer<f32>, facts: &[LayerFacts]) -> Self {
        let perturbation = trainer.perturbation();
        let noise = |layer| perturbation.and_then(|it| it.noise(layer, 0));
        let layers: Vec<_> = (0..facts.len()).map(noise).collect();
        let deviations = layers.iter().zip(facts).map(|(noise, facts)| {
            let known = noise.as_ref().and_then(|noise| noise.row_deviations());
            known.map_or_else(|| vec![0.0; facts.rows], <[f32]>::to_vec)
        });
        StepNoise {
            deviations: deviations.collect(),
            layers,
        }
    }

    /// That of a layer, if there is any.
    pub(super) fn layer(&self, index: usize) -> Option<&dyn RowPerturbation<f32>> {
        self.layers[index].as_deref()
    }

    /// The logits of a classification at `W' + eps`, by the forward pass of the step.
    pub(super) fn logits(&self, point: &Point<'_>, acting: &ActingWeights<f32>) -> Option<Logits> {
        let batch = &point.batches[0];
        let classes = matches!(point.model.head, Head::Classes(_)) && batch.values.is_empty();
        let targets: Vec<usize> = batch.targets.iter().flatten().copied().collect();
        let all = targets.len() == batch.targets.len() && targets.len() <= LOGIT_ROWS;
        if !(classes && all) {
            return None;
        }
        let perturbed = self.layers.iter().map(|noise| LayerPerturbation {
            noise: noise.clone(),
            low_rank: None,
        });
        let rows = in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), point.parameters, point.adapters)
                .with_acting(acting)
                .perturbed(perturbed.collect());
            rows_of(view2(point.model.logits(&graph, batch).value()))
        });
        Some(Logits { rows, targets })
    }
}

/// Rows of a step whose logits are written.
const LOGIT_ROWS: usize = 32;
