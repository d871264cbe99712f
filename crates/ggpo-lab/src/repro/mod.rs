//! The experiments: many runs, tuned alike, compared and reported.
//!
//! Every method gets the same trials of learning rates on every task, judged
//! on the validation split with seeds that are used for nothing else. Then all
//! methods run with the compared seeds, at the learning rate each has chosen
//! and at the one the reference method has chosen.

pub mod answers;
pub mod config;
mod cost;
mod execute;
mod outcome;
mod peers;
pub mod plan;
mod report;
pub mod score;

use std::path::Path;

use ggpo_train::run::{Corpora, Keep, RunResult};
use ggpo_train::{Error, Result};

pub use config::{DEFAULT_STUDY, ReproConfig};
pub use cost::{PeakOfMethod, peak_memory_mib, run_steps};
pub(crate) use report::{RatioLine, ratio_over_tokens};

pub use outcome::{Cost, FinishedRun, MethodCost, MethodOutcome, Outcome, TaskOutcome};

use config::{Level, TaskEntry};
use score::Score;

/// Carries out all experiments at a level of effort and writes the report to
/// `out`; continues where an earlier call stopped.
///
/// # Errors
/// If the level does not exist, an input cannot be used or a file not written.
pub fn reproduce(
    config: ReproConfig,
    level_name: &str,
    out: &Path,
    peak_of_method: PeakOfMethod<'_>,
) -> Result<Outcome> {
    let Some(level) = config.levels.get(level_name).cloned() else {
        let names: Vec<&str> = config.levels.keys().map(String::as_str).collect();
        return Err(Error::config("level", names.join(", "), level_name));
    };
    let corpora = Corpora::default();
    let mut tasks = Vec::new();
    for task in &config.tasks {
        tasks.push(compare(&config, task, &level, &corpora, out)?);
    }
    let finish = |runs, label| execute::finish(runs, &corpora, out, Keep::Records, label);
    let sweep = finish(plan::rank_sweep(&config, &level), "rank sweep")?;
    let bump = finish(plan::loss_bump(&config, &level), "loss bump")?;
    let measure = |entry| cost::measure(entry, level.cost_steps, &tasks, out, peak_of_method);
    let cost = config.cost.as_ref().map(measure).transpose()?;
    let outcome = Outcome {
        config,
        level: level_name.to_owned(),
        tasks,
        sweep,
        bump,
        cost,
    };
    report::write(&outcome, out)?;
    Ok(outcome)
}

/// Compares the finished experiments with runs of the same descriptions by
/// another implementation and writes `peers.md` to `out`.
///
/// `folder` holds one folder per task, under the task's id, with the files that
/// `peers/train_classification.py` writes: `METHOD-lrRATE-seedSEED.json`.
///
/// # Errors
/// If a file cannot be read or written, is of no task or method of the study,
/// or of a run with other settings, or if there is nothing to compare.
pub fn compare_with_peers(outcome: &Outcome, folder: &Path, out: &Path) -> Result<()> {
    let runs = peers::read(outcome, folder)?;
    report::write_peers(outcome, &runs, out)
}

/// Tunes and compares all methods on one task.
fn compare(
    config: &ReproConfig,
    task: &TaskEntry,
    level: &Level,
    corpora: &Corpora,
    out: &Path,
) -> Result<TaskOutcome> {
    let finish = |runs, label: &str| execute::finish(runs, corpora, out, Keep::Records, label);
    let plans = config.methods.iter();
    let tuning = plans.flat_map(|method| plan::tuning(task, method, level));
    let label = format!("{}: tuning", task.id);
    let mut tuning = finish(tuning.collect(), &label)?;
    let mut chosen = Vec::new();
    for method in &config.methods {
        let (own, rest): (Vec<_>, Vec<_>) = tuning
            .into_iter()
            .partition(|run| run.plan.method == method.id);
        tuning = rest;
        let learning_rate = choose_learning_rate(&own, &level.learning_rates, task.judged_by());
        chosen.push((method, own, learning_rate));
    }
    let reference = chosen
        .iter()
        .find(|(method, ..)| method.id == config.reference);
    let (_, _, common_learning_rate) = *reference.expect("checked when the file was read");

    let mut runs = Vec::new();
    for (method, _, learning_rate) in &chosen {
        runs.extend(plan::compared(task, method, level, *learning_rate));
        if *learning_rate != common_learning_rate {
            runs.extend(plan::compared(task, method, level, common_learning_rate));
        }
    }
    let compared = finish(runs, &format!("{}: comparison", task.id))?;
    let of = |id: &str, learning_rate: f64| -> Vec<FinishedRun> {
        compared
            .iter()
            .filter(|run| run.plan.method == id && run.plan.learning_rate == learning_rate)
            .cloned()
            .collect()
    };
    let methods = chosen
        .into_iter()
        .map(|(method, tuning, learning_rate)| MethodOutcome {
            id: method.id.clone(),
            title: method.title.clone(),
            tuning,
            learning_rate,
            best: of(&method.id, learning_rate),
            common: of(&method.id, common_learning_rate),
        })
        .collect();
    Ok(TaskOutcome {
        task: task.clone(),
        common_learning_rate,
        methods,
    })
}

/// The learning rate with the best mean validation score of its tuning runs;
/// one at which a run diverged only if it happened at every one.
fn choose_learning_rate(tuning: &[FinishedRun], rates: &[f64], score: Score) -> f64 {
    let judge = |&rate: &f64| {
        let runs = || {
            tuning
                .iter()
                .filter(move |run| run.plan.learning_rate == rate)
        };
        let mean = |quality: &dyn Fn(&RunResult) -> f64| {
            runs().map(|run| quality(&run.result)).sum::<f64>() / runs().count() as f64
        };
        let stayed = runs().all(|run| run.result.diverged_at.is_none());
        let quality = mean(&|result| score.quality(&result.validation));
        (stayed, quality, -mean(&|result| result.validation.loss))
    };
    let better = |a: &f64, b: &f64| judge(a).partial_cmp(&judge(b)).expect("finite scores");
    // Of equals the lowest: `max_by` keeps the last.
    let rates = rates.iter().rev().copied();
    rates.max_by(better).expect("at least one learning rate")
}
