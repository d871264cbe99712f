//! From the description of an experiment to single runs.

use std::path::{Path, PathBuf};

use ggpo_train::method::AdapterKind;
use ggpo_train::run::RunConfig;
use ggpo_train::schedule::Warmup;
use ggpo_train::trainer::TrainerConfig;

use super::description::{Experiment, Grid, MethodEntry, Point, TaskEntry, sha256};
use super::primary::Primary;

/// One run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Id of the task.
    pub task: String,
    /// Id of the method.
    pub method: String,
    /// Where it stands in the grid.
    pub cell: Cell,
    /// Its description; a folder of features is named by [`FEATURES`].
    pub config: RunConfig,
    /// What it is known by: a hash of everything that its result depends on.
    pub key: String,
    /// Whether the sharpness is measured at its end.
    pub sharpness: bool,
    /// Whether it helps to choose a learning rate; nothing is kept of its test rows then.
    pub tuning: bool,
}

/// A point of the grid, and a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Rank of the adapters.
    pub rank: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Training rows drawn; none if all are used.
    pub rows: Option<usize>,
    /// Share of wrong labels.
    pub label_noise: f64,
    /// Seed.
    pub seed: u64,
}

impl Cell {
    /// Whether it lies at a point, of which what is not said does not matter.
    pub(super) fn is_at(&self, at: Point) -> bool {
        at.rank.is_none_or(|rank| rank == self.rank)
            && at.rows.is_none_or(|rows| Some(rows) == self.rows)
            && at.label_noise.is_none_or(|noise| noise == self.label_noise)
    }
}

/// What stands for the folder of the features in an experiment's paths.
pub const FEATURES: &str = "{features}";

/// Steps between two checkpoints of a run.
const CHECKPOINT_EVERY: u32 = 500;
/// Digits of a key.
const KEY: usize = 16;

impl Experiment {
    /// A run of a method on a task at a point of the grid.
    pub(super) fn planned(
        &self,
        grid: &Grid,
        task: &TaskEntry,
        method: &MethodEntry,
        rank: Option<usize>,
        rows: Option<usize>,
        label_noise: Option<f64>,
        (learning_rate, seed): (f64, u64),
    ) -> PlannedRun {
        let mut data = task.data.clone();
        data.scored_rows = grid.scored_rows.or(data.scored_rows);
        data.train_rows = rows.or(data.train_rows);
        data.label_noise = label_noise.unwrap_or(data.label_noise);
        let mut parts = method.method.clone();
        if let Some(rank) = rank.filter(|_| parts.adapter != AdapterKind::Full) {
            parts.lora.rank = rank;
            parts.lora.alpha = self.alpha_over_rank.unwrap_or(1.0) * rank as f64;
        }
        let steps = (f64::from(task.steps) * grid.step_factor.unwrap_or(1.0)).round() as u32;
        let steps = steps.max(1);
        let mut schedule = task.schedule;
        schedule.warmup = method.warmup.map_or(schedule.warmup, Warmup::Fraction);
        let mut adamw = task.adamw.clone();
        adamw.weight_decay = method.weight_decay.unwrap_or(adamw.weight_decay);
        let cell = Cell {
            rank: parts.lora.rank,
            learning_rate,
            rows: data.train_rows,
            label_noise: data.label_noise,
            seed,
        };
        let config = RunConfig {
            seed,
            model: task.model.clone(),
            adapter: None,
            batch_size: data
                .train_rows
                .map_or(task.batch_size, |rows| rows.min(task.batch_size)),
            task: data,
            method: parts,
            head: task.head,
            training: TrainerConfig {
                learning_rate,
                steps,
                schedule,
                clip: method.clip.or(task.clip),
                adamw,
            },
            micro_batches: task.micro_batches,
            evaluate_every: steps.div_ceil(task.evaluations.max(1)),
            patience: None,
            checkpoint_every: CHECKPOINT_EVERY,
        };
        let sharpness = self.primary == Primary::Sharpness;
        PlannedRun {
            key: self.key(&config, sharpness),
            task: task.id.clone(),
            method: method.id.clone(),
            cell,
            config,
            sharpness,
            tuning: false,
        }
    }

    /// The hash of everything that the result of a run depends on but for the code.
    fn key(&self, config: &RunConfig, sharpness: bool) -> String {
        let mut text = config.to_toml();
        if config.model.starts_with(FEATURES)
            && let Some(features) = &self.features
        {
            text += &toml::to_string(features).expect("settings have a TOML form");
        }
        // What only some runs are measured by.
        text += &format!("smoothing {} sharpness {sharpness}", self.smoothing);
        sha256(text.as_bytes())[..KEY].to_owned()
    }

    /// The compared runs of a level of a method on a task at a learning rate, over all
    /// points of the grid and all seeds.
    pub(super) fn compared(
        &self,
        grid: &Grid,
        task: &TaskEntry,
        method: &MethodEntry,
        learning_rate: f64,
    ) -> Vec<PlannedRun> {
        let mut runs = Vec::new();
        for label_noise in options(&grid.label_noise) {
            for rows in options(&grid.rows) {
                for rank in options(&grid.ranks) {
                    for seed in grid.seeds(&method.id) {
                        let at = (learning_rate, seed);
                        let run = self.planned(grid, task, method, rank, rows, label_noise, at);
                        runs.push(run);
                    }
                }
            }
        }
        if !grid.is_elsewhere(method) {
            runs.retain(|run| self.at.has_data_of(&run.cell));
        }
        runs
    }

    /// The runs that choose a learning rate for a method on a task, by the validation
    /// split after the last step. A file of test rows is not read; rows that are set aside
    /// from the training rows stay aside, and nothing is kept of them.
    pub(super) fn tuning(
        &self,
        grid: &Grid,
        task: &TaskEntry,
        method: &MethodEntry,
    ) -> Vec<PlannedRun> {
        let mut blind = task.clone();
        blind.data.test = None;
        blind.evaluations = 1;
        let rates = grid.learning_rates.iter();
        rates
            .flat_map(|&rate| grid.tuning_seeds().map(move |seed| (rate, seed)))
            .map(|at| PlannedRun {
                tuning: true,
                ..self.planned(grid, &blind, method, None, None, None, at)
            })
            .collect()
    }
}

/// All of a list, or nothing in particular if it is empty.
fn options<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    match values.is_empty() {
        true => vec![None],
        false => values.iter().map(|value| Some(*value)).collect(),
    }
}

impl PlannedRun {
    /// Its description with the folder of the features in place.
    pub(super) fn resolved(&self, features: Option<&Path>) -> RunConfig {
        let mut config = self.config.clone();
        let Some(folder) = features else {
            return config;
        };
        let resolve = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix(FEATURES) {
                *path = match rest.as_os_str().is_empty() {
                    true => folder.to_path_buf(),
                    false => folder.join(rest),
                };
            }
        };
        resolve(&mut config.model);
        resolve(&mut config.task.train);
        for path in [&mut config.task.validation, &mut config.task.test] {
            path.iter_mut().for_each(resolve);
        }
        config
    }

    /// About how much work it is, for a fair division and the time left: tokens read
    /// times steps.
    pub(super) fn work(&self) -> u64 {
        let config = &self.config;
        let tokens = config.batch_size * config.task.max_length;
        u64::from(config.training.steps) * tokens as u64
    }
}
