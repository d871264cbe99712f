//! The course of the training loss: the double descent of the paper.

use ggpo_report::format::{fixed, significant};
use ggpo_report::{
    Axis, Block, Cell, Column, CurvePanel, CurvePlot, CurvePoint, Figure, Plot, Series, Table,
};

use super::super::description::{MethodEntry, TaskEntry};
use super::super::outcome::{Outcome, Run};
use super::{Findings, comparison};
use crate::statistics::mean;

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    comparison::of_tasks(outcome, |task, judged| {
        vec![
            Block::Figure(losses(outcome, task)),
            Block::Table(bumps(outcome, task)),
            Block::Figure(comparison::intervals(outcome, task, judged)),
            Block::Table(comparison::table(outcome, task, judged)),
        ]
    })
}

/// The runs of a method, by their learning rate.
fn by_rate<'a>(
    outcome: &Outcome<'a>,
    task: &TaskEntry,
    method: &MethodEntry,
) -> Vec<(f64, Vec<Run<'a>>)> {
    let rates = outcome.grid.learning_rates.iter();
    let of = |&rate: &f64| {
        let mut runs = outcome.runs_at(task, method, outcome.experiment.at);
        runs.retain(|run| run.cell.learning_rate == rate);
        (rate, runs)
    };
    rates.map(of).collect()
}

/// The mean training loss over the steps, one panel for each learning rate.
fn losses(outcome: &Outcome<'_>, task: &TaskEntry) -> Figure {
    let experiment = outcome.experiment;
    let methods = experiment.methods_of(outcome.grid);
    let steps = f64::from(task.steps) * outcome.grid.step_factor.unwrap_or(1.0);
    let panel = |(index, &rate): (usize, &f64)| {
        let curve = |method: &&MethodEntry| {
            let (_, runs) = by_rate(outcome, task, method).swap_remove(index);
            let pieces = runs
                .iter()
                .map(|run| run.record.losses.len())
                .min()
                .unwrap_or(0);
            let point = |piece: usize| {
                let at: Vec<f64> = runs.iter().map(|run| run.record.losses[piece]).collect();
                let step = (piece as f64 + 0.5) / pieces as f64 * steps;
                mean(&at).map(|loss| CurvePoint::new(step, loss))
            };
            Series::new(&method.title, (0..pieces).filter_map(point).collect())
        };
        CurvePanel {
            title: format!("learning rate {}", significant(rate, 2)),
            x: Axis::linear("step"),
            y: Axis::linear("training loss (nats)"),
            series: methods.iter().map(curve).collect(),
            references: Vec::new(),
        }
    };
    Figure {
        id: format!("{}-{}-losses", experiment.id, task.id),
        title: format!("{}: training loss over the steps", task.title),
        description: "The mean over the seeds, as far as no run of the method diverged; a bump is \
                      a rise after a fall."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: outcome
                .grid
                .learning_rates
                .iter()
                .enumerate()
                .map(panel)
                .collect(),
            columns: 2,
            shared_x: true,
            shared_y: true,
        }),
    }
}

/// Height and length of the bump and diverged runs, by method and learning rate.
fn bumps(outcome: &Outcome<'_>, task: &TaskEntry) -> Table {
    let mut table = Table::new(
        format!(
            "{}: the highest rise of the smoothed training loss above its lowest value before \
             (weight of a new loss {}), and how long it took to come back.",
            task.title, outcome.experiment.smoothing
        ),
        vec![
            Column::words("method"),
            Column::numbers("learning rate"),
            Column::numbers("runs"),
            Column::numbers("diverged"),
            Column::numbers("height (nats)"),
            Column::numbers("length (steps)"),
            Column::numbers("came back"),
        ],
    );
    for method in outcome.experiment.methods_of(outcome.grid) {
        for (rate, runs) in by_rate(outcome, task, method) {
            let bumps: Vec<_> = runs.iter().map(|run| run.record.bump).collect();
            let count = |number: usize| Cell::number(number as f64, number.to_string());
            let average = |values: Vec<f64>, decimals| match mean(&values) {
                Some(mean) => Cell::number(mean, fixed(mean, decimals)),
                None => Cell::default(),
            };
            let diverged = runs.iter().filter(|run| run.record.diverged_at.is_some());
            table.row([
                Cell::from(method.title.as_str()),
                Cell::number(rate, significant(rate, 2)),
                count(runs.len()),
                count(diverged.count()),
                average(bumps.iter().map(|bump| bump.height).collect(), 4),
                average(bumps.iter().map(|bump| bump.length as f64).collect(), 1),
                count(bumps.iter().filter(|bump| bump.recovered).count()),
            ]);
        }
    }
    table
}
