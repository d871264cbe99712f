//! The encoder in the BERT form.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use ggpo_tensor::attention::AttentionMask;
use serde::{Deserialize, Serialize};

use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
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

/// The three inputs of attention.
const ATTENTION: [&str; 3] = ["query", "key", "value"];

impl BertConfig {
    fn block(&self, layer: usize) -> String {
        format!("bert.encoder.layer.{layer}")
    }

    /// Name, outputs and inputs of the linear layers of one block.
    fn linears(&self, layer: usize) -> Vec<(String, usize, usize)> {
        let (block, width, inner) = (self.block(layer), self.hidden_size, self.intermediate_size);
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

    pub(super) fn block_linears(&self) -> Vec<String> {
        (0..self.num_hidden_layers)
            .flat_map(|layer| self.linears(layer))
            .map(|(name, ..)| name)
            .collect()
    }

    pub(super) fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.hidden_size;
        let table = |name: &str, rows| ParameterSpec {
            name: format!("bert.embeddings.{name}.weight"),
            shape: vec![rows, width],
            start: InitialValue::Normal,
        };
        let mut all = vec![
            table("word_embeddings", self.vocab_size),
            table("position_embeddings", self.max_position_embeddings),
            table("token_type_embeddings", self.type_vocab_size),
        ];
        all.extend(norm_spec("bert.embeddings.LayerNorm", width, true));
        for layer in 0..self.num_hidden_layers {
            let block = self.block(layer);
            for (name, outputs, inputs) in self.linears(layer) {
                all.extend(linear_spec(&name, outputs, inputs, true));
            }
            let after_attention = format!("{block}.attention.output.LayerNorm");
            all.extend(norm_spec(&after_attention, width, true));
            all.extend(norm_spec(&format!("{block}.output.LayerNorm"), width, true));
        }
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

    /// What a stored tensor is that is not a parameter.
    pub(super) fn extra(&self, name: &str, head: Head) -> Option<Extra> {
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

    /// Final states, batch x time x width.
    pub(super) fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let mask = AttentionMask {
            causal: false,
            keys: Some(batch.attention.clone()),
        };
        let mut x = self.embeddings(graph, batch);
        for layer in 0..self.num_hidden_layers {
            let block = self.block(layer);
            x = self.attention(graph, &x, &block, &mask);
            x = self.feed_forward(graph, &x, &block);
        }
        x
    }

    fn embeddings<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let [rows, time] = batch.shape;
        let positions: Vec<usize> = (0..rows).flat_map(|_| 0..time).collect();
        let look_up = |name: &str, ids: &[usize]| {
            let table = graph.parameter(&format!("bert.embeddings.{name}.weight"));
            ops::embedding(&table, ids, &[rows, time])
        };
        let words = look_up("word_embeddings", &batch.ids);
        let places = look_up("position_embeddings", &positions);
        let kinds = look_up("token_type_embeddings", &batch.token_types);
        let sum = ops::add(&ops::add(&words, &places), &kinds);
        self.norm(graph, &sum, "bert.embeddings.LayerNorm")
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

    fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let weight = graph.parameter(&format!("{module}.weight"));
        let bias = graph.parameter(&format!("{module}.bias"));
        ops::layer_norm(x, &weight, &bias, self.layer_norm_eps)
    }

    /// What the head's last layer reads, and that layer.
    pub(super) fn output<T: Scalar>(
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
