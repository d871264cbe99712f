//! `config.json` of the T5 form.
//!
//! Two things differ between version 1.0 and 1.1 that older files say with one
//! field, and newer files with another:
//!
//! * **The scale of the decoder's output**, 1 / sqrt(d_model), belongs to 1.0.
//!   `scale_decoder_outputs` says it; where that is absent, as in files older
//!   than Transformers 5, `tie_word_embeddings` says it (true if absent too).
//! * **The head** is the token embedding in 1.0 and a weight of its own in 1.1.
//!   `tie_word_embeddings: false` means its own, and the file must hold it. But
//!   Transformers 5 always writes true, and then the file decides: without the
//!   scale, an `lm_head.weight` in the file is a head of its own. With the
//!   scale it is a copy of the embedding, and must be equal to it. Whether the
//!   file holds one is for the caller to say.

use serde_json::{Value, json};

use super::{Fields, T5Config};
use crate::Result;

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model; the scale of new weights; and the length of the pre-training
/// sequences, which the relative positions do not depend on.
const PASSED_OVER: &[&str] = &["dropout_rate", "initializer_factor", "n_positions"];

pub(super) fn read(fields: &Fields<'_>, lm_head: bool) -> Result<T5Config> {
    fields.only("is_encoder_decoder", &json!(true))?;
    let gated = match fields.get("feed_forward_proj").map(Value::as_str) {
        None | Some(Some("relu")) => false,
        Some(Some("gated-gelu")) => true,
        _ => return Err(fields.wrong("feed_forward_proj", "\"relu\" or \"gated-gelu\"")),
    };
    fields.only("is_gated_act", &json!(gated))?;
    let activation = if gated { "gelu_new" } else { "relu" };
    fields.only("dense_act_fn", &json!(activation))?;

    let tied = fields.flag_or("tie_word_embeddings", true)?;
    let scaled = fields.flag_or("scale_decoder_outputs", tied)?;
    let own_head = !tied || (!scaled && lm_head);
    let layers = fields.layers("num_layers")?;
    let config = T5Config {
        vocab_size: fields.count("vocab_size")?,
        d_model: fields.count("d_model")?,
        d_kv: fields.count("d_kv")?,
        d_ff: fields.count("d_ff")?,
        num_layers: layers,
        num_decoder_layers: match fields.get("num_decoder_layers") {
            None => layers,
            Some(_) => fields.layers("num_decoder_layers")?,
        },
        num_heads: fields.count("num_heads")?,
        relative_attention_num_buckets: fields.count("relative_attention_num_buckets")?,
        relative_attention_max_distance: fields.count_or("relative_attention_max_distance", 128)?,
        layer_norm_epsilon: fields.positive_or("layer_norm_epsilon", 1e-6)?,
        is_gated_act: gated,
        tie_word_embeddings: !own_head,
        scale_decoder_outputs: scaled,
    };
    if !config.relative_attention_num_buckets.is_multiple_of(4) {
        let expected = "a multiple of 4, for two directions of two halves";
        return Err(fields.wrong("relative_attention_num_buckets", expected));
    }
    if config.relative_attention_max_distance <= config.relative_attention_num_buckets / 2 {
        let expected = "more than half of relative_attention_num_buckets";
        return Err(fields.wrong("relative_attention_max_distance", expected));
    }
    fields.finish(PASSED_OVER)?;
    Ok(config)
}

pub(super) fn to_json(config: &T5Config) -> Value {
    let (projection, activation) = if config.is_gated_act {
        ("gated-gelu", "gelu_new")
    } else {
        ("relu", "relu")
    };
    json!({
        "model_type": "t5",
        "is_encoder_decoder": true,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_kv,
        "d_ff": config.d_ff,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        "relative_attention_max_distance": config.relative_attention_max_distance,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "feed_forward_proj": projection,
        "is_gated_act": config.is_gated_act,
        "dense_act_fn": activation,
        "tie_word_embeddings": config.tie_word_embeddings,
        "scale_decoder_outputs": config.scale_decoder_outputs,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    })
}
