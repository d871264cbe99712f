//! The description of an experiment: one TOML file, written before anything is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_train::features::FeaturesConfig;
use ggpo_train::method::MethodConfig;
use ggpo_train::optimizer::AdamWConfig;
use ggpo_train::run::{HeadConfig, ScoredRows, TaskConfig};
use ggpo_train::schedule::Schedule;
use ggpo_train::{Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::kinds::Kind;
use super::plan::Cell;
use super::primary::Primary;
use crate::verdict::ClaimKind;

mod checks;

/// An experiment: a question, the claim it tests, the rule that decides, and the runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name: that of its file without the extension.
    #[serde(skip)]
    pub id: String,
    /// SHA-256 of its file.
    #[serde(skip)]
    pub sha256: String,
    /// Its place among the experiments of the report.
    pub place: u32,
    /// Title of its section in the report.
    pub title: String,
    /// What is asked.
    pub question: String,
    /// What is done with the runs.
    pub kind: Kind,
    /// The claim; `{method}`, `{reference}` and `{task}` are filled in.
    pub claim: String,
    /// Whether a method is to be better, or only no worse.
    pub claim_kind: ClaimKind,
    /// Methods that all others are compared with; of several, the one with the smallest
    /// difference decides. A method may have references of its own.
    #[serde(default)]
    pub references: Vec<String>,
    /// The measure that decides, of the last step.
    pub primary: Primary,
    /// The smallest difference that matters, in the unit of the measure.
    pub margin: f64,
    /// The measure of a run that diverged, a worst value.
    pub diverged: Option<f64>,
    /// What must be seen in the runs before the claim can be tested.
    #[serde(default)]
    pub precondition: Precondition,
    /// Calibrations without which the claim cannot be tested, by name.
    #[serde(default)]
    pub stands_on: Vec<String>,
    /// What it does not show, point by point.
    #[serde(default)]
    pub not_shown: Vec<String>,
    /// What is learnt from what.
    #[serde(default)]
    pub tasks: Vec<TaskEntry>,
    /// What is compared.
    #[serde(default)]
    pub methods: Vec<MethodEntry>,
    /// A model of one layer that is made before the runs; `{features}` in a task stands
    /// for its folder.
    pub features: Option<FeaturesConfig>,
    /// `alpha / rank` where the rank varies.
    pub alpha_over_rank: Option<f64>,
    /// The point of the grid at which the claim is tested, where there are several.
    #[serde(default)]
    pub at: Point,
    /// Weight of a new loss in a smoothed one, in (0, 1].
    #[serde(default = "default_smoothing")]
    pub smoothing: f64,
    /// The runs by level of effort: `quick`, `default`, `full`.
    pub grid: BTreeMap<String, Grid>,
}

fn default_smoothing() -> f64 {
    0.1
}

/// What must be seen in the runs before a claim can be tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The gradient term holds a share of the noise's variance in the method's runs.
    GradientShare {
        /// The smallest share.
        at_least: f64,
    },
    /// The references' mean training error, with the labels as trained on, falls over the
    /// rank from above one bound to below another.
    Interpolation {
        /// Above this at the lowest rank.
        above: f64,
        /// Below this at the highest rank.
        below: f64,
    },
    /// The mean training losses of method and reference are about the same.
    MatchedTraining {
        /// The largest difference, in nats.
        within: f64,
    },
}

/// A method under its name in the report.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodEntry {
    /// Name in tables of numbers.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// What it does.
    pub method: MethodConfig,
    /// References of its own.
    pub references: Option<Vec<String>>,
    /// Whether a verdict is passed on it; a control has none.
    #[serde(default = "yes")]
    pub judged: bool,
    /// Share of the steps in which the learning rate rises, in place of the task's.
    pub warmup: Option<f64>,
    /// Largest norm of the gradients, in place of the task's.
    pub clip: Option<f64>,
    /// Decoupled weight decay of what is trained.
    pub weight_decay: Option<f64>,
    /// Where it stands on the axis of a dose.
    pub dose: Option<f64>,
    /// The curve that it belongs to on that axis.
    pub curve: Option<String>,
}

fn yes() -> bool {
    true
}

/// A task, and how it is trained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// Name in tables of numbers.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// What is learnt from what, in a sentence or two.
    pub about: String,
    /// Base model.
    pub model: PathBuf,
    /// The data.
    pub data: TaskConfig,
    /// Rows per step.
    pub batch_size: usize,
    /// Parts of a step's rows.
    #[serde(default = "one")]
    pub micro_batches: usize,
    /// Optimiser steps.
    pub steps: u32,
    /// Looks at the validation split in the course of a run.
    #[serde(default = "few")]
    pub evaluations: u32,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Largest global norm of the gradients.
    pub clip: Option<f64>,
    /// The optimiser.
    #[serde(default)]
    pub adamw: AdamWConfig,
    /// What becomes of the head.
    #[serde(default)]
    pub head: HeadConfig,
}

fn one() -> usize {
    1
}

fn few() -> u32 {
    2
}

/// A point of a grid; what is not said is the only value there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Rank.
    pub rank: Option<usize>,
    /// Training rows.
    pub rows: Option<usize>,
    /// Share of wrong labels.
    pub label_noise: Option<f64>,
}

impl Point {
    /// Whether a cell has its training rows and its wrong labels.
    pub(super) fn has_data_of(&self, cell: &Cell) -> bool {
        self.rows.is_none_or(|rows| Some(rows) == cell.rows)
            && self
                .label_noise
                .is_none_or(|noise| noise == cell.label_noise)
    }
}

/// The runs of a level of effort.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grid {
    /// Methods by id; all without it.
    pub methods: Option<Vec<String>>,
    /// Methods by id that run at other rows and wrong labels too than those on which the
    /// claim is tested, and that figures over the rank show; all without it.
    pub elsewhere: Option<Vec<String>>,
    /// Tasks by id; all without it.
    pub tasks: Option<Vec<String>>,
    /// Seeds of the compared runs: 1 to this.
    pub seeds: u64,
    /// Fewer seeds for some methods.
    pub seeds_of: BTreeMap<String, u64>,
    /// Seeds after which the results may be looked at once, and what is clear then ends:
    /// [`INTERIM_PAIRS`](crate::verdict::INTERIM_PAIRS), or without it no look.
    pub look: Option<u64>,
    /// Learning rates: of every run, or tried in tuning.
    pub learning_rates: Vec<f64>,
    /// Seeds that choose a learning rate for every method, from 101 on; 0 without tuning.
    pub tuning_seeds: u64,
    /// Ranks; that of the methods without it.
    pub ranks: Vec<usize>,
    /// Numbers of training rows; those of the tasks without it.
    pub rows: Vec<usize>,
    /// Shares of wrong labels; those of the tasks without it.
    pub label_noise: Vec<f64>,
    /// Factor on the steps of every task.
    pub step_factor: Option<f64>,
    /// Rows that scores are taken from, in place of what the tasks say.
    pub scored_rows: Option<ScoredRows>,
    /// Rounds of a measurement of time; share of the repetitions of a calibration.
    pub rounds: u32,
}

/// First of the seeds that choose learning rates; they are used for nothing else.
pub const FIRST_TUNING_SEED: u64 = 101;

impl Experiment {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, or a field is missing, unknown, or does not fit the others.
    pub fn read(path: &Path) -> Result<Self> {
        let text = ggpo_files::read_text(path, ggpo_files::read::TOML)
            .map_err(|source| Error::io(path, source))?;
        Self::parse(&text, path)
    }

    /// Reads and checks the text of the file `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut experiment: Experiment =
            toml::from_str(text).map_err(|error: toml::de::Error| {
                let problem = ggpo_files::toml_problem(text, error.message(), error.span());
                Error::file(path, problem)
            })?;
        let stem = path.file_stem().unwrap_or_default();
        experiment.id = stem.to_string_lossy().into_owned();
        experiment.sha256 = sha256(text.as_bytes());
        match checks::problem(&experiment) {
            Some(problem) => Err(Error::file(path, problem)),
            None => Ok(experiment),
        }
    }

    /// The method of that id.
    ///
    /// # Panics
    /// If there is none: ids are checked when the file is read.
    pub fn method(&self, id: &str) -> &MethodEntry {
        let found = self.methods.iter().find(|method| method.id == id);
        found.unwrap_or_else(|| panic!("no method {id}"))
    }

    /// The references of a method: its own, or those of all.
    pub fn references_of<'a>(&'a self, method: &'a MethodEntry) -> &'a [String] {
        method.references.as_deref().unwrap_or(&self.references)
    }

    /// The methods of a level, in the order of the file.
    pub fn methods_of(&self, grid: &Grid) -> Vec<&MethodEntry> {
        let wanted = |method: &&MethodEntry| match &grid.methods {
            None => true,
            Some(ids) => ids.contains(&method.id),
        };
        self.methods.iter().filter(wanted).collect()
    }

    /// The methods of a level on which a verdict is passed.
    pub fn judged<'a>(&'a self, grid: &Grid) -> Vec<&'a MethodEntry> {
        let methods = self.methods_of(grid).into_iter();
        methods
            .filter(|method| method.judged && !self.references_of(method).contains(&method.id))
            .collect()
    }

    /// The tasks of a level.
    pub fn tasks_of(&self, grid: &Grid) -> Vec<&TaskEntry> {
        let wanted = |task: &&TaskEntry| match &grid.tasks {
            None => true,
            Some(ids) => ids.contains(&task.id),
        };
        self.tasks.iter().filter(wanted).collect()
    }
}

impl Grid {
    /// Whether a method runs at other rows and wrong labels too than those on which the
    /// claim is tested.
    pub(super) fn is_elsewhere(&self, method: &MethodEntry) -> bool {
        let ids = self.elsewhere.as_ref();
        ids.is_none_or(|ids| ids.contains(&method.id))
    }

    /// Seeds of the compared runs of a method.
    pub fn seeds(&self, method: &str) -> impl Iterator<Item = u64> + use<> {
        1..=self.seeds_of.get(method).copied().unwrap_or(self.seeds)
    }

    /// Seeds of the runs that choose a learning rate.
    pub fn tuning_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        FIRST_TUNING_SEED..FIRST_TUNING_SEED + self.tuning_seeds
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
