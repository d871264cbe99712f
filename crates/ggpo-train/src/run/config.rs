//! The description of one training run: a TOML file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::method::MethodConfig;
use crate::trainer::TrainerConfig;
use crate::{Error, Result};

/// A training run. Paths are relative to the folder the program runs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The seed of everything random in the run.
    pub seed: u64,
    /// Folder of the base model: `config.json`, `model.safetensors`,
    /// `tokenizer.json`.
    pub model: PathBuf,
    /// What is learnt.
    pub task: TaskConfig,
    /// How it is learnt.
    pub method: MethodConfig,
    /// The optimisation.
    pub training: TrainerConfig,
    /// Rows per optimiser step.
    pub batch_size: usize,
    /// Parts that a step's rows are split into, to save memory.
    #[serde(default = "one")]
    pub micro_batches: usize,
    /// Steps between two looks at the validation split.
    pub evaluate_every: u32,
    /// Steps between two checkpoints.
    pub checkpoint_every: u32,
}

fn one() -> usize {
    1
}

/// Data, and what is to be learnt from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// The kind of task.
    pub kind: TaskKind,
    /// File of the training split: a table with the columns `label` and
    /// `text`, or plain text.
    pub train: PathBuf,
    /// File of the split that chooses among learning rates and steps.
    pub validation: PathBuf,
    /// File of the split that is looked at once, at the end.
    pub test: PathBuf,
    /// Longest sequence, in tokens; longer texts are cut (classification) or
    /// split (language modelling).
    pub max_length: usize,
    /// Train on so many rows, drawn by the seed; without it, on all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Rows that scores are taken from, the first of each split; without it, all
    /// of validation and test, and 512 of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored_rows: Option<ScoredRows>,
    /// Share of training rows whose label is replaced by a wrong one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_noise: f64,
}

/// How many rows scores are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoredRows {
    /// Of the validation split.
    pub validation: usize,
    /// Of the test split.
    pub test: usize,
    /// Of the training split.
    pub train: usize,
}

impl Default for ScoredRows {
    fn default() -> Self {
        ScoredRows {
            validation: usize::MAX,
            test: usize::MAX,
            train: 512,
        }
    }
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// The kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The class of a text.
    Classification,
    /// The next token.
    LanguageModelling,
}

impl RunConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, or a field is missing, unknown or out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let config: RunConfig =
            toml::from_str(&text).map_err(|error| Error::file(path, error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// The description as TOML.
    ///
    /// # Panics
    /// Never: every field has a TOML form.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every field has a TOML form")
    }

    /// Checks everything that can be checked without opening a file.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let at_least_one = |field: &str, value: usize| {
            if value > 0 {
                return Ok(());
            }
            Err(Error::config(field, "at least 1", value))
        };
        at_least_one("batch_size", self.batch_size)?;
        at_least_one("micro_batches", self.micro_batches)?;
        at_least_one("evaluate_every", self.evaluate_every as usize)?;
        at_least_one("checkpoint_every", self.checkpoint_every as usize)?;
        at_least_one("task.max_length", self.task.max_length.saturating_sub(1))
            .map_err(|_| Error::config("task.max_length", "at least 2", self.task.max_length))?;
        at_least_one("task.train_rows", self.task.train_rows.unwrap_or(1))?;
        let scored = self.task.scored_rows.unwrap_or_default();
        at_least_one("task.scored_rows.validation", scored.validation)?;
        at_least_one("task.scored_rows.test", scored.test)?;
        at_least_one("task.scored_rows.train", scored.train)?;
        if self.micro_batches > self.batch_size {
            let expected = format!("at most batch_size, which is {}", self.batch_size);
            return Err(Error::config("micro_batches", expected, self.micro_batches));
        }
        if !(0.0..1.0).contains(&self.task.label_noise) {
            let found = self.task.label_noise;
            return Err(Error::config(
                "task.label_noise",
                "a share in [0, 1)",
                found,
            ));
        }
        self.method.validate()?;
        self.training.validate()
    }
}
