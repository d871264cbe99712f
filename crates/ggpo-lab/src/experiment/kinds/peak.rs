//! Test error over the rank: the classical double descent.

use ggpo_report::format::{fixed, percent};
use ggpo_report::{
    Axis, Block, Cell, Column, CurvePanel, CurvePlot, CurvePoint, Figure, Place, Plot,
    ReferenceLine, Series, Table,
};

use super::super::description::{MethodEntry, Point, TaskEntry};
use super::super::outcome::Outcome;
use super::{Findings, comparison};
use crate::statistics::{mean, t_interval};

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    comparison::of_tasks(outcome, |task, judged| {
        vec![
            Block::Figure(curves(outcome, task)),
            Block::Table(peaks(outcome, task)),
            Block::Figure(comparison::intervals(outcome, task, judged)),
            Block::Table(comparison::table(outcome, task, judged)),
            Block::Details {
                summary: "Training and test loss at every rank".to_owned(),
                blocks: vec![Block::Table(ranks(outcome, task))],
            },
        ]
    })
}

/// Every combination of rows and wrong labels, with words for it.
fn settings(outcome: &Outcome<'_>) -> Vec<(Point, String)> {
    let all = |values: &[f64]| match values.is_empty() {
        true => vec![None],
        false => values.iter().map(|&value| Some(value)).collect(),
    };
    let rows: Vec<f64> = outcome.grid.rows.iter().map(|&rows| rows as f64).collect();
    let mut settings = Vec::new();
    for label_noise in all(&outcome.grid.label_noise) {
        for rows in all(&rows) {
            let mut words = Vec::new();
            words.extend(rows.map(|rows| format!("{rows} rows")));
            words.extend(label_noise.map(|noise| format!("{} wrong labels", percent(noise, 0))));
            let at = Point {
                rank: None,
                rows: rows.map(|rows| rows as usize),
                label_noise,
            };
            settings.push((at, words.join(", ")));
        }
    }
    settings
}

/// The measure of a method at a rank.
fn at_rank(
    outcome: &Outcome<'_>,
    task: &TaskEntry,
    method: &MethodEntry,
    at: Point,
    rank: usize,
) -> Vec<f64> {
    let at = Point {
        rank: Some(rank),
        ..at
    };
    let runs = outcome.runs_at(task, method, at);
    runs.iter().map(|run| outcome.value(run.record)).collect()
}

/// The measure over the rank, one panel for each setting.
fn curves(outcome: &Outcome<'_>, task: &TaskEntry) -> Figure {
    let experiment = outcome.experiment;
    let ranks = &outcome.grid.ranks;
    let mut shown = experiment.methods_of(outcome.grid);
    shown.retain(|method| outcome.grid.is_elsewhere(method));
    let panel = |(at, title): (Point, String)| {
        let curve = |method: &&MethodEntry| {
            let point = |&rank: &usize| {
                let values = at_rank(outcome, task, method, at, rank);
                let mean = mean(&values)?;
                Some(match t_interval(&values, 0.95) {
                    Some(ends) => CurvePoint::in_band(rank as f64, mean, ends.low, ends.high),
                    None => CurvePoint::new(rank as f64, mean),
                })
            };
            Series::new(&method.title, ranks.iter().filter_map(point).collect())
        };
        let tested = experiment.at.rank.filter(|_| {
            experiment.at.rows == at.rows && experiment.at.label_noise == at.label_noise
        });
        let references = tested.map(|rank| ReferenceLine {
            at: Place::X(rank as f64),
            label: "tested here".to_owned(),
        });
        CurvePanel {
            title,
            x: Axis::log("rank").with_ticks(ranks.iter().map(|&rank| rank as f64)),
            y: Axis::linear(experiment.primary.title()),
            series: shown.iter().map(curve).collect(),
            references: references.into_iter().collect(),
        }
    };
    Figure {
        id: format!("{}-{}-ranks", experiment.id, task.id),
        title: format!(
            "{}: {} over the rank",
            task.title,
            experiment.primary.title()
        ),
        description: "Mean after the last step with its 95 % t interval. A peak in the middle is \
                      the classical double descent: more parameters first hurt, then help."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: settings(outcome).into_iter().map(panel).collect(),
            columns: 1,
            shared_x: true,
            shared_y: false,
        }),
    }
}

/// Where every method has its peak, and how far it stands above both ends.
fn peaks(outcome: &Outcome<'_>, task: &TaskEntry) -> Table {
    let decimals = outcome.experiment.primary.decimals();
    let mut table = Table::new(
        format!("{}: the highest mean over the ranks.", task.title),
        vec![
            Column::words("method"),
            Column::words("setting"),
            Column::numbers("at rank"),
            Column::numbers("peak"),
            Column::numbers("at the lowest rank"),
            Column::numbers("at the highest rank"),
            Column::words("a peak in the middle"),
        ],
    );
    for method in outcome.experiment.methods_of(outcome.grid) {
        for (at, setting) in settings(outcome) {
            let means: Vec<(usize, f64)> = outcome
                .grid
                .ranks
                .iter()
                .filter_map(|&rank| {
                    let values = at_rank(outcome, task, method, at, rank);
                    Some((rank, mean(&values)?))
                })
                .collect();
            let highest = means.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            let (Some(first), Some(last), Some(peak)) = (means.first(), means.last(), highest)
            else {
                continue;
            };
            let inside = peak.0 != first.0 && peak.0 != last.0;
            let number = |value: f64| Cell::number(value, fixed(value, decimals));
            table.row([
                Cell::from(method.title.as_str()),
                setting.into(),
                Cell::number(peak.0 as f64, peak.0.to_string()),
                number(peak.1),
                number(first.1),
                number(last.1),
                if inside { "yes" } else { "no" }.into(),
            ]);
        }
    }
    table
}

/// Training and test loss of every method at every rank.
fn ranks(outcome: &Outcome<'_>, task: &TaskEntry) -> Table {
    let mut table = Table::new(
        format!("{}: means over the seeds.", task.title),
        vec![
            Column::words("method"),
            Column::words("setting"),
            Column::numbers("rank"),
            Column::numbers("runs"),
            Column::numbers("training loss"),
            Column::numbers("training error (%)"),
            Column::numbers("test loss"),
            Column::numbers("test error (%)"),
        ],
    );
    for method in outcome.experiment.methods_of(outcome.grid) {
        for (at, setting) in settings(outcome) {
            for &rank in &outcome.grid.ranks {
                let at = Point {
                    rank: Some(rank),
                    ..at
                };
                let runs = outcome.runs_at(task, method, at);
                if runs.is_empty() {
                    continue;
                }
                let scores = |train: bool| {
                    runs.iter().filter_map(move |run| match train {
                        true => Some(&run.record.train),
                        false => run.record.test.as_ref(),
                    })
                };
                let loss = |train| mean(&scores(train).map(|it| it.loss).collect::<Vec<_>>());
                let error = |train| {
                    let classes = scores(train).filter_map(|it| it.classes.as_ref());
                    mean(
                        &classes
                            .map(|it| 100.0 * (1.0 - it.accuracy))
                            .collect::<Vec<_>>(),
                    )
                };
                let number = |value: Option<f64>, decimals| match value {
                    Some(value) => Cell::number(value, fixed(value, decimals)),
                    None => Cell::default(),
                };
                table.row([
                    Cell::from(method.title.as_str()),
                    setting.as_str().into(),
                    Cell::number(rank as f64, rank.to_string()),
                    Cell::number(runs.len() as f64, runs.len().to_string()),
                    number(loss(true), 4),
                    number(error(true), 2),
                    number(loss(false), 4),
                    number(error(false), 2),
                ]);
            }
        }
    }
    table
}
