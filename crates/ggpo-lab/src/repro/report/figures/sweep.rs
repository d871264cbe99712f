//! Errors over the rank.

use ggpo_train::run::TaskKind;

use super::axis::{Axis, Scale};
use super::canvas::draw;
use super::panel::{ABOVE, BELOW, LEFT, Panel, Series, legend, legend_height};
use super::{WIDTH, line_of, names};
use crate::repro::outcome::Outcome;
use crate::repro::report::summary::{Sample, SweepLine, SweepPoint, SweepSummary};

const HEIGHT: f64 = 250.0;

/// Test error and training error over the rank: the mean, a dot per seed, and
/// a band from the lowest to the highest.
pub(crate) fn rank_sweep(outcome: &Outcome, sweep: &SweepSummary) -> String {
    let names = names(outcome, sweep.lines.iter().map(|line| &line.id));
    let head = legend_height(&names, WIDTH - LEFT);
    let (top, bottom) = (head + ABOVE, head + ABOVE + HEIGHT);
    let unit = match sweep.entry.task.data.kind {
        TaskKind::Classification => "error (% of rows)",
        _ => "loss (nats)",
    };
    let ranks = sweep.lines.iter().flat_map(|line| &line.points);
    let ranks: Vec<usize> = ranks.map(|point| point.rank).collect();
    draw(WIDTH, bottom + BELOW, |canvas| {
        legend(canvas, &names, LEFT, WIDTH - LEFT);
        let middle = WIDTH / 2.0;
        let test: fn(&SweepPoint) -> &Sample = |point| &point.test;
        let train: fn(&SweepPoint) -> &Sample = |point| &point.train;
        let panels = [
            (format!("Test {unit}"), test, (LEFT, middle - 20.0)),
            (
                format!("Training {unit}"),
                train,
                (middle + LEFT, WIDTH - 20.0),
            ),
        ];
        for (title, of, pixels) in panels {
            let line = |line: &SweepLine| series(outcome, line, of);
            let series: Vec<Series> = sweep.lines.iter().map(line).collect();
            let heights = series.iter().flat_map(Series::heights);
            let panel = Panel {
                x: Axis::marked(&ranks, pixels),
                y: Axis::around(Scale::Linear, heights, (bottom, top)),
                title,
                x_title: "Rank of the adapters".to_owned(),
            };
            panel.frame(canvas);
            panel.draw(canvas, &series);
        }
    })
}

fn series(outcome: &Outcome, line: &SweepLine, of: fn(&SweepPoint) -> &Sample) -> Series {
    let at = |point: &SweepPoint| (point.rank as f64, of(point).mean());
    let mut series = line_of(outcome, &line.id, line.points.iter().map(at).collect());
    series.marked = true;
    for point in &line.points {
        let (rank, sample) = (point.rank as f64, of(point));
        if sample.values.len() > 1 {
            series.band.push((rank, sample.min(), sample.max()));
            series
                .dots
                .extend(sample.values.iter().map(|value| (rank, *value)));
        }
    }
    series
}
