//! Qwen2 and Qwen2.5: the Llama form with biases on queries, keys and values.

use serde_json::{Value, json};

use super::families::{About, HeadKind};
use super::fields::Fields;
use super::rope::Rope;
use super::rotary_decoder::{RotaryDecoder, RotaryFamily, layer_windows};
use crate::Result;

/// Shape of a Qwen2 decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen2Config(pub(crate) RotaryDecoder);

/// Fields that cannot change the calculation: dropout, which is not applied to a base
/// model, and of windows that are not used how wide they are and where they begin.
pub(super) const PASSED_OVER: &[&str] =
    &["attention_dropout", "max_window_layers", "sliding_window"];

/// Reads what Qwen2 and Qwen3 say alike.
pub(super) fn read(fields: &Fields<'_>, head_dim: Option<usize>) -> Result<RotaryDecoder> {
    fields.only("hidden_act", &json!("silu"))?;
    fields.only("is_encoder_decoder", &json!(false))?;
    fields.only("use_mrope", &json!(false))?;
    fields.only("use_sliding_window", &json!(false))?;
    // Transformers' own default is another than that of other families.
    fields.count("num_key_value_heads")?;
    let decoder = RotaryDecoder::read(fields, Rope::read(fields)?, head_dim)?;
    if let Some(windows) = layer_windows(fields, decoder.num_hidden_layers)?
        && windows.contains(&true)
    {
        return Err(fields.wrong("layer_types", "full_attention in every layer"));
    }
    Ok(decoder)
}

/// What Qwen2 and Qwen3 write alike.
pub(super) fn to_json(decoder: &RotaryDecoder, model_type: &str) -> Value {
    let mut json = decoder.to_json(model_type);
    json["hidden_act"] = json!("silu");
    json["use_sliding_window"] = json!(false);
    json
}

impl RotaryFamily for Qwen2Config {
    const ABOUT: About = About {
        model_type: "qwen2",
        architectures: &[
            (HeadKind::Tokens, "Qwen2ForCausalLM"),
            (HeadKind::Sequence, "Qwen2ForSequenceClassification"),
        ],
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>) -> Result<Self> {
        let mut decoder = read(fields, None)?;
        decoder.input_bias = true;
        fields.finish(PASSED_OVER)?;
        Ok(Qwen2Config(decoder))
    }

    fn to_json(&self) -> Value {
        to_json(&self.0, "qwen2")
    }

    fn decoder(&self) -> RotaryDecoder {
        self.0.clone()
    }
}
