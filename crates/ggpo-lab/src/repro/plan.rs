//! From the description of the experiments to single runs.

use ggpo_train::method::MethodConfig;
use ggpo_train::run::RunConfig;
use ggpo_train::trainer::TrainerConfig;

use super::config::{Level, MethodEntry, ReproConfig, TaskEntry};

/// One run of an experiment, by what tells it from the others.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Id of the task.
    pub task: String,
    /// Id of the method.
    pub method: String,
    /// Rank of the adapters.
    pub rank: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Seed.
    pub seed: u64,
    /// The run itself.
    pub config: RunConfig,
}

impl PlannedRun {
    /// Folder of the run below the output folder.
    pub fn folder(&self) -> String {
        let PlannedRun {
            task,
            method,
            rank,
            learning_rate,
            seed,
            ..
        } = self;
        format!("runs/{task}/{method}/rank-{rank}-lr-{learning_rate}/seed-{seed}")
    }
}

/// Steps between two checkpoints of a run.
const CHECKPOINT_EVERY: u32 = 50;

fn plan(
    task: &TaskEntry,
    level: &Level,
    method: &str,
    config: MethodConfig,
    learning_rate: f64,
    seed: u64,
) -> PlannedRun {
    let mut data = task.data.clone();
    data.scored_rows = level.scored_rows.or(data.scored_rows);
    let steps = ((f64::from(task.steps) * level.step_factor).round() as u32).max(1);
    PlannedRun {
        task: task.id.clone(),
        method: method.to_owned(),
        rank: config.lora.rank,
        learning_rate,
        seed,
        config: RunConfig {
            seed,
            model: task.model.clone(),
            task: data,
            method: config,
            training: TrainerConfig {
                learning_rate,
                steps,
                schedule: task.schedule,
                clip: task.clip,
                adamw: Default::default(),
            },
            batch_size: task.batch_size,
            micro_batches: 1,
            evaluate_every: steps.div_ceil(task.evaluations.max(1)),
            checkpoint_every: CHECKPOINT_EVERY,
        },
    }
}

/// The runs that choose a learning rate for a method on a task.
pub fn tuning(task: &TaskEntry, method: &MethodEntry, level: &Level) -> Vec<PlannedRun> {
    let mut runs = Vec::new();
    for &learning_rate in &level.learning_rates {
        for &seed in &level.tuning_seeds {
            let config = method.config.clone();
            runs.push(plan(task, level, &method.id, config, learning_rate, seed));
        }
    }
    runs
}

/// The compared runs of a method on a task at one learning rate.
pub fn compared(
    task: &TaskEntry,
    method: &MethodEntry,
    level: &Level,
    learning_rate: f64,
) -> Vec<PlannedRun> {
    let one = |&seed: &u64| {
        let config = method.config.clone();
        plan(task, level, &method.id, config, learning_rate, seed)
    };
    level.seeds.iter().map(one).collect()
}

/// The runs of the rank sweep; none if the study has none.
pub fn rank_sweep(config: &ReproConfig, level: &Level) -> Vec<PlannedRun> {
    let Some(sweep) = &config.rank_sweep else {
        return Vec::new();
    };
    let mut runs = Vec::new();
    for id in &sweep.methods {
        for &rank in &level.ranks {
            let mut method = config.method(id).config.clone();
            method.lora.rank = rank;
            method.lora.alpha = sweep.alpha_over_rank * rank as f64;
            for &seed in &level.sweep_seeds {
                let method = method.clone();
                runs.push(plan(
                    &sweep.task,
                    level,
                    id,
                    method,
                    sweep.learning_rate,
                    seed,
                ));
            }
        }
    }
    runs
}

/// The runs of the loss bump; none if the study has none.
pub fn loss_bump(config: &ReproConfig, level: &Level) -> Vec<PlannedRun> {
    let Some(bump) = &config.loss_bump else {
        return Vec::new();
    };
    let mut runs = Vec::new();
    for id in &bump.methods {
        let mut method = config.method(id).config.clone();
        method.lora.rank = bump.rank;
        method.lora.alpha = bump.rank as f64;
        for &learning_rate in &level.bump_learning_rates {
            for &seed in &level.bump_seeds {
                let method = method.clone();
                runs.push(plan(&bump.task, level, id, method, learning_rate, seed));
            }
        }
    }
    runs
}
