//! The architecture `llama` of GGUF files: its description and its weights.
//!
//! # Rotary positions
//!
//! Here, as in Hugging Face folders, channel c of a head is turned together with
//! channel `c + d / 2` (d channels). A GGUF file is written for programs that
//! turn neighbours, 2c and 2c + 1, together: in each head its rows of the query
//! and key weights stand in the order 0, d/2, 1, d/2 + 1, ... The order is undone
//! when the file is read. A row is whole blocks, so a quantised weight needs no
//! new quantisation for it.

use std::collections::BTreeSet;

use ggpo_tensor::{QuantizedMatrix, Scalar, Tensor, WeightView, tensor, view2};
use ndarray::Axis;

use super::Reading;
use super::file::{Elements, File, StoredTensor};
use super::metadata::{Metadata, Value};
use crate::model::{LlamaConfig, Model, ParameterSpec};
use crate::parameters::Parameters;

/// What the keys of the description begin with.
const PREFIX: &str = "llama.";

/// Keys that are read.
const READ: [&str; 12] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "vocab_size",
];

/// The shape of the model, which must be of this architecture.
///
/// Keys of the description that are not known here might change the
/// calculation and are refused, unless they say that they do not.
pub(super) fn config(file: &File<'_>) -> Reading<LlamaConfig> {
    let metadata = &file.metadata;
    let architecture = metadata.text("general.architecture")?;
    if architecture != "llama" {
        return Err(metadata.wrong("general.architecture", "\"llama\""));
    }
    refuse_unknown_keys(metadata)?;
    let count = |key: &str| metadata.count(&format!("{PREFIX}{key}"));
    let optional_count = |key: &str| metadata.optional_count(&format!("{PREFIX}{key}"));
    let wrong = |key: &str, expected: &str| metadata.wrong(&format!("{PREFIX}{key}"), expected);

    let hidden_size = count("embedding_length")?;
    let heads = count("attention.head_count")?;
    let head_dim = match optional_count("attention.key_length")? {
        Some(length) => length,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let expected = format!("a divisor of embedding_length, which is {hidden_size}");
            return Err(wrong("attention.head_count", &expected));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if optional_count(key)?.is_some_and(|length| length != head_dim) {
            let expected = format!("the channels of a head, {head_dim}");
            return Err(wrong(key, &expected));
        }
    }
    if !head_dim.is_multiple_of(2) {
        return Err(format!(
            "attention.key_length: expected an even number of channels of a head, found {head_dim}"
        ));
    }
    let kv_heads = optional_count("attention.head_count_kv")?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of head_count, which is {heads}");
        return Err(wrong("attention.head_count_kv", &expected));
    }
    let blocks = count("block_count")?;
    if blocks > file.tensors.len() {
        let expected = format!("at most the number of tensors, {}", file.tensors.len());
        return Err(wrong("block_count", &expected));
    }
    Ok(LlamaConfig {
        vocab_size: vocabulary(file)?,
        hidden_size,
        num_hidden_layers: blocks,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        intermediate_size: count("feed_forward_length")?,
        max_position_embeddings: count("context_length")?,
        rms_norm_eps: metadata.positive("llama.attention.layer_norm_rms_epsilon")?,
        rope_theta: metadata
            .optional_positive("llama.rope.freq_base")?
            .unwrap_or(10_000.0),
        rope_scaling: None,
        tie_word_embeddings: !file.tensors.contains_key("output.weight"),
        attention_bias: false,
        mlp_bias: false,
    })
}

fn refuse_unknown_keys(metadata: &Metadata) -> Reading<()> {
    for (key, value) in metadata.iter() {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let without_effect = match name {
            "rope.scaling.type" => *value == Value::Text("none".to_owned()),
            "rope.scaling.factor" | "rope.scale_linear" => *value == Value::Float(1.0),
            "expert_count" | "expert_used_count" => *value == Value::Unsigned(0),
            _ => READ.contains(&name),
        };
        if !without_effect {
            return Err(metadata.wrong(key, "no such key, which is not supported"));
        }
    }
    Ok(())
}

/// Rows of the token embedding.
fn vocabulary(file: &File<'_>) -> Reading<usize> {
    let rows = match file.tensors.get("token_embd.weight") {
        Some(table) => table.shape[0],
        None => return Err("expected a tensor named token_embd.weight, found none".to_owned()),
    };
    let key = "llama.vocab_size";
    match file.metadata.optional_count(key)? {
        Some(count) if count != rows => {
            let expected = format!("{rows}, the rows of token_embd.weight");
            Err(file.metadata.wrong(key, &expected))
        }
        _ => Ok(rows),
    }
}

/// All parameters of the model, and a check that the file has no others.
pub(super) fn parameters<T: Scalar>(
    file: &File<'_>,
    config: &LlamaConfig,
    model: &Model,
) -> Reading<Parameters<T>> {
    let mut parameters = Parameters::new();
    let mut left_over: BTreeSet<&String> = file.tensors.keys().collect();
    for spec in model.specification() {
        let name = stored_name(&spec.name);
        let stored = file.tensors.get(&name);
        let stored = stored.ok_or_else(|| format!("expected a tensor named {name}, found none"))?;
        left_over.remove(&name);
        if stored.shape != spec.shape {
            let (expected, found) = (&spec.shape, &stored.shape);
            return Err(format!(
                "{name}: expected shape {expected:?}, found {found:?}"
            ));
        }
        insert(&mut parameters, spec, stored, config)
            .map_err(|problem| format!("{name}: {problem}"))?;
    }
    match left_over.first() {
        None => Ok(parameters),
        Some(name) => Err(format!(
            "found a tensor named {name}, which this model does not have"
        )),
    }
}

/// The name in the file of a parameter.
fn stored_name(name: &str) -> String {
    let part = match name {
        "model.embed_tokens.weight" => "token_embd",
        "model.norm.weight" => "output_norm",
        "lm_head.weight" => "output",
        _ => return stored_block_name(name).expect("every parameter has a name in the file"),
    };
    format!("{part}.weight")
}

fn stored_block_name(name: &str) -> Option<String> {
    let (block, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let part = match part.strip_suffix(".weight")? {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{block}.{part}.weight"))
}

/// Adds one parameter: dense if it is a vector or stored in single precision.
fn insert<T: Scalar>(
    parameters: &mut Parameters<T>,
    spec: ParameterSpec,
    stored: &StoredTensor<'_>,
    config: &LlamaConfig,
) -> Reading<()> {
    let order = if spec.name.ends_with(".q_proj.weight") {
        Some(half_split_order(
            config.num_attention_heads,
            config.head_dim,
        ))
    } else if spec.name.ends_with(".k_proj.weight") {
        Some(half_split_order(
            config.num_key_value_heads,
            config.head_dim,
        ))
    } else {
        None
    };
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
    let dense = match order {
        Some(order) => dense.select(Axis(0), &order).into_shared(),
        None => dense,
    };
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

/// For each row of a query or key weight the row of the file: of a head's d rows,
/// row c is at 2c and row `c + d / 2` at 2c + 1.
fn half_split_order(heads: usize, channels: usize) -> Vec<usize> {
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
