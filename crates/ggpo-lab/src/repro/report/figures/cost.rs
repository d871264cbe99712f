//! Time and memory of every method as bars.

use super::axis::Axis;
use super::canvas::{Align, GRID, INK, SOFT, draw, width_of};
use super::panel::{ABOVE, BELOW, Panel};
use super::{WIDTH, color_of};
use crate::repro::outcome::Outcome;
use crate::repro::report::format::fixed;
use crate::repro::report::summary::{CostSummary, MethodTime};

const ROW: f64 = 36.0;

/// What is drawn of one method: the bar, its words, and its quartiles.
type Bar = (f64, String, Option<(f64, f64)>);

/// A panel's title, what it shows of a method, and its ends.
type BarPanel = (&'static str, fn(&MethodTime) -> Bar, (f64, f64));

/// Ratios of time and memory to the reference.
pub(crate) fn cost(outcome: &Outcome, cost: &CostSummary) -> String {
    let methods = &cost.methods;
    let name_width = methods
        .iter()
        .map(|method| width_of(&method.title))
        .fold(60.0, f64::max);
    let (top, bottom) = (ABOVE + 8.0, ABOVE + 8.0 + methods.len() as f64 * ROW);
    let left = 16.0 + name_width;
    let split = left + (WIDTH - left) * 0.5;
    draw(WIDTH, bottom + BELOW, |canvas| {
        for (index, method) in methods.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW;
            canvas.words((left, y), &method.title, Align::Right, INK);
        }
        let panels: [BarPanel; 2] = [
            ("Time per step", time_bar, (left + 14.0, split - 62.0)),
            ("Peak memory", memory_bar, (split + 14.0, WIDTH - 62.0)),
        ];
        for (title, bar_of, pixels) in panels {
            let bars: Vec<Bar> = methods.iter().map(bar_of).collect();
            let ends = bars.iter().flat_map(|(length, _, quartiles)| {
                [*length, quartiles.map_or(0.0, |(_, high)| high)]
            });
            let mut rows = Axis::exact([0.0, 1.0], (bottom, top));
            rows.ticks.clear();
            let panel = Panel {
                x: Axis::exact(ends.chain([0.0, 1.1]), pixels),
                y: rows,
                title: title.to_owned(),
                x_title: format!("Ratio to {}", reference(outcome)),
            };
            panel.frame(canvas);
            for (value, _) in &panel.x.ticks {
                let x = panel.x.at(*value);
                canvas.line(&[(x, top), (x, bottom)], GRID, 1.0, 1.0);
            }
            for (index, (method, (length, words, quartiles))) in
                methods.iter().zip(bars).enumerate()
            {
                let y = top + (index as f64 + 0.5) * ROW;
                let color = color_of(outcome, &method.id);
                let mut end = panel.x.at(0.0);
                if length.is_finite() {
                    end = panel.x.at(length);
                    canvas.rectangle((panel.x.at(0.0), y - 10.0), (end, y + 10.0), color, 0.85);
                }
                if let Some((low, high)) = quartiles {
                    let (low, high) = (panel.x.at(low), panel.x.at(high));
                    canvas.line(&[(low, y), (high, y)], INK, 2.0, 1.0);
                    end = end.max(high);
                }
                // The line at 1 is not to cross the words.
                let one = panel.x.at(1.0);
                if end < one && end + 12.0 + width_of(&words) > one {
                    end = one;
                }
                canvas.words((end + 7.0, y), &words, Align::Left, INK);
            }
            let one = panel.x.at(1.0);
            canvas.line(&[(one, top), (one, bottom)], SOFT, 1.5, 1.0);
        }
    })
}

fn reference(outcome: &Outcome) -> &str {
    &outcome.config.method(&outcome.config.reference).title
}

fn time_bar(method: &MethodTime) -> Bar {
    let ratio = &method.time_ratio;
    let quartiles = (ratio.quantile(0.25), ratio.quantile(0.75));
    let known = quartiles.0.is_finite();
    (
        ratio.quantile(0.5),
        words(ratio.quantile(0.5)),
        known.then_some(quartiles),
    )
}

fn memory_bar(method: &MethodTime) -> Bar {
    (method.memory_ratio, words(method.memory_ratio), None)
}

fn words(ratio: f64) -> String {
    if ratio.is_finite() {
        format!("× {}", fixed(ratio, 2))
    } else {
        "unknown".to_owned()
    }
}
