//! One training run: described by one TOML file, writing one folder.
//!
//! The folder holds `config.toml` (the resolved description), `metrics.jsonl`
//! (one line per step and per evaluation), `adapter/` or `model/`,
//! `checkpoint.bin`, and at the end `result.json`. A run that was stopped goes
//! on from its checkpoint to the same bits.

mod config;
mod metrics_file;
mod session;
mod task;

use std::path::Path;

use ggpo_lora::NoiseStatistics;
use ggpo_lora::files::write_atomically;
use serde::{Deserialize, Serialize};

pub use config::{RunConfig, ScoredRows, TaskConfig, TaskKind};
pub use session::Stepper;
pub use task::{Corpora, Task};

use crate::evaluation::Scores;
use crate::trainer::{GradientAudit, StepReport};
use crate::{Error, Result};
use session::Session;

/// The outcome of a run; the same bits for any number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Step at which the loss was no longer a number, if that happened.
    pub diverged_at: Option<u32>,
    /// Steps after which the validation scores were best.
    pub best_step: u32,
    /// Validation scores of the best step.
    pub validation: Scores,
    /// Test scores of the best step.
    pub test: Scores,
    /// Test scores after the last step.
    pub last_test: Scores,
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
}

/// What to leave in the folder besides the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The trained weights and the last checkpoint.
    Weights,
    /// Only what describes the run and its course.
    Records,
}

/// Name of the result in a run's folder.
pub const RESULT: &str = "result.json";

/// Runs what `config` describes, writing `folder`; goes on where it stopped,
/// and returns the result at once if it is finished. `on_step` hears of every
/// step.
///
/// # Errors
/// If an input cannot be used, the folder belongs to another run, or a file
/// cannot be written. A run whose loss is no longer a number is not an error:
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
    config.validate()?;
    claim_folder(config, folder)?;
    if let Some(result) = read_result(folder)? {
        return Ok(result);
    }
    let mut session = Session::open(config, corpora, folder)?;
    let diverged_at = session.train(on_step)?;
    let result = session.finish(diverged_at, keep)?;
    Ok(result)
}

/// The result of a finished run, if there is one.
///
/// # Errors
/// If the file is there but is not a result.
pub fn read_result(folder: &Path) -> Result<Option<RunResult>> {
    let path = folder.join(RESULT);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::file(path, format!("expected a result, found {error}"))),
    }
}

/// Makes the folder this run's own, or refuses another run's.
fn claim_folder(config: &RunConfig, folder: &Path) -> Result<()> {
    let path = folder.join("config.toml");
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    match std::fs::read_to_string(&path) {
        Ok(text) if text == config.to_toml() => Ok(()),
        Ok(_) => Err(Error::file(
            path,
            "expected this run's own description, found another run's; choose another folder",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_atomically(&path, config.to_toml().as_bytes())
                .map_err(|source| Error::io(path, source))
        }
        Err(source) => Err(Error::io(path, source)),
    }
}
