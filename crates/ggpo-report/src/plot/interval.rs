//! Estimates with their intervals, one in a row, on a common axis.

use maud::{Markup, html};

use super::axis::{Axis, Span};
use crate::format::significant;
use crate::svg::{
    Anchor, Drawing, LINE, WIDTH, line, lines_height, mark, px, width_of, words, words_below,
    words_between, wrap,
};

/// An estimate and the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// The estimate.
    pub mean: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// An estimate with an interval around it.
    pub fn new(low: f64, mean: f64, high: f64) -> Self {
        Interval { low, mean, high }
    }

    /// An estimate that has no interval.
    pub fn point(mean: f64) -> Self {
        Interval::new(mean, mean, mean)
    }
}

/// A row of an interval plot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntervalRow {
    /// Its name.
    pub label: String,
    /// Single values, each with words for the pointer (a seed, say).
    pub points: Vec<(f64, String)>,
    /// The estimate, if there is one.
    pub estimate: Option<Interval>,
    /// What stands at the right of the row, such as the estimate in digits; in several
    /// lines if it is long, broken at spaces other than U+00A0.
    pub number: String,
    /// Stands out.
    pub emphasis: bool,
}

/// Rows on an axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntervalPanel {
    /// Its title; may be empty.
    pub title: String,
    /// Its axis.
    pub axis: Axis,
    /// Its rows, from top to bottom.
    pub rows: Vec<IntervalRow>,
    /// A value that estimates are compared with.
    pub reference: Option<f64>,
    /// A band of values which are as good as the reference.
    pub margin: Option<(f64, f64)>,
}

/// Estimates with their intervals, in one panel or several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntervalPlot {
    /// The panels.
    pub panels: Vec<IntervalPanel>,
    /// How many panels stand side by side, if their rows have the same labels; panels
    /// with different labels stand below each other.
    pub columns: usize,
    /// All panels have the same ends of their axes.
    pub shared_axis: bool,
}

impl IntervalPanel {
    fn values(&self) -> impl Iterator<Item = f64> {
        let band = self.margin.map(|(low, high)| [low, high]);
        let marks = self.reference.into_iter().chain(band.into_iter().flatten());
        marks.chain(self.rows.iter().flat_map(IntervalRow::values))
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.label.as_str())
    }
}

impl IntervalRow {
    fn values(&self) -> impl Iterator<Item = f64> {
        let estimate = self.estimate.map(|it| [it.low, it.mean, it.high]);
        let points = self.points.iter().map(|(value, _)| *value);
        points.chain(estimate.into_iter().flatten())
    }

    /// By how much its label is wider than plain words.
    fn boldness(&self) -> f64 {
        if self.emphasis { 1.1 } else { 1.0 }
    }

    /// Its label in lines of a width.
    fn label_lines(&self, width: f64) -> Vec<String> {
        wrap(&self.label, (width + 1.0) / self.boldness(), 3)
    }
}

/// Space above and below what a row shows.
const ROW_PADDING: f64 = 5.0;

impl IntervalPlot {
    pub(crate) fn draw(&self) -> Drawing {
        let alike = |pair: &[IntervalPanel]| pair[0].labels().eq(pair[1].labels());
        let columns = match self.panels.windows(2).all(alike) {
            true => self.columns.clamp(1, self.panels.len().clamp(1, 3)),
            false => 1,
        };
        let most = if columns == 1 { 0.42 } else { 0.3 } * WIDTH;
        let rows = self.panels.iter().flat_map(|panel| &panel.rows);
        let widths = rows.map(|row| row.boldness() * width_of(&row.label));
        let widest = widths.fold(0.0, f64::max).min(most);
        let width = (WIDTH - widest - 8.0) / columns as f64;
        let mut height = 0.0;
        let mut drawn = Vec::new();
        for chunk in self.panels.chunks(columns) {
            let layout = Layout::new(chunk, widest, width, height);
            drawn.push(layout.row_labels(&chunk[0]));
            for (column, panel) in chunk.iter().enumerate() {
                let left = widest + 8.0 + column as f64 * width;
                let all = self.panels.iter().flat_map(IntervalPanel::values);
                let values: Vec<f64> = match self.shared_axis {
                    true => all.collect(),
                    false => panel.values().collect(),
                };
                drawn.push(layout.panel(panel, left, &values));
            }
            height = layout.end;
        }
        let hidden = |panel: &IntervalPanel| {
            let values = panel.values();
            values.filter(|value| !panel.axis.shows(*value)).count()
        };
        Drawing {
            body: html! { @for part in drawn { (part) } },
            width: WIDTH,
            height,
            left_out: self.panels.iter().map(hidden).sum(),
        }
    }
}

/// Where things are in panels that stand side by side.
struct Layout {
    widest: f64,
    width: f64,
    /// Top of the titles, of the rows, and their bottom.
    start: f64,
    top: f64,
    bottom: f64,
    /// Bottom of the axis titles.
    end: f64,
    /// Middle of each row.
    middles: Vec<f64>,
}

impl Layout {
    fn new(panels: &[IntervalPanel], widest: f64, width: f64, start: f64) -> Self {
        let lines = |text: &str| wrap(text, width - 12.0, 3).len();
        let heads = panels.iter().map(|panel| lines(&panel.title));
        let feet = panels.iter().map(|panel| lines(&panel.axis.title));
        let top = start + lines_height(heads.max().unwrap_or(0));
        let mut bottom = top;
        let mut middles = Vec::new();
        for row in &panels[0].rows {
            let words = row.label_lines(widest).len().max(1) as f64 * LINE;
            let has_points = panels
                .iter()
                .any(|panel| panel.rows.iter().any(|row| !row.points.is_empty()));
            let words = words.max(number_lines(row, width).len() as f64 * LINE);
            let height = words.max(if has_points { 26.0 } else { 18.0 }) + 2.0 * ROW_PADDING;
            middles.push(bottom + height / 2.0);
            bottom += height;
        }
        bottom = bottom.max(top + 20.0);
        Layout {
            widest,
            width,
            start,
            top,
            bottom,
            end: bottom + 24.0 + lines_height(feet.max().unwrap_or(0)) + 6.0,
            middles,
        }
    }

    fn row_labels(&self, panel: &IntervalPanel) -> Markup {
        html! {
            @for (row, middle) in panel.rows.iter().zip(&self.middles) {
                @let lines = row.label_lines(self.widest);
                @let top = middle - lines.len() as f64 * LINE / 2.0;
                @let class = if row.emphasis { "bold" } else { "" };
                (words_below(self.widest, top, Anchor::End, class, &lines))
            }
        }
    }

    fn panel(&self, panel: &IntervalPanel, left: f64, values: &[f64]) -> Markup {
        let numbers = panel
            .rows
            .iter()
            .flat_map(|row| number_lines(row, self.width));
        let numbers = numbers.map(|line| width_of(&line)).fold(0.0, f64::max);
        let numbers = if numbers > 0.0 { numbers + 6.0 } else { 0.0 };
        let right = (left + self.width - 6.0 - numbers).max(left + 0.3 * self.width);
        let span = Span::new(&panel.axis, values.iter().copied(), (left, right), 40.0);
        let shown = |value: &f64| panel.axis.shows(*value);
        let middle = (left + right) / 2.0;
        let title = wrap(&panel.title, self.width - 12.0, 3);
        let foot = wrap(&panel.axis.title, self.width - 12.0, 3);
        html! {
            (words_below(left, self.start, Anchor::Start, "bold", &title))
            @if let Some((low, high)) = panel.margin.filter(|it| shown(&it.0) && shown(&it.1)) {
                @let (x, end) = (span.at(low.min(high)), span.at(low.max(high)));
                rect.band x=(px(x)) y=(px(self.top)) width=(px(end - x))
                    height=(px(self.bottom - self.top)) {
                    title { "margin: " (significant(low, 3)) " to " (significant(high, 3)) }
                }
            }
            (span.draw_below(self.top, self.bottom))
            @if let Some(x) = panel.reference.filter(shown).map(|value| span.at(value)) {
                (line((x, self.top), (x, self.bottom), "soft"))
            }
            @if panel.rows.is_empty() {
                (words(middle, (self.top + self.bottom) / 2.0, Anchor::Middle, "soft", "no rows"))
            }
            @for (row, &y) in panel.rows.iter().zip(&self.middles) {
                (draw_row(row, &panel.axis, &span, y))
                @let lines = number_lines(row, self.width);
                @let top = y - lines.len() as f64 * LINE / 2.0;
                (words_below(right + 6.0, top, Anchor::Start, "", &lines))
            }
            (words_between(middle, (left, left + self.width), self.bottom + 22.0, &foot))
        }
    }
}

/// The number of a row beside a panel of some width, never cut.
fn number_lines(row: &IntervalRow, width: f64) -> Vec<String> {
    let words = row.number.split([' ', '\n', '\t']);
    let widest = words.map(width_of).fold(0.4 * width, f64::max);
    wrap(&row.number, widest, usize::MAX)
}

/// The interval, and below it the single values, in turn a little higher and lower.
fn draw_row(row: &IntervalRow, axis: &Axis, span: &Span, y: f64) -> Markup {
    let y_of_interval = if row.points.is_empty() { y } else { y - 5.0 };
    let class = if row.emphasis {
        "strong s1"
    } else {
        "strong s0"
    };
    let shape = if row.emphasis { 3 } else { 0 };
    html! {
        g class=(class) {
            @for (index, (value, hover)) in row.points.iter().enumerate() {
                @if axis.shows(*value) {
                    @let y = y + 7.0 + [0.0, 3.0, -3.0][index % 3];
                    circle.cloud cx=(px(span.at(*value))) cy=(px(y)) r="3" {
                        title { (row.label) ", " (hover) ": " (significant(*value, 4)) }
                    }
                }
            }
            @if let Some(Interval { low, mean, high }) = row.estimate {
                @let digits = |value| significant(value, 4);
                @let hover = format!("{}: {} ({} to {})",
                    row.label, digits(mean), digits(low), digits(high));
                @if axis.shows(low) && axis.shows(high) {
                    @let (x, end) = (span.at(low), span.at(high));
                    g {
                        title { (hover) }
                        (line((x, y_of_interval), (end, y_of_interval), ""))
                        @for x in [x, end] {
                            (line((x, y_of_interval - 4.0), (x, y_of_interval + 4.0), ""))
                        }
                    }
                }
                @if axis.shows(mean) {
                    (mark(shape, (span.at(mean), y_of_interval), &hover))
                }
            }
        }
    }
}
