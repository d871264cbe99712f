//! The figures of the report, each an SVG with a light ground of its own.

mod audit;
mod axis;
mod canvas;
mod cost;
mod curves;
mod panel;
mod scores;
mod sweep;
mod tokens;

pub(super) use audit::gradient;
pub(super) use cost::cost;
pub(super) use curves::{loss_bump, training};
pub(super) use scores::scores;
pub(super) use sweep::rank_sweep;
pub(crate) use tokens::{RatioLine, ratio_over_tokens};

use super::summary::{Role, role, with_role};
use crate::repro::outcome::Outcome;
use canvas::Color;

/// Width of every figure, in pixels.
const WIDTH: f64 = 860.0;

/// The colour of a method, the same in all figures: the reference is grey,
/// LoRA-GGPO the warmest.
fn color_of(outcome: &Outcome, id: &str) -> Color {
    let guided = with_role(outcome, Role::Guided);
    let others = outcome
        .config
        .methods
        .iter()
        .filter(|method| !matches!(role(outcome, method), Role::Guided | Role::Reference));
    let place = guided.chain(others).position(|method| method.id == id);
    place.map_or(plotters::style::RGBColor(70, 76, 84), canvas::color)
}

/// Names and colours of methods, for a legend.
fn names<'a>(outcome: &Outcome, ids: impl Iterator<Item = &'a String>) -> Vec<(String, Color)> {
    let entry = |id: &String| {
        (
            outcome.config.method(id).title.clone(),
            color_of(outcome, id),
        )
    };
    ids.map(entry).collect()
}

/// The line of a method. That of the reference is wider, and drawn below the
/// others, so that it is seen where they coincide.
fn line_of(outcome: &Outcome, id: &str, points: Vec<(f64, f64)>) -> panel::Series {
    let mut line = panel::Series::new(color_of(outcome, id), points);
    if id == outcome.config.reference {
        line.width = panel::WIDE;
    }
    line
}
