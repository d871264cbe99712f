//! What a GGUF file says of the shape of its model, by its architecture.

use super::Reading;
use super::file::File;
use super::metadata::{Metadata, Value};
use super::rope_factors;
use crate::model::{
    Body, GEMMA3_PATTERN, GEMMA3_THETA, Gemma, Gemma3Config, Model, Qwen2Config, Qwen3Config, Rope,
    RopeScaling, RotaryDecoder,
};

/// The model of a file.
pub(super) struct Description {
    pub(super) body: Body,
    /// The body's decoder.
    pub(super) decoder: RotaryDecoder,
    /// Whether the rows of query and key weights stand for a program that turns
    /// neighbouring channels.
    pub(super) turns_neighbours: bool,
}

/// An architecture of the format.
pub(super) struct Architecture {
    /// The name, with which the keys of the description begin.
    pub(super) name: &'static str,
    /// The family's name in `config.json`.
    pub(super) model_type: &'static str,
    /// Keys that only it has.
    keys: &'static [&'static str],
    pub(super) turns_neighbours: bool,
    /// Makes of a decoder in the Llama form what the architecture is.
    body: fn(RotaryDecoder, &Keys<'_>) -> Reading<(Body, RotaryDecoder)>,
}

static ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        name: "llama",
        model_type: "llama",
        keys: &[],
        turns_neighbours: true,
        body: |mut decoder, keys| {
            decoder.rope = rope_factors::read(keys.file, decoder.rope, decoder.head_dim)?;
            Ok((Body::Llama(decoder.clone().into()), decoder))
        },
    },
    Architecture {
        name: "qwen2",
        model_type: "qwen2",
        keys: &[],
        turns_neighbours: false,
        body: |mut decoder, _| {
            decoder.input_bias = true;
            Ok((Body::Qwen2(Qwen2Config(decoder.clone())), decoder))
        },
    },
    Architecture {
        name: "qwen3",
        model_type: "qwen3",
        keys: &[],
        turns_neighbours: false,
        body: |mut decoder, _| {
            decoder.head_norms = true;
            Ok((Body::Qwen3(Qwen3Config(decoder.clone())), decoder))
        },
    },
    Architecture {
        name: "gemma3",
        model_type: "gemma3_text",
        keys: &["attention.sliding_window", "rope.freq_base_swa"],
        turns_neighbours: false,
        body: gemma3,
    },
];

/// The architecture of a model's family, and the model's decoder.
///
/// # Errors
/// If the format has none for it.
pub(super) fn architecture_of(model: &Model) -> Reading<(&'static Architecture, RotaryDecoder)> {
    let model_type = model.body.model_type();
    let architecture = ARCHITECTURES
        .iter()
        .find(|known| known.model_type == model_type);
    match (architecture, model.body.rotary_decoder()) {
        (Some(architecture), Some(decoder)) => Ok((architecture, decoder)),
        _ => {
            let known = ARCHITECTURES
                .each_ref()
                .map(|known| known.model_type)
                .join(", ");
            Err(format!(
                "model: expected one of {known}, which a GGUF file can hold, found {model_type}"
            ))
        }
    }
}

/// Keys of the description that every architecture has.
const READ: [&str; 14] = [
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
    "rope.scaling.factor",
    "rope.scaling.type",
    "vocab_size",
];

/// Blocks of the Gemma 3 model of 27 billion weights, whose queries are divided by the
/// root of another number.
const BLOCKS_OF_27B: usize = 62;

/// Values by their keys without the architecture's name.
struct Keys<'a> {
    architecture: &'a str,
    metadata: &'a Metadata,
    file: &'a File<'a>,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn count(&self, key: &str) -> Reading<usize> {
        self.metadata.count(&self.full(key))
    }

    fn optional_count(&self, key: &str) -> Reading<Option<usize>> {
        self.metadata.optional_count(&self.full(key))
    }

    fn optional_positive(&self, key: &str) -> Reading<Option<f64>> {
        self.metadata.optional_positive(&self.full(key))
    }

    fn wrong(&self, key: &str, expected: &str) -> String {
        self.metadata.wrong(&self.full(key), expected)
    }
}

/// The shape of the model, which must be of a known architecture.
///
/// Keys of the description that are not known here might change the
/// calculation and are refused, unless they say that they do not.
pub(super) fn read(file: &File<'_>) -> Reading<Description> {
    let metadata = &file.metadata;
    let name = metadata.text("general.architecture")?;
    let architecture = ARCHITECTURES.iter().find(|known| known.name == name);
    let architecture = architecture.ok_or_else(|| {
        let names = ARCHITECTURES
            .each_ref()
            .map(|known| format!("{:?}", known.name));
        metadata.wrong("general.architecture", &names.join(", "))
    })?;
    refuse_unknown_keys(metadata, architecture)?;
    let keys = Keys {
        architecture: name,
        metadata,
        file,
    };
    let (body, decoder) = (architecture.body)(decoder(file, &keys)?, &keys)?;
    Ok(Description {
        body,
        decoder,
        turns_neighbours: architecture.turns_neighbours,
    })
}

/// A decoder in the Llama form.
fn decoder(file: &File<'_>, keys: &Keys<'_>) -> Reading<RotaryDecoder> {
    let hidden_size = keys.count("embedding_length")?;
    let heads = keys.count("attention.head_count")?;
    let head_dim = match keys.optional_count("attention.key_length")? {
        Some(length) => length,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let expected = format!("a divisor of embedding_length, which is {hidden_size}");
            return Err(keys.wrong("attention.head_count", &expected));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if keys.optional_count(key)?.is_some_and(|it| it != head_dim) {
            let expected = format!("the channels of a head, {head_dim}");
            return Err(keys.wrong(key, &expected));
        }
    }
    if !head_dim.is_multiple_of(2) {
        return Err(format!(
            "attention.key_length: expected an even number of channels of a head, found {head_dim}"
        ));
    }
    let kv_heads = keys
        .optional_count("attention.head_count_kv")?
        .unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of head_count, which is {heads}");
        return Err(keys.wrong("attention.head_count_kv", &expected));
    }
    let blocks = keys.count("block_count")?;
    if blocks > file.tensors.len() {
        let expected = format!("at most the number of tensors, {}", file.tensors.len());
        return Err(keys.wrong("block_count", &expected));
    }
    let eps = keys.full("attention.layer_norm_rms_epsilon");
    Ok(RotaryDecoder {
        vocab_size: vocabulary(file, keys)?,
        hidden_size,
        num_hidden_layers: blocks,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        intermediate_size: keys.count("feed_forward_length")?,
        max_position_embeddings: keys.count("context_length")?,
        rms_norm_eps: keys.metadata.positive(&eps)?,
        tie_word_embeddings: !file.tensors.contains_key("output.weight"),
        rope: Rope {
            theta: keys
                .optional_positive("rope.freq_base")?
                .unwrap_or(10_000.0),
            scaling: scaling(keys)?,
        },
        input_bias: false,
        output_bias: false,
        mlp_bias: false,
        head_norms: false,
        query_pre_attn_scalar: head_dim as f64,
        gemma: None,
    })
}

fn scaling(keys: &Keys<'_>) -> Reading<Option<RopeScaling>> {
    let factor = keys.optional_positive("rope.scaling.factor")?;
    let key = keys.full("rope.scaling.type");
    match (keys.metadata.optional_text(&key)?, factor) {
        (Some("linear"), Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
        (Some("linear"), None) => Err(keys.wrong("rope.scaling.factor", "a number above 0")),
        (None | Some("none"), None | Some(1.0)) => Ok(None),
        (None | Some("none"), Some(_)) => Err(keys.wrong("rope.scaling.factor", "1")),
        (Some(_), _) => Err(keys.wrong("rope.scaling.type", "\"none\" or \"linear\"")),
    }
}

fn gemma3(mut decoder: RotaryDecoder, keys: &Keys<'_>) -> Reading<(Body, RotaryDecoder)> {
    let layers = decoder.num_hidden_layers;
    let theta = |key: &str, usual| Ok::<_, String>(keys.optional_positive(key)?.unwrap_or(usual));
    decoder.rope.theta = theta("rope.freq_base", GEMMA3_THETA[0])?;
    decoder.head_norms = true;
    if layers == BLOCKS_OF_27B {
        let (channels, heads) = (decoder.hidden_size, decoder.num_attention_heads);
        decoder.query_pre_attn_scalar = channels as f64 / heads as f64;
    }
    decoder.gemma = Some(Gemma {
        window: keys.count("attention.sliding_window")?,
        windowed: Gemma::every(GEMMA3_PATTERN, layers),
        rope: Rope {
            theta: theta("rope.freq_base_swa", GEMMA3_THETA[1])?,
            scaling: None,
        },
    });
    Ok((Body::Gemma3(Gemma3Config(decoder.clone())), decoder))
}

fn refuse_unknown_keys(metadata: &Metadata, architecture: &Architecture) -> Reading<()> {
    let prefix = format!("{}.", architecture.name);
    for (key, value) in metadata.iter() {
        let Some(name) = key.strip_prefix(&prefix) else {
            continue;
        };
        let without_effect = match name {
            "rope.scale_linear" => *value == Value::Float(1.0),
            "expert_count" | "expert_used_count" => *value == Value::Unsigned(0),
            _ => READ.contains(&name) || architecture.keys.contains(&name),
        };
        if !without_effect {
            return Err(metadata.wrong(key, "no such key, which is not supported"));
        }
    }
    Ok(())
}

/// Rows of the token embedding.
fn vocabulary(file: &File<'_>, keys: &Keys<'_>) -> Reading<usize> {
    let rows = match file.tensors.get("token_embd.weight") {
        Some(table) => table.shape[0],
        None => return Err("expected a tensor named token_embd.weight, found none".to_owned()),
    };
    match keys.optional_count("vocab_size")? {
        Some(count) if count != rows => {
            let expected = format!("{rows}, the rows of token_embd.weight");
            Err(keys.wrong("vocab_size", &expected))
        }
        _ => Ok(rows),
    }
}
