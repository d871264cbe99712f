//! `config.json` of the BERT form.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::Result;
use crate::model::BertConfig;

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model, and what converters of the first files noted.
const PASSED_OVER: &[&str] = &[
    "attention_probs_dropout_prob",
    "directionality",
    "hidden_dropout_prob",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
];

pub(super) fn read(fields: &Fields<'_>) -> Result<BertConfig> {
    fields.only("hidden_act", &json!("gelu"))?;
    fields.only("position_embedding_type", &json!("absolute"))?;
    fields.only("tie_word_embeddings", &json!(true))?;
    fields.only("is_encoder_decoder", &json!(false))?;
    fields.divides("num_attention_heads", "hidden_size")?;
    let config = BertConfig {
        vocab_size: fields.count("vocab_size")?,
        hidden_size: fields.count("hidden_size")?,
        num_hidden_layers: fields.layers("num_hidden_layers")?,
        num_attention_heads: fields.count("num_attention_heads")?,
        intermediate_size: fields.count("intermediate_size")?,
        max_position_embeddings: fields.count("max_position_embeddings")?,
        type_vocab_size: fields.count_or("type_vocab_size", 2)?,
        layer_norm_eps: fields.positive("layer_norm_eps")?,
    };
    fields.finish(PASSED_OVER)?;
    Ok(config)
}

pub(super) fn to_json(config: &BertConfig) -> Value {
    json!({
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.layer_norm_eps,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
    })
}
