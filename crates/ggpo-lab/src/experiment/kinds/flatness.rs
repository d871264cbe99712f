//! Sharpness at the end of the runs, in both spaces, beside how well they generalise.

use ggpo_report::format::{ABSENT, signed, significant};
use ggpo_report::{Axis, Block, Cell, Column, CurvePanel, CurvePlot, Figure, Plot, Series, Table};

use super::super::description::TaskEntry;
use super::super::outcome::Outcome;
use super::super::primary::{Measure, SPACES};
use super::{Findings, comparison};
use crate::statistics::{mean, rank_correlation};

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    comparison::of_tasks(outcome, |task, judged| {
        vec![
            Block::Figure(comparison::intervals(outcome, task, judged)),
            Block::Table(comparison::table(outcome, task, judged)),
            Block::Table(measures(outcome, task)),
            Block::Figure(gaps(outcome, task)),
            Block::Table(correlations(outcome, task)),
        ]
    })
}

/// Every measure in both spaces.
const MEASURES: [(&str, Measure); 8] = [
    ("SAM sharpness, merged weights", |it| it.merged.rise),
    ("SAM sharpness, factors", |it| it.factors.rise),
    ("largest eigenvalue, merged weights", |it| {
        it.merged.eigenvalue
    }),
    ("largest eigenvalue, factors", |it| it.factors.eigenvalue),
    ("trace, merged weights", |it| it.merged.trace),
    ("trace, factors", |it| it.factors.trace),
    ("increase under GGPO's noise, measured", |it| it.noise_rise),
    ("increase under GGPO's noise, predicted", |it| {
        it.noise_predicted
    }),
];

/// The mean of every measure for every method.
fn measures(outcome: &Outcome<'_>, task: &TaskEntry) -> Table {
    let methods = outcome.experiment.methods_of(outcome.grid);
    let mut columns = vec![Column::words("measure")];
    columns.extend(methods.iter().map(|method| Column::numbers(&method.title)));
    let mut table = Table::new(
        format!(
            "{}: sharpness on the training rows at the end, means over the seeds.",
            task.title
        ),
        columns,
    );
    for (name, measure) in MEASURES {
        let mut cells = vec![Cell::from(name)];
        for method in &methods {
            let runs = outcome.runs_at(task, method, outcome.experiment.at);
            let values = runs
                .iter()
                .filter_map(|run| run.record.sharpness.as_ref())
                .map(measure);
            cells.push(match mean(&values.collect::<Vec<_>>()) {
                Some(mean) => Cell::number(mean, significant(mean, 3)),
                None => ABSENT.into(),
            });
        }
        table.row(cells);
    }
    table
}

/// Sharpness and gap of all runs, method by method.
fn pairs(outcome: &Outcome<'_>, task: &TaskEntry, measure: Measure) -> Vec<Series> {
    let methods = outcome.experiment.methods_of(outcome.grid).into_iter();
    methods
        .map(|method| {
            let runs = outcome.runs_at(task, method, outcome.experiment.at);
            let point = |run: &super::super::outcome::Run<'_>| {
                let record = run.record;
                let sharpness = measure(record.sharpness.as_ref()?);
                Some((sharpness, record.test.as_ref()?.loss - record.train.loss))
            };
            Series {
                label: method.title.clone(),
                points: Vec::new(),
                cloud: runs.iter().filter_map(point).collect(),
            }
        })
        .collect()
}

/// The generalisation gap over the sharpness in both spaces.
fn gaps(outcome: &Outcome<'_>, task: &TaskEntry) -> Figure {
    let panel = |(space, measure): (&str, Measure)| CurvePanel {
        title: format!("in the {space}"),
        x: Axis::log("SAM sharpness"),
        y: Axis::linear("test loss less training loss"),
        series: pairs(outcome, task, measure),
        references: Vec::new(),
    };
    Figure {
        id: format!("{}-{}-gaps", outcome.experiment.id, task.id),
        title: format!("{}: does flat mean good?", task.title),
        description: "Every run with its sharpness and its generalisation gap. If flat minima \
                      generalise better, the points rise to the right."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: SPACES.into_iter().map(panel).collect(),
            columns: 2,
            shared_x: false,
            shared_y: true,
        }),
    }
}

/// The rank correlation of every measure with the gap.
fn correlations(outcome: &Outcome<'_>, task: &TaskEntry) -> Table {
    let mut table = Table::new(
        format!(
            "{}: rank correlation of sharpness with the generalisation gap over all runs.",
            task.title
        ),
        vec![
            Column::words("measure"),
            Column::numbers("runs"),
            Column::numbers("Spearman's rho"),
            Column::numbers("95 % interval"),
        ],
    );
    for (name, measure) in MEASURES {
        let series = pairs(outcome, task, measure);
        let all: Vec<(f64, f64)> = series.into_iter().flat_map(|it| it.cloud).collect();
        let Some(found) = rank_correlation(&all, 0.95) else {
            continue;
        };
        let interval = found.interval.map_or(ABSENT.to_owned(), |it| {
            format!("{} to {}", signed(it.low, 2), signed(it.high, 2))
        });
        table.row([
            Cell::from(name),
            Cell::number(all.len() as f64, all.len().to_string()),
            Cell::number(found.value, signed(found.value, 2)),
            interval.into(),
        ]);
    }
    table
}
