//! What `config.json` says alike of all decoders with rotary positions.

use serde_json::{Value, json};

use super::{Fields, RotaryDecoder};
use crate::Result;
use crate::model::rope::Rope;

impl RotaryDecoder {
    /// Reads what all families say alike. A file may leave out `head_dim` where the
    /// heads divide the channels among them, or where the family has a usual one; what
    /// it can choose is chosen as in Llama.
    pub(in crate::model) fn read(
        fields: &Fields<'_>,
        rope: Rope,
        head_dim: Option<usize>,
    ) -> Result<Self> {
        let heads = fields.count("num_attention_heads")?;
        let head_dim = match (fields.get("head_dim"), head_dim) {
            (Some(_), _) => fields.count("head_dim")?,
            (None, Some(usual)) => usual,
            (None, None) => {
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
        Ok(RotaryDecoder {
            vocab_size: fields.count("vocab_size")?,
            hidden_size: fields.count("hidden_size")?,
            num_hidden_layers: fields.layers("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            intermediate_size: fields.count("intermediate_size")?,
            max_position_embeddings: fields.count("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps")?,
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
            rope,
            input_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_norms: false,
            query_pre_attn_scalar: head_dim as f64,
            gemma: None,
        })
    }

    /// The fields of `config.json` that all families have.
    pub(in crate::model) fn to_json(&self, model_type: &str) -> Value {
        let mut json = json!({
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "initializer_range": 0.02,
        });
        if let Some(scaling) = self.rope.scaling {
            json["rope_scaling"] = scaling.to_json();
        }
        json
    }
}

/// Which layers have a window, if `layer_types` says it.
pub(in crate::model) fn layer_windows(
    fields: &Fields<'_>,
    layers: usize,
) -> Result<Option<Vec<bool>>> {
    const FIELD: &str = "layer_types";
    let Some(types) = fields.get(FIELD) else {
        return Ok(None);
    };
    let windowed = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Some(false),
        Some("sliding_attention") => Some(true),
        _ => None,
    };
    let types = types.as_array().filter(|types| types.len() == layers);
    let windows = types.and_then(|types| types.iter().map(windowed).collect());
    let windows: Option<Vec<bool>> = windows;
    if windows.is_none() {
        let expected = format!("full_attention or sliding_attention for each of {layers} layers");
        return Err(fields.wrong(FIELD, &expected));
    }
    Ok(windows)
}
