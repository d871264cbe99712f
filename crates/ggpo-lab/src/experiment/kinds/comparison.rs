//! Methods beside references.

use ggpo_report::format::{ABSENT, fixed, listed, p_value, percent, signed, significant};
use ggpo_report::{
    Axis, Block, Cell, Column, Figure, Interval, IntervalPanel, IntervalPlot, IntervalRow, Plot,
    Table,
};

use super::super::description::{MethodEntry, TaskEntry};
use super::super::outcome::{Judged, Outcome, Run};
use super::super::record::Record;
use super::{Finding, Findings, tuning};
use crate::statistics::{self, mean, standard_deviation, t_interval};
use crate::verdict::{Interim, Judgement};

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    of_tasks(outcome, |task, judged| {
        let mut blocks = vec![
            Block::Figure(intervals(outcome, task, judged)),
            Block::Table(table(outcome, task, judged)),
        ];
        blocks.extend(other_rows(judged));
        blocks.extend(looked(outcome, task));
        blocks.extend(tuning::edges(outcome, task));
        blocks.extend(tuning::trials(outcome, task));
        blocks
    })
}

/// The claims of all tasks, and for each task what it is and the blocks that `show` makes
/// of it and its verdicts.
pub(super) fn of_tasks(
    outcome: &Outcome<'_>,
    show: impl Fn(&TaskEntry, &[Judged<'_>]) -> Vec<Block>,
) -> Findings {
    let mut findings = Findings {
        claims: Vec::new(),
        blocks: Vec::new(),
    };
    for task in outcome.experiment.tasks_of(outcome.grid) {
        let judged = outcome.judge(task);
        findings.claims.extend(claims(outcome, task, &judged));
        findings.blocks.push(about(task));
        findings.blocks.extend(show(task, &judged));
    }
    findings
}

/// The claims of a task with their verdicts.
fn claims(outcome: &Outcome<'_>, task: &TaskEntry, judged: &[Judged<'_>]) -> Vec<Finding> {
    let experiment = outcome.experiment;
    let claim = |(index, it): (usize, &Judged<'_>)| {
        let references = experiment.references_of(it.method).iter();
        let titles: Vec<&str> = references
            .map(|id| experiment.method(id).title.as_str())
            .collect();
        Finding {
            claim: experiment
                .claim
                .replace("{method}", &it.method.title)
                .replace("{reference}", &listed(&titles))
                .replace("{task}", &task.title),
            is_headline: index == 0,
            judgement: it.judgement.clone(),
            planned: outcome.planned_pairs(task, it.method),
            margin: experiment.margin,
            unit: experiment.primary.unit(),
            decimals: experiment.primary.decimals(),
        }
    };
    judged.iter().enumerate().map(claim).collect()
}

fn about(task: &TaskEntry) -> Block {
    let text = ggpo_report::Text::default()
        .strong(&task.title)
        .plain(format!(": {}", task.about));
    Block::paragraph(text)
}

/// The values of the runs of a method at the point of the claim.
pub(super) fn values(outcome: &Outcome<'_>, task: &TaskEntry, method: &MethodEntry) -> Vec<f64> {
    let runs = outcome.runs_at(task, method, outcome.experiment.at);
    runs.iter().map(|run| outcome.value(run.record)).collect()
}

/// The interval of a verdict.
pub(super) fn interval(judgement: &Judgement) -> Option<Interval> {
    let mean = judgement.mean?;
    Some(match judgement.interval_95 {
        Some(interval) => Interval::new(interval.low, mean, interval.high),
        None => Interval::point(mean),
    })
}

/// The measure of every run at the left, the differences at the right.
pub(super) fn intervals(outcome: &Outcome<'_>, task: &TaskEntry, judged: &[Judged<'_>]) -> Figure {
    let experiment = outcome.experiment;
    let primary = experiment.primary;
    let decimals = primary.decimals();
    let row = |method: &&MethodEntry| {
        let runs = outcome.runs_at(task, method, experiment.at);
        let point = |run: &Run<'_>| {
            let value = outcome.value(run.record);
            (
                value,
                format!("seed {}: {}", run.cell.seed, fixed(value, decimals)),
            )
        };
        let points: Vec<(f64, String)> = runs.iter().map(point).collect();
        let values: Vec<f64> = points.iter().map(|(value, _)| *value).collect();
        let estimate = mean(&values).map(|mean| match t_interval(&values, 0.95) {
            Some(interval) => Interval::new(interval.low, mean, interval.high),
            None => Interval::point(mean),
        });
        IntervalRow {
            label: method.title.clone(),
            number: mean(&values).map_or(ABSENT.to_owned(), |mean| fixed(mean, decimals)),
            points,
            estimate,
            emphasis: experiment.references.contains(&method.id),
        }
    };
    let difference = |it: &Judged<'_>| {
        let deciding = it.judgement.reference.as_deref();
        let found = it
            .differences
            .iter()
            .find(|(name, _)| Some(name.as_str()) == deciding);
        let points = found.map_or(&[][..], |(_, differences)| differences);
        let points = points.iter().map(|&d| (d, signed(d, decimals)));
        IntervalRow {
            label: it.method.title.clone(),
            points: points.collect(),
            estimate: interval(&it.judgement),
            number: it
                .judgement
                .mean
                .map_or(ABSENT.to_owned(), |mean| signed(mean, decimals)),
            emphasis: false,
        }
    };
    let methods = experiment.methods_of(outcome.grid);
    let margin = experiment.margin;
    let plot = IntervalPlot {
        panels: vec![
            IntervalPanel {
                title: "every run, mean and 95 % interval".to_owned(),
                axis: Axis::linear(primary.title()),
                rows: methods.iter().map(row).collect(),
                reference: None,
                margin: None,
            },
            IntervalPanel {
                title: "gain on the reference, pair by pair".to_owned(),
                axis: Axis::linear("better than the reference by"),
                rows: judged.iter().map(difference).collect(),
                reference: Some(0.0),
                margin: Some((-margin, margin)),
            },
        ],
        columns: 1,
        shared_axis: false,
    };
    Figure {
        id: format!("{}-{}", experiment.id, task.id),
        title: format!("{}, {}", task.title, primary.title()),
        description: format!(
            "Above, the measure after the last step of every run, with mean and 95 % t interval. \
             Below, the differences to the reference that decides, positive where the method is \
             better; the band is the margin of {}.",
            margin
        ),
        plot: Plot::Intervals(plot),
    }
}

/// What the second interval of the table adds to the first, if there is one.
pub(super) fn other_rows(judged: &[Judged<'_>]) -> Option<Block> {
    let any = judged.iter().any(|it| it.two_way.is_some());
    any.then(|| {
        Block::paragraph(
            "The 95 % interval holds for other seeds and these test rows; that over seeds and \
             rows (two-way bootstrap) says what other test rows of the same kind would change as \
             well, and decides nothing.",
        )
    })
}

/// One row for each method; what decides comes first.
pub(super) fn table(outcome: &Outcome<'_>, task: &TaskEntry, judged: &[Judged<'_>]) -> Table {
    let primary = outcome.experiment.primary;
    let decimals = primary.decimals();
    let two_way = judged.iter().any(|it| it.two_way.is_some());
    let caption = format!("{}: {} after the last step.", task.title, primary.title());
    let mut columns = vec![
        Column::words("method"),
        Column::numbers("mean"),
        Column::numbers("gain"),
        Column::numbers("95 % interval"),
    ];
    if two_way {
        columns.push(Column::numbers("95 % interval, seeds and rows"));
    }
    columns.extend([
        Column::numbers("p, Holm"),
        Column::words("verdict"),
        Column::words("against"),
        Column::numbers("runs"),
        Column::numbers("deviation"),
        Column::numbers("learning rate"),
        Column::numbers("training loss"),
        Column::numbers("at the best checkpoint"),
        Column::numbers("gradient term's share"),
    ]);
    let mut table = Table::new(caption, columns);
    let number = |value: Option<f64>, text: &dyn Fn(f64) -> String| match value {
        Some(value) => Cell::number(value, text(value)),
        None => ABSENT.into(),
    };
    let digits = |value: f64| fixed(value, decimals);
    for method in outcome.experiment.methods_of(outcome.grid) {
        let runs = outcome.runs_at(task, method, outcome.experiment.at);
        let values: Vec<f64> = runs.iter().map(|run| outcome.value(run.record)).collect();
        let of = |value: &dyn Fn(&Record) -> Option<f64>| {
            let values = runs.iter().filter_map(|run| value(run.record));
            mean(&values.collect::<Vec<f64>>())
        };
        let best = |record: &Record| Some(primary.of_scores(record.best.1.as_ref()?));
        let best = of(&best).filter(|best| best.is_finite());
        let rates = outcome.rates(task, method);
        let rates: Vec<String> = rates.known().iter().map(|&it| significant(it, 2)).collect();
        let mut cells: Vec<Cell> =
            vec![method.title.as_str().into(), number(mean(&values), &digits)];
        match judged.iter().find(|it| it.method.id == method.id) {
            Some(it) => {
                let judgement = &it.judgement;
                cells.push(number(judgement.mean, &|mean| signed(mean, decimals)));
                cells.push(in_words(judgement.interval_95, decimals).into());
                if two_way {
                    cells.push(in_words(it.two_way, decimals).into());
                }
                cells.push(judgement.p_holm.map_or(ABSENT.to_owned(), p_value).into());
                cells.push(judgement.verdict.word().into());
                cells.push(judgement.reference.clone().unwrap_or_default().into());
            }
            None => cells.resize(table.columns.len() - 6, Cell::default()),
        }
        cells.extend([
            Cell::number(runs.len() as f64, runs.len().to_string()),
            number(standard_deviation(&values), &digits),
            rates.join(", ").into(),
            number(of(&|record| Some(record.train.loss)), &|loss| {
                fixed(loss, 4)
            }),
            number(best, &digits),
            number(of(&|record| record.gradient_share), &share_in_words),
        ]);
        table.row(cells);
    }
    table
}

/// An interval of a gain as text.
fn in_words(interval: Option<statistics::Interval>, decimals: usize) -> String {
    interval.map_or(ABSENT.to_owned(), |interval| {
        format!(
            "{} to {}",
            signed(interval.low, decimals),
            signed(interval.high, decimals)
        )
    })
}

/// A share that may be far below a percent.
fn share_in_words(share: f64) -> String {
    match share {
        0.0 => "0".to_owned(),
        share if share < 1e-3 => significant(share, 2),
        share => percent(share, 1),
    }
}

/// What the one look at the first seeds ended, where one is planned.
fn looked(outcome: &Outcome<'_>, task: &TaskEntry) -> Option<Block> {
    let look = outcome.grid.look?;
    let judged = outcome.experiment.judged(outcome.grid);
    let of = |wanted: Option<Interim>| {
        let methods = judged.iter().filter(|it| outcome.look(task, it) == wanted);
        let titles: Vec<&str> = methods.map(|method| method.title.as_str()).collect();
        (!titles.is_empty()).then(|| listed(&titles))
    };
    let found = [
        (Some(Interim::Clear), "a clear difference (p below 0.002)"),
        (Some(Interim::Equivalent), "equivalence at alpha 0.01"),
        (Some(Interim::Continue), "neither, so that it went on"),
        (None, "nothing yet"),
    ];
    let said = found
        .into_iter()
        .filter_map(|(wanted, what)| Some(format!("{what} for {}", of(wanted)?)));
    let said: Vec<String> = said.collect();
    Some(Block::paragraph(format!(
        "The one look that was planned, after {look} seeds, showed {}.",
        said.join("; ")
    )))
}
