//! Axes: ends that fit the values, and round numbers between them.

use maud::{Markup, html};

use crate::format::{fixed, full, power_of_ten};
use crate::svg::{Anchor, LINE, line, width_of, words};

/// Values beyond this size cannot be placed on an axis.
const LARGEST: f64 = 1e300;
/// Values below this size are no different from zero.
const SMALLEST: f64 = 1e-290;

/// How values are placed on an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally long.
    #[default]
    Linear,
    /// Equal ratios are equally long; only values above zero can be shown.
    Log,
}

/// An axis; its ends follow from the values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    /// What it measures, with the unit.
    pub title: String,
    /// How values are placed.
    pub scale: Scale,
    /// Values to mark, which the axis reaches; round numbers if there are none.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis on which equal differences are equally long.
    pub fn linear(title: impl Into<String>) -> Self {
        Axis {
            title: title.into(),
            ..Axis::default()
        }
    }

    /// An axis on which equal ratios are equally long.
    pub fn log(title: impl Into<String>) -> Self {
        Axis {
            scale: Scale::Log,
            ..Axis::linear(title)
        }
    }

    /// With marks at these values.
    pub fn with_ticks(mut self, ticks: impl IntoIterator<Item = f64>) -> Self {
        self.ticks = ticks.into_iter().collect();
        self
    }

    /// Whether a value has a place on it.
    pub(crate) fn shows(&self, value: f64) -> bool {
        let least = match self.scale {
            Scale::Linear => -LARGEST,
            Scale::Log => SMALLEST,
        };
        (least..LARGEST).contains(&value)
    }
}

/// An axis in a drawing, along a line of pixels.
pub(crate) struct Span {
    scale: Scale,
    /// Ends; of a logarithmic axis, their logarithms.
    low: f64,
    high: f64,
    pub(crate) pixels: (f64, f64),
    /// Places of the marks and their words, which may be empty for want of room.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Span {
    /// Fits the axis to values; a mark needs some room, in pixels.
    pub(crate) fn new(
        axis: &Axis,
        values: impl IntoIterator<Item = f64>,
        pixels: (f64, f64),
        room: f64,
    ) -> Self {
        let place = |value: f64| match axis.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
        };
        let values = values.into_iter().chain(axis.ticks.iter().copied());
        let places = values.filter(|&value| axis.shows(value)).map(place);
        let ends = places.fold(None, |ends: Option<(f64, f64)>, place| {
            let (low, high) = ends.unwrap_or((place, place));
            Some((low.min(place), high.max(place)))
        });
        let (low, high) = ends.unwrap_or((0.0, 1.0));
        let size = low.abs().max(high.abs());
        let padding = match (high - low > (1e-9 * size).max(SMALLEST), axis.scale) {
            (true, _) => 0.04 * (high - low),
            (false, Scale::Log) => 0.1,
            (false, Scale::Linear) if size < SMALLEST => 1.0,
            (false, Scale::Linear) => 0.05 * size,
        };
        let mut span = Span {
            scale: axis.scale,
            low: low - padding,
            high: high + padding,
            pixels,
            ticks: Vec::new(),
        };
        let length = (pixels.1 - pixels.0).abs();
        let wanted = (length / room).clamp(2.0, 7.0);
        let marks = if axis.ticks.is_empty() {
            span.round_numbers(wanted)
        } else {
            let shown = axis.ticks.iter().filter(|&&tick| axis.shows(tick));
            shown.map(|&tick| (tick, full(tick))).collect()
        };
        let at = |(value, text)| (span.at(value), text);
        span.ticks = marks.into_iter().map(at).collect();
        span
    }

    /// The pixel of a value.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(SMALLEST).log10(),
        };
        let share = ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// How wide the words of its marks are.
    pub(crate) fn words_width(&self) -> f64 {
        let widths = self.ticks.iter().map(|(_, text)| width_of(text));
        widths.fold(0.0, f64::max)
    }

    /// Grid and marks of an axis at the bottom.
    pub(crate) fn draw_below(&self, top: f64, bottom: f64) -> Markup {
        let every = self.labels_apart(|text| width_of(text) + 4.0);
        html! {
            @for (index, (x, text)) in self.ticks.iter().enumerate() {
                (line((*x, top), (*x, bottom), "grid"))
                (line((*x, bottom), (*x, bottom + 4.0), "edge"))
                @if index % every == 0 {
                    (words(*x, bottom + 4.0 + LINE / 2.0, Anchor::Middle, "soft", text))
                }
            }
            (line((self.pixels.0, bottom), (self.pixels.1, bottom), "edge"))
        }
    }

    /// Grid and marks of an axis at the left.
    pub(crate) fn draw_left(&self, left: f64, right: f64) -> Markup {
        let every = self.labels_apart(|_| LINE);
        html! {
            @for (index, (y, text)) in self.ticks.iter().enumerate() {
                (line((left, *y), (right, *y), "grid"))
                @if index % every == 0 {
                    (words(left - 6.0, *y, Anchor::End, "soft", text))
                }
            }
        }
    }

    /// Of how many marks one has words, so that none overlap.
    fn labels_apart(&self, size: impl Fn(&str) -> f64) -> usize {
        let overlap = |every: &usize| {
            let shown: Vec<_> = self.ticks.iter().step_by(*every).collect();
            shown.windows(2).any(|pair| {
                let room = (size(&pair[0].1) + size(&pair[1].1)) / 2.0;
                (pair[1].0 - pair[0].0).abs() < room
            })
        };
        (1..).find(|every| !overlap(every)).unwrap_or(1)
    }

    fn round_numbers(&self, wanted: f64) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high, wanted),
            Scale::Log => log_ticks(self.low, self.high, wanted),
        }
    }
}

/// Round numbers at even distances.
fn linear_ticks(low: f64, high: f64, wanted: f64) -> Vec<(f64, String)> {
    let step = round_step((high - low) / wanted);
    // An end that is a round number is marked in spite of rounding errors.
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    if first >= last && wanted < 20.0 {
        return linear_ticks(low, high, 1.5 * wanted);
    }
    let exponent = (step * 1.0001).log10().floor();
    let largest = low.abs().max(high.abs());
    let tick = |index: i64| {
        let value = index as f64 * step;
        let text = if largest < 1e6 && exponent >= -4.0 {
            fixed(value, (-exponent).max(0.0) as usize)
        } else if index == 0 {
            full(0.0)
        } else {
            let digits = (value.abs().log10().floor() - exponent).clamp(0.0, 12.0) as usize;
            power_of_ten(&format!("{value:.digits$e}")).replace('-', "−")
        };
        (value, text)
    };
    (first as i64..=last as i64).map(tick).collect()
}

/// Round numbers at even ratios, as many as find room; of a narrow range those at
/// even distances.
fn log_ticks(low: f64, high: f64, wanted: f64) -> Vec<(f64, String)> {
    let exponents = low.floor() as i32..=high.ceil() as i32;
    let mut inside: Vec<f64> = Vec::new();
    for factors in [&[1, 2, 5][..], &[1, 3], &[1]] {
        let all = exponents.clone().flat_map(|exponent| {
            let numbers = factors.iter();
            numbers.filter_map(move |factor| format!("{factor}e{exponent}").parse().ok())
        });
        inside = all
            .filter(|tick: &f64| (low..=high).contains(&tick.log10()))
            .collect();
        if inside.len() < 3 {
            return linear_ticks(10_f64.powf(low), 10_f64.powf(high), wanted);
        }
        if inside.len() as f64 <= wanted {
            break;
        }
    }
    let every = (inside.len() as f64 / wanted).ceil().max(1.0) as usize;
    let kept = inside.into_iter().step_by(every);
    kept.map(|tick| (tick, full(tick))).collect()
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .iter()
        .find(|&&factor| factor * power >= step * 0.999);
    factor.unwrap_or(&10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64], length: f64, room: f64) -> Vec<String> {
        let span = Span::new(axis, values.iter().copied(), (0.0, length), room);
        span.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = Axis::default();
        assert_eq!(
            labels(&linear, &[-0.1, 0.2], 200.0, 60.0),
            ["−0.1", "0.0", "0.1", "0.2"]
        );
        assert_eq!(
            labels(&linear, &[0.0, 4e7], 200.0, 60.0),
            ["0", "2·10⁷", "4·10⁷"]
        );
        assert_eq!(labels(&linear, &[3.0], 200.0, 60.0), ["2.9", "3.0", "3.1"]);
        let log = Axis::log("");
        assert_eq!(
            labels(&log, &[1e-6, 1e-2], 300.0, 60.0).first().unwrap(),
            "10⁻⁶"
        );
        assert_eq!(
            labels(&log, &[1.0, 70.0], 300.0, 40.0),
            ["1", "2", "5", "10", "20", "50"]
        );
    }

    #[test]
    fn given_ticks_are_kept_and_reached() {
        let axis = Axis::log("rank").with_ticks([1.0, 2.0, 4.0, 1024.0]);
        let span = Span::new(&axis, [2.0], (0.0, 100.0), 60.0);
        let (first, last) = (&span.ticks[0], &span.ticks[3]);
        assert_eq!((first.1.as_str(), last.1.as_str()), ("1", "1024"));
        assert!(first.0 > 0.0 && last.0 < 100.0);
        assert_eq!(span.labels_apart(|text| width_of(text) + 4.0), 2);
    }
}
