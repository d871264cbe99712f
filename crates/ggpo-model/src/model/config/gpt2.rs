//! `config.json` of the GPT-2 form.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::Result;
use crate::model::Gpt2Config;

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model; the older name of `n_positions`, whose table says how long it
/// is; special tokens that no model has; and the options of a head that this
/// project does not have.
const PASSED_OVER: &[&str] = &[
    "attn_pdrop",
    "embd_pdrop",
    "n_ctx",
    "n_special",
    "predict_special_tokens",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

pub(super) fn read(fields: &Fields<'_>) -> Result<Gpt2Config> {
    fields.only("activation_function", &json!("gelu_new"))?;
    fields.only("scale_attn_weights", &json!(true))?;
    fields.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
    fields.only("reorder_and_upcast_attn", &json!(false))?;
    fields.only("tie_word_embeddings", &json!(true))?;
    fields.only("is_encoder_decoder", &json!(false))?;
    fields.divides("n_head", "n_embd")?;
    let width = fields.count("n_embd")?;
    let config = Gpt2Config {
        vocab_size: fields.count("vocab_size")?,
        n_positions: fields.count("n_positions")?,
        n_embd: width,
        n_layer: fields.layers("n_layer")?,
        n_head: fields.count("n_head")?,
        n_inner: fields.count_or("n_inner", 4 * width)?,
        layer_norm_epsilon: fields.positive("layer_norm_epsilon")?,
    };
    fields.finish(PASSED_OVER)?;
    Ok(config)
}

pub(super) fn to_json(config: &Gpt2Config) -> Value {
    json!({
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_positions,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.n_inner,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": 0.02,
    })
}
