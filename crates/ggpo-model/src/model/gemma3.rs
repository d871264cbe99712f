//! Gemma 3, its text model.
//!
//! Newer files give each kind of layer its rotary frequencies in `rope_parameters`, and
//! the kinds in `layer_types`. Older files have `rope_theta` and `rope_scaling` for the
//! layers without a window, `rope_local_base_freq` for those with one, and every
//! `sliding_window_pattern`-th layer without.

use serde_json::{Value, json};

use super::families::{About, HeadKind};
use super::fields::Fields;
use super::rope::Rope;
use super::rotary_decoder::{Gemma, RotaryDecoder, RotaryFamily, layer_windows};
use crate::Result;

/// Shape of a Gemma 3 decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma3Config(pub(crate) RotaryDecoder);

/// Bases of the rotary frequencies in files that do not say, of layers without and with
/// a window.
pub(crate) const THETA: [f64; 2] = [1_000_000.0, 10_000.0];
/// Which layers have no window in files that do not say: every sixth.
pub(crate) const PATTERN: usize = 6;
/// Channels of a head in a file that does not say.
const HEAD_DIM: usize = 256;
/// Fields that cannot change the calculation: dropout, which is not applied to a base
/// model; how generation keeps keys and values; and what `layer_types` were made from.
const PASSED_OVER: &[&str] = &[
    "_sliding_window_pattern",
    "attention_dropout",
    "cache_implementation",
];

impl Gemma {
    /// Which of `layers` have a window where every `pattern`-th has none.
    pub(crate) fn every(pattern: usize, layers: usize) -> Vec<bool> {
        let windowed = |layer: usize| !(layer + 1).is_multiple_of(pattern);
        (0..layers).map(windowed).collect()
    }
}

impl RotaryFamily for Gemma3Config {
    const ABOUT: About = About {
        model_type: "gemma3_text",
        architectures: &[
            (HeadKind::Tokens, "Gemma3ForCausalLM"),
            (HeadKind::Sequence, "Gemma3TextForSequenceClassification"),
        ],
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>) -> Result<Self> {
        fields.only("hidden_activation", &json!("gelu_pytorch_tanh"))?;
        fields.only("is_encoder_decoder", &json!(false))?;
        fields.only("use_bidirectional_attention", &json!(false))?;
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            fields.only(name, &Value::Null)?;
        }
        fields.count("num_key_value_heads")?;
        let [rope, local] = ropes(fields)?;
        let mut decoder = RotaryDecoder::read(fields, rope, Some(HEAD_DIM))?;
        decoder.tie_word_embeddings = fields.flag_or("tie_word_embeddings", true)?;
        decoder.input_bias = fields.flag_or("attention_bias", false)?;
        decoder.output_bias = decoder.input_bias;
        decoder.head_norms = true;
        decoder.query_pre_attn_scalar = fields.positive("query_pre_attn_scalar")?;
        let layers = decoder.num_hidden_layers;
        let pattern = fields.count_or("sliding_window_pattern", PATTERN)?;
        decoder.gemma = Some(Gemma {
            window: fields.count("sliding_window")?,
            windowed: layer_windows(fields, layers)?
                .unwrap_or_else(|| Gemma::every(pattern, layers)),
            rope: local,
        });
        fields.finish(PASSED_OVER)?;
        Ok(Gemma3Config(decoder))
    }

    fn to_json(&self) -> Value {
        let mut json = self.0.to_json("gemma3_text");
        json["hidden_activation"] = json!("gelu_pytorch_tanh");
        json["attention_bias"] = json!(self.0.input_bias);
        json["query_pre_attn_scalar"] = json!(self.0.query_pre_attn_scalar);
        let gemma = self.0.gemma.as_ref().expect("it is one");
        json["sliding_window"] = json!(gemma.window);
        json["rope_local_base_freq"] = json!(gemma.rope.theta);
        let kind = |windowed: &bool| match windowed {
            true => "sliding_attention",
            false => "full_attention",
        };
        json["layer_types"] = gemma.windowed.iter().map(kind).collect();
        json
    }

    fn decoder(&self) -> RotaryDecoder {
        self.0.clone()
    }
}

/// The rotary frequencies of layers without and with a window.
fn ropes(fields: &Fields<'_>) -> Result<[Rope; 2]> {
    const LOCAL: &str = "rope_local_base_freq";
    let Some(inner) = fields.object("rope_parameters")? else {
        let local = Rope {
            theta: fields.positive_or(LOCAL, THETA[1])?,
            scaling: None,
        };
        return Ok([Rope::of_older_fields(fields, THETA[0])?, local]);
    };
    let of = |name: &str| match inner.object(name)? {
        Some(object) => Rope::of_parameters(&object),
        None => Err(inner.wrong(name, "a JSON object")),
    };
    let ropes = [of("full_attention")?, of("sliding_attention")?];
    inner.finish(&[])?;
    Rope::not_said_otherwise(fields, "rope_theta", ropes[0].theta)?;
    Rope::not_said_otherwise(fields, LOCAL, ropes[1].theta)?;
    Ok(ropes)
}
