//! RoBERTa: BERT's encoder, with positions counted from the padding token's id, one kind
//! of segment, and a classification head of two layers.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use serde_json::{Value, json};

use super::families::{About, Family, Form, HeadKind};
use super::fields::Fields;
use super::{
    BertConfig, Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec,
    norm_spec,
};
use crate::Result;
use crate::batch::Batch;

/// Shape of a RoBERTa encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct RobertaConfig {
    /// The encoder; of its positions those up to `pad_token_id` stand for no token.
    pub encoder: BertConfig,
    /// Id of the padding token. The first token stands at the position after it.
    pub pad_token_id: usize,
}

/// The table that embeds tokens.
const WORD_TABLE: &str = "roberta.embeddings.word_embeddings.weight";

impl RobertaConfig {
    /// Positions in a row of ids: tokens are counted from `pad_token_id + 1` on, and
    /// padding stands at `pad_token_id`.
    fn positions_of<'a>(&self, ids: &'a [usize]) -> impl Iterator<Item = usize> + use<'a> {
        let pad = self.pad_token_id;
        ids.iter().scan(pad, move |last, &id| match id == pad {
            true => Some(pad),
            false => {
                *last += 1;
                Some(*last)
            }
        })
    }
}

impl Family for RobertaConfig {
    const ABOUT: About = About {
        model_type: "roberta",
        architectures: &[
            (HeadKind::Tokens, "RobertaForMaskedLM"),
            (HeadKind::Sequence, "RobertaForSequenceClassification"),
        ],
        form: Form::Encoder,
        prefix: "roberta.",
        word_table: WORD_TABLE,
        head_modules: &["classifier"],
        learned_positions: true,
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>, _lm_head: bool) -> Result<Self> {
        let pad = match fields.get("pad_token_id") {
            None => Some(1),
            Some(id) => id.as_u64().and_then(|id| usize::try_from(id).ok()),
        };
        let pad_token_id = pad.ok_or_else(|| fields.wrong("pad_token_id", "the id of a token"))?;
        let encoder = BertConfig::read_encoder(fields)?;
        let first = pad_token_id.saturating_add(1);
        if encoder.max_position_embeddings <= first {
            let expected = format!("more than {first}, the first position of a token");
            return Err(fields.wrong("max_position_embeddings", &expected));
        }
        Ok(RobertaConfig {
            encoder,
            pad_token_id,
        })
    }

    fn to_json(&self) -> Value {
        let mut json = self.encoder.encoder_json("roberta");
        json["pad_token_id"] = json!(self.pad_token_id);
        json
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.encoder.hidden_size;
        let mut all = self.encoder.encoder_specification("roberta.");
        match head.outputs() {
            Some(outputs) => {
                all.extend(linear_spec("classifier.dense", width, width, true));
                all.extend(linear_spec("classifier.out_proj", outputs, width, true));
            }
            None => {
                all.extend(linear_spec("lm_head.dense", width, width, true));
                all.extend(norm_spec("lm_head.layer_norm", width, true));
                all.push(ParameterSpec {
                    name: "lm_head.bias".to_owned(),
                    shape: vec![self.encoder.vocab_size],
                    start: InitialValue::Zeros,
                });
            }
        }
        all
    }

    fn block_linears(&self) -> Vec<String> {
        self.encoder.encoder_linears("roberta.")
    }

    fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        let other_heads: &[&str] = match (head, name) {
            // The numbers 0, 1, 2, ...
            (_, "roberta.embeddings.position_ids") => return Some(Extra::Unused),
            (Head::Tokens, "lm_head.decoder.weight") => return Some(Extra::CopyOf(WORD_TABLE)),
            (Head::Tokens, "lm_head.decoder.bias") => return Some(Extra::CopyOf("lm_head.bias")),
            (Head::Tokens, _) => &["roberta.pooler", "classifier", "qa_outputs"],
            (Head::Classes(_) | Head::Value, _) => &["roberta.pooler", "lm_head", "qa_outputs"],
        };
        is_in(name, other_heads).then_some(Extra::Unused)
    }

    fn positions(&self) -> usize {
        self.encoder.max_position_embeddings - self.pad_token_id - 1
    }

    fn vocabulary(&self) -> usize {
        self.encoder.vocab_size
    }

    fn segments(&self) -> Option<usize> {
        Some(self.encoder.type_vocab_size)
    }

    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let rows = batch.ids.chunks(batch.shape[1].max(1));
        let positions: Vec<usize> = rows.flat_map(|row| self.positions_of(row)).collect();
        self.encoder.encode(graph, batch, "roberta.", &positions)
    }

    fn output<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        match head {
            Head::Classes(_) | Head::Value => {
                let inner = ops::tanh(&graph.linear(&states, "classifier.dense"));
                (inner, OutputLayer::Module("classifier.out_proj"))
            }
            Head::Tokens => {
                let x = ops::gelu_erf(&graph.linear(&states, "lm_head.dense"));
                let x = self.encoder.norm(graph, &x, "lm_head.layer_norm");
                let layer = OutputLayer::Tied {
                    table: WORD_TABLE,
                    bias: Some("lm_head.bias"),
                };
                (x, layer)
            }
        }
    }
}
