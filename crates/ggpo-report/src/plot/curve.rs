//! Curves over a number, in one panel or in several alike.

use maud::{Markup, html};

use super::axis::{Axis, Span};
use crate::format::significant;
use crate::svg::{
    Anchor, Drawing, LINE, WIDTH, dashes, line, lines_height, mark, px, series_class, spread,
    width_of, words, words_below, wrap,
};

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Where it is.
    pub x: f64,
    /// What is there.
    pub y: f64,
    /// Ends of the band around it.
    pub band: Option<(f64, f64)>,
}

impl CurvePoint {
    /// A point without a band.
    pub fn new(x: f64, y: f64) -> Self {
        CurvePoint { x, y, band: None }
    }

    /// A point in a band.
    pub fn in_band(x: f64, y: f64, low: f64, high: f64) -> Self {
        CurvePoint {
            x,
            y,
            band: Some((low, high)),
        }
    }
}

/// A curve; those of the same label look the same in all panels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// Its points, in the order in which they are joined.
    pub points: Vec<CurvePoint>,
    /// Single values around it, which are not joined.
    pub cloud: Vec<(f64, f64)>,
}

impl Series {
    /// A curve without single values.
    pub fn new(label: impl Into<String>, points: Vec<CurvePoint>) -> Self {
        Series {
            label: label.into(),
            points,
            cloud: Vec::new(),
        }
    }
}

/// A line through a whole panel.
#[derive(Debug, Clone, PartialEq)]
pub enum ReferenceLine {
    /// From left to right.
    Horizontal {
        /// Its height.
        y: f64,
        /// What it stands for.
        label: String,
    },
    /// From top to bottom.
    Vertical {
        /// Its place.
        x: f64,
        /// What it stands for.
        label: String,
    },
}

/// Curves on two axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurvePanel {
    /// Its title; may be empty.
    pub title: String,
    /// The axis at the bottom.
    pub x: Axis,
    /// The axis at the left.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
    /// Lines to compare them with.
    pub references: Vec<ReferenceLine>,
}

/// Curves in one panel or in several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CurvePlot {
    /// The panels.
    pub panels: Vec<CurvePanel>,
    /// How many panels stand side by side: up to three.
    pub columns: usize,
    /// All panels have the same ends of the axis at the bottom.
    pub shared_x: bool,
    /// All panels have the same ends of the axis at the left.
    pub shared_y: bool,
}

impl CurvePanel {
    fn x_values(&self) -> impl Iterator<Item = f64> {
        let references = self
            .references
            .iter()
            .filter_map(|reference| match reference {
                ReferenceLine::Vertical { x, .. } => Some(*x),
                ReferenceLine::Horizontal { .. } => None,
            });
        let points = self.series.iter().flat_map(|series| &series.points);
        let cloud = self.series.iter().flat_map(|series| &series.cloud);
        let values = points.map(|point| point.x).chain(cloud.map(|it| it.0));
        values.chain(references)
    }

    fn y_values(&self) -> impl Iterator<Item = f64> {
        let references = self
            .references
            .iter()
            .filter_map(|reference| match reference {
                ReferenceLine::Horizontal { y, .. } => Some(*y),
                ReferenceLine::Vertical { .. } => None,
            });
        let points = self.series.iter().flat_map(|series| &series.points);
        let bands = points.clone().filter_map(|point| point.band);
        let cloud = self.series.iter().flat_map(|series| &series.cloud);
        let values = points.map(|point| point.y).chain(cloud.map(|it| it.1));
        let values = values.chain(bands.flat_map(|(low, high)| [low, high]));
        values.chain(references)
    }

    fn left_out(&self) -> usize {
        let x = self.x_values().filter(|x| !self.x.shows(*x)).count();
        x + self.y_values().filter(|y| !self.y.shows(*y)).count()
    }
}

impl CurvePlot {
    pub(crate) fn draw(&self) -> Drawing {
        let columns = self.columns.clamp(1, self.panels.len().clamp(1, 3));
        let cell = WIDTH / columns as f64;
        let labels = self.labels();
        let lines = |text: &str| lines_height(wrap(text, cell - 12.0, 3).len());
        let highest = |heights: &mut dyn Iterator<Item = f64>| heights.fold(0.0, f64::max);
        let title = highest(&mut self.panels.iter().map(|panel| lines(&panel.title)));
        let head = title + highest(&mut self.panels.iter().map(|panel| lines(&panel.y.title)));
        let foot = highest(&mut self.panels.iter().map(|panel| lines(&panel.x.title)));
        let plot_height = [260.0, 170.0, 150.0][columns - 1];
        let row_height = head + 8.0 + plot_height + 24.0 + foot + 8.0;
        let rows = self.panels.len().div_ceil(columns);
        let (legend, legend_height) = self.legend(&labels);
        let body = html! {
            (legend)
            @for (index, panel) in self.panels.iter().enumerate() {
                @let left = (index % columns) as f64 * cell;
                @let top = legend_height + (index / columns) as f64 * row_height;
                @let bottom = top + head + 8.0 + plot_height;
                @let y = self.y_span(panel, (bottom, top + head + 8.0));
                @let x = self.x_span(panel, (left + y.words_width() + 10.0, left + cell - 12.0));
                (words_below(left, top, Anchor::Start, "bold", &wrap(&panel.title, cell - 12.0, 3)))
                (words_below(
                    left, top + title, Anchor::Start, "soft", &wrap(&panel.y.title, cell - 12.0, 3)
                ))
                (Field { panel, x, y, labels: &labels }.draw())
            }
        };
        Drawing {
            body,
            width: WIDTH,
            height: legend_height + rows as f64 * row_height,
            left_out: self.panels.iter().map(CurvePanel::left_out).sum(),
        }
    }

    fn x_span(&self, panel: &CurvePanel, pixels: (f64, f64)) -> Span {
        let all = self.panels.iter().flat_map(CurvePanel::x_values);
        match self.shared_x {
            true => Span::new(&panel.x, all, pixels, 60.0),
            false => Span::new(&panel.x, panel.x_values(), pixels, 60.0),
        }
    }

    fn y_span(&self, panel: &CurvePanel, pixels: (f64, f64)) -> Span {
        let all = self.panels.iter().flat_map(CurvePanel::y_values);
        match self.shared_y {
            true => Span::new(&panel.y, all, pixels, 42.0),
            false => Span::new(&panel.y, panel.y_values(), pixels, 42.0),
        }
    }

    /// All labels, in the order in which they come first.
    fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !labels.contains(&series.label.as_str()) {
                labels.push(series.label.as_str());
            }
        }
        labels
    }

    fn legend(&self, labels: &[&str]) -> (Markup, f64) {
        let (mut x, mut y) = (0.0, LINE / 2.0 + 2.0);
        let mut places = Vec::new();
        for (index, label) in labels
            .iter()
            .enumerate()
            .filter(|(_, label)| !label.is_empty())
        {
            let label = wrap(label, WIDTH - 60.0, 1).concat();
            let width = 42.0 + width_of(&label) + 16.0;
            if x > 0.0 && x + width > WIDTH + 16.0 {
                (x, y) = (0.0, y + LINE + 4.0);
            }
            places.push((index, label, x, y));
            x += width;
        }
        let height = if places.is_empty() { 0.0 } else { y + LINE };
        let legend = html! {
            @for (index, label, x, y) in &places {
                g class=(series_class(*index)) {
                    line.curve x1=(px(*x)) y1=(px(*y)) x2=(px(x + 36.0)) y2=(px(*y))
                        stroke-dasharray=(dashes(*index)) {}
                    (mark(*index, (x + 18.0, *y), ""))
                }
                (words(x + 42.0, *y, Anchor::Start, "", label))
            }
        };
        (legend, height)
    }
}

/// A curve has at most so many marks.
const MARKS: usize = 24;

/// The inside of a panel.
struct Field<'a> {
    panel: &'a CurvePanel,
    x: Span,
    y: Span,
    labels: &'a [&'a str],
}

impl Field<'_> {
    fn draw(&self) -> Markup {
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
            @let foot = wrap(&self.panel.x.title, right - left + 40.0, 3);
            (words_below((left + right) / 2.0, bottom + 22.0, Anchor::Middle, "soft", &foot))
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
                @match reference {
                    ReferenceLine::Horizontal { y, .. } => {
                        @if self.panel.y.shows(*y) {
                            @let y = self.y.at(*y);
                            (line((left, y), (right, y), "soft"))
                        }
                    }
                    ReferenceLine::Vertical { x, .. } => {
                        @if self.panel.x.shows(*x) {
                            @let x = self.x.at(*x);
                            (line((x, bottom), (x, top), "soft"))
                        }
                    }
                }
            }
        }
    }

    /// Words above horizontal lines, at the right, and beside vertical ones, each lower
    /// than the one before.
    fn reference_labels(&self) -> Markup {
        let ((left, right), (bottom, top)) = (self.x.pixels, self.y.pixels);
        let room = right - left;
        let (mut across, mut upright) = (Vec::new(), Vec::new());
        for reference in &self.panel.references {
            match reference {
                ReferenceLine::Horizontal { y, label } if self.panel.y.shows(*y) => {
                    across.push((self.y.at(*y) - 9.0, wrap(label, room, 1).concat()));
                }
                ReferenceLine::Vertical { x, label } if self.panel.x.shows(*x) => {
                    upright.push((self.x.at(*x), label));
                }
                _ => {}
            }
        }
        let heights: Vec<f64> = across.iter().map(|(y, _)| *y).collect();
        let heights = spread(&heights, LINE, (top + 8.0, bottom - 8.0));
        html! {
            @for ((_, label), y) in across.iter().zip(heights) {
                (words(right - 2.0, y, Anchor::End, "soft halo", label))
            }
            @for (index, (x, label)) in upright.iter().enumerate() {
                @let y = (top + 9.0 + index as f64 * LINE).min(bottom - 9.0);
                @let (anchor, x, room) = match *x < (left + right) / 2.0 {
                    true => (Anchor::Start, x + 5.0, right - x),
                    false => (Anchor::End, x - 5.0, x - left),
                };
                (words(x, y, anchor, "soft halo", &wrap(label, room, 1).concat()))
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
