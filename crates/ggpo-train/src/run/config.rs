//! The description of one training run: a TOML file.

use std::path::{Path, PathBuf};

use ggpo_files::read::TOML;
use ggpo_files::toml_problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::data::config::{ClassLoss, ScoredRows, TaskConfig, TaskKind};
pub use crate::head::{HeadConfig, HeadFit};
use crate::method::MethodConfig;
use crate::trainer::TrainerConfig;
use crate::{Error, Result};

/// A training run. Paths are relative to the folder the program runs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random in the run.
    pub seed: u64,
    /// Folder of the base model, or a GGUF file. A folder holds `config.json`,
    /// `model.safetensors` and `tokenizer.json`.
    pub model: PathBuf,
    /// Folder of a PEFT adapter of the model to go on from; without it, adapters are new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// What is learnt.
    pub task: TaskConfig,
    /// How it is learnt.
    #[serde(default)]
    pub method: MethodConfig,
    /// What becomes of a classification's head.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub head: HeadConfig,
    /// The optimisation.
    pub training: TrainerConfig,
    /// Rows per optimiser step.
    pub batch_size: usize,
    /// Parts that a step's rows are split into, to save memory.
    #[serde(default = "one")]
    pub micro_batches: usize,
    /// Steps between two evaluations on the validation split; without it, those of
    /// one pass over the training rows.
    pub evaluate_every: u32,
    /// Evaluations in a row that are no better than the best one before, after which the
    /// training ends; without it, all steps are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Steps between two checkpoints; without it, they come with the evaluations.
    pub checkpoint_every: u32,
}

fn is_default<C: Default + PartialEq>(config: &C) -> bool {
    *config == C::default()
}

fn one() -> usize {
    1
}

impl RunConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, or a field is missing, unknown or out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = ggpo_files::read_text(path, TOML).map_err(|source| Error::io(path, source))?;
        let config = Self::parse(&text).map_err(|problem| Error::file(path, problem))?;
        config.validate()?;
        Ok(config)
    }

    /// The description in a text, as it was when it was written.
    ///
    /// # Errors
    /// What does not fit, if it is none.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        toml::from_str(text).map_err(|error| toml_problem(text, error.message(), error.span()))
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
        at_least_one("patience", self.patience.unwrap_or(1) as usize)?;
        if self.micro_batches > self.batch_size {
            let expected = format!("at most batch_size, which is {}", self.batch_size);
            return Err(Error::config("micro_batches", expected, self.micro_batches));
        }
        self.task.validate()?;
        self.head.validate()?;
        self.method.validate()?;
        if self.adapter.is_some() && !self.method.has_adapters() {
            let expected = "a form of adapters to go on from an adapter";
            return Err(Error::config("method.adapter", expected, "full"));
        }
        self.training.validate()
    }
}
