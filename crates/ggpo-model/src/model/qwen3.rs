//! Qwen3, dense: the Llama form with RMS norm on the heads of queries and keys.

use serde_json::{Value, json};

use super::families::{About, HeadKind};
use super::fields::Fields;
use super::qwen2;
use super::rotary_decoder::{RotaryDecoder, RotaryFamily};
use crate::Result;

/// Shape of a Qwen3 decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen3Config(pub(crate) RotaryDecoder);

/// Channels of a head in a file that does not say.
const HEAD_DIM: usize = 128;

impl RotaryFamily for Qwen3Config {
    const ABOUT: About = About {
        model_type: "qwen3",
        architectures: &[
            (HeadKind::Tokens, "Qwen3ForCausalLM"),
            (HeadKind::Sequence, "Qwen3ForSequenceClassification"),
        ],
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>) -> Result<Self> {
        let mut decoder = qwen2::read(fields, Some(HEAD_DIM))?;
        decoder.input_bias = fields.flag_or("attention_bias", false)?;
        decoder.output_bias = decoder.input_bias;
        decoder.head_norms = true;
        fields.finish(qwen2::PASSED_OVER)?;
        Ok(Qwen3Config(decoder))
    }

    fn to_json(&self) -> Value {
        let mut json = qwen2::to_json(&self.0, "qwen3");
        json["attention_bias"] = json!(self.0.input_bias);
        json
    }

    fn decoder(&self) -> RotaryDecoder {
        self.0.clone()
    }
}
