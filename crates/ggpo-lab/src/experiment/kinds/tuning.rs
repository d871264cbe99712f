//! What the choice of learning rates saw.

use ggpo_report::format::{listed, plural};
use ggpo_report::{Axis, Block, CurvePanel, CurvePlot, CurvePoint, Figure, Plot, Series};

use super::super::description::TaskEntry;
use super::super::outcome::{Outcome, Rates};
use crate::statistics::expected_best;

/// A sentence if a chosen learning rate lies at an end of those tried.
pub(super) fn edges(outcome: &Outcome<'_>, task: &TaskEntry) -> Option<Block> {
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
            listed(&at_edge)
        ))
    })
}

/// The expected best validation score over the number of trials.
pub(super) fn trials(outcome: &Outcome<'_>, task: &TaskEntry) -> Option<Block> {
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
