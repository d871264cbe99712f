//! Courses over the steps: training loss, validation score, and the loss bump.

use super::axis::{Axis, scale_for};
use super::canvas::{Align, SOFT, draw};
use super::panel::{ABOVE, BELOW, LEFT, Panel, Series, legend, legend_height};
use super::{WIDTH, color_of, line_of, names};
use crate::repro::outcome::{FinishedRun, Outcome, TaskOutcome};
use crate::repro::report::format::rate as rate_words;
use crate::repro::report::summary::{Sample, smoothed};

/// Height of a panel.
const HEIGHT: f64 = 250.0;
/// Beyond this factor between losses the axis is logarithmic.
const FACTOR: f64 = 8.0;

/// Training loss and validation score of all methods on a task.
pub(crate) fn training(outcome: &Outcome, task: &TaskOutcome) -> String {
    let judged_by = task.task.judged_by();
    let score = |run: &FinishedRun| -> Vec<(f64, f64)> {
        let looks = run.result.evaluations.iter();
        looks
            .map(|(step, scores)| (f64::from(*step), judged_by.value(scores)))
            .collect()
    };
    let (mut losses, mut looks) = (Vec::new(), Vec::new());
    for method in &task.methods {
        let courses = method.best.iter().map(|run| loss_course(outcome, run));
        losses.push(over_seeds(
            outcome,
            &method.id,
            &courses.collect::<Vec<_>>(),
        ));
        let courses: Vec<_> = method.best.iter().map(score).collect();
        let mut line = over_seeds(outcome, &method.id, &courses);
        line.marked = true;
        looks.push(line);
    }
    let names = names(outcome, task.methods.iter().map(|method| &method.id));
    let head = legend_height(&names, WIDTH - LEFT);
    let (top, bottom) = (head + ABOVE, head + ABOVE + HEIGHT);
    draw(WIDTH, bottom + BELOW, |canvas| {
        legend(canvas, &names, LEFT, WIDTH - LEFT);
        let middle = WIDTH / 2.0;
        let panels = [
            (
                "Training loss (nats, smoothed)".to_owned(),
                &losses,
                (LEFT, middle - 20.0),
            ),
            (
                format!("Validation {}", judged_by.title()),
                &looks,
                (middle + LEFT, WIDTH - 20.0),
            ),
        ];
        for (title, series, pixels) in panels {
            let panel = panel(title, series, pixels, (bottom, top), &heights(series));
            panel.frame(canvas);
            panel.draw(canvas, series);
        }
    })
}

/// Training loss of every run at high rank: one panel per learning rate, one
/// thin line per seed, and the mean over the seeds.
pub(crate) fn loss_bump(outcome: &Outcome, ids: &[String]) -> String {
    let mut rates: Vec<f64> = outcome
        .bump
        .iter()
        .map(|run| run.plan.learning_rate)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let columns = rates.len().clamp(1, 3);
    let names = names(outcome, ids.iter());
    let head = legend_height(&names, WIDTH - LEFT);
    let all: Vec<Vec<Series>> = rates
        .iter()
        .map(|rate| bump_series(outcome, ids, *rate))
        .collect();
    let shared: Vec<f64> = all.iter().flat_map(|series| heights(series)).collect();
    let row_height = ABOVE + HEIGHT + BELOW;
    let rows = rates.len().div_ceil(columns).max(1);
    draw(WIDTH, head + rows as f64 * row_height, |canvas| {
        legend(canvas, &names, LEFT, WIDTH - LEFT);
        if rates.is_empty() {
            canvas.words(
                (WIDTH / 2.0, head + HEIGHT / 2.0),
                "No run",
                Align::Center,
                SOFT,
            );
        }
        let width = WIDTH / columns as f64;
        for (index, (rate, series)) in rates.iter().zip(&all).enumerate() {
            let left = (index % columns) as f64 * width;
            let top = head + (index / columns) as f64 * row_height + ABOVE;
            let panel = panel(
                format!("Rate {}: loss (nats)", rate_words(*rate)),
                series,
                (left + LEFT, left + width - 16.0),
                (top + HEIGHT, top),
                &shared,
            );
            panel.frame(canvas);
            panel.draw(canvas, series);
            for run in outcome
                .bump
                .iter()
                .filter(|run| run.plan.learning_rate == *rate)
            {
                let course = loss_course(outcome, run);
                if let (Some(_), Some(end)) = (run.result.diverged_at, course.last()) {
                    panel.cross(canvas, *end, color_of(outcome, &run.plan.method));
                }
            }
        }
    })
}

fn bump_series(outcome: &Outcome, ids: &[String], rate: f64) -> Vec<Series> {
    let mut thin = Vec::new();
    let mut thick = Vec::new();
    for id in ids {
        let color = color_of(outcome, id);
        let of = |run: &&FinishedRun| run.plan.method == *id && run.plan.learning_rate == rate;
        let runs = outcome.bump.iter().filter(of);
        let courses: Vec<_> = runs.map(|run| loss_course(outcome, run)).collect();
        for course in &courses {
            let mut line = Series::new(color, course.clone());
            (line.width, line.opacity) = (1.0, 0.45);
            thin.push(line);
        }
        let mut mean = over_seeds(outcome, id, &courses);
        mean.band.clear();
        thick.push(mean);
    }
    thin.extend(thick);
    thin
}

fn panel(title: String, series: &[Series], x: (f64, f64), y: (f64, f64), heights: &[f64]) -> Panel {
    let steps = series
        .iter()
        .flat_map(|line| line.points.iter().map(|(step, _)| *step));
    Panel {
        x: Axis::exact(steps.chain([0.0]), x),
        y: Axis::around(scale_for(heights, FACTOR), heights.iter().copied(), y),
        title,
        x_title: "Optimiser steps".to_owned(),
    }
}

fn heights(series: &[Series]) -> Vec<f64> {
    series.iter().flat_map(Series::heights).collect()
}

/// The smoothed training loss over the number of steps.
fn loss_course(outcome: &Outcome, run: &FinishedRun) -> Vec<(f64, f64)> {
    let losses = smoothed(outcome, &run.result.losses);
    (1..)
        .zip(losses)
        .map(|(step, loss)| (f64::from(step), loss))
        .collect()
}

/// The mean over the seeds with a band from the lowest to the highest, as far
/// as all of them go.
fn over_seeds(outcome: &Outcome, id: &str, courses: &[Vec<(f64, f64)>]) -> Series {
    let length = courses.iter().map(Vec::len).min().unwrap_or(0);
    let mut line = line_of(outcome, id, Vec::new());
    for index in 0..length {
        let at = courses[0][index].0;
        let sample = Sample::new(courses.iter().map(|course| course[index].1));
        line.points.push((at, sample.mean()));
        if sample.values.len() > 1 {
            line.band.push((at, sample.min(), sample.max()));
        }
    }
    line
}
