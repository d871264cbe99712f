//! Methods over the strength of what they do.

use ggpo_report::{
    Axis, Block, CurvePanel, CurvePlot, CurvePoint, Figure, Place, Plot, ReferenceLine, Series,
};

use super::super::description::TaskEntry;
use super::super::outcome::Outcome;
use super::{Findings, comparison};
use crate::statistics::{mean, t_interval};

pub(super) fn findings(outcome: &Outcome<'_>) -> Findings {
    comparison::of_tasks(outcome, |task, judged| {
        let mut blocks = vec![
            Block::Figure(curves(outcome, task)),
            Block::Table(comparison::table(outcome, task, judged)),
        ];
        blocks.extend(comparison::other_rows(judged));
        blocks
    })
}

/// The measure over the dose; methods without a dose are lines across.
fn curves(outcome: &Outcome<'_>, task: &TaskEntry) -> Figure {
    let experiment = outcome.experiment;
    let mut series: Vec<Series> = Vec::new();
    let mut references = Vec::new();
    let mut doses = Vec::new();
    for method in experiment.methods_of(outcome.grid) {
        let values = comparison::values(outcome, task, method);
        let Some(mean) = mean(&values) else { continue };
        let (Some(dose), Some(curve)) = (method.dose, &method.curve) else {
            references.push(ReferenceLine {
                at: Place::Y(mean),
                label: method.title.clone(),
            });
            continue;
        };
        let point = match t_interval(&values, 0.95) {
            Some(interval) => CurvePoint::in_band(dose, mean, interval.low, interval.high),
            None => CurvePoint::new(dose, mean),
        };
        doses.push(dose);
        match series.iter_mut().find(|series| series.label == *curve) {
            Some(series) => series.points.push(point),
            None => series.push(Series::new(curve, vec![point])),
        }
    }
    doses.sort_by(f64::total_cmp);
    doses.dedup();
    Figure {
        id: format!("{}-{}", experiment.id, task.id),
        title: format!(
            "{}: {} over the dose",
            task.title,
            experiment.primary.title()
        ),
        description: "Mean after the last step with its 95 % t interval; the line across is the \
                      method without noise."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                title: String::new(),
                x: Axis::log("sigma").with_ticks(doses),
                y: Axis::linear(experiment.primary.title()),
                series,
                references,
            }],
            columns: 1,
            shared_x: false,
            shared_y: false,
        }),
    }
}
