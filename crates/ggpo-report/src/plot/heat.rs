//! Numbers in coloured cells.

use maud::{Markup, html};

use crate::format::{fixed, full, significant};
use crate::svg::{
    Anchor, Drawing, LINE, WIDTH, lines_height, px, width_of, words, words_below, wrap,
};

/// How numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeatScale {
    /// From pale to dark, from the least to the largest value.
    Sequential,
    /// From pale in the centre to one colour below and another above, equally dark at
    /// equal distances.
    Diverging {
        /// The value that is neither high nor low.
        centre: f64,
    },
}

/// Numbers in rows and columns of coloured cells.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// What the rows are.
    pub rows_title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// What the columns are.
    pub columns_title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A number per row and column; what is missing or not finite has an empty cell.
    pub values: Vec<Vec<Option<f64>>>,
    /// Digits after the point of the printed numbers.
    pub decimals: usize,
    /// How numbers become colours.
    pub scale: HeatScale,
}

const CELL_HEIGHT: f64 = 30.0;

impl HeatMap {
    pub(crate) fn draw(&self) -> Drawing {
        let label_width = |label: &String| width_of(label);
        let labels = self.rows.iter().map(label_width).fold(0.0, f64::max);
        let labels = labels.min(0.35 * WIDTH);
        let numbers = self.rows.iter().enumerate().flat_map(|(row, _)| {
            let columns = 0..self.columns.len();
            columns.map(move |column| width_of(&self.text(row, column)))
        });
        let widest = numbers.fold(20.0, f64::max) + 10.0;
        let count = self.columns.len().max(1) as f64;
        let left = labels + 8.0;
        let cell = ((WIDTH - left) / count).clamp(widest, widest.max(90.0));
        let width = (left + cell * count).max(WIDTH).ceil();

        let heads: Vec<_> = self
            .columns
            .iter()
            .map(|name| wrap(name, cell - 4.0, 3))
            .collect();
        let fits = |lines: &Vec<String>| lines.iter().all(|line| !line.ends_with('…'));
        let upright = heads.iter().all(fits);
        let head_height = match upright {
            true => lines_height(heads.iter().map(Vec::len).max().unwrap_or(0)),
            false => {
                let longest = self.columns.iter().map(label_width).fold(0.0, f64::max);
                longest.min(140.0) + 8.0
            }
        };
        let titles = wrap(&self.titles(), width, 2);
        let top = lines_height(titles.len()) + head_height;
        let centre_of = |column: usize| left + (column as f64 + 0.5) * cell;
        let range = self.range();
        let body = html! {
            (words_below(0.0, 0.0, Anchor::Start, "soft", &titles))
            @for (column, name) in self.columns.iter().enumerate() {
                @let x = centre_of(column);
                @if upright {
                    @let rise = heads[column].len() as f64 * LINE + 4.0;
                    (words_below(x, top - rise, Anchor::Middle, "", &heads[column]))
                } @else {
                    g transform={ "rotate(-90 " (px(x)) " " (px(top - 5.0)) ")" } {
                        (words(x, top - 5.0, Anchor::Start, "", &wrap(name, 140.0, 1).concat()))
                    }
                }
            }
            @for (row, name) in self.rows.iter().enumerate() {
                @let y = top + row as f64 * CELL_HEIGHT;
                @let lines = wrap(name, labels + 1.0, 1);
                (words(labels, y + CELL_HEIGHT / 2.0, Anchor::End, "", &lines.concat()))
                @for column in 0..self.columns.len() {
                    (self.cell((row, column), (left + column as f64 * cell, y), cell, range))
                }
            }
        };
        let values = self.values.iter().flatten().flatten();
        Drawing {
            body,
            width,
            height: top + self.rows.len() as f64 * CELL_HEIGHT + 6.0,
            left_out: values.filter(|value| !value.is_finite()).count(),
        }
    }

    fn titles(&self) -> String {
        let named = [("Rows", &self.rows_title), ("Columns", &self.columns_title)];
        let named = named.iter().filter(|(_, title)| !title.is_empty());
        let parts: Vec<_> = named
            .map(|(which, title)| format!("{which}: {title}"))
            .collect();
        parts.join("; ")
    }

    fn cell(
        &self,
        (row, column): (usize, usize),
        (x, y): (f64, f64),
        width: f64,
        range: (f64, f64),
    ) -> Markup {
        let value = self.value(row, column);
        let text = self.text(row, column);
        let (x, y, w, h) = (px(x + 1.0), px(y + 1.0), px(width - 2.0), CELL_HEIGHT - 2.0);
        let middle = (x + w / 2.0, y + h / 2.0);
        html! {
            g {
                title {
                    (self.rows[row]) ", " (self.columns[column]) ": "
                    @match value { Some(value) => (full(value)), None => "no value" }
                }
                @if let Some(value) = value {
                    @let (fill, ink) = colours(value, range);
                    rect x=(x) y=(y) width=(w) height=(h) fill=(fill) {}
                    g color=(ink) { (words(middle.0, middle.1, Anchor::Middle, "", &text)) }
                } @else {
                    rect.empty x=(x) y=(y) width=(w) height=(h) {}
                    (words(middle.0, middle.1, Anchor::Middle, "soft", &text))
                }
            }
        }
    }

    fn value(&self, row: usize, column: usize) -> Option<f64> {
        let value = self.values.get(row)?.get(column).copied().flatten();
        value.filter(|value| value.is_finite())
    }

    fn text(&self, row: usize, column: usize) -> String {
        let value = self.value(row, column).unwrap_or(f64::NAN);
        match value.abs() < 1e6 {
            true => fixed(value, self.decimals),
            false => significant(value, 2),
        }
    }

    /// The value that is pale and how far from it the darkest is, both in quarters, so
    /// that differences stay finite.
    fn range(&self) -> (f64, f64) {
        let values = self.values.iter().flatten().flatten();
        let quarters = values
            .filter(|value| value.is_finite())
            .map(|value| value / 4.0);
        let pale = match self.scale {
            HeatScale::Sequential => quarters.clone().fold(f64::INFINITY, f64::min),
            HeatScale::Diverging { centre } if centre.is_finite() => centre / 4.0,
            HeatScale::Diverging { .. } => 0.0,
        };
        let distances = quarters.map(|quarter| (quarter - pale).abs());
        (pale, distances.fold(0.0, f64::max))
    }
}

/// Colours of a cell and of the number in it, the same on any ground.
fn colours(value: f64, (pale, far): (f64, f64)) -> (String, &'static str) {
    let distance = value / 4.0 - pale;
    let share = if far > 0.0 { distance.abs() / far } else { 0.0 };
    let dark = if distance < 0.0 {
        [168.0, 60.0, 0.0]
    } else {
        [8.0, 69.0, 120.0]
    };
    let ground = [242.0, 244.0, 246.0];
    let [red, green, blue] =
        [0, 1, 2].map(|index| (ground[index] + share * (dark[index] - ground[index])).round());
    let ink = if share > 0.72 { "#ffffff" } else { "#14181d" };
    (format!("rgb({red},{green},{blue})"), ink)
}
