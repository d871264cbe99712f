//! A ratio over the tokens of a step.

use super::WIDTH;
use super::axis::{Axis, Scale};
use super::canvas::{Color, SOFT, color, draw};
use super::panel::{ABOVE, BELOW, LEFT, Panel, Series, legend, legend_height};

const HEIGHT: f64 = 250.0;

/// A line of the figure.
pub(crate) struct RatioLine {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Tokens of a step; lower quartile, median and upper quartile of the ratio.
    pub(crate) points: Vec<(usize, [f64; 3])>,
}

/// The lines with bands between their quartiles, over a logarithmic axis of the
/// tokens, and a rule at 1.
pub(crate) fn ratio_over_tokens(title: &str, lines: &[RatioLine]) -> String {
    let names = lines.iter().enumerate();
    let names: Vec<(String, Color)> = names
        .map(|(index, line)| (line.name.clone(), color(index)))
        .collect();
    let head = legend_height(&names, WIDTH - LEFT);
    let (top, bottom) = (head + ABOVE, head + ABOVE + HEIGHT);
    let tokens = lines.iter().flat_map(|line| &line.points);
    let tokens: Vec<usize> = tokens.map(|(tokens, _)| *tokens).collect();
    let series: Vec<Series> = lines
        .iter()
        .zip(&names)
        .map(|(line, (_, color))| series(line, *color))
        .collect();
    draw(WIDTH, bottom + BELOW, |canvas| {
        legend(canvas, &names, LEFT, WIDTH - LEFT);
        let heights = series.iter().flat_map(Series::heights);
        let panel = Panel {
            x: Axis::marked(&tokens, (LEFT, WIDTH - 20.0)),
            y: Axis::around(Scale::Linear, heights.chain([1.0]), (bottom, top)),
            title: title.to_owned(),
            x_title: "Tokens per step".to_owned(),
        };
        panel.frame(canvas);
        let ((left, right), one) = (panel.x.ends(), panel.y.at(1.0));
        canvas.line(&[(left, one), (right, one)], SOFT, 1.5, 1.0);
        panel.draw(canvas, &series);
    })
}

fn series(line: &RatioLine, color: Color) -> Series {
    let points = line.points.iter();
    let medians = points
        .clone()
        .map(|(tokens, [_, median, _])| (*tokens as f64, *median));
    let mut series = Series::new(color, medians.collect());
    series.marked = true;
    let band = points.map(|(tokens, [low, _, high])| (*tokens as f64, *low, *high));
    series.band = band.collect();
    series
}
