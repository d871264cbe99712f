//! What the noise is made of, and how good the estimate of the gradient is.

use super::WIDTH;
use super::axis::{Axis, Scale, scale_for};
use super::canvas::{Align, Canvas, Color, SOFT, color, draw};
use super::panel::{ABOVE, BELOW, LEFT, Panel, Series, legend, legend_height};
use crate::repro::report::summary::{AuditSummary, LayerAudit};

const HEIGHT: f64 = 280.0;
/// Room between zero and the logarithmic axis.
const ZERO: f64 = 26.0;

/// Share of the gradient term and ratio of the norms, one line per layer.
pub(crate) fn gradient(audit: &AuditSummary) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for layer in &audit.layers {
        let kind = kind_of(&layer.module);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let color_of = |layer: &LayerAudit| {
        let place = kinds
            .iter()
            .position(|kind| *kind == kind_of(&layer.module));
        color(place.unwrap_or(0))
    };
    let names: Vec<(String, Color)> = (0..)
        .map(color)
        .zip(&kinds)
        .map(|(c, k)| (k.clone(), c))
        .collect();
    let head = legend_height(&names, WIDTH - LEFT);
    let (top, bottom) = (head + ABOVE, head + ABOVE + HEIGHT);
    draw(WIDTH, bottom + BELOW, |canvas| {
        legend(canvas, &names, LEFT, WIDTH - LEFT);
        let middle = WIDTH / 2.0;
        let shares: fn(&LayerAudit) -> &[(u32, f64)] = |layer| &layer.share_over_steps;
        let ratios: fn(&LayerAudit) -> &[(u32, f64)] = |layer| &layer.ratio_over_steps;
        let panels = [
            (
                "Gradient term's share of the noise variance",
                shares,
                (LEFT, middle - 20.0),
            ),
            (
                "Norm of equation 7 / exact norm",
                ratios,
                (middle + LEFT, WIDTH - 20.0),
            ),
        ];
        for (title, of, pixels) in panels {
            let line = |layer: &LayerAudit| series(color_of(layer), of(layer));
            let series: Vec<Series> = audit.layers.iter().map(line).collect();
            spread_panel(canvas, title, &series, pixels, (bottom, top));
        }
    })
}

/// Lines over an axis that is logarithmic if need be, and below it a line for zeros, which have no
/// logarithm.
fn spread_panel(
    canvas: &Canvas<'_>,
    title: &str,
    series: &[Series],
    pixels: (f64, f64),
    (bottom, top): (f64, f64),
) {
    let points = || series.iter().flat_map(|line| &line.points);
    let has_zero = points().any(|(_, height)| *height == 0.0);
    let above: Vec<f64> = points()
        .map(|point| point.1)
        .filter(|height| *height > 0.0)
        .collect();
    let scale = if has_zero {
        Scale::Log
    } else {
        scale_for(&above, 5.0)
    };
    let floor = if has_zero { bottom - ZERO } else { bottom };
    let mut panel = Panel {
        x: Axis::exact(points().map(|point| point.0).chain([0.0]), pixels),
        y: Axis::around(scale, points().map(|point| point.1), (floor, top)),
        title: title.to_owned(),
        x_title: String::new(),
    };
    if points().next().is_none() {
        let place = ((pixels.0 + pixels.1) / 2.0, (top + bottom) / 2.0);
        canvas.words(place, "no number", Align::Center, SOFT);
        panel.y.ticks.clear();
    }
    panel.y_grid(canvas);
    let parts: Vec<Series> = series.iter().map(without_zeros).collect();
    panel.draw(canvas, &parts);
    panel.y = Axis::exact([0.0, 1.0], (bottom, top));
    panel.y.ticks.clear();
    if has_zero {
        panel.y.ticks.push((0.0, "0".to_owned()));
    }
    panel.x_title = "Optimiser steps".to_owned();
    panel.frame(canvas);
    for line in series {
        for (step, _) in line.points.iter().filter(|(_, height)| *height == 0.0) {
            canvas.ring((panel.x.at(*step), bottom), 4.0, line.color);
        }
    }
}

/// The line, broken where it is zero.
fn without_zeros(line: &Series) -> Series {
    let mut line = line.clone();
    for (_, height) in &mut line.points {
        if *height == 0.0 {
            *height = f64::NAN;
        }
    }
    line
}

fn series(color: Color, numbers: &[(u32, f64)]) -> Series {
    let points = numbers
        .iter()
        .map(|(step, number)| (f64::from(*step), *number));
    let mut line = Series::new(color, points.collect());
    (line.width, line.opacity, line.marked) = (1.5, 0.75, true);
    line
}

/// The name of a module without the numbers of blocks: its kind.
fn kind_of(module: &str) -> String {
    let parts: Vec<&str> = module.split('.').collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.iter().rposition(is_number) {
        Some(block) if block + 1 < parts.len() => parts[block + 1..].join("."),
        _ => module.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn blocks_do_not_count_in_the_kind_of_a_module() {
        assert_eq!(
            kind_of("encoder.layer.3.attention.self.query"),
            "attention.self.query"
        );
        assert_eq!(kind_of("pooler"), "pooler");
    }
}
