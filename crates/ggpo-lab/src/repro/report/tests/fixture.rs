//! Results made by arithmetic, to test the layout of the report: no number here
//! was measured.

use std::path::Path;

use ggpo_lora::NoiseStatistics;
use ggpo_train::metrics::{ClassScores, Scores};
use ggpo_train::run::{RunResult, TaskKind};
use ggpo_train::trainer::GradientAudit;

use crate::repro::config::{CostEntry, DEFAULT_STUDY, Level, ReproConfig};
use crate::repro::outcome::{Cost, FinishedRun, MethodCost, MethodOutcome, Outcome, TaskOutcome};
use crate::repro::plan::{self, PlannedRun};

/// The experiments of the workspace.
const CONFIG: &str = include_str!("../../../../../../experiments/repro.toml");

/// A number in [-1, 1] that looks like chance but follows from its arguments.
fn wobble(seed: u64, index: u64) -> f64 {
    let mixed = (seed * 1_000_003 + index * 7919 + 17).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) as f64 / (1_u64 << 23) as f64) - 1.0
}

/// An outcome of the level of the default study, as if all runs had finished.
pub(super) fn outcome(level_name: &str) -> Outcome {
    of_study(CONFIG, DEFAULT_STUDY, level_name)
}

/// An outcome of a study, as if all runs had finished.
pub(super) fn of_study(text: &str, path: &str, level_name: &str) -> Outcome {
    let config = ReproConfig::parse(text, Path::new(path)).expect("the study is well described");
    let level = config.levels[level_name].clone();
    let rates = &level.learning_rates;
    let mut tasks = Vec::new();
    for task in &config.tasks {
        let common_learning_rate = rates[rates.len() / 2];
        let mut methods = Vec::new();
        for (index, method) in config.methods.iter().enumerate() {
            let learning_rate = rates[(index + rates.len() / 2) % rates.len()];
            let runs = |rate| finish(plan::compared(task, method, &level, rate), index);
            methods.push(MethodOutcome {
                id: method.id.clone(),
                title: method.title.clone(),
                tuning: finish(plan::tuning(task, method, &level), index),
                learning_rate,
                best: runs(learning_rate),
                common: runs(common_learning_rate),
            });
        }
        tasks.push(TaskOutcome {
            task: task.clone(),
            common_learning_rate,
            methods,
        });
    }
    let cost = config.cost.as_ref().map(|entry| cost(&config, entry));
    Outcome {
        sweep: finish(plan::rank_sweep(&config, &level), 1),
        bump: bumpy(&config, &level),
        level: level_name.to_owned(),
        config,
        tasks,
        cost,
    }
}

fn cost(config: &ReproConfig, entry: &CostEntry) -> Cost {
    let one = |(index, method): (usize, &crate::repro::config::MethodEntry)| {
        let ms = |step: u64| 40.0 + 3.0 * index as f64 + wobble(index as u64, step);
        MethodCost {
            method: method.id.clone(),
            step_ms: (0..20).map(ms).collect(),
            peak_mib: Some(180.0 + 9.0 * index as f64),
        }
    };
    Cost {
        task: entry.task.clone(),
        threads: 2,
        methods: config.methods.iter().enumerate().map(one).collect(),
    }
}

fn finish(plans: Vec<PlannedRun>, method: usize) -> Vec<FinishedRun> {
    let one = |plan: PlannedRun| FinishedRun {
        result: result(&plan, method),
        plan,
    };
    plans.into_iter().map(one).collect()
}

fn bumpy(config: &ReproConfig, level: &Level) -> Vec<FinishedRun> {
    let mut runs = finish(plan::loss_bump(config, level), 1);
    for run in &mut runs {
        let rate = run.plan.learning_rate;
        let calm = if run.plan.method == config.reference {
            1.0
        } else {
            0.6
        };
        for (step, loss) in run.result.losses.iter_mut().enumerate() {
            let distance = (step as f64 - 50.0) / 12.0;
            *loss += 60.0 * calm * rate * (-distance * distance).exp();
        }
        if rate > 0.02 && run.plan.seed == 2 {
            run.result.losses.truncate(70);
            run.result.diverged_at = Some(70);
        }
    }
    runs
}

fn result(plan: &PlannedRun, method: usize) -> RunResult {
    let steps = plan.config.training.steps;
    let at = |step: u32, gain: f64| {
        let done = f64::from(step) / f64::from(steps);
        let quality = 1.0 - (-4.0 * done).exp();
        let luck = 0.012 * wobble(plan.seed, method as u64 + 10 * u64::from(step));
        let better = gain * method as f64 * done;
        match plan.config.task.kind {
            TaskKind::Classification => class_scores(0.52 + 0.36 * quality + luck + better),
            _ => Scores {
                loss: 4.4 - 0.6 * quality - luck - better,
                classes: None,
                regression: None,
            },
        }
    };
    let (last_train, last_test) = match plan.config.task.label_noise > 0.0 {
        true => swept(plan),
        false => (at(steps, 0.012), at(steps, 0.01)),
    };
    let every = plan.config.evaluate_every as usize;
    let looks: Vec<u32> = (every as u32..steps)
        .step_by(every)
        .chain([steps])
        .collect();
    let has_noise = plan.config.method.perturbation.is_some();
    let noisy: &[u32] = if has_noise { &looks } else { &[] };
    let loss = |step: u32| {
        0.3 + 2.0 * (-f64::from(step) / 40.0).exp() + 0.15 * wobble(plan.seed, u64::from(step))
            - 0.02 * method as f64
    };
    RunResult {
        diverged_at: None,
        diverged: None,
        best_step: steps,
        validation: at(steps, 0.01),
        test: Some(at(steps, 0.008)),
        last_test: Some(last_test),
        last_train,
        losses: (0..steps).map(loss).collect(),
        evaluations: [0]
            .iter()
            .chain(&looks)
            .map(|step| (*step, at(*step, 0.01)))
            .collect(),
        noise: noisy
            .iter()
            .map(|step| (*step, noise(plan, *step)))
            .collect(),
        audit: noisy
            .iter()
            .map(|step| (*step, audit(plan, *step)))
            .collect(),
        trained_parameters: 1000 * plan.rank * (method + 1),
        model_bytes: 0,
    }
}

fn class_scores(accuracy: f64) -> Scores {
    Scores {
        loss: 1.6 * (1.0 - accuracy),
        classes: Some(ClassScores {
            accuracy,
            matthews: 2.0 * accuracy - 1.0,
            f1: accuracy - 0.01,
            binary_f1: None,
        }),
        regression: None,
    }
}

/// Errors over the rank with a peak where the rows are just fitted.
fn swept(plan: &PlannedRun) -> (Scores, Scores) {
    let size = (plan.rank as f64).log2();
    let luck = 0.01 * wobble(plan.seed, plan.rank as u64);
    let gentle = if plan.method == "ggpo" { 0.8 } else { 1.0 };
    let train = (0.30 - 0.075 * gentle * size).max(0.002);
    let peak = 0.12 * gentle * (-(size - 3.5) * (size - 3.5)).exp();
    let test = 0.42 - 0.02 * size + peak + luck;
    (class_scores(1.0 - train), class_scores(1.0 - test))
}

const KINDS: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];

fn layers() -> impl Iterator<Item = (u64, String)> {
    let name = |index: u64| format!("encoder.layer.{}.{}", index / 6, KINDS[index as usize % 6]);
    (0..24).map(move |index| (index, name(index)))
}

fn noise(plan: &PlannedRun, step: u32) -> Vec<NoiseStatistics> {
    let one = |(index, _): (u64, String)| {
        let size = 1.5 * wobble(plan.seed, index) - 7.0 - f64::from(step) / 80.0;
        let is_first = step == plan.config.evaluate_every && index % 6 == 0;
        NoiseStatistics {
            row_std: 0.003,
            gradient_share: if is_first { 0.0 } else { 10_f64.powf(size) },
            weight_norm: 1.0 + 0.01 * index as f64,
            grad_norm: 1e-3,
        }
    };
    layers().map(one).collect()
}

fn audit(plan: &PlannedRun, step: u32) -> Vec<GradientAudit> {
    let one = |(index, module): (u64, String)| GradientAudit {
        module,
        approximate: 0.3 + 0.1 * wobble(plan.seed + index, u64::from(step)),
        exact: 1.0,
    };
    layers().map(one).collect()
}
