//! One training run: described by one TOML file, writing one folder.
//!
//! The folder holds `config.toml` (the resolved description), `metrics.jsonl`
//! (one line per step and per evaluation) and the same as TensorBoard events,
//! `adapter/` or `model/`, `checkpoint.bin` with the one before it, and at the end
//! `result.json`. A run that was stopped goes on from its checkpoint to the same bits,
//! unless what it reads has changed meanwhile. It holds a lock on the folder, so a second
//! process is refused.

mod card;
mod config;
mod description;
mod events;
mod going_on;
mod inputs;
mod records;
mod saved;
mod session;
mod stepper;
mod task;
mod trained;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use ggpo_files::lock::LOCK;
use ggpo_files::read::{ANY, TOML};
use ggpo_files::{json, write_atomically};
use ggpo_lora::NoiseStatistics;
use serde::{Deserialize, Serialize};

pub use config::{ClassLoss, HeadConfig, HeadFit, RunConfig, ScoredRows, TaskConfig, TaskKind};
pub use description::{DEFAULT_EPOCHS, Description};
pub use saved::{CHECKPOINT, CheckpointSummary, summarize_checkpoint};
pub use stepper::Stepper;
pub use task::{Corpora, Task, check_segments, check_task};
pub use trained::assemble;

use crate::evaluation::RowScores;
use crate::metrics::Scores;
use crate::ranks::{Alone, Ranks};
use crate::trainer::{GradientAudit, StepReport};
use crate::{Error, Result};
use session::Session;

/// The outcome of a run; the same bits for any number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Step at which the loss was no longer a number, if that happened.
    pub diverged_at: Option<u32>,
    /// What happened then, and where.
    #[serde(default)]
    pub diverged: Option<String>,
    /// Steps after which the validation scores were best.
    pub best_step: u32,
    /// Validation scores of the best step.
    pub validation: Scores,
    /// Test scores of the best step, if there is a test split.
    pub test: Option<Scores>,
    /// Test scores after the last step, if there is a test split.
    pub last_test: Option<Scores>,
    /// What these are made of, row by row; only where the weights are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test_rows: Option<RowScores>,
    /// Scores on the training rows, with their labels as trained on, after the
    /// last step.
    pub last_train: Scores,
    /// Training loss of every step.
    pub losses: Vec<f64>,
    /// Validation scores by number of steps done.
    pub evaluations: Vec<(u32, Scores)>,
    /// What the noise was made of, at every evaluation: one entry per layer.
    pub noise: Vec<(u32, Vec<NoiseStatistics>)>,
    /// Norms of the gradient by equation 7 and exactly, at every evaluation.
    pub audit: Vec<(u32, Vec<GradientAudit>)>,
    /// Numbers that are trained.
    pub trained_parameters: usize,
    /// Memory that the model's parameters take, in bytes; quantised ones in
    /// their blocks.
    #[serde(default)]
    pub model_bytes: usize,
}

/// What to leave in the folder besides the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The trained weights and the last checkpoint.
    Weights,
    /// Only what describes the run and its course, and what single test rows lost.
    Records,
}

/// Name of the result in a run's folder.
pub const RESULT: &str = "result.json";

/// Name of the file with the names of the classes in their order.
pub const LABELS: &str = "labels.json";

/// Name of the resolved description in a run's folder.
pub const DESCRIPTION: &str = "config.toml";

/// Runs what `config` describes, writing `folder`; continues where it stopped,
/// and returns the result at once if it is finished. `on_step` hears of every
/// step.
///
/// # Errors
/// If an input cannot be used or has changed since the run began, the folder belongs to
/// another run or another process works in it, a file cannot be written, or the run was
/// asked to stop. A run whose loss is no longer a number is not an error:
/// the result says so.
pub fn run(
    config: &RunConfig,
    folder: &Path,
    keep: Keep,
    on_step: &mut dyn FnMut(&StepReport),
) -> Result<RunResult> {
    run_on(config, &Corpora::default(), folder, keep, on_step)
}

/// [`run`] on files that other runs may have read already.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    config: &RunConfig,
    corpora: &Corpora,
    folder: &Path,
    keep: Keep,
    on_step: &mut dyn FnMut(&StepReport),
) -> Result<RunResult> {
    run_shared(config, corpora, folder, keep, Arc::new(Alone), on_step)
}

/// [`run_on`] by several ranks, each of which calls it with the same arguments but for
/// `ranks`. The first writes the folder, which all must be able to read. The bits are
/// those of a process alone, also where a run goes on with another number of ranks.
///
/// # Errors
/// As [`run`], and if a step has fewer micro-batches than there are ranks.
pub fn run_shared(
    config: &RunConfig,
    corpora: &Corpora,
    folder: &Path,
    keep: Keep,
    ranks: Arc<dyn Ranks>,
    on_step: &mut dyn FnMut(&StepReport),
) -> Result<RunResult> {
    config.validate()?;
    if ranks.count() > config.micro_batches {
        let expected = format!("at least {}, one for every rank", ranks.count());
        return Err(Error::config(
            "micro_batches",
            expected,
            config.micro_batches,
        ));
    }
    if state(config, folder)? == FolderState::Finished
        && let Some(result) = read_result(folder)?
    {
        return Ok(result);
    }
    let mut session = Session::open(config, corpora, folder, keep, ranks)?;
    let diverged = session.train(on_step)?;
    let result = session.finish(diverged)?;
    Ok(result)
}

/// The result of a finished run, if there is one.
///
/// # Errors
/// If the file is there but is not a result.
pub fn read_result(folder: &Path) -> Result<Option<RunResult>> {
    let path = folder.join(RESULT);
    match ggpo_files::read(&path, ANY) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
        Ok(text) => json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::file(path, format!("expected a result, found {error}"))),
    }
}

/// How far a run's folder has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// There is nothing of any run.
    New,
    /// The run has begun and has no result yet.
    Unfinished,
    /// The run has its result.
    Finished,
}

/// How far `folder` has come with the run of `config`; nothing is written.
///
/// # Errors
/// If the folder holds another run or other files, or cannot be read.
pub fn state(config: &RunConfig, folder: &Path) -> Result<FolderState> {
    let path = folder.join(DESCRIPTION);
    match ggpo_files::read_text(&path, TOML) {
        Ok(text) if RunConfig::parse(&text).as_ref() == Ok(config) => {
            Ok(match folder.join(RESULT).exists() {
                true => FolderState::Finished,
                false => FolderState::Unfinished,
            })
        }
        Ok(_) => Err(Error::file(
            path,
            "expected this run's own description, found another run's; choose another folder",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            refuse_other_files(folder)?;
            Ok(FolderState::New)
        }
        Err(source) => Err(Error::io(path, source)),
    }
}

fn refuse_other_files(folder: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| Error::io(folder, source))?,
    };
    // A process that was killed while it claimed the folder leaves the
    // description behind under a name for unfinished files.
    let is_left = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            name == LOCK || name.to_string_lossy().starts_with(".partial-")
        })
    };
    match entries.into_iter().all(is_left) {
        true => Ok(()),
        false => Err(Error::file(
            folder,
            "expected a new or empty folder for the run, found other files in it",
        )),
    }
}

/// Makes the folder this run's own.
fn claim_folder(config: &RunConfig, folder: &Path) -> Result<()> {
    let path = folder.join(DESCRIPTION);
    if path.exists() {
        return Ok(());
    }
    write_atomically(&path, config.to_toml().as_bytes()).map_err(|source| Error::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_process_left_is_no_other_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        refuse_other_files(folder.path()).expect("an empty folder");
        std::fs::write(folder.path().join(".partial-a1"), "seed").expect("a file");
        refuse_other_files(folder.path()).expect("nothing of another run");
        std::fs::write(folder.path().join("notes.txt"), "").expect("a file");
        assert!(refuse_other_files(folder.path()).is_err());
        refuse_other_files(&folder.path().join("absent")).expect("a new folder");
    }
}
