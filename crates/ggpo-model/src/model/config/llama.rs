//! `config.json` of the Llama form.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::Result;
use crate::model::{LlamaConfig, RopeScaling};

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model; how many pieces a product was cut into at pre-training; and
/// what converters noted.
const PASSED_OVER: &[&str] = &[
    "attention_dropout",
    "is_llama_config",
    "max_sequence_length",
    "pretraining_tp",
];

pub(super) fn read(fields: &Fields<'_>) -> Result<LlamaConfig> {
    fields.only("hidden_act", &json!("silu"))?;
    fields.only("rope_interleaved", &json!(false))?;
    fields.only("is_encoder_decoder", &json!(false))?;
    let heads = fields.count("num_attention_heads")?;
    let head_dim = match fields.get("head_dim") {
        Some(_) => fields.count("head_dim")?,
        None => {
            fields.divides("num_attention_heads", "hidden_size")?;
            fields.count("hidden_size")? / heads
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(fields.wrong("head_dim", "an even number of channels per head"));
    }
    let kv_heads = fields.count_or("num_key_value_heads", heads)?;
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of num_attention_heads, which is {heads}");
        return Err(fields.wrong("num_key_value_heads", &expected));
    }
    let (rope_theta, rope_scaling) = rope(fields)?;
    let config = LlamaConfig {
        vocab_size: fields.count("vocab_size")?,
        hidden_size: fields.count("hidden_size")?,
        num_hidden_layers: fields.layers("num_hidden_layers")?,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        intermediate_size: fields.count("intermediate_size")?,
        max_position_embeddings: fields.count("max_position_embeddings")?,
        rms_norm_eps: fields.positive("rms_norm_eps")?,
        rope_theta,
        rope_scaling,
        tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
        attention_bias: fields.flag_or("attention_bias", false)?,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
    };
    fields.finish(PASSED_OVER)?;
    Ok(config)
}

/// Base and scaling of the rotary frequencies: `rope_parameters` holds both;
/// older files have `rope_theta` and `rope_scaling`.
fn rope(fields: &Fields<'_>) -> Result<(f64, Option<RopeScaling>)> {
    let theta = fields.positive_or("rope_theta", 10_000.0)?;
    let Some(inner) = fields.object("rope_parameters")? else {
        let scaling = match fields.object("rope_scaling")? {
            None => None,
            Some(inner) => rope_scaling(&inner)?,
        };
        return Ok((theta, scaling));
    };
    if fields.get("rope_scaling").is_some() {
        return Err(fields.wrong("rope_scaling", "nothing beside rope_parameters"));
    }
    let inner_theta = inner.positive("rope_theta")?;
    if fields.get("rope_theta").is_some() && theta != inner_theta {
        let expected = format!("{inner_theta}, as rope_parameters says");
        return Err(fields.wrong("rope_theta", &expected));
    }
    Ok((inner_theta, rope_scaling(&inner)?))
}

fn rope_scaling(inner: &Fields<'_>) -> Result<Option<RopeScaling>> {
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

pub(super) fn to_json(config: &LlamaConfig) -> Value {
    let mut json = json!({
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "hidden_act": "silu",
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "initializer_range": 0.02,
    });
    if let (Some(scaling), Value::Object(fields)) = (&config.rope_scaling, &mut json) {
        fields.insert("rope_scaling".to_owned(), scaling_json(scaling));
    }
    json
}

fn scaling_json(scaling: &RopeScaling) -> Value {
    match scaling {
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
