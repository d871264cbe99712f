//! A panel: a frame of two axes with lines, bands and dots in it.
//!
//! The frame is drawn here and not as the mesh of a `plotters` chart, since the marks
//! come from [`Axis`], and rows, zeros below a logarithm and words beside bars are
//! placed by the pixel.

use super::axis::Axis;
use super::canvas::{Align, Canvas, Color, GRID, INK, SOFT, WORDS, width_of};

/// A line of a panel, in the numbers of its axes.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Its colour.
    pub(crate) color: Color,
    /// The line, split where there are no numbers.
    pub(crate) points: Vec<(f64, f64)>,
    /// Place, lower and upper end of the band around it.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Dots beside the line.
    pub(crate) dots: Vec<(f64, f64)>,
    /// Width of the line.
    pub(crate) width: f64,
    /// How much it covers what is below.
    pub(crate) opacity: f64,
    /// Whether the points of the line are marked.
    pub(crate) marked: bool,
}

impl Series {
    /// A plain line.
    pub(crate) fn new(color: Color, points: Vec<(f64, f64)>) -> Self {
        Series {
            color,
            points,
            band: Vec::new(),
            dots: Vec::new(),
            width: 2.25,
            opacity: 1.0,
            marked: false,
        }
    }

    /// All heights that the axis should hold.
    pub(crate) fn heights(&self) -> impl Iterator<Item = f64> {
        let points = self.points.iter().chain(&self.dots).map(|(_, y)| *y);
        points.chain(self.band.iter().flat_map(|(_, low, high)| [*low, *high]))
    }
}

/// Axes with their titles.
pub(crate) struct Panel {
    /// From left to right.
    pub(crate) x: Axis,
    /// From bottom to top.
    pub(crate) y: Axis,
    /// What the panel shows, above it.
    pub(crate) title: String,
    /// What is on the horizontal axis, with its unit.
    pub(crate) x_title: String,
}

/// Width of a line that is seen below others.
pub(crate) const WIDE: f64 = 4.0;
/// Pixels above a panel for its title, and below for its axis.
pub(crate) const ABOVE: f64 = 28.0;
/// Pixels below a panel for the numbers and title of its axis.
pub(crate) const BELOW: f64 = 48.0;
/// Pixels to the left of a panel for numbers.
pub(crate) const LEFT: f64 = 62.0;

impl Panel {
    /// Draws the grid, the numbers and the titles.
    pub(crate) fn frame(&self, canvas: &Canvas<'_>) {
        self.y_grid(canvas);
        let ((left, right), (bottom, top)) = (self.x.ends(), self.y.ends());
        let mut free = f64::NEG_INFINITY;
        for (value, words) in &self.x.ticks {
            let x = self.x.at(*value);
            canvas.line(&[(x, bottom), (x, bottom + 5.0)], SOFT, 1.0, 1.0);
            let half = width_of(words) / 2.0;
            if x - half > free || !self.x.ticks.is_sorted_by(|a, b| a.0 <= b.0) {
                canvas.words((x, bottom + 15.0), words, Align::Center, SOFT);
                free = x + half + 4.0;
            }
        }
        canvas.line(&[(left, bottom), (right, bottom)], SOFT, 1.0, 1.0);
        canvas.bold((left, top - 16.0), &self.title, Align::Left, INK);
        let middle = (left + right) / 2.0;
        canvas.words((middle, bottom + 35.0), &self.x_title, Align::Center, SOFT);
    }

    /// Draws the lines of the grid with their numbers.
    pub(crate) fn y_grid(&self, canvas: &Canvas<'_>) {
        let (left, right) = self.x.ends();
        for (value, words) in &self.y.ticks {
            let y = self.y.at(*value);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0, 1.0);
            canvas.words((left - 8.0, y), words, Align::Right, SOFT);
        }
    }

    /// Draws lines, all bands below all lines.
    pub(crate) fn draw(&self, canvas: &Canvas<'_>, series: &[Series]) {
        for line in series {
            let upper = line.band.iter().map(|(x, _, high)| self.place((*x, *high)));
            let lower = line
                .band
                .iter()
                .rev()
                .map(|(x, low, _)| self.place((*x, *low)));
            let corners: Vec<_> = upper.chain(lower).collect();
            if corners.len() > 3 {
                canvas.shape(&corners, line.color, 0.14);
            }
        }
        let (wide, other): (Vec<&Series>, Vec<&Series>) =
            series.iter().partition(|line| line.width >= WIDE);
        for line in wide.into_iter().chain(other) {
            self.draw_line(canvas, line);
        }
    }

    fn draw_line(&self, canvas: &Canvas<'_>, line: &Series) {
        for part in line.points.split(|(_, y)| !y.is_finite()) {
            let places: Vec<_> = part.iter().map(|point| self.place(*point)).collect();
            canvas.line(&places, line.color, line.width, line.opacity);
            // A single point is no line.
            if line.marked || places.len() == 1 {
                for place in places {
                    canvas.dot(place, 2.4 + line.width / 2.0, line.color, 1.0);
                }
            }
        }
        for dot in line.dots.iter().filter(|(_, y)| y.is_finite()) {
            canvas.dot(self.place(*dot), 2.5, line.color, 0.45);
        }
    }

    /// Marks the end of a line that went no further.
    pub(crate) fn cross(&self, canvas: &Canvas<'_>, at: (f64, f64), color: Color) {
        let (x, y) = self.place(at);
        canvas.line(&[(x - 5.0, y - 5.0), (x + 5.0, y + 5.0)], color, 2.5, 1.0);
        canvas.line(&[(x - 5.0, y + 5.0), (x + 5.0, y - 5.0)], color, 2.5, 1.0);
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }
}

/// Height of a legend of these names in a figure of the given width.
pub(crate) fn legend_height(names: &[(String, Color)], width: f64) -> f64 {
    let rows = legend_places(names, width)
        .last()
        .map_or(0.0, |(_, row)| row + 1.0);
    12.0 + rows * 1.7 * WORDS
}

/// Draws a legend from the upper left, above the panels that share it.
///
/// That of `plotters` is a box inside one chart: with the names of four methods it
/// covers a sixth of a panel and what is drawn there.
pub(crate) fn legend(canvas: &Canvas<'_>, names: &[(String, Color)], left: f64, width: f64) {
    for ((name, color), (x, row)) in names.iter().zip(legend_places(names, width)) {
        let (x, y) = (left + x, 18.0 + row * 1.7 * WORDS);
        canvas.line(&[(x, y), (x + 20.0, y)], *color, 4.0, 1.0);
        canvas.words((x + 27.0, y), name, Align::Left, INK);
    }
}

/// Place and row of every name.
fn legend_places(names: &[(String, Color)], width: f64) -> Vec<(f64, f64)> {
    let (mut x, mut row) = (0.0, 0.0);
    let place = |(name, _): &(String, Color)| {
        let needed = 27.0 + width_of(name) + 18.0;
        if x > 0.0 && x + needed > width {
            (x, row) = (0.0, row + 1.0);
        }
        let at = (x, row);
        x += needed;
        at
    };
    names.iter().map(place).collect()
}
