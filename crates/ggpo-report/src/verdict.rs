//! Claims and what was found about them.

use maud::{Markup, html};

use crate::format::significant;
use crate::plot::axis::Span;
use crate::svg::px;
use crate::{Axis, Interval};

/// What a finding means for its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// The claim holds.
    Supported,
    /// The opposite holds.
    Contradicted,
    /// The difference is too small to matter.
    Equivalent,
    /// The data allow either.
    Undecided,
    /// The data cannot tell.
    NotTestable,
}

impl Tone {
    /// A mark that says the same without colour.
    pub fn mark(self) -> &'static str {
        self.mark_and_class().0
    }

    pub(crate) fn mark_and_class(self) -> (&'static str, &'static str) {
        match self {
            Tone::Supported => ("✓", "supported"),
            Tone::Contradicted => ("✗", "contradicted"),
            Tone::Equivalent => ("≈", "equivalent"),
            Tone::Undecided => ("?", "undecided"),
            Tone::NotTestable => ("∅", "not-testable"),
        }
    }
}

/// A claim, what was found about it, and the interval that tells.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictLine {
    /// The claim, in a sentence.
    pub claim: String,
    /// Id of the section that has the evidence; none if empty.
    pub section: String,
    /// The verdict, in a word or two.
    pub verdict: String,
    /// What the verdict means for the claim.
    pub tone: Tone,
    /// The number that decides, as it is to be read.
    pub number: String,
    /// The estimate of the difference.
    pub interval: Option<Interval>,
    /// Differences up to this one, in either direction, do not matter.
    pub margin: Option<f64>,
}

impl VerdictLine {
    /// Where the interval lies, in words; nothing if it has no finite ends.
    pub fn interval_in_words(&self) -> Option<String> {
        let Interval { low, mean, high } = self.shown()?;
        let margin = self.margin.filter(|margin| margin.is_finite());
        let edge = margin.unwrap_or(0.0).abs();
        let place = match margin {
            Some(_) if low >= -edge && high <= edge => "within the margin",
            Some(_) if low > edge => "above the margin",
            Some(_) if high < -edge => "below the margin",
            _ if low > 0.0 => "above zero",
            _ if high < 0.0 => "below zero",
            _ => "around zero",
        };
        let [low, mean, high] = [low, mean, high].map(|value| significant(value, 3));
        let margin = margin.map(|_| format!(", margin ±{}", significant(edge, 3)));
        let margin = margin.unwrap_or_default();
        Some(format!(
            "mean {mean}, interval {low} to {high}{margin}: {place}"
        ))
    }

    /// The interval on a line of its own scale, with zero and the band of the margin.
    pub(crate) fn picture(&self) -> Option<Markup> {
        let Interval { low, mean, high } = self.shown()?;
        let words = self.interval_in_words()?;
        let margin = self.margin.filter(|margin| margin.is_finite());
        let edge = margin.unwrap_or(0.0).abs();
        let values = [low, mean, high, 0.0, edge, -edge];
        let span = Span::new(&Axis::default(), values, (4.0, 156.0), 1.0);
        let at = |value| px(span.at(value));
        let (middle, band) = (16, at(edge) - at(-edge));
        Some(html! {
            svg.plot viewBox="0 0 160 42" role="img" aria-label=(words) {
                title { (words) }
                @if band > 0.0 {
                    rect.band x=(at(-edge)) y="3" width=(px(band)) height="26" {}
                }
                line.grid x1="0" y1=(middle) x2="160" y2=(middle) {}
                line.soft x1=(at(0.0)) y1="1" x2=(at(0.0)) y2="29" {}
                text.soft x=(at(0.0)) y="40" font-size="12" text-anchor="middle" { "0" }
                g.strong {
                    line x1=(at(low)) y1=(middle) x2=(at(high)) y2=(middle) {}
                    @for end in [low, high] {
                        line x1=(at(end)) y1="11" x2=(at(end)) y2="21" {}
                    }
                    circle.fill cx=(at(mean)) cy=(middle) r="5" {}
                }
            }
        })
    }

    /// The interval, if it can be drawn.
    fn shown(&self) -> Option<Interval> {
        let axis = Axis::default();
        self.interval.filter(|it| {
            [it.low, it.mean, it.high]
                .iter()
                .all(|&value| axis.shows(value))
        })
    }
}
