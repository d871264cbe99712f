//! A figure: what it shows, and the plot.

use maud::{Markup, PreEscaped, html};

use crate::format::plural;
use crate::svg::{self, Drawing, WIDTH};
use crate::{CurvePlot, HeatMap, IntervalPlot};

/// The style of all figures, for a page that has them inside.
pub(crate) const STYLE: &str = include_str!("figure.css");

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Plot {
    /// Estimates with their intervals, one in a row.
    Intervals(IntervalPlot),
    /// Curves over a number.
    Curves(CurvePlot),
    /// Numbers in coloured cells.
    Heat(HeatMap),
}

/// A plot with its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its anchor, unique on the page, and the name of its file.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What there is to see; also for those who do not see it.
    pub description: String,
    /// What is drawn.
    pub plot: Plot,
}

impl Figure {
    /// Name of the file that a Markdown page looks for.
    pub fn file_name(&self) -> String {
        format!("{}.svg", self.anchor())
    }

    /// The figure as a file of its own.
    pub fn to_svg(&self) -> String {
        self.draw(true).into_string()
    }

    /// The figure as a part of a page, which has the style.
    pub(crate) fn inline_svg(&self) -> Markup {
        self.draw(false)
    }

    /// The id, with no letters that an anchor or a file's name cannot have.
    pub(crate) fn anchor(&self) -> String {
        let kept = |letter: char| letter.is_alphanumeric() || "-_".contains(letter);
        let letters = self.id.chars();
        letters
            .map(|letter| if kept(letter) { letter } else { '-' })
            .collect()
    }

    fn draw(&self, alone: bool) -> Markup {
        let drawing = match &self.plot {
            Plot::Intervals(plot) => plot.draw(),
            Plot::Curves(plot) => plot.draw(),
            Plot::Heat(plot) => plot.draw(),
        };
        let Drawing {
            body,
            width,
            height,
            left_out,
        } = drawing;
        let note = (left_out > 0).then(|| {
            let values = plural(left_out, "value");
            let note = format!("Not drawn: {values} that no axis can show (such as NaN).");
            svg::wrap(&note, WIDTH - 8.0, 2)
        });
        let note = note.unwrap_or_default();
        let total = svg::px(height + svg::lines_height(note.len()));
        let anchor = self.anchor();
        let (title, description) = (format!("{anchor}-title"), format!("{anchor}-description"));
        // A file of its own has a margin; a page has one already.
        let edge = if alone { 8.0 } else { 0.0 };
        let (full_width, full_height) = (width + 2.0 * edge, total + 2.0 * edge);
        // On a page: so narrow at least that words stay legible, and not huge.
        let limits = format!(
            "min-width:{}px;max-width:{}px",
            (width * 0.69).floor(),
            (width * 1.2).floor()
        );
        // Written as elements: the drawing backends at hand know neither classes, nor
        // dash patterns, nor the titles that show a value under the pointer.
        let drawn = html! {
            svg.plot xmlns="http://www.w3.org/2000/svg"
                viewBox={ (-edge) " " (-edge) " " (full_width) " " (full_height) }
                width=[alone.then_some(full_width)] height=[alone.then_some(full_height)]
                style=[(!alone).then_some(limits)] font-size=(svg::SIZE)
                font-family="system-ui, sans-serif" role="img"
                aria-labelledby={ (title) " " (description) } {
                title id=(title) { (self.title) }
                desc id=(description) { (self.description) }
                @if alone {
                    style { (PreEscaped(STYLE)) }
                    rect.ground x=(-edge) y=(-edge) width=(full_width) height=(full_height) {}
                }
                (body)
                (svg::words_below(4.0, height, svg::Anchor::Start, "soft", &note))
            }
        };
        PreEscaped(svg::printable(&drawn.into_string()))
    }
}
