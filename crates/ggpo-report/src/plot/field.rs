//! The inside of a panel of curves.

use maud::{Markup, html};

use super::axis::Span;
use super::curve::{CurvePanel, CurvePoint, Place, ReferenceLine, Series};
use crate::format::significant;
use crate::svg::{
    Anchor, LINE, dashes, line, mark, px, series_class, spread, width_of, words, wrap,
};

/// The most marks that a curve has.
const MARKS: usize = 24;

/// The inside of a panel.
pub(super) struct Field<'a> {
    pub(super) panel: &'a CurvePanel,
    pub(super) x: Span,
    pub(super) y: Span,
    /// Labels of all series, in the order of their looks.
    pub(super) labels: &'a [&'a str],
}

impl Field<'_> {
    pub(super) fn draw(&self) -> Markup {
        let ((left, right), (bottom, top)) = (self.x.pixels, self.y.pixels);
        html! {
            (self.y.draw_left(left, right))
            (self.x.draw_below(top, bottom))
            (self.references())
            @for series in &self.panel.series {
                @let index = self.labels.iter().position(|label| *label == series.label);
                (self.series(series, index.unwrap_or(0)))
            }
            @if self.panel.series.iter().all(|it| it.points.is_empty() && it.cloud.is_empty()) {
                (words(
                    (left + right) / 2.0, (top + bottom) / 2.0, Anchor::Middle, "soft", "no values"
                ))
            }
            (self.reference_labels())
        }
    }

    fn place(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let shown = self.panel.x.shows(x) && self.panel.y.shows(y);
        shown.then(|| (self.x.at(x), self.y.at(y)))
    }

    fn series(&self, series: &Series, index: usize) -> Markup {
        // What cannot be shown interrupts the curve and its band.
        let shown = |point: &CurvePoint| self.place(point.x, point.y);
        let parts = series.points.split(|point| shown(point).is_none());
        let in_band = |point: &CurvePoint| {
            let (low, high) = point.band?;
            Some((self.place(point.x, low)?, self.place(point.x, high)?))
        };
        let bands = series.points.split(|point| in_band(point).is_none());
        let visible: Vec<_> = series
            .points
            .iter()
            .filter_map(|it| Some((it, shown(it)?)))
            .collect();
        let every = visible.len().div_ceil(MARKS).max(1);
        html! {
            g class=(series_class(index)) {
                @for (x, y) in series.cloud.iter() {
                    @if let Some(place) = self.place(*x, *y) {
                        circle.cloud cx=(px(place.0)) cy=(px(place.1)) r="2.5" {
                            title { (hover(&series.label, &CurvePoint::new(*x, *y))) }
                        }
                    }
                }
                @for part in bands.filter(|part| !part.is_empty()) {
                    @let ends: Vec<_> = part.iter().filter_map(in_band).collect();
                    @let lower = ends.iter().map(|(low, _)| *low);
                    @let upper = ends.iter().rev().map(|(_, high)| *high);
                    path.between d={ (path(lower.chain(upper))) "Z" } {}
                }
                @for part in parts.filter(|part| part.len() > 1) {
                    path.curve d=(path(part.iter().filter_map(shown)))
                        stroke-dasharray=(dashes(index)) {
                        title { (series.label) }
                    }
                }
                @for (number, (point, place)) in visible.iter().enumerate() {
                    @if (visible.len() - 1 - number) % every == 0 {
                        (mark(index, *place, &hover(&series.label, point)))
                    }
                }
            }
        }
    }

    fn references(&self) -> Markup {
        let ((left, right), (bottom, top)) = (self.x.pixels, self.y.pixels);
        html! {
            @for reference in &self.panel.references {
                @match reference.at {
                    Place::X(x) if self.panel.x.shows(x) => {
                        @let x = self.x.at(x);
                        (line((x, bottom), (x, top), "soft"))
                    }
                    Place::Y(y) if self.panel.y.shows(y) => {
                        @let y = self.y.at(y);
                        (line((left, y), (right, y), "soft"))
                    }
                    _ => {}
                }
            }
        }
    }

    /// How many points words at this height would hide.
    fn points_within(&self, (left, right): (f64, f64), height: f64) -> usize {
        let points = self.panel.series.iter().flat_map(|series| &series.points);
        let places = points.filter_map(|point| self.place(point.x, point.y));
        let hidden = |(x, y): &(f64, f64)| (left..right).contains(x) && (y - height).abs() < LINE;
        places.filter(hidden).count()
    }

    /// Words above horizontal lines, at the end with fewer points, and beside vertical ones, each lower
    /// than the one before.
    fn reference_labels(&self) -> Markup {
        let ((left, right), (bottom, top)) = (self.x.pixels, self.y.pixels);
        let (mut across, mut upright) = (Vec::new(), Vec::new());
        for ReferenceLine { at, label } in &self.panel.references {
            match *at {
                Place::X(x) if self.panel.x.shows(x) => upright.push((self.x.at(x), label)),
                Place::Y(y) if self.panel.y.shows(y) => across.push((self.y.at(y) - 9.0, label)),
                _ => {}
            }
        }
        let heights: Vec<f64> = across.iter().map(|(y, _)| *y).collect();
        let heights = spread(&heights, LINE, (top + 8.0, bottom - 8.0));
        let fitted = |label: &str, room| wrap(label, room, 1).concat();
        html! {
            @for ((_, label), y) in across.iter().zip(heights) {
                @let label = fitted(label, right - left);
                @let width = width_of(&label);
                @if self.points_within((right - width, right), y) <= self.points_within((left, left + width), y) {
                    (words(right - 2.0, y, Anchor::End, "soft halo", &label))
                } @else {
                    (words(left + 2.0, y, Anchor::Start, "soft halo", &label))
                }
            }
            @for (index, (x, label)) in upright.iter().enumerate() {
                @let y = (top + 9.0 + index as f64 * LINE).min(bottom - 9.0);
                @if *x < (left + right) / 2.0 {
                    (words(x + 5.0, y, Anchor::Start, "soft halo", &fitted(label, right - x)))
                } @else {
                    (words(x - 5.0, y, Anchor::End, "soft halo", &fitted(label, x - left)))
                }
            }
        }
    }
}

fn hover(label: &str, point: &CurvePoint) -> String {
    let digits = |value| significant(value, 4);
    let band = point
        .band
        .map(|(low, high)| format!(" ({} to {})", digits(low), digits(high)));
    let band = band.unwrap_or_default();
    format!("{label}, at {}: {}{band}", digits(point.x), digits(point.y))
}

/// A line through places, for a path.
fn path(places: impl Iterator<Item = (f64, f64)>) -> String {
    let step = |(index, (x, y)): (usize, (f64, f64))| {
        let letter = if index == 0 { 'M' } else { 'L' };
        format!("{letter}{} {}", px(x), px(y))
    };
    places.enumerate().map(step).collect()
}
