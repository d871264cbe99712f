//! Scores of every method on a task, and their differences to the reference.

use super::axis::{Axis, Scale};
use super::canvas::{Align, Canvas, INK, SOFT, draw, width_of};
use super::panel::{ABOVE, BELOW, Panel};
use super::{WIDTH, color_of};
use crate::repro::outcome::Outcome;
use crate::repro::report::summary::{MethodSummary, TaskSummary};
use crate::repro::score::Score;

/// Height of a method's row.
const ROW: f64 = 40.0;

/// One dot per seed and the mean; beside it the mean difference with its
/// interval.
pub(crate) fn scores(outcome: &Outcome, task: &TaskSummary) -> String {
    let methods = &task.own;
    let rows = methods.len() as f64 * ROW;
    let name_width = methods
        .iter()
        .map(|method| width_of(&method.title))
        .fold(60.0, f64::max);
    let (top, bottom) = (ABOVE + 8.0, ABOVE + 8.0 + rows);
    draw(WIDTH, bottom + BELOW + 4.0, |canvas| {
        let left = 16.0 + name_width;
        let split = left + (WIDTH - left) * 0.5;
        let values = methods
            .iter()
            .flat_map(|method| method.score.values.iter().copied());
        let scores = Panel {
            x: Axis::around(Scale::Linear, values, (left + 16.0, split - 24.0)),
            y: rows_axis(top, bottom),
            title: "Test score: a dot per seed, a bar for the mean".to_owned(),
            x_title: capital(task.judged_by.title()),
        };
        let ends = methods.iter().flat_map(differences).chain([0.0]);
        let differences = Panel {
            x: Axis::around(Scale::Linear, ends, (split + 24.0, WIDTH - 28.0)),
            y: rows_axis(top, bottom),
            title: format!("Difference to {}, 95 % interval", reference_title(outcome)),
            x_title: difference_title(task.judged_by),
        };
        for panel in [&scores, &differences] {
            panel.frame(canvas);
            grid(canvas, panel, top, bottom);
        }
        let zero = differences.x.at(0.0);
        canvas.line(&[(zero, top), (zero, bottom)], SOFT, 1.5, 1.0);
        for (index, method) in methods.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW;
            canvas.words((left, y), &method.title, Align::Right, INK);
            dots(canvas, outcome, &scores, method, y);
            interval(canvas, outcome, &differences, method, y);
        }
    })
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn reference_title(outcome: &Outcome) -> &str {
    &outcome.config.method(&outcome.config.reference).title
}

fn difference_title(score: Score) -> String {
    let side = match score.higher_is_better() {
        true => "right",
        false => "left",
    };
    let unit = match score.difference_unit() {
        "" => score.name(),
        unit => unit.trim_start(),
    };
    format!("{}; better to the {side}", capital(unit))
}

/// An axis of rows has no numbers.
fn rows_axis(top: f64, bottom: f64) -> Axis {
    let mut axis = Axis::exact([0.0, 1.0], (bottom, top));
    axis.ticks.clear();
    axis
}

fn grid(canvas: &Canvas<'_>, panel: &Panel, top: f64, bottom: f64) {
    for (value, _) in &panel.x.ticks {
        let x = panel.x.at(*value);
        canvas.line(&[(x, top), (x, bottom)], super::canvas::GRID, 1.0, 1.0);
    }
}

/// All numbers that a method brings to the panel of differences.
fn differences(method: &MethodSummary) -> Vec<f64> {
    let Some(comparison) = &method.comparison else {
        return Vec::new();
    };
    let interval = comparison
        .interval
        .map(|interval| [interval.low, interval.high]);
    let ends = interval.into_iter().flatten();
    ends.chain([comparison.differences.mean()]).collect()
}

fn dots(canvas: &Canvas<'_>, outcome: &Outcome, panel: &Panel, method: &MethodSummary, y: f64) {
    let color = color_of(outcome, &method.id);
    let mean = panel.x.at(method.score.mean());
    if method.score.mean().is_finite() {
        canvas.line(&[(mean, y - 13.0), (mean, y + 13.0)], color, 3.0, 1.0);
    }
    let count = method.score.values.len();
    for (index, value) in method.score.values.iter().enumerate() {
        // Side by side, so that equal scores can be told apart.
        let share = if count > 1 {
            index as f64 / (count - 1) as f64 - 0.5
        } else {
            0.0
        };
        canvas.dot((panel.x.at(*value), y + 16.0 * share), 3.75, color, 0.6);
    }
}

fn interval(canvas: &Canvas<'_>, outcome: &Outcome, panel: &Panel, method: &MethodSummary, y: f64) {
    let color = color_of(outcome, &method.id);
    let Some(comparison) = &method.comparison else {
        let zero = panel.x.at(0.0);
        let (left, right) = panel.x.ends();
        let (x, align) = if right - zero > zero - left {
            (zero + 8.0, Align::Left)
        } else {
            (zero - 8.0, Align::Right)
        };
        canvas.words((x, y), "reference", align, SOFT);
        return;
    };
    if let Some(interval) = comparison.interval {
        let (low, high) = (panel.x.at(interval.low), panel.x.at(interval.high));
        canvas.line(&[(low, y), (high, y)], color, 3.0, 1.0);
        for end in [low, high] {
            canvas.line(&[(end, y - 5.0), (end, y + 5.0)], color, 2.0, 1.0);
        }
    }
    if comparison.differences.mean().is_finite() {
        canvas.dot(
            (panel.x.at(comparison.differences.mean()), y),
            5.0,
            color,
            1.0,
        );
    }
}
