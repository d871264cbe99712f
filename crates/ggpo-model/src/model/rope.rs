//! Rotary frequencies of a model, and how `config.json` says them.
//!
//! Transformers 5 writes `rope_parameters`; older files have `rope_theta` and
//! `rope_scaling`.

use ggpo_tensor::rotary::{RotaryTable, inverse_frequencies};
use serde_json::{Value, json};

use super::fields::Fields;
use crate::Result;

/// The base of the rotary frequencies, and how they are changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rope {
    /// Base of the rotary frequencies.
    pub(crate) theta: f64,
    /// How they are changed for longer sequences.
    pub(crate) scaling: Option<RopeScaling>,
}

/// A change of the rotary frequencies after pre-training, so that a model
/// reads longer sequences, under the names of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by the factor, that is, positions interpolated
    /// (Chen and others 2023).
    Linear {
        /// How many times longer the sequences become.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept (Llama 3.1).
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// A frequency that turns fewer times than this in the original length
        /// is low.
        low_freq_factor: f64,
        /// One that turns more often than this is high.
        high_freq_factor: f64,
        /// The longest sequence of the pre-training, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// The changed frequency, in radians per position.
    ///
    /// For `Llama3`, with `turns = length frequency / (2 pi)` in the original
    /// length, `keep = (turns - low) / (high - low)` held within 0 and 1:
    ///
    /// ```text
    /// keep frequency + (1 - keep) frequency / factor
    /// ```
    pub fn apply(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => {
                let turns = length as f64 * frequency / std::f64::consts::TAU;
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                keep * frequency + (1.0 - keep) * frequency / factor
            }
        }
    }

    /// The object that older files have as `rope_scaling`.
    pub(super) fn to_json(self) -> Value {
        match self {
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }
}

impl Rope {
    /// What the frequencies of heads of that many channels are divided by, the highest
    /// frequency first.
    pub(crate) fn divisors(&self, channels: usize) -> Vec<f64> {
        let divisor = |frequency: f64| match &self.scaling {
            None => 1.0,
            Some(scaling) => frequency / scaling.apply(frequency),
        };
        let frequencies = inverse_frequencies(channels, self.theta).into_iter();
        frequencies.map(divisor).collect()
    }

    /// The angles of the first `positions` positions, for heads of that many channels.
    pub(super) fn table(&self, positions: usize, channels: usize) -> RotaryTable {
        let mut frequencies = inverse_frequencies(channels, self.theta);
        if let Some(scaling) = &self.scaling {
            for frequency in &mut frequencies {
                *frequency = scaling.apply(*frequency);
            }
        }
        RotaryTable::with_frequencies(positions, &frequencies)
    }

    /// Reads the one rope of a model: `rope_parameters`, or the older fields.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        match fields.object("rope_parameters")? {
            Some(inner) => {
                let rope = Self::of_parameters(&inner)?;
                Self::not_said_otherwise(fields, "rope_theta", rope.theta)?;
                Ok(rope)
            }
            None => Self::of_older_fields(fields, 10_000.0),
        }
    }

    /// Reads an object of the newer form, with `rope_theta` in it.
    pub(super) fn of_parameters(inner: &Fields<'_>) -> Result<Self> {
        Ok(Rope {
            theta: inner.positive("rope_theta")?,
            scaling: scaling(inner)?,
        })
    }

    /// Reads `rope_theta`, which may be left out, and `rope_scaling`.
    pub(super) fn of_older_fields(fields: &Fields<'_>, theta: f64) -> Result<Self> {
        let scaling = match fields.object("rope_scaling")? {
            None => None,
            Some(inner) => scaling(&inner)?,
        };
        Ok(Rope {
            theta: fields.positive_or("rope_theta", theta)?,
            scaling,
        })
    }

    /// Refuses older fields that contradict `rope_parameters`: `rope_scaling`, and
    /// another base in the field `name`.
    pub(super) fn not_said_otherwise(fields: &Fields<'_>, name: &str, theta: f64) -> Result<()> {
        if fields.get("rope_scaling").is_some() {
            return Err(fields.wrong("rope_scaling", "nothing beside rope_parameters"));
        }
        if fields.positive_or(name, theta)? != theta {
            let expected = format!("{theta}, as rope_parameters says");
            return Err(fields.wrong(name, &expected));
        }
        Ok(())
    }
}

fn scaling(inner: &Fields<'_>) -> Result<Option<RopeScaling>> {
    inner.only("partial_rotary_factor", &json!(1.0))?;
    let kind = if inner.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let scaling = match inner.text(kind)? {
        "default" => None,
        "linear" => Some(RopeScaling::Linear {
            factor: inner.positive("factor")?,
        }),
        "llama3" => {
            let scaling = RopeScaling::Llama3 {
                factor: inner.positive("factor")?,
                low_freq_factor: inner.positive("low_freq_factor")?,
                high_freq_factor: inner.positive("high_freq_factor")?,
                original_max_position_embeddings: inner
                    .count("original_max_position_embeddings")?,
            };
            if inner.positive("high_freq_factor")? <= inner.positive("low_freq_factor")? {
                return Err(inner.wrong("high_freq_factor", "a number above low_freq_factor"));
            }
            Some(scaling)
        }
        _ => return Err(inner.wrong(kind, "\"default\", \"linear\" or \"llama3\"")),
    };
    // Files written by some versions give the kind under both names.
    if let Some(other) = inner.get("type")
        && other.as_str() != Some(inner.text(kind)?)
    {
        return Err(inner.wrong("type", "the same as rope_type"));
    }
    inner.finish(&[])?;
    Ok(scaling)
}
