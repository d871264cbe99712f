//! Methods beside references.

use ggpo_report::format::{ABSENT, fixed, p_value, percent, plural, signed, significant};
use ggpo_report::{
    Axis, Block, Cell, Column, CurvePanel, CurvePlot, CurvePoint, Figure, Interval, IntervalPanel,
    IntervalPlot, IntervalRow, Plot, Series, Table,
};

use super::super::description::{MethodEntry, TaskEntry};
use super::super::outcome::{Judged, Outcome, Rates, Run};
use super::{Finding, Findings};
use crate::statistics::{expected_best, mean, standard_deviation, t_interval};
use crate::verdict::Judgement;

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    of_tasks(outcome, |task, judged| {
        let mut blocks = vec![
            Block::Figure(intervals(outcome, task, judged)),
            Block::Table(table(outcome, task, judged)),
        ];
        blocks.extend(edges(outcome, task));
        blocks.extend(trials(outcome, task));
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
                .replace("{reference}", &ggpo_report::format::listed(&titles))
                .replace("{task}", &task.title),
            is_headline: index == 0,
            judgement: it.judgement.clone(),
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

/// One row for each method.
pub(super) fn table(outcome: &Outcome<'_>, task: &TaskEntry, judged: &[Judged<'_>]) -> Table {
    let experiment = outcome.experiment;
    let primary = experiment.primary;
    let decimals = primary.decimals();
    let mut table = Table::new(
        format!("{}: {} after the last step.", task.title, primary.title()),
        vec![
            Column::words("method"),
            Column::numbers("learning rate"),
            Column::numbers("runs"),
            Column::numbers("mean"),
            Column::numbers("deviation"),
            Column::numbers("training loss"),
            Column::numbers("at the best checkpoint"),
            Column::numbers("gradient term's share"),
            Column::words("against"),
            Column::numbers("gain"),
            Column::numbers("95 % interval"),
            Column::numbers("p, Holm"),
            Column::words("verdict"),
        ],
    );
    for method in experiment.methods_of(outcome.grid) {
        let runs = outcome.runs_at(task, method, experiment.at);
        let values: Vec<f64> = runs.iter().map(|run| outcome.value(run.record)).collect();
        let of = |value: fn(&super::super::record::Record) -> Option<f64>| {
            mean(
                &runs
                    .iter()
                    .filter_map(|run| value(run.record))
                    .collect::<Vec<f64>>(),
            )
        };
        let best: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.record.best.1.as_ref())
            .map(|scores| primary.of_scores(scores))
            .collect();
        let best = mean(&best).filter(|best| best.is_finite());
        let number = |value: Option<f64>, decimals: usize| match value {
            Some(value) => Cell::number(value, fixed(value, decimals)),
            None => ABSENT.into(),
        };
        let rates = outcome.rates(task, method);
        let rates: Vec<String> = rates.known().iter().map(|&it| significant(it, 2)).collect();
        let mut cells: Vec<Cell> = vec![
            method.title.as_str().into(),
            rates.join(", ").into(),
            Cell::number(runs.len() as f64, runs.len().to_string()),
            number(mean(&values), decimals),
            number(standard_deviation(&values), decimals),
            number(of(|record| Some(record.train.loss)), 4),
            number(best, decimals),
            match of(|record| record.gradient_share) {
                Some(share) => Cell::number(share, share_in_words(share)),
                None => ABSENT.into(),
            },
        ];
        if let Some(it) = judged.iter().find(|it| it.method.id == method.id) {
            let judgement = &it.judgement;
            cells.push(judgement.reference.clone().unwrap_or_default().into());
            cells.push(match judgement.mean {
                Some(mean) => Cell::number(mean, signed(mean, decimals)),
                None => ABSENT.into(),
            });
            cells.push(in_words(judgement, decimals).into());
            cells.push(judgement.p_holm.map_or(ABSENT.to_owned(), p_value).into());
            cells.push(judgement.verdict.word().into());
        }
        cells.resize(table.columns.len(), Cell::default());
        table.row(cells);
    }
    table
}

/// The 95 % interval of a verdict as text.
pub(super) fn in_words(judgement: &Judgement, decimals: usize) -> String {
    judgement.interval_95.map_or(ABSENT.to_owned(), |interval| {
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

/// A sentence if a chosen learning rate lies at an end of those tried.
fn edges(outcome: &Outcome<'_>, task: &TaskEntry) -> Option<Block> {
    let tried = &outcome.grid.learning_rates;
    let ends = [
        tried.iter().copied().fold(f64::INFINITY, f64::min),
        tried.iter().copied().fold(0.0, f64::max),
    ];
    let methods = outcome.experiment.methods_of(outcome.grid).into_iter();
    let at_edge: Vec<&str> = methods
        .filter(|method| match outcome.rates(task, method) {
            Rates::Chosen(rate) => ends.contains(&rate),
            _ => false,
        })
        .map(|method| method.title.as_str())
        .collect();
    (!at_edge.is_empty()).then(|| {
        Block::paragraph(format!(
            "Every method had {} of learning rates with {} each. Of {} the chosen rate lies at an \
             end of the grid, so a better one may lie beyond it.",
            plural(tried.len(), "trial"),
            plural(outcome.grid.tuning_seeds as usize, "seed"),
            ggpo_report::format::listed(&at_edge)
        ))
    })
}

/// The expected best validation score over the number of trials.
fn trials(outcome: &Outcome<'_>, task: &TaskEntry) -> Option<Block> {
    if outcome.grid.tuning_seeds == 0 || outcome.grid.learning_rates.len() < 3 {
        return None;
    }
    let methods = outcome.experiment.methods_of(outcome.grid).into_iter();
    let series: Vec<Series> = methods
        .filter_map(|method| {
            let trials = outcome.trials(task, method)?;
            let scores: Vec<f64> = trials
                .into_iter()
                .map(|(_, score)| score)
                .filter(|it| it.is_finite())
                .collect();
            let best = expected_best(&scores).into_iter().enumerate();
            let points = best.map(|(index, best)| CurvePoint::new((index + 1) as f64, best));
            Some(Series::new(&method.title, points.collect()))
        })
        .collect();
    let trials = 1..=outcome.grid.learning_rates.len();
    let figure = Figure {
        id: format!("{}-{}-trials", outcome.experiment.id, task.id),
        title: format!("{}: expected best validation score over trials", task.title),
        description:
            "The best validation score to expect of this number of trials, drawn from the \
                      learning rates with replacement (Dodge and others 2019); higher is better."
                .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                title: String::new(),
                x: Axis::linear("learning rates tried").with_ticks(trials.map(|it| it as f64)),
                y: Axis::linear("validation score"),
                series,
                references: Vec::new(),
            }],
            columns: 1,
            shared_x: false,
            shared_y: false,
        }),
    };
    Some(Block::Details {
        summary: "What tuning saw".to_owned(),
        blocks: vec![Block::Figure(figure)],
    })
}
