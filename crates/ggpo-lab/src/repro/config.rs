//! The description of the experiments: a TOML file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_train::method::MethodConfig;
use ggpo_train::run::{ScoredRows, TaskConfig};
use ggpo_train::schedule::Schedule;
use ggpo_train::{Error, Result};
use serde::Deserialize;

use super::score::Score;

mod checks;

/// The description of the default study, from the root of the workspace.
pub const DEFAULT_STUDY: &str = "experiments/repro.toml";

/// Weight of a new loss in a smoothed one, where a study does not look at the
/// course of the loss by itself.
const SMOOTHING: f64 = 0.1;

/// A study: all experiments, and the levels of effort they can be run at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReproConfig {
    /// File it was read from, as it was named.
    #[serde(skip)]
    pub path: PathBuf,
    /// Title of the report.
    #[serde(default = "default_title")]
    pub title: String,
    /// What the study is about: the first paragraph of the report.
    pub about: Option<String>,
    /// What is to be said about the base models.
    pub base_models: Option<String>,
    /// What the study does not show, point by point. The report continues after
    /// the last one with the numbers of tasks and seeds.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Id of the method that all others are compared with.
    pub reference: String,
    /// The methods, in the order of the report.
    pub methods: Vec<MethodEntry>,
    /// Tasks on which all methods are tuned and compared.
    pub tasks: Vec<TaskEntry>,
    /// Test error over rank, with wrong labels.
    pub rank_sweep: Option<RankSweep>,
    /// Training loss over steps, at high rank and learning rate.
    pub loss_bump: Option<LossBump>,
    /// The measurement of time and memory.
    pub cost: Option<CostEntry>,
    /// Levels of effort by name.
    pub levels: BTreeMap<String, Level>,
}

fn default_title() -> String {
    "LoRA-GGPO: what the experiments show".to_owned()
}

/// A method under its name in the report.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodEntry {
    /// Name in folders and tables of numbers.
    pub id: String,
    /// Name in the report.
    pub title: String,
    /// What it does.
    pub config: MethodConfig,
}

/// A task, and how it is trained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// Name in folders and tables of numbers.
    pub id: String,
    /// Name in the report.
    pub title: String,
    /// What is learnt from what, in a sentence or two.
    pub about: String,
    /// Folder of the base model.
    pub model: PathBuf,
    /// The data.
    pub data: TaskConfig,
    /// Rows per step.
    pub batch_size: usize,
    /// Optimiser steps.
    pub steps: u32,
    /// Looks at the validation split in the course of a run.
    pub evaluations: u32,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Largest global norm of the gradients.
    pub clip: Option<f64>,
    /// What methods and learning rates are judged by; without it, what the runs
    /// choose their best step by.
    pub score: Option<Score>,
}

/// The experiment on the classical double descent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankSweep {
    /// The task; its labels are partly wrong.
    pub task: TaskEntry,
    /// Ids of the methods.
    pub methods: Vec<String>,
    /// Learning rate at every rank.
    pub learning_rate: f64,
    /// `alpha / rank` at every rank.
    pub alpha_over_rank: f64,
}

/// The experiment on the course of the training loss.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossBump {
    /// The task.
    pub task: TaskEntry,
    /// Ids of the methods.
    pub methods: Vec<String>,
    /// Rank, and alpha.
    pub rank: usize,
    /// Weight of a new loss in the smoothed one, in (0, 1].
    pub smoothing: f64,
}

/// The measurement of time and memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostEntry {
    /// Id of the task whose steps are measured.
    pub task: String,
}

/// How much is done.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Seeds of the compared runs.
    pub seeds: Vec<u64>,
    /// Seeds of the runs that choose a learning rate; none of the above.
    pub tuning_seeds: Vec<u64>,
    /// The learning rates tried for every method.
    pub learning_rates: Vec<f64>,
    /// Factor on the steps of every task.
    pub step_factor: f64,
    /// Rows that scores are taken from, in place of what the tasks say.
    pub scored_rows: Option<ScoredRows>,
    /// Ranks of the sweep; none without a sweep.
    #[serde(default)]
    pub ranks: Vec<usize>,
    /// Seeds of the sweep; none without a sweep.
    #[serde(default)]
    pub sweep_seeds: Vec<u64>,
    /// Learning rates of the loss bump; none without that experiment.
    #[serde(default)]
    pub bump_learning_rates: Vec<f64>,
    /// Seeds of the loss bump; none without that experiment.
    #[serde(default)]
    pub bump_seeds: Vec<u64>,
    /// Steps of every method whose time is measured; 0 without measurement.
    #[serde(default)]
    pub cost_steps: u32,
}

impl ReproConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, lacks a field or has one too many for its
    /// experiments, names a method or task that it does not describe, or reuses
    /// a tuning seed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        Self::parse(&text, path)
    }

    /// Reads and checks the text of the file `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config: ReproConfig =
            toml::from_str(text).map_err(|error| Error::file(path, error.to_string()))?;
        config.path = path.to_path_buf();
        match checks::problem(&config) {
            Some(problem) => Err(Error::file(path, problem)),
            None => Ok(config),
        }
    }

    /// Weight of a new loss in the smoothed one, in (0, 1].
    pub fn smoothing(&self) -> f64 {
        self.loss_bump
            .as_ref()
            .map_or(SMOOTHING, |bump| bump.smoothing)
    }

    /// The method of that id.
    ///
    /// # Panics
    /// If there is none; [`parse`](Self::parse) has checked the ids in the file.
    pub fn method(&self, id: &str) -> &MethodEntry {
        self.methods
            .iter()
            .find(|method| method.id == id)
            .unwrap_or_else(|| panic!("no method {id}"))
    }
}
