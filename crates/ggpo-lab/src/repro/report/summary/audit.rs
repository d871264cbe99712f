//! What the noise was made of, and how good the estimate of the gradient is.

use super::{Role, Sample, role};
use crate::repro::outcome::{FinishedRun, Outcome};

/// One layer, over the seeds and the course of the runs.
#[derive(Debug, Clone)]
pub(crate) struct LayerAudit {
    /// Name of the module.
    pub(crate) module: String,
    /// Share of the gradient term in the variance of the noise.
    pub(crate) share: Sample,
    /// Norm of the gradient by equation 7 over the exact one.
    pub(crate) ratio: Sample,
    /// Median share over the seeds, by step.
    pub(crate) share_over_steps: Vec<(u32, f64)>,
    /// Median ratio over the seeds, by step.
    pub(crate) ratio_over_steps: Vec<(u32, f64)>,
}

/// One method on one task at its own learning rate.
#[derive(Debug, Clone)]
pub(crate) struct AuditSummary {
    /// Id of the task.
    pub(crate) task: String,
    /// Name of the task in the report.
    pub(crate) task_title: String,
    /// Id of the method.
    pub(crate) method: String,
    /// Name of the method in the report.
    pub(crate) method_title: String,
    /// The layers, in the model's order.
    pub(crate) layers: Vec<LayerAudit>,
    /// Mean `||W'_i||` of all layers.
    pub(crate) weight_norm: Sample,
    /// Mean `||G_i||` of all layers, by the estimate in use.
    pub(crate) grad_norm: Sample,
}

impl AuditSummary {
    /// All methods whose noise has a gradient term, on all tasks.
    pub(crate) fn all(outcome: &Outcome) -> Vec<Self> {
        let mut all = Vec::new();
        for task in &outcome.tasks {
            for method in &task.methods {
                let entry = outcome.config.method(&method.id);
                if role(outcome, entry) != Role::Guided {
                    continue;
                }
                let layers = layers(&method.best);
                if layers.is_empty() {
                    continue;
                }
                let noise = || statistics_of(&method.best);
                all.push(AuditSummary {
                    task: task.task.id.clone(),
                    task_title: task.task.title.clone(),
                    method: method.id.clone(),
                    method_title: method.title.clone(),
                    layers,
                    weight_norm: Sample::new(noise().map(|layer| layer.weight_norm)),
                    grad_norm: Sample::new(noise().map(|layer| layer.grad_norm)),
                });
            }
        }
        all
    }

    /// The shares of all layers, steps and seeds.
    pub(crate) fn share(&self) -> Sample {
        Sample::new(
            self.layers
                .iter()
                .flat_map(|layer| layer.share.values.iter().copied()),
        )
    }

    /// The ratios of all layers, steps and seeds.
    pub(crate) fn ratio(&self) -> Sample {
        Sample::new(
            self.layers
                .iter()
                .flat_map(|layer| layer.ratio.values.iter().copied()),
        )
    }
}

fn statistics_of(runs: &[FinishedRun]) -> impl Iterator<Item = ggpo_lora::NoiseStatistics> {
    let looks = runs.iter().flat_map(|run| &run.result.noise);
    looks.flat_map(|(_, layers)| layers.iter().copied())
}

fn layers(runs: &[FinishedRun]) -> Vec<LayerAudit> {
    let looks = || runs.iter().flat_map(|run| &run.result.noise);
    let count = looks().map(|(_, layers)| layers.len()).min().unwrap_or(0);
    (0..count).map(|layer| layer_audit(runs, layer)).collect()
}

fn layer_audit(runs: &[FinishedRun], layer: usize) -> LayerAudit {
    let noise = runs.iter().flat_map(|run| &run.result.noise);
    let shares: Vec<(u32, f64)> = noise
        .filter_map(|(step, layers)| Some((*step, layers.get(layer)?.gradient_share)))
        .collect();
    let audits = || {
        let looks = runs.iter().flat_map(|run| &run.result.audit);
        looks.filter_map(|(step, layers)| Some((*step, layers.get(layer)?)))
    };
    let ratios: Vec<(u32, f64)> = audits()
        .filter(|(_, audit)| audit.exact > 0.0)
        .map(|(step, audit)| (step, audit.approximate / audit.exact))
        .collect();
    let module = audits().next().map(|(_, audit)| audit.module.clone());
    LayerAudit {
        module: module.unwrap_or_else(|| format!("layer {layer}")),
        share: Sample::new(shares.iter().map(|(_, share)| *share)),
        ratio: Sample::new(ratios.iter().map(|(_, ratio)| *ratio)),
        share_over_steps: medians(&shares),
        ratio_over_steps: medians(&ratios),
    }
}

/// The median of the numbers of every step.
fn medians(numbers: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let mut steps: Vec<u32> = numbers.iter().map(|(step, _)| *step).collect();
    steps.sort_unstable();
    steps.dedup();
    let of = |step: u32| {
        let at = numbers.iter().filter(|(found, _)| *found == step);
        Sample::new(at.map(|(_, number)| *number)).quantile(0.5)
    };
    steps.into_iter().map(|step| (step, of(step))).collect()
}
