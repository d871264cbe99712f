//! Curves over a number, in one panel or in several alike.

use maud::{Markup, html};

use super::axis::{Axis, Span};
use super::field::Field;
use crate::svg::{
    Anchor, Drawing, LINE, WIDTH, dashes, lines_height, mark, px, series_class, width_of, words,
    words_below, words_between, wrap,
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
pub struct ReferenceLine {
    /// Which axis it crosses, and where.
    pub at: Place,
    /// What it stands for.
    pub label: String,
}

/// A place on one of two axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// On the axis at the bottom.
    X(f64),
    /// On the axis at the left.
    Y(f64),
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
    /// All that is to be placed on the axes.
    fn values(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for series in &self.series {
            let points = series.points.iter().map(|point| (point.x, point.y));
            for (at, value) in points.chain(series.cloud.iter().copied()) {
                x.push(at);
                y.push(value);
            }
            let bands = series.points.iter().filter_map(|point| point.band);
            y.extend(bands.flat_map(|(low, high)| [low, high]));
        }
        for reference in &self.references {
            match reference.at {
                Place::X(at) => x.push(at),
                Place::Y(at) => y.push(at),
            }
        }
        (x, y)
    }

    fn left_out(&self) -> usize {
        let (x, y) = self.values();
        let x = x.into_iter().filter(|x| !self.x.shows(*x));
        x.count() + y.into_iter().filter(|y| !self.y.shows(*y)).count()
    }
}

impl CurvePlot {
    pub(crate) fn draw(&self) -> Drawing {
        let columns = self.columns.clamp(1, self.panels.len().clamp(1, 3));
        let cell = WIDTH / columns as f64;
        let lines = |text: &str| wrap(text, cell - 12.0, 3);
        let highest = |text: fn(&CurvePanel) -> &str| {
            let heights = self
                .panels
                .iter()
                .map(|panel| lines_height(lines(text(panel)).len()));
            heights.fold(0.0, f64::max)
        };
        let title = highest(|panel| &panel.title);
        let head = title + highest(|panel| &panel.y.title) + 8.0;
        let plot_height = [260.0, 170.0, 150.0][columns - 1];
        let row_height = head + plot_height + 32.0 + highest(|panel| &panel.x.title);
        let rows = self.panels.len().div_ceil(columns) as f64;
        let labels = self.labels();
        let (legend, legend_height) = legend(&labels);
        let (all_x, all_y): (Vec<_>, Vec<_>) = self.panels.iter().map(CurvePanel::values).unzip();
        let body = html! {
            (legend)
            @for (index, panel) in self.panels.iter().enumerate() {
                @let left = (index % columns) as f64 * cell;
                @let top = legend_height + (index / columns) as f64 * row_height;
                @let (start, end) = (top + head + plot_height, top + head);
                @let y = span(&panel.y, &all_y, index, self.shared_y, (start, end), 42.0);
                @let (start, end) = (left + y.words_width() + 10.0, left + cell - 12.0);
                @let x = span(&panel.x, &all_x, index, self.shared_x, (start, end), 40.0);
                (words_below(left, top, Anchor::Start, "bold", &lines(&panel.title)))
                (words_below(left, top + title, Anchor::Start, "soft", &lines(&panel.y.title)))
                @let foot = lines(&panel.x.title);
                @let top = top + head + plot_height + 22.0;
                (words_between((start + end) / 2.0, (left, left + cell - 4.0), top, &foot))
                (Field { panel, x, y, labels: &labels }.draw())
            }
        };
        Drawing {
            body,
            width: WIDTH,
            height: legend_height + rows * row_height,
            left_out: self.panels.iter().map(CurvePanel::left_out).sum(),
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
}

/// The axis of a panel, for its values or for those of all panels.
fn span(
    axis: &Axis,
    values: &[Vec<f64>],
    panel: usize,
    shared: bool,
    pixels: (f64, f64),
    room: f64,
) -> Span {
    let panels = if shared {
        values
    } else {
        &values[panel..=panel]
    };
    Span::new(axis, panels.iter().flatten().copied(), pixels, room)
}

/// Lines with their labels, and how high they are together.
fn legend(labels: &[&str]) -> (Markup, f64) {
    let (mut x, mut y) = (0.0, LINE / 2.0 + 2.0);
    let mut places = Vec::new();
    let labels = labels.iter().enumerate();
    for (index, label) in labels.filter(|(_, label)| !label.is_empty()) {
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
