//! What the rotary frequencies of Llama 3.1 and later are divided by, which a file holds as
//! a tensor.
//!
//! A file has the divisors, `config.json` the rule that makes them. They are read as that
//! rule with the numbers that all these models have, and must be what it makes.

use super::Reading;
use super::file::{Elements, File};
use crate::model::{Rope, RopeScaling};

/// The tensor.
pub(super) const NAME: &str = "rope_freqs.weight";

/// The numbers of the rule that all models have.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const LENGTH: usize = 8192;
/// Relative distance at which two divisors are the same: they are in single precision.
const SAME: f64 = 1e-5;

/// The rope with the divisors of the file, if it has some.
pub(super) fn read(file: &File<'_>, rope: Rope, channels: usize) -> Reading<Rope> {
    let Some(stored) = file.tensors.get(NAME) else {
        return Ok(rope);
    };
    let expected = [channels / 2];
    if stored.elements != Elements::F32 || stored.shape != expected {
        return Err(format!(
            "{NAME}: expected F32 of shape {expected:?}, found {} of shape {:?}",
            stored.elements, stored.shape
        ));
    }
    let (words, _) = stored.bytes.as_chunks::<4>();
    let words = words
        .iter()
        .map(|word| f64::from(f32::from_le_bytes(*word)));
    let found: Vec<f64> = words.collect();
    let factor = found.iter().copied().fold(0.0, f64::max);
    let ruled = Rope {
        scaling: Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor: LOW,
            high_freq_factor: HIGH,
            original_max_position_embeddings: LENGTH,
        }),
        ..rope
    };
    let divisors = ruled.divisors(channels);
    let mut pairs = divisors.iter().zip(&found);
    let all = pairs.all(|(a, b)| (a - b).abs() <= SAME * a);
    match all && factor.is_finite() && rope.scaling.is_none() {
        true => Ok(ruled),
        false => Err(format!(
            "{NAME}: expected the divisors of Llama 3.1 for frequencies of the first {LENGTH} \
             positions, found others"
        )),
    }
}

/// The divisors, for a model whose frequencies are changed by the rule.
pub(super) fn of(rope: &Rope, channels: usize) -> Option<Vec<f32>> {
    let Some(RopeScaling::Llama3 { .. }) = rope.scaling else {
        return None;
    };
    let divisors = rope.divisors(channels).into_iter();
    Some(divisors.map(|divisor| divisor as f32).collect())
}
