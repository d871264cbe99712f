//! A LoRA adapter as a GGUF file, which llama.cpp puts on a model.
//!
//! There a layer calculates with `W + (alpha / r) B A`, with one alpha for all layers and
//! the rank r of each. Any scaling s becomes that: alpha is `s r` of the first layer, and
//! where another layer has another `s r`, as with ranks of its own, the ratio goes into
//! its B.

use std::io;

use ggpo_lora::Acting;
use ggpo_tensor::{Tensor, flat};

use super::Reading;
use super::description::architecture_of;
use super::file::Elements;
use super::parameters::{half_split_order, heads, stored_name};
use super::writer::Writer;
use crate::model::{ActingWeights, Model};

/// Why an adapter cannot be written.
const INSTEAD: &str = "merge it into the model instead: ggpo merge";

/// The bytes of the file, of what acts in the adapted layers of `model`.
///
/// # Errors
/// What was expected and what was found, with the way round: if llama.cpp has no adapters
/// of the model's family, or the adapter is more than `s B A` in every layer.
pub fn adapter_bytes(model: &Model, acting: &ActingWeights<f32>) -> Reading<Vec<u8>> {
    let (architecture, decoder) = architecture_of(model)?;
    let Some((_, first)) = acting.iter().next() else {
        return Err("expected an adapter, found none".to_owned());
    };
    let alpha = strength(first);
    let mut writer = Writer::default();
    writer.text("general.architecture", architecture.name);
    writer.text("general.type", "adapter");
    writer.text("adapter.type", "lora");
    writer.float("adapter.lora.alpha", alpha as f32);
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for (module, layer) in acting {
        if layer.magnitude.is_some() {
            return Err(format!(
                "{module}: expected LoRA alone, found magnitudes (DoRA), which a GGUF adapter \
                 cannot hold; {INSTEAD}"
            ));
        }
        if layer.constant.is_some() {
            return Err(format!(
                "{module}: expected an adapter of the model's own weight, found one of a part \
                 of it; {INSTEAD}"
            ));
        }
        let weight = format!("{module}.weight");
        let name = stored_name(&weight, decoder.gemma.is_some());
        let factor = (strength(layer) / alpha) as f32;
        let heads = heads(&weight, &decoder).filter(|_| architecture.turns_neighbours);
        let mut b = in_file_order(&layer.b, heads, decoder.head_dim);
        b.iter_mut().for_each(|x| *x *= factor);
        for (part, factor, numbers) in [
            ("a", &layer.a, flat(&layer.a)),
            ("b", &layer.b, b.as_slice()),
        ] {
            let name = format!("{name}.lora_{part}");
            writer.tensor(&name, factor.shape(), Elements::F32);
            bytes.push(numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
    }
    let mut out = Vec::new();
    let written = writer.write(&mut out, |index| {
        Ok::<_, io::Error>(std::mem::take(&mut bytes[index]))
    });
    written.expect("memory takes all bytes");
    Ok(out)
}

/// The scaling times the rank.
fn strength(layer: &Acting<f32>) -> f64 {
    f64::from(layer.scaling) * layer.a.shape()[0] as f64
}

/// The numbers of B; of a projection to heads whose neighbouring channels are turned
/// together, with the rows in the order that the file's weight has.
fn in_file_order(b: &Tensor<f32>, heads: Option<usize>, channels: usize) -> Vec<f32> {
    let (numbers, columns) = (flat(b), b.shape()[1]);
    let Some(heads) = heads else {
        return numbers.to_vec();
    };
    let mut out = vec![0.0; numbers.len()];
    for (row, place) in half_split_order(heads, channels).into_iter().enumerate() {
        let from = &numbers[row * columns..][..columns];
        out[place * columns..][..columns].copy_from_slice(from);
    }
    out
}
