//! The numbers of every run as CSV.

use ggpo_train::{Error, Result};

use crate::repro::outcome::{FinishedRun, Outcome};
use crate::repro::report::summary::bump_of;
use crate::repro::score::Score;

/// Heads of the columns.
const COLUMNS: [&str; 26] = [
    "experiment",
    "task",
    "method",
    "rank",
    "learning_rate",
    "seed",
    "diverged_at",
    "best_step",
    "validation_loss",
    "validation_accuracy",
    "validation_matthews",
    "validation_f1",
    "test_loss",
    "test_accuracy",
    "test_matthews",
    "test_f1",
    "last_test_loss",
    "last_test_accuracy",
    "last_train_loss",
    "last_train_accuracy",
    "bump_height",
    "bump_length",
    "bump_recovered",
    "trained_parameters",
    "gradient_share",
    "gradient_norm_ratio",
];

/// One row per finished run and experiment; a number that does not exist is
/// empty, and every other is written so that reading it gives the same bits.
///
/// # Errors
/// Never in practice: the table is written to memory.
pub(super) fn results(outcome: &Outcome) -> Result<Vec<u8>> {
    let refused = |error: &dyn std::fmt::Display| Error::file("results.csv", error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    let applies = COLUMNS.map(|column| applies(outcome, column));
    let mut write = |row: [&str; COLUMNS.len()]| {
        let cells = row.iter().zip(applies).filter(|(_, applies)| *applies);
        writer
            .write_record(cells.map(|(cell, _)| cell))
            .map_err(|error| refused(&error))
    };
    write(COLUMNS)?;
    for (experiment, run) in runs(outcome) {
        let row = row(outcome, experiment, run);
        write(row.each_ref().map(String::as_str))?;
    }
    writer.into_inner().map_err(|error| refused(&error))
}

/// Whether the study has use for a column.
fn applies(outcome: &Outcome, column: &str) -> bool {
    let mut tasks = outcome.tasks.iter();
    let mut judges = |score| tasks.any(|task| task.task.judged_by() == score);
    match column {
        "validation_matthews" => judges(Score::Matthews),
        "validation_f1" => judges(Score::F1),
        "bump_height" | "bump_length" | "bump_recovered" => outcome.config.loss_bump.is_some(),
        _ => true,
    }
}

/// All runs with their experiment; a run may serve several.
fn runs(outcome: &Outcome) -> Vec<(&'static str, &FinishedRun)> {
    let mut all = Vec::new();
    for method in outcome.tasks.iter().flat_map(|task| &task.methods) {
        all.extend(method.tuning.iter().map(|run| ("comparison-tuning", run)));
        all.extend(method.best.iter().map(|run| ("comparison-best", run)));
        all.extend(method.common.iter().map(|run| ("comparison-common", run)));
    }
    all.extend(outcome.sweep.iter().map(|run| ("rank-sweep", run)));
    all.extend(outcome.bump.iter().map(|run| ("loss-bump", run)));
    all
}

fn row(outcome: &Outcome, experiment: &str, run: &FinishedRun) -> [String; COLUMNS.len()] {
    let FinishedRun { plan, result } = run;
    let bump = (!result.losses.is_empty()).then(|| bump_of(outcome, &result.losses));
    let accuracy = |scores: &ggpo_train::metrics::Scores| {
        optional(scores.classes.as_ref().map(|classes| classes.accuracy))
    };
    let classes = run.test().classes.as_ref();
    let validation = result.validation.classes.as_ref();
    let noise = result.noise.iter().flat_map(|(_, layers)| layers);
    let audit = result.audit.iter().flat_map(|(_, layers)| layers);
    let known = audit.filter(|layer| layer.exact > 0.0);
    [
        experiment.to_owned(),
        plan.task.clone(),
        plan.method.clone(),
        plan.rank.to_string(),
        number(plan.learning_rate),
        plan.seed.to_string(),
        result
            .diverged_at
            .map_or_else(String::new, |step| step.to_string()),
        result.best_step.to_string(),
        number(result.validation.loss),
        accuracy(&result.validation),
        optional(validation.map(|classes| classes.matthews)),
        optional(validation.map(|classes| classes.f1)),
        number(run.test().loss),
        accuracy(run.test()),
        optional(classes.map(|classes| classes.matthews)),
        optional(classes.map(|classes| classes.f1)),
        number(run.last_test().loss),
        accuracy(run.last_test()),
        number(result.last_train.loss),
        accuracy(&result.last_train),
        optional(bump.map(|bump| bump.height)),
        bump.map_or_else(String::new, |bump| bump.length.to_string()),
        bump.map_or_else(String::new, |bump| bump.recovered.to_string()),
        result.trained_parameters.to_string(),
        mean(noise.map(|layer| layer.gradient_share)),
        mean(known.map(|layer| layer.approximate / layer.exact)),
    ]
}

fn number(value: f64) -> String {
    if value.is_finite() {
        value.to_string()
    } else {
        String::new()
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

fn mean(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    optional(crate::statistics::mean(&values))
}
