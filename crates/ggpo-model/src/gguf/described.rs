//! What a GGUF file is told of the shape of its model: the reverse of
//! [`description`](super::description).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Reading;
use super::description::{self, Architecture};
use super::file::{Elements, File, StoredTensor};
use super::parameters::stored_name;
use super::rope_factors;
use super::writer::Writer;
use crate::model::{Model, RopeScaling, RotaryDecoder};

/// Says what the model is.
///
/// # Errors
/// If the model has a part that no file of its architecture can tell of.
pub(super) fn describe(
    writer: &mut Writer,
    architecture: &Architecture,
    model: &Model,
    decoder: &RotaryDecoder,
) -> Reading<()> {
    writer.text("general.architecture", architecture.name);
    let key = |name: &str| format!("{}.{name}", architecture.name);
    for (name, value) in [
        ("attention.head_count", decoder.num_attention_heads),
        ("attention.head_count_kv", decoder.num_key_value_heads),
        ("attention.key_length", decoder.head_dim),
        ("attention.value_length", decoder.head_dim),
        ("block_count", decoder.num_hidden_layers),
        ("context_length", decoder.max_position_embeddings),
        ("embedding_length", decoder.hidden_size),
        ("feed_forward_length", decoder.intermediate_size),
        ("rope.dimension_count", decoder.head_dim),
        ("vocab_size", decoder.vocab_size),
    ] {
        writer.number(&key(name), value)?;
    }
    let eps = key("attention.layer_norm_rms_epsilon");
    writer.float(&eps, decoder.rms_norm_eps as f32);
    writer.float(&key("rope.freq_base"), decoder.rope.theta as f32);
    if let Some(RopeScaling::Linear { factor }) = decoder.rope.scaling {
        writer.text(&key("rope.scaling.type"), "linear");
        writer.float(&key("rope.scaling.factor"), factor as f32);
    }
    if let Some(gemma) = &decoder.gemma {
        writer.number(&key("attention.sliding_window"), gemma.window)?;
        writer.float(&key("rope.freq_base_swa"), gemma.rope.theta as f32);
    }
    check(writer, architecture, model, decoder)
}

/// Reads what was said, and refuses a model that is another.
fn check(
    writer: &Writer,
    architecture: &Architecture,
    model: &Model,
    decoder: &RotaryDecoder,
) -> Reading<()> {
    let factors = rope_factors::of(&decoder.rope, decoder.head_dim);
    let factors = factors
        .filter(|_| architecture.turns_neighbours)
        .unwrap_or_default();
    let bytes: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = model.specification().into_iter().map(|spec| {
        let stored = StoredTensor {
            elements: Elements::F32,
            shape: spec.shape,
            bytes: &[],
        };
        (stored_name(&spec.name, decoder.gemma.is_some()), stored)
    });
    let mut file = File {
        metadata: writer.said()?,
        tensors: BTreeMap::from_iter(tensors),
    };
    if !factors.is_empty() {
        let stored = StoredTensor {
            elements: Elements::F32,
            shape: vec![factors.len()],
            bytes: &bytes,
        };
        file.tensors.insert(rope_factors::NAME.to_owned(), stored);
    }
    let read = Model {
        body: description::read(&file)?.body,
        head: model.head,
    };
    let fields = |model: &Model| -> BTreeMap<String, Json> {
        serde_json::from_str(&model.config_json()).expect("it is a JSON object")
    };
    let (ours, theirs) = (fields(model), fields(&read));
    let names = ours.keys().chain(theirs.keys());
    for name in names {
        let value = |fields: &BTreeMap<String, Json>| match fields.get(name) {
            None => Json::Null,
            Some(value) => value.clone(),
        };
        let (found, expected) = (value(&ours), value(&theirs));
        if !same(&found, &expected) {
            return Err(format!(
                "{name}: expected {expected}, as a GGUF file of the architecture {:?} cannot say \
                 otherwise, found {found}; write a folder instead: ggpo merge --out",
                architecture.name
            ));
        }
    }
    Ok(())
}

/// Whether two values are the same in single precision.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(a), Json::Number(b)) => {
            let single = |x: &serde_json::Number| x.as_f64().map(|x| x as f32);
            a == b || single(a) == single(b)
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}
