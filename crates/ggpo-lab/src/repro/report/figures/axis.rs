//! Axes: from numbers to pixels, with round numbers to read them by.
//!
//! `plotters` has axes of its own, which were tried with these figures (version
//! 0.3.7). Its logarithmic axis marks powers of ten with few numbers between them:
//! none at all from 0.4 to 0.95, two for a loss that falls from 2.2 to 0.3. It does
//! not know how wide words are, so the numbers of narrow panels run into each other,
//! as do the ranks 12 and 16; and it has no place for zero below a logarithm.

use crate::repro::report::format::{fixed, significant};

/// Room beyond the outermost numbers, as a share of the axis.
const MARGIN: f64 = 0.05;

/// How numbers are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
}

/// An axis from the smallest to the largest number.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// The marked numbers and their words.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that holds all finite `values` with a margin, over the pixels
    /// `from` to `to`; of a logarithm it holds those above 0.
    pub(crate) fn around(
        scale: Scale,
        values: impl IntoIterator<Item = f64>,
        pixels: (f64, f64),
    ) -> Self {
        let (low, high) = range(scale, values);
        let (low, high) = widened(low, high);
        match scale {
            Scale::Linear => {
                let margin = MARGIN * (high - low);
                Self::new(scale, (low - margin, high + margin), pixels)
            }
            Scale::Log => {
                let margin = (high / low).powf(MARGIN);
                Self::new(scale, (low / margin, high * margin), pixels)
            }
        }
    }

    /// A linear axis from the smallest to the largest of `values`.
    pub(crate) fn exact(values: impl IntoIterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let (low, high) = range(Scale::Linear, values);
        Self::new(Scale::Linear, widened(low, high), pixels)
    }

    fn new(scale: Scale, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let length = (to - from).abs();
        let ticks = match scale {
            Scale::Linear => linear_ticks(low, high, length),
            Scale::Log => log_ticks(low, high, length),
        };
        Axis {
            scale,
            low,
            high,
            from,
            to,
            ticks,
        }
    }

    /// A logarithmic axis that is marked at `values`, those that find room.
    pub(crate) fn marked(values: &[usize], (from, to): (f64, f64)) -> Self {
        let (low, high) = match (values.iter().min(), values.iter().max()) {
            (Some(low), Some(high)) if low < high => (*low as f64, *high as f64),
            (Some(only), _) => (*only as f64 / 2.0, *only as f64 * 2.0),
            _ => (1.0, 2.0),
        };
        let mut axis = Axis {
            scale: Scale::Log,
            low: low / 1.15,
            high: high * 1.15,
            from,
            to,
            ticks: Vec::new(),
        };
        // Powers of two first: they are the ranks that people use.
        let (round, rest): (Vec<usize>, Vec<usize>) =
            values.iter().partition(|value| value.is_power_of_two());
        for value in round.into_iter().chain(rest) {
            let at = axis.at(value as f64);
            let mut marked = axis.ticks.iter();
            if marked.all(|(tick, _)| (axis.at(*tick) - at).abs() > 26.0) {
                axis.ticks.push((value as f64, value.to_string()));
            }
        }
        axis
    }

    /// The pixel of a number; beyond the ends it stays at the end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value <= 0.0 => 0.0,
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The pixels of both ends.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }
}

/// The smallest and the largest number that an axis can show.
fn range(scale: Scale, values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let mut range: Option<(f64, f64)> = None;
    for value in values {
        if value.is_finite() && (scale == Scale::Linear || value > 0.0) {
            let (low, high) = range.unwrap_or((value, value));
            range = Some((low.min(value), high.max(value)));
        }
    }
    range.unwrap_or((1.0, 2.0))
}

/// Ends that are apart.
fn widened(low: f64, high: f64) -> (f64, f64) {
    if high - low > 1e-9 * high.abs().max(low.abs()) {
        return (low, high);
    }
    let margin = if low == 0.0 { 1.0 } else { 0.05 * low.abs() };
    (low - margin, high + margin)
}

/// Round numbers at even distances.
fn linear_ticks(low: f64, high: f64, length: f64) -> Vec<(f64, String)> {
    let wanted = (length / 45.0).clamp(2.0, 6.0);
    let step = round_step((high - low) / wanted);
    // An end that is a round number is marked in spite of rounding errors.
    let slack = 1e-9 * step;
    let first = ((low - slack) / step).ceil() as i64;
    let last = ((high + slack) / step).floor() as i64;
    let decimals = (-(step * 1.0001).log10().floor()).max(0.0) as usize;
    let tick = |index: i64| {
        let value = index as f64 * step;
        (value, fixed(value, decimals))
    };
    (first..=last).map(tick).collect()
}

/// Round numbers at even ratios, as many as find room; of a narrow range those
/// at even distances.
fn log_ticks(low: f64, high: f64, length: f64) -> Vec<(f64, String)> {
    let room = (length / 32.0).max(2.0) as usize;
    let factors: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let mut inside = Vec::new();
    for factors in factors {
        let of = |exponent: i32| {
            factors
                .iter()
                .map(move |factor| factor * 10_f64.powi(exponent))
        };
        inside = (first..=last)
            .flat_map(of)
            .filter(|tick| (low..=high).contains(tick))
            .collect();
        if inside.len() < 3 {
            return linear_ticks(low, high, length);
        }
        if inside.len() <= room {
            break;
        }
    }
    let every = inside.len().div_ceil(room);
    let kept = inside.into_iter().step_by(every);
    kept.map(|tick| (tick, tick_words(tick))).collect()
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powi(step.log10().floor() as i32);
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

fn tick_words(value: f64) -> String {
    if !(1e-3..1e4).contains(&value) {
        // A power of ten needs no factor.
        let words = significant(value);
        return match words.split_once('·') {
            Some(("1.00", power)) => power.to_owned(),
            Some((factor, power)) => format!("{}·{power}", factor.trim_end_matches(['0', '.'])),
            None => words,
        };
    }
    // Ticks are short: one digit and zeros.
    let rounded: f64 = format!("{value:.3}").parse().unwrap_or(value);
    rounded.to_string()
}

/// A logarithmic scale if numbers above 0 differ by more than a factor.
pub(crate) fn scale_for(values: &[f64], factor: f64) -> Scale {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let low = finite().reduce(f64::min).unwrap_or(1.0);
    let high = finite().reduce(f64::max).unwrap_or(1.0);
    if low > 0.0 && high / low > factor {
        Scale::Log
    } else {
        Scale::Linear
    }
}
