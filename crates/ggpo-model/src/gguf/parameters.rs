//! The weights of a decoder in a GGUF file.
//!
//! # Rotary positions
//!
//! Here, as in Hugging Face folders, channel c of a head is turned together with
//! channel `c + d / 2` (d channels). Files of the architecture `llama` are written for
//! programs that turn neighbours, 2c and 2c + 1, together: in each head their rows of the
//! query and key weights stand in the order 0, d/2, 1, d/2 + 1, ... The order is undone
//! when the file is read. A row is whole blocks, so a quantised weight needs no
//! new quantisation for it.
//!
//! # Norms of Gemma
//!
//! They multiply by 1 + w; a folder holds w, a file 1 + w.

use std::collections::BTreeSet;

use ggpo_tensor::{QuantizedMatrix, Scalar, Tensor, WeightView, tensor, view2};
use ndarray::Axis;

use super::Reading;
use super::description::Description;
use super::file::{Elements, File, StoredTensor};
use super::rope_factors;
use crate::model::{Model, ParameterSpec, RopeScaling, RotaryDecoder};
use crate::parameters::Parameters;

/// All parameters of the model, and a check that the file has no others.
pub(super) fn read<T: Scalar>(
    file: &File<'_>,
    description: &Description,
    model: &Model,
) -> Reading<Parameters<T>> {
    let mut parameters = Parameters::new();
    let mut left_over: BTreeSet<&String> = file.tensors.keys().collect();
    if matches!(
        description.decoder.rope.scaling,
        Some(RopeScaling::Llama3 { .. })
    ) {
        left_over.remove(&rope_factors::NAME.to_owned());
    }
    for spec in model.specification() {
        let name = stored_name(&spec.name, description.decoder.gemma.is_some());
        let stored = file.tensors.get(&name);
        let stored = stored.ok_or_else(|| format!("expected a tensor named {name}, found none"))?;
        left_over.remove(&name);
        if stored.shape != spec.shape {
            let (expected, found) = (&spec.shape, &stored.shape);
            return Err(format!(
                "{name}: expected shape {expected:?}, found {found:?}"
            ));
        }
        insert(&mut parameters, spec, stored, description)
            .map_err(|problem| format!("{name}: {problem}"))?;
    }
    match left_over.first() {
        None => Ok(parameters),
        Some(name) => Err(format!(
            "found a tensor named {name}, which this model does not have"
        )),
    }
}

/// The name in the file of a parameter; `gemma` tells which norms a block has.
pub(super) fn stored_name(name: &str, gemma: bool) -> String {
    let part = match name {
        "model.embed_tokens.weight" => "token_embd",
        "model.norm.weight" => "output_norm",
        "lm_head.weight" => "output",
        _ => {
            let name = stored_block_name(name, gemma);
            return name.expect("every parameter has a name in the file");
        }
    };
    format!("{part}.weight")
}

fn stored_block_name(name: &str, gemma: bool) -> Option<String> {
    let (block, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = part.rsplit_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if gemma => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{block}.{part}.{kind}"))
}

/// Adds one parameter: dense if it is a vector or stored in single precision.
fn insert<T: Scalar>(
    parameters: &mut Parameters<T>,
    spec: ParameterSpec,
    stored: &StoredTensor<'_>,
    description: &Description,
) -> Reading<()> {
    let decoder = &description.decoder;
    let heads = heads(&spec.name, decoder).filter(|_| description.turns_neighbours);
    let order = heads.map(|heads| half_split_order(heads, decoder.head_dim));
    let dense = match stored.elements {
        Elements::F32 => dense(&spec.shape, stored.bytes),
        Elements::Blocks(format) => {
            let (rows, columns) = match *spec.shape {
                [rows, columns] => (rows, columns),
                _ => (1, spec.shape.iter().product()),
            };
            let matrix = QuantizedMatrix::new(format, rows, columns, stored.bytes)
                .map_err(|error| error.to_string())?;
            check_finite::<f32>((&matrix).into())?;
            if spec.shape.len() == 2 {
                let matrix = match order {
                    Some(order) => matrix.select_rows(&order),
                    None => matrix,
                };
                parameters.quantized.insert(spec.name, matrix);
                return Ok(());
            }
            tensor(&spec.shape, matrix.dequantize().into_raw_vec_and_offset().0)
        }
    };
    check_finite(view2(&dense).into())?;
    let mut dense = match order {
        Some(order) => dense.select(Axis(0), &order).into_shared(),
        None => dense,
    };
    if decoder.gemma.is_some() && spec.name.ends_with("norm.weight") {
        dense.mapv_inplace(|weight| weight - T::ONE);
    }
    parameters.insert(spec.name, dense);
    Ok(())
}

fn dense<T: Scalar>(shape: &[usize], bytes: &[u8]) -> Tensor<T> {
    let (words, _) = bytes.as_chunks::<4>();
    let elements = words
        .iter()
        .map(|word| T::from_f64(f32::from_le_bytes(*word).into()));
    tensor(shape, elements.collect())
}

/// Heads of a weight that makes queries or keys; none of another.
pub(super) fn heads(weight: &str, decoder: &RotaryDecoder) -> Option<usize> {
    match weight.strip_suffix("_proj.weight")?.rsplit('.').next()? {
        "q" => Some(decoder.num_attention_heads),
        "k" => Some(decoder.num_key_value_heads),
        _ => None,
    }
}

/// For each row of a query or key weight the row of the file: of a head's d rows,
/// row c is at 2c and row `c + d / 2` at 2c + 1.
pub(super) fn half_split_order(heads: usize, channels: usize) -> Vec<usize> {
    let half = channels / 2;
    let row = |row: usize| {
        let (head, channel) = (row / channels, row % channels);
        head * channels + 2 * (channel % half) + channel / half
    };
    (0..heads * channels).map(row).collect()
}

fn check_finite<T: Scalar>(weight: WeightView<'_, T>) -> Reading<()> {
    let mut found = None;
    weight.for_panels(|_, panel| {
        let bad = panel.iter().find(|x| !x.value().is_finite());
        found = found.or(bad.copied());
    });
    match found {
        None => Ok(()),
        Some(bad) => Err(format!("expected finite numbers, found {bad}")),
    }
}
