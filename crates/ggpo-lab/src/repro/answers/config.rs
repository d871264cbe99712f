//! The description of a study of written answers: a TOML file.

use std::path::{Path, PathBuf};

use ggpo_train::{Error, Result};
use serde::Deserialize;

use crate::repro::config::{Level, MethodEntry, TaskEntry};

/// A study of written answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersConfig {
    /// File it was read from, as it was named.
    #[serde(skip)]
    pub path: PathBuf,
    /// Title of the report.
    pub title: String,
    /// What the study is about: the first paragraph of the report.
    pub about: String,
    /// What is to be said about the base model.
    pub base_model: String,
    /// Commands that bring model and data to their places.
    #[serde(default)]
    pub preparation: Vec<String>,
    /// What the study does not show, point by point.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Id of the method that the others are compared with.
    pub reference: String,
    /// The methods, in the order of the report; all with adapters.
    pub methods: Vec<MethodEntry>,
    /// What is learnt. Its test split holds the problems.
    pub task: TaskEntry,
    /// Seeds of the compared runs.
    pub seeds: Vec<u64>,
    /// How every method chooses its learning rate.
    pub tuning: Tuning,
    /// Problems that are asked: the first of the test split.
    pub problems: usize,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
}

/// The short runs that choose a learning rate, judged by validation loss.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Their seeds; none of those compared.
    pub seeds: Vec<u64>,
    /// The learning rates tried for every method.
    pub learning_rates: Vec<f64>,
    /// Their optimiser steps.
    pub steps: u32,
}

impl AnswersConfig {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, lacks a field, or one of them cannot be used.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        Self::parse(&text, path)
    }

    /// Reads and checks the text of the file `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config: AnswersConfig =
            toml::from_str(text).map_err(|error| Error::file(path, error.to_string()))?;
        config.path = path.to_path_buf();
        match config.problem() {
            Some(problem) => Err(Error::file(path, problem)),
            None => Ok(config),
        }
    }

    /// The first thing that is wrong, as a sentence that names the field.
    fn problem(&self) -> Option<String> {
        let kind = self.task.data.kind;
        if !kind.writes() {
            let expected = "completion or text-to-text";
            let found = kind.name();
            return Some(format!(
                "task.data.kind: expected {expected}, found {found}"
            ));
        }
        if self.task.data.test.is_none() {
            return Some("task.data.test: expected a file, found none".to_owned());
        }
        for (field, is_empty) in [
            ("seeds", self.seeds.is_empty()),
            ("tuning.seeds", self.tuning.seeds.is_empty()),
            (
                "tuning.learning_rates",
                self.tuning.learning_rates.is_empty(),
            ),
            ("problems", self.problems == 0),
            ("max_new_tokens", self.max_new_tokens == 0),
        ] {
            if is_empty {
                return Some(format!("{field}: expected at least one, found none"));
            }
        }
        if !self
            .methods
            .iter()
            .any(|method| method.id == self.reference)
        {
            let found = &self.reference;
            return Some(format!(
                "reference: expected the id of a method, found \"{found}\""
            ));
        }
        let full = |method: &&MethodEntry| !method.config.has_adapters();
        if let Some(MethodEntry { id, .. }) = self.methods.iter().find(full) {
            return Some(format!(
                "methods: expected adaptation = \"lora\", found \"full\" of {id}"
            ));
        }
        let mut tuning = self.tuning.seeds.iter();
        let seed = tuning.find(|seed| self.seeds.contains(seed))?;
        Some(format!(
            "tuning.seeds: expected none of the compared seeds, found {seed}"
        ))
    }

    /// The seeds and learning rates, as all experiments have them.
    pub(super) fn level(&self) -> Level {
        Level {
            seeds: self.seeds.clone(),
            tuning_seeds: self.tuning.seeds.clone(),
            learning_rates: self.tuning.learning_rates.clone(),
            step_factor: 1.0,
            ..Level::default()
        }
    }

    /// The task as the runs see it, without the problems.
    pub(super) fn trained_task(&self) -> TaskEntry {
        let mut task = self.task.clone();
        task.data.test = None;
        task
    }

    /// The task of the runs that choose a learning rate.
    pub(super) fn tuning_task(&self) -> TaskEntry {
        TaskEntry {
            id: format!("{}-tuning", self.task.id),
            steps: self.tuning.steps,
            ..self.trained_task()
        }
    }
}
