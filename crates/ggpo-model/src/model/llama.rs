//! The Llama family.

use serde_json::{Value, json};

use super::RopeScaling;
use super::families::{About, HeadKind};
use super::fields::Fields;
use super::rope::Rope;
use super::rotary_decoder::{RotaryDecoder, RotaryFamily};
use crate::Result;

/// Shape of a Llama decoder, under the names of its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Tokens known.
    pub vocab_size: usize,
    /// Channels of a state.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads of the queries.
    pub num_attention_heads: usize,
    /// Attention heads of keys and values, each shared by a group of queries.
    pub num_key_value_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Channels inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for longer sequences.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output head is the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether the projections of attention, the output's included, have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub mlp_bias: bool,
}

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model; how many pieces a product was cut into at pre-training; and
/// what converters noted.
const PASSED_OVER: &[&str] = &[
    "attention_dropout",
    "is_llama_config",
    "max_sequence_length",
    "pretraining_tp",
];

impl From<RotaryDecoder> for LlamaConfig {
    fn from(decoder: RotaryDecoder) -> Self {
        LlamaConfig {
            vocab_size: decoder.vocab_size,
            hidden_size: decoder.hidden_size,
            num_hidden_layers: decoder.num_hidden_layers,
            num_attention_heads: decoder.num_attention_heads,
            num_key_value_heads: decoder.num_key_value_heads,
            head_dim: decoder.head_dim,
            intermediate_size: decoder.intermediate_size,
            max_position_embeddings: decoder.max_position_embeddings,
            rms_norm_eps: decoder.rms_norm_eps,
            rope_theta: decoder.rope.theta,
            rope_scaling: decoder.rope.scaling,
            tie_word_embeddings: decoder.tie_word_embeddings,
            attention_bias: decoder.input_bias,
            mlp_bias: decoder.mlp_bias,
        }
    }
}

impl RotaryFamily for LlamaConfig {
    const ABOUT: About = About {
        model_type: "llama",
        architectures: &[
            (HeadKind::Tokens, "LlamaForCausalLM"),
            (HeadKind::Sequence, "LlamaForSequenceClassification"),
        ],
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>) -> Result<Self> {
        fields.only("hidden_act", &json!("silu"))?;
        fields.only("rope_interleaved", &json!(false))?;
        fields.only("is_encoder_decoder", &json!(false))?;
        let mut decoder = RotaryDecoder::read(fields, Rope::read(fields)?, None)?;
        decoder.input_bias = fields.flag_or("attention_bias", false)?;
        decoder.mlp_bias = fields.flag_or("mlp_bias", false)?;
        fields.finish(PASSED_OVER)?;
        Ok(decoder.into())
    }

    fn to_json(&self) -> Value {
        let mut json = self.decoder().to_json("llama");
        json["hidden_act"] = json!("silu");
        json["attention_bias"] = json!(self.attention_bias);
        json["mlp_bias"] = json!(self.mlp_bias);
        json
    }

    fn decoder(&self) -> RotaryDecoder {
        RotaryDecoder {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            rope: Rope {
                theta: self.rope_theta,
                scaling: self.rope_scaling,
            },
            input_bias: self.attention_bias,
            output_bias: self.attention_bias,
            mlp_bias: self.mlp_bias,
            head_norms: false,
            query_pre_attn_scalar: self.head_dim as f64,
            gemma: None,
        }
    }
}
