//! What a run's checkpoint holds.

use std::collections::BTreeMap;
use std::path::Path;

use ggpo_lora::NoiseStatistics;
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::inputs::{Input, refuse_changes};
use super::task::Task;
use crate::metrics::Scores;
use crate::trainer::{GradientAudit, StoredTensor, TrainerState};
use crate::{Error, Result, checkpoint};

/// Name of the checkpoint in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.bin";
pub(super) const CHECKPOINT_KIND: &str = "run";

/// The best state so far.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Best {
    pub(super) step: u32,
    pub(super) scores: Scores,
    pub(super) trained: BTreeMap<String, StoredTensor<f32>>,
}

/// What a checkpoint of a run holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The description, so that another run's checkpoint is refused.
    pub(super) config: String,
    /// What the run reads, so that changed inputs are refused.
    pub(super) inputs: Vec<Input>,
    pub(super) trainer: TrainerState<f32>,
    pub(super) best: Option<Best>,
    pub(super) history: History,
    /// Length of `metrics.jsonl` at this point.
    pub(super) metrics_bytes: u64,
}

/// What has been seen so far.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) losses: Vec<f64>,
    pub(super) evaluations: Vec<(u32, Scores)>,
    pub(super) noise: Vec<(u32, Vec<NoiseStatistics>)>,
    pub(super) audit: Vec<(u32, Vec<GradientAudit>)>,
}

/// What a run's checkpoint holds, in short.
#[derive(Debug, Clone)]
pub struct CheckpointSummary {
    /// Optimiser steps done.
    pub steps_done: u32,
    /// Tensors that are trained.
    pub trained_tensors: usize,
    /// Numbers in them.
    pub trained_numbers: usize,
    /// Steps after which the validation scores were best, and the scores.
    pub best: Option<(u32, Scores)>,
    /// Training loss of the last step.
    pub last_loss: Option<f64>,
}

/// Reads what a run's checkpoint holds.
///
/// # Errors
/// If it cannot be read or is none of a run.
pub fn summarize_checkpoint(path: &Path) -> Result<CheckpointSummary> {
    let saved: Checkpoint = checkpoint::read(path, CHECKPOINT_KIND)?;
    let trained = saved.trainer.trained();
    Ok(CheckpointSummary {
        steps_done: saved.trainer.steps_done(),
        trained_tensors: trained.len(),
        trained_numbers: trained.values().map(StoredTensor::len).sum(),
        best: saved.best.map(|best| (best.step, best.scores)),
        last_loss: saved.history.losses.last().copied(),
    })
}

/// The newest checkpoint in a run's folder that can be used, if there is one.
pub(super) fn read_checkpoint(
    config: &RunConfig,
    task: &Task,
    folder: &Path,
) -> Result<Option<Checkpoint>> {
    let path = folder.join(CHECKPOINT);
    let newest = checkpoint::read_newest::<Checkpoint>(&path, CHECKPOINT_KIND)?;
    let Some((saved, damaged)) = newest else {
        return Ok(None);
    };
    if let Some(problem) = damaged {
        let steps = saved.trainer.steps_done();
        ggpo_files::sentence::note(&format!(
            "warning: {problem}; the one before it is of step {steps} and is used instead"
        ));
    }
    if RunConfig::parse(&saved.config).as_ref() != Ok(config) {
        let problem = "expected a checkpoint of this run, found another run's";
        return Err(Error::file(path, problem));
    }
    refuse_changes(&saved.inputs, task.inputs())?;
    if !saved.is_consistent() {
        let problem = "expected a course of as many steps as were done, found another";
        return Err(Error::file(path, problem));
    }
    Ok(Some(saved))
}

impl Checkpoint {
    /// Whether its parts are of one moment.
    fn is_consistent(&self) -> bool {
        let steps = self.trainer.steps_done();
        let evaluated = self.history.evaluations.iter().map(|(step, _)| *step);
        self.history.losses.len() == steps as usize
            && self
                .best
                .iter()
                .map(|best| best.step)
                .chain(evaluated)
                .all(|step| step <= steps)
    }
}
