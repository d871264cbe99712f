//! The decoder in the Llama form.

use std::sync::Arc;

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use ggpo_tensor::attention::AttentionMask;
use ggpo_tensor::rotary::{RotaryTable, inverse_frequencies};

use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
use crate::batch::Batch;

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

/// A change of the rotary frequencies after pre-training, so that a model
/// reads longer sequences, under the names of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by the factor, that is, positions interpolated
    /// (Chen and others 2023).
    Linear {
        /// How many times longer the sequences become.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept (Llama 3.1).
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// A frequency that turns fewer times than this in the original length
        /// is low.
        low_freq_factor: f64,
        /// One that turns more often than this is high.
        high_freq_factor: f64,
        /// The longest sequence of the pre-training, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// The changed frequency, in radians per position.
    ///
    /// For `Llama3`, with `turns = length frequency / (2 pi)` in the original
    /// length, `keep = (turns - low) / (high - low)` held within 0 and 1:
    ///
    /// ```text
    /// keep frequency + (1 - keep) frequency / factor
    /// ```
    pub fn apply(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => {
                let turns = length as f64 * frequency / std::f64::consts::TAU;
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                keep * frequency + (1.0 - keep) * frequency / factor
            }
        }
    }
}

impl LlamaConfig {
    fn block(&self, layer: usize) -> String {
        format!("model.layers.{layer}")
    }

    /// Name, outputs and inputs of the linear layers of one block, and whether
    /// they have a bias.
    fn linears(&self, layer: usize) -> Vec<(String, usize, usize, bool)> {
        let (block, width, inner) = (self.block(layer), self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let attention = |part: &str, outputs, inputs| {
            let name = format!("{block}.self_attn.{part}_proj");
            (name, outputs, inputs, self.attention_bias)
        };
        let feed = |part: &str, outputs, inputs| {
            let name = format!("{block}.mlp.{part}_proj");
            (name, outputs, inputs, self.mlp_bias)
        };
        vec![
            attention("q", queries, width),
            attention("k", keys, width),
            attention("v", keys, width),
            attention("o", width, queries),
            feed("gate", inner, width),
            feed("up", inner, width),
            feed("down", width, inner),
        ]
    }

    pub(super) fn block_linears(&self) -> Vec<String> {
        (0..self.num_hidden_layers)
            .flat_map(|layer| self.linears(layer))
            .map(|(name, ..)| name)
            .collect()
    }

    pub(super) fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.hidden_size;
        let mut all = vec![ParameterSpec {
            name: "model.embed_tokens.weight".to_owned(),
            shape: vec![self.vocab_size, width],
            start: InitialValue::Normal,
        }];
        for layer in 0..self.num_hidden_layers {
            let block = self.block(layer);
            all.extend(norm_spec(&format!("{block}.input_layernorm"), width, false));
            for (name, outputs, inputs, bias) in self.linears(layer) {
                all.extend(linear_spec(&name, outputs, inputs, bias));
            }
            let before_feed = format!("{block}.post_attention_layernorm");
            all.extend(norm_spec(&before_feed, width, false));
        }
        all.extend(norm_spec("model.norm", width, false));
        match head {
            Head::Classes(_) | Head::Value => {
                let outputs = head.outputs().expect("a head per sequence");
                all.extend(linear_spec("score", outputs, width, false));
            }
            Head::Tokens if !self.tie_word_embeddings => {
                all.extend(linear_spec("lm_head", self.vocab_size, width, false));
            }
            Head::Tokens => {}
        }
        all
    }

    /// What a stored tensor is that is not a parameter.
    pub(super) fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        let other_heads: &[&str] = match head {
            Head::Tokens if self.tie_word_embeddings && name == "lm_head.weight" => {
                return Some(Extra::CopyOf("model.embed_tokens.weight"));
            }
            Head::Tokens => &["score"],
            Head::Classes(_) | Head::Value => &["lm_head"],
        };
        // The rotary frequencies, which are calculated here.
        let buffer = name.ends_with(".rotary_emb.inv_freq");
        (buffer || is_in(name, other_heads)).then_some(Extra::Unused)
    }

    /// Final states, batch x time x width.
    pub(super) fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let mut x = graph.embedding("model.embed_tokens.weight", &batch.ids, &batch.shape);
        let mask = AttentionMask {
            causal: true,
            keys: Some(batch.attention.clone()),
        };
        let first = graph.first_positions(batch.shape[0]);
        let positions = first.iter().max().unwrap_or(&0) + batch.shape[1];
        let rotary = Arc::new(self.rotary_table(positions));
        for layer in 0..self.num_hidden_layers {
            x = self.forward_block(graph, &x, &self.block(layer), &mask, &rotary, &first);
        }
        self.norm(graph, &x, "model.norm")
    }

    /// The rotary angles of the first `positions` positions.
    fn rotary_table(&self, positions: usize) -> RotaryTable {
        let mut frequencies = inverse_frequencies(self.head_dim, self.rope_theta);
        if let Some(scaling) = &self.rope_scaling {
            for frequency in &mut frequencies {
                *frequency = scaling.apply(*frequency);
            }
        }
        RotaryTable::with_frequencies(positions, &frequencies)
    }

    fn forward_block<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        mask: &AttentionMask,
        rotary: &Arc<RotaryTable>,
        first: &[usize],
    ) -> Var<T> {
        let normed = self.norm(graph, x, &format!("{block}.input_layernorm"));
        let attended = self.attention(graph, &normed, block, mask, rotary, first);
        let x = ops::add(x, &attended);
        let normed = self.norm(graph, &x, &format!("{block}.post_attention_layernorm"));
        let gate = graph.linear(&normed, &format!("{block}.mlp.gate_proj"));
        let up = graph.linear(&normed, &format!("{block}.mlp.up_proj"));
        let fed = graph.linear(&ops::swiglu(&gate, &up), &format!("{block}.mlp.down_proj"));
        ops::add(&x, &fed)
    }

    fn attention<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        mask: &AttentionMask,
        rotary: &Arc<RotaryTable>,
        first: &[usize],
    ) -> Var<T> {
        let (rows, time) = (x.shape()[0], x.shape()[1]);
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let project = |part: &str, heads: usize| {
            let y = graph.linear(x, &format!("{block}.self_attn.{part}"));
            ops::reshape(&y, &[rows, time, heads, self.head_dim])
        };
        let q = ops::rotary(&project("q_proj", heads), rotary, first);
        let k = ops::rotary(&project("k_proj", kv_heads), rotary, first);
        let v = project("v_proj", kv_heads);
        let scale = T::from_f64(1.0 / (self.head_dim as f64).sqrt());
        let context = graph.attention(block, &q, [&k, &v], scale, None, mask);
        let context = ops::reshape(&context, &[rows, time, heads * self.head_dim]);
        graph.linear(&context, &format!("{block}.self_attn.o_proj"))
    }

    fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let weight = graph.parameter(&format!("{module}.weight"));
        ops::rms_norm(x, &weight, self.rms_norm_eps)
    }

    /// What the head's last layer reads, and that layer.
    pub(super) fn output<T: Scalar>(&self, head: Head, states: Var<T>) -> (Var<T>, OutputLayer) {
        let layer = match head {
            Head::Classes(_) | Head::Value => OutputLayer::Module("score"),
            Head::Tokens if self.tie_word_embeddings => OutputLayer::Tied {
                table: "model.embed_tokens.weight",
                bias: None,
            },
            Head::Tokens => OutputLayer::Module("lm_head"),
        };
        (states, layer)
    }
}
