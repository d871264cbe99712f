//! The sharpness of what a run has trained.

use std::path::Path;

use ggpo_model::batch::Batch;
use ggpo_train::run::{Corpora, DESCRIPTION, RunConfig, ScoredRows, Task, assemble};

use super::{Result, Sharpness, SharpnessConfig, measure};

/// The first `rows` training rows of the run in a folder, with their labels as they
/// were trained on.
///
/// # Errors
/// If the folder holds no run, or its data cannot be read.
pub fn training_batches(folder: &Path, rows: usize) -> Result<Vec<Batch>> {
    let mut config = RunConfig::read(&folder.join(DESCRIPTION))?;
    config.task.scored_rows = Some(ScoredRows {
        train: rows,
        ..config.task.scored_rows.unwrap_or_default()
    });
    Ok(Task::open(&config, &Corpora::default())?.train_as_seen)
}

/// [`measure`] for the finished run in a folder, on its first `rows` training rows.
///
/// # Errors
/// As [`measure`], and if the folder holds no finished run or a file cannot be read.
pub fn measure_run(folder: &Path, rows: usize, config: &SharpnessConfig) -> Result<Sharpness> {
    let batches = training_batches(folder, rows)?;
    let (_, trained) = assemble(folder)?;
    let (parameters, adapters) = (&trained.parameters, &trained.adapters);
    measure(&trained.model, parameters, adapters, &batches, config)
}
