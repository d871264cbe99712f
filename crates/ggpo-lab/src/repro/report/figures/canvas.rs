//! Drawing in an SVG: lines, dots and words in pixels, on a light ground.

use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) use plotters::style::RGBColor as Color;

/// Words, and dark marks.
pub(crate) const INK: Color = RGBColor(36, 41, 47);
/// Words that explain.
pub(crate) const SOFT: Color = RGBColor(87, 96, 106);
/// Lines of the grid.
pub(crate) const GRID: Color = RGBColor(222, 226, 230);
/// The ground.
const GROUND: Color = RGBColor(252, 252, 251);

/// Colours that can be told apart without seeing red or green (Okabe and Ito;
/// its purple darkened for thin lines).
const COLORS: [Color; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(170, 68, 153),
    RGBColor(86, 180, 233),
    RGBColor(184, 134, 11),
    RGBColor(120, 94, 240),
];

/// One of the colours; they repeat.
pub(crate) fn color(index: usize) -> Color {
    COLORS[index % COLORS.len()]
}

/// The backend places things on whole units, of which a pixel has this many.
const UNITS: f64 = 8.0;

/// Size of words, in pixels.
pub(crate) const WORDS: f64 = 13.0;

/// Where words stand, seen from their point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// To the right of it.
    Left,
    /// Around it.
    Center,
    /// To the left of it.
    Right,
}

/// A drawing in the making; places are in pixels from the upper left.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

/// A drawing of the given size in pixels, as SVG.
pub(crate) fn draw(width: f64, height: f64, paint: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    let size = (units(width) as u32, units(height) as u32);
    {
        let canvas = Canvas {
            area: SVGBackend::with_string(&mut svg, size).into_drawing_area(),
        };
        canvas.rectangle((0.0, 0.0), (width, height), GROUND, 1.0);
        paint(&canvas);
        written(canvas.area.present());
    }
    let in_units = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    svg.replacen(
        &in_units,
        &format!("width=\"{width}\" height=\"{height}\""),
        1,
    )
}

fn units(pixels: f64) -> i32 {
    (pixels * UNITS).round() as i32
}

fn place((x, y): (f64, f64)) -> (i32, i32) {
    (units(x), units(y))
}

/// Drawing into memory cannot fail.
fn written<E: std::error::Error + Send + Sync>(result: Result<(), DrawingAreaErrorKind<E>>) {
    result.expect("a drawing in memory is not refused");
}

impl Canvas<'_> {
    /// A line through points.
    pub(crate) fn line(&self, points: &[(f64, f64)], color: Color, width: f64, opacity: f64) {
        if points.len() < 2 {
            return;
        }
        let points: Vec<_> = points.iter().copied().map(place).collect();
        let style = color.mix(opacity).stroke_width(units(width) as u32);
        written(self.area.draw(&PathElement::new(points, style)));
    }

    /// A filled shape.
    pub(crate) fn shape(&self, corners: &[(f64, f64)], color: Color, opacity: f64) {
        let corners: Vec<_> = corners.iter().copied().map(place).collect();
        written(self.area.draw(&Polygon::new(corners, color.mix(opacity))));
    }

    /// A filled rectangle.
    pub(crate) fn rectangle(&self, from: (f64, f64), to: (f64, f64), color: Color, opacity: f64) {
        let style = color.mix(opacity).filled();
        written(
            self.area
                .draw(&Rectangle::new([place(from), place(to)], style)),
        );
    }

    /// A filled dot.
    pub(crate) fn dot(&self, center: (f64, f64), radius: f64, color: Color, opacity: f64) {
        let dot = Circle::new(place(center), units(radius), color.mix(opacity).filled());
        written(self.area.draw(&dot));
    }

    /// An open circle.
    pub(crate) fn ring(&self, center: (f64, f64), radius: f64, color: Color) {
        self.dot(center, radius, GROUND, 1.0);
        let style = color.stroke_width(units(1.5) as u32);
        written(
            self.area
                .draw(&Circle::new(place(center), units(radius), style)),
        );
    }

    /// Words, at half their height.
    pub(crate) fn words(&self, at: (f64, f64), words: &str, align: Align, color: Color) {
        self.styled(at, words, align, color, FontStyle::Normal);
    }

    /// Words that stand out.
    pub(crate) fn bold(&self, at: (f64, f64), words: &str, align: Align, color: Color) {
        self.styled(at, words, align, color, FontStyle::Bold);
    }

    fn styled(
        &self,
        (x, y): (f64, f64),
        words: &str,
        align: Align,
        color: Color,
        style: FontStyle,
    ) {
        let h_pos = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        // The backend divides the size by 1.24. The base line is set here,
        // since programs disagree on what the middle of words is.
        let font = ("sans-serif", WORDS * UNITS * 1.24)
            .into_font()
            .style(style);
        let pos = Pos::new(h_pos, VPos::Top);
        let style = font.color(&color).pos(pos);
        let top = y + (0.36 - 0.76) * WORDS;
        written(
            self.area
                .draw(&Text::new(words.to_owned(), place((x, top)), style)),
        );
    }
}

/// About how wide words are drawn, in pixels; rather too much than too little.
pub(crate) fn width_of(words: &str) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | '(' | ')' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.95,
        _ if letter.is_uppercase() => 0.72,
        _ => 0.62,
    };
    words.chars().map(width).sum::<f64>() * WORDS
}
