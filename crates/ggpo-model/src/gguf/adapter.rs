//! A LoRA adapter as a GGUF file, which llama.cpp puts on a model.
//!
//! There a layer calculates with `W + (alpha / r) B A`, with one alpha for all layers and
//! the rank r of each. Any scaling s becomes that: alpha is `s r` of the first layer, and
//! where another layer has another `s r`, as with ranks of its own, the ratio goes into
//! its B.

use ggpo_lora::Acting;
use ggpo_tensor::{Tensor, flat};

use super::Reading;
use super::description::ARCHITECTURES;
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
    let model_type = model.body.model_type();
    let known = ARCHITECTURES
        .iter()
        .find(|known| known.model_type == model_type);
    let (Some(architecture), Some(decoder)) = (known, model.body.rotary_decoder()) else {
        let known = ARCHITECTURES.map(|known| known.model_type).join(", ");
        return Err(format!(
            "model: expected one of {known}, whose adapters a GGUF file can hold, found {model_type}"
        ));
    };
    let Some((_, first)) = acting.iter().next() else {
        return Err("expected an adapter, found none".to_owned());
    };
    let alpha = strength(first);
    let mut writer = Writer::default();
    writer.text("general.architecture", architecture.name);
    writer.text("general.type", "adapter");
    writer.text("adapter.type", "lora");
    writer.float("adapter.lora.alpha", alpha as f32);
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
        let shape = |x: &Tensor<f32>| [x.shape()[0], x.shape()[1]];
        writer.matrix(&format!("{name}.lora_a"), shape(&layer.a), flat(&layer.a));
        writer.matrix(&format!("{name}.lora_b"), shape(&layer.b), &b);
    }
    Ok(writer.finish())
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
