//! The description of the experiments: a TOML file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::method::MethodConfig;
use crate::run::{ScoredRows, TaskConfig, TaskKind};
use crate::schedule::Schedule;
use crate::{Error, Result};

/// All experiments, and the levels of effort they can be run at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReproConfig {
    /// Id of the method that all others are compared with.
    pub reference: String,
    /// The methods, in the order of the report.
    pub methods: Vec<MethodEntry>,
    /// Tasks on which all methods are tuned and compared.
    pub tasks: Vec<TaskEntry>,
    /// Test error over rank, with wrong labels.
    pub rank_sweep: RankSweep,
    /// Training loss over steps, at high rank and learning rate.
    pub loss_bump: LossBump,
    /// The measurement of time and memory.
    pub cost: CostEntry,
    /// Levels of effort by name.
    pub levels: BTreeMap<String, Level>,
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
}

impl TaskEntry {
    /// Checks that the report can be made of the task.
    fn check(&self) -> std::result::Result<(), String> {
        let TaskEntry { id, data, .. } = self;
        if !matches!(
            data.kind,
            TaskKind::Classification | TaskKind::LanguageModelling
        ) {
            let found = data.kind.name();
            let expected = "classification or language-modelling";
            return Err(format!(
                "task {id}: data.kind: expected {expected}, found {found}"
            ));
        }
        if data.test.is_none() {
            return Err(format!("task {id}: data.test: expected a file, found none"));
        }
        Ok(())
    }
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
#[derive(Debug, Clone, Deserialize)]
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
    /// Ranks of the sweep.
    pub ranks: Vec<usize>,
    /// Seeds of the sweep.
    pub sweep_seeds: Vec<u64>,
    /// Learning rates of the loss bump.
    pub bump_learning_rates: Vec<f64>,
    /// Seeds of the loss bump.
    pub bump_seeds: Vec<u64>,
    /// Steps of every method whose time is measured.
    pub cost_steps: u32,
}

impl ReproConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, or names a method that it does not describe, or
    /// reuses a tuning seed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let config: ReproConfig =
            toml::from_str(&text).map_err(|error| Error::file(path, error.to_string()))?;
        let mut named = vec![&config.reference];
        named.extend(&config.rank_sweep.methods);
        named.extend(&config.loss_bump.methods);
        for id in named {
            if !config.methods.iter().any(|method| method.id == *id) {
                let problem = format!("expected the id of a method, found \"{id}\"");
                return Err(Error::file(path, problem));
            }
        }
        let tasks = [&config.rank_sweep.task, &config.loss_bump.task];
        for task in config.tasks.iter().chain(tasks) {
            task.check().map_err(|error| Error::file(path, error))?;
        }
        let smoothing = config.loss_bump.smoothing;
        if !(smoothing > 0.0 && smoothing <= 1.0) {
            let problem =
                format!("loss_bump.smoothing: expected a weight in (0, 1], found {smoothing}");
            return Err(Error::file(path, problem));
        }
        for (name, level) in &config.levels {
            if let Some(seed) = level
                .tuning_seeds
                .iter()
                .find(|seed| level.seeds.contains(seed))
            {
                let problem = format!(
                    "levels.{name}.tuning_seeds: expected none of the compared seeds, found {seed}"
                );
                return Err(Error::file(path, problem));
            }
        }
        Ok(config)
    }

    /// The method of that id.
    ///
    /// # Panics
    /// If there is none; [`read`](Self::read) has checked the ids in the file.
    pub fn method(&self, id: &str) -> &MethodEntry {
        self.methods
            .iter()
            .find(|method| method.id == id)
            .unwrap_or_else(|| panic!("no method {id}"))
    }
}
