//! The encoder in the BERT form.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use ggpo_tensor::attention::AttentionMask;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::families::{About, Family, Form, HeadKind};
use super::fields::Fields;
use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
use crate::Result;
use crate::batch::Batch;

/// Shape of a BERT encoder, under the names of its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Tokens known.
    pub vocab_size: usize,
    /// Channels of a state.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the channels among them.
    pub num_attention_heads: usize,
    /// Channels inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Kinds of segment.
    pub type_vocab_size: usize,
    /// Added to the variance in layer norm.
    pub layer_norm_eps: f64,
}

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

/// The three inputs of attention.
const ATTENTION: [&str; 3] = ["query", "key", "value"];

/// The encoder, which RoBERTa has too; names begin with the family's prefix.
impl BertConfig {
    /// Reads all fields but those that only one family has.
    pub(super) fn read_encoder(fields: &Fields<'_>) -> Result<Self> {
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

    pub(super) fn encoder_json(&self, model_type: &str) -> Value {
        json!({
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "initializer_range": 0.02,
        })
    }

    fn blocks(&self, prefix: &str) -> impl Iterator<Item = String> {
        (0..self.num_hidden_layers).map(move |layer| format!("{prefix}encoder.layer.{layer}"))
    }

    /// Name, outputs and inputs of the linear layers of one block.
    fn linears(&self, block: &str) -> Vec<(String, usize, usize)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let mut linears: Vec<_> = ATTENTION
            .iter()
            .map(|part| (format!("{block}.attention.self.{part}"), width, width))
            .collect();
        linears.extend([
            (format!("{block}.attention.output.dense"), width, width),
            (format!("{block}.intermediate.dense"), inner, width),
            (format!("{block}.output.dense"), width, inner),
        ]);
        linears
    }

    pub(super) fn encoder_linears(&self, prefix: &str) -> Vec<String> {
        self.blocks(prefix)
            .flat_map(|block| self.linears(&block))
            .map(|(name, ..)| name)
            .collect()
    }

    pub(super) fn encoder_specification(&self, prefix: &str) -> Vec<ParameterSpec> {
        let width = self.hidden_size;
        let table = |name: &str, rows| ParameterSpec {
            name: format!("{prefix}embeddings.{name}.weight"),
            shape: vec![rows, width],
            start: InitialValue::Normal,
        };
        let mut all = vec![
            table("word_embeddings", self.vocab_size),
            table("position_embeddings", self.max_position_embeddings),
            table("token_type_embeddings", self.type_vocab_size),
        ];
        let norm = |module: &str| norm_spec(module, width, true);
        all.extend(norm(&format!("{prefix}embeddings.LayerNorm")));
        for block in self.blocks(prefix) {
            for (name, outputs, inputs) in self.linears(&block) {
                all.extend(linear_spec(&name, outputs, inputs, true));
            }
            all.extend(norm(&format!("{block}.attention.output.LayerNorm")));
            all.extend(norm(&format!("{block}.output.LayerNorm")));
        }
        all
    }

    /// Final states, batch x time x width, of tokens at the given positions.
    pub(super) fn encode<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        batch: &Batch,
        prefix: &str,
        positions: &[usize],
    ) -> Var<T> {
        let mask = AttentionMask {
            keys: Some(batch.attention.clone()),
            ..AttentionMask::default()
        };
        let look_up = |name: &str, ids: &[usize]| {
            let table = graph.parameter(&format!("{prefix}embeddings.{name}.weight"));
            ops::embedding(&table, ids, &batch.shape)
        };
        let words = look_up("word_embeddings", &batch.ids);
        let places = look_up("position_embeddings", positions);
        let kinds = look_up("token_type_embeddings", &batch.token_types);
        let sum = ops::add(&ops::add(&words, &places), &kinds);
        let mut x = self.norm(graph, &sum, &format!("{prefix}embeddings.LayerNorm"));
        for block in self.blocks(prefix) {
            x = self.attention(graph, &x, &block, &mask);
            x = self.feed_forward(graph, &x, &block);
        }
        x
    }

    fn attention<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        mask: &AttentionMask,
    ) -> Var<T> {
        let [rows, time, width] = *x.shape() else {
            panic!("states of shape {:?}", x.shape())
        };
        let heads = self.num_attention_heads;
        let channels = width / heads;
        let [q, k, v] = ATTENTION.map(|part| {
            let y = graph.linear(x, &format!("{block}.attention.self.{part}"));
            ops::reshape(&y, &[rows, time, heads, channels])
        });
        let scale = T::from_f64(1.0 / (channels as f64).sqrt());
        let context = ops::attention(&q, &k, &v, scale, None, mask);
        let context = ops::reshape(&context, &[rows, time, width]);
        let attended = graph.linear(&context, &format!("{block}.attention.output.dense"));
        let norm = format!("{block}.attention.output.LayerNorm");
        self.norm(graph, &ops::add(x, &attended), &norm)
    }

    fn feed_forward<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, block: &str) -> Var<T> {
        let inner = graph.linear(x, &format!("{block}.intermediate.dense"));
        let fed = graph.linear(&ops::gelu_erf(&inner), &format!("{block}.output.dense"));
        let norm = format!("{block}.output.LayerNorm");
        self.norm(graph, &ops::add(x, &fed), &norm)
    }

    pub(super) fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let weight = graph.parameter(&format!("{module}.weight"));
        let bias = graph.parameter(&format!("{module}.bias"));
        ops::layer_norm(x, &weight, &bias, self.layer_norm_eps)
    }
}

impl Family for BertConfig {
    const ABOUT: About = About {
        model_type: "bert",
        architectures: &[
            (HeadKind::Tokens, "BertForMaskedLM"),
            (HeadKind::Sequence, "BertForSequenceClassification"),
        ],
        form: Form::Encoder,
        prefix: "bert.",
        word_table: "bert.embeddings.word_embeddings.weight",
        head_modules: &["bert.pooler.dense", "classifier"],
        learned_positions: true,
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>, _lm_head: bool) -> Result<Self> {
        Self::read_encoder(fields)
    }

    fn to_json(&self) -> Value {
        self.encoder_json("bert")
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.hidden_size;
        let mut all = self.encoder_specification("bert.");
        match head.outputs() {
            Some(outputs) => {
                all.extend(linear_spec("bert.pooler.dense", width, width, true));
                all.extend(linear_spec("classifier", outputs, width, true));
            }
            None => {
                let transform = "cls.predictions.transform";
                let dense = format!("{transform}.dense");
                all.extend(linear_spec(&dense, width, width, true));
                all.extend(norm_spec(&format!("{transform}.LayerNorm"), width, true));
                all.push(ParameterSpec {
                    name: "cls.predictions.bias".to_owned(),
                    shape: vec![self.vocab_size],
                    start: InitialValue::Zeros,
                });
            }
        }
        all
    }

    fn block_linears(&self) -> Vec<String> {
        self.encoder_linears("bert.")
    }

    fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        let other_heads: &[&str] = match (head, name) {
            // The numbers 0, 1, 2, ...
            (_, "bert.embeddings.position_ids") => return Some(Extra::Unused),
            (Head::Tokens, "cls.predictions.decoder.weight") => {
                return Some(Extra::CopyOf("bert.embeddings.word_embeddings.weight"));
            }
            (Head::Tokens, "cls.predictions.decoder.bias") => {
                return Some(Extra::CopyOf("cls.predictions.bias"));
            }
            (Head::Tokens, _) => &[
                "bert.pooler",
                "classifier",
                "cls.seq_relationship",
                "qa_outputs",
            ],
            (Head::Classes(_) | Head::Value, _) => &["cls", "qa_outputs"],
        };
        is_in(name, other_heads).then_some(Extra::Unused)
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    fn segments(&self) -> Option<usize> {
        Some(self.type_vocab_size)
    }

    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let [rows, time] = batch.shape;
        let positions: Vec<usize> = (0..rows).flat_map(|_| 0..time).collect();
        self.encode(graph, batch, "bert.", &positions)
    }

    fn output<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        match head {
            Head::Classes(_) | Head::Value => {
                let pooled = ops::tanh(&graph.linear(&states, "bert.pooler.dense"));
                (pooled, OutputLayer::Module("classifier"))
            }
            Head::Tokens => {
                let transform = "cls.predictions.transform";
                let x = ops::gelu_erf(&graph.linear(&states, &format!("{transform}.dense")));
                let x = self.norm(graph, &x, &format!("{transform}.LayerNorm"));
                let layer = OutputLayer::Tied {
                    table: "bert.embeddings.word_embeddings.weight",
                    bias: Some("cls.predictions.bias"),
                };
                (x, layer)
            }
        }
    }
}
