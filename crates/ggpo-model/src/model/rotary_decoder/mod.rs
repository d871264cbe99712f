//! The decoder with rotary positions and RMS norm: what Llama and the families made
//! after it have in common, and what they choose.

mod config;
mod passes;

use ggpo_autograd::Var;
use ggpo_tensor::Scalar;
use serde_json::Value;

use super::families::{About, Family};
use super::fields::Fields;
use super::rope::Rope;
use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
use crate::Result;
use crate::batch::Batch;
pub(super) use config::layer_windows;

/// The table that embeds tokens.
pub(super) const WORD_TABLE: &str = "model.embed_tokens.weight";

/// Shape of a decoder with rotary positions. The first fields have the names of
/// `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RotaryDecoder {
    /// Tokens known.
    pub(crate) vocab_size: usize,
    /// Channels of a state.
    pub(crate) hidden_size: usize,
    /// Blocks.
    pub(crate) num_hidden_layers: usize,
    /// Attention heads of the queries.
    pub(crate) num_attention_heads: usize,
    /// Attention heads of keys and values, each shared by a group of queries.
    pub(crate) num_key_value_heads: usize,
    /// Channels of a head.
    pub(crate) head_dim: usize,
    /// Channels inside the feed-forward layer.
    pub(crate) intermediate_size: usize,
    /// Longest sequence, in tokens.
    pub(crate) max_position_embeddings: usize,
    /// Added to the mean square in RMS norm.
    pub(crate) rms_norm_eps: f64,
    /// Whether the output head is the token embedding.
    pub(crate) tie_word_embeddings: bool,
    /// The rotary frequencies, but for layers with a window.
    pub(crate) rope: Rope,
    /// Whether the projections to queries, keys and values have biases.
    pub(crate) input_bias: bool,
    /// Whether the projection of what attention gives has a bias.
    pub(crate) output_bias: bool,
    /// Whether the feed-forward layers have biases.
    pub(crate) mlp_bias: bool,
    /// Whether queries and keys are normalised, head by head.
    pub(crate) head_norms: bool,
    /// The products of queries and keys are divided by the root of it.
    pub(crate) query_pre_attn_scalar: f64,
    /// What Gemma has that Llama has not.
    pub(crate) gemma: Option<Gemma>,
}

/// What the Gemma form has beside the Llama form: embeddings times
/// `sqrt(hidden_size)`, norms with 1 + w, a norm after each part of a block too, a
/// gate of tanh-GELU, and layers that see a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gemma {
    /// Positions that a layer with a window sees, its own included.
    pub(crate) window: usize,
    /// Which layers have one.
    pub(crate) windowed: Vec<bool>,
    /// Their rotary frequencies.
    pub(crate) rope: Rope,
}

impl RotaryDecoder {
    fn block(&self, layer: usize) -> String {
        format!("model.layers.{layer}")
    }

    /// Name, outputs and inputs of the linear layers of one block, and whether
    /// they have a bias.
    fn linears(&self, layer: usize) -> Vec<(String, usize, usize, bool)> {
        let (block, width, inner) = (self.block(layer), self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let attention = |part: &str, outputs, inputs, bias| {
            let name = format!("{block}.self_attn.{part}_proj");
            (name, outputs, inputs, bias)
        };
        let feed = |part: &str, outputs, inputs| {
            let name = format!("{block}.mlp.{part}_proj");
            (name, outputs, inputs, self.mlp_bias)
        };
        vec![
            attention("q", queries, width, self.input_bias),
            attention("k", keys, width, self.input_bias),
            attention("v", keys, width, self.input_bias),
            attention("o", width, queries, self.output_bias),
            feed("gate", inner, width),
            feed("up", inner, width),
            feed("down", width, inner),
        ]
    }

    fn block_linears(&self) -> Vec<String> {
        (0..self.num_hidden_layers)
            .flat_map(|layer| self.linears(layer))
            .map(|(name, ..)| name)
            .collect()
    }

    /// The norms of a block but the first, and the channels of each.
    fn further_norms(&self) -> Vec<(&'static str, usize)> {
        let mut names = vec!["post_attention_layernorm"];
        if self.gemma.is_some() {
            names.extend(["pre_feedforward_layernorm", "post_feedforward_layernorm"]);
        }
        let mut norms: Vec<_> = names.into_iter().map(|it| (it, self.hidden_size)).collect();
        if self.head_norms {
            norms.extend(["self_attn.q_norm", "self_attn.k_norm"].map(|it| (it, self.head_dim)));
        }
        norms
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.hidden_size;
        let mut all = vec![ParameterSpec {
            name: WORD_TABLE.to_owned(),
            shape: vec![self.vocab_size, width],
            start: InitialValue::Normal,
        }];
        let norm = |module: &str, channels| {
            let weight = norm_spec(module, channels, false);
            weight.map(|spec| ParameterSpec {
                start: match self.gemma {
                    Some(_) => InitialValue::Zeros,
                    None => InitialValue::Ones,
                },
                ..spec
            })
        };
        for layer in 0..self.num_hidden_layers {
            let block = self.block(layer);
            all.extend(norm(&format!("{block}.input_layernorm"), width));
            for (name, outputs, inputs, bias) in self.linears(layer) {
                all.extend(linear_spec(&name, outputs, inputs, bias));
            }
            for (name, channels) in self.further_norms() {
                all.extend(norm(&format!("{block}.{name}"), channels));
            }
        }
        all.extend(norm("model.norm", width));
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

    fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        let other_heads: &[&str] = match head {
            Head::Tokens if self.tie_word_embeddings && name == "lm_head.weight" => {
                return Some(Extra::CopyOf(WORD_TABLE));
            }
            Head::Tokens => &["score"],
            Head::Classes(_) | Head::Value => &["lm_head"],
        };
        // The rotary frequencies, which are calculated here.
        let buffer = name.ends_with(".rotary_emb.inv_freq");
        (buffer || is_in(name, other_heads)).then_some(Extra::Unused)
    }
}

/// A family whose models are decoders of this form: it says what it is, how it is
/// written in `config.json`, and which decoder it is.
pub(super) trait RotaryFamily: Sized {
    /// [`Family::ABOUT`].
    const ABOUT: About;

    /// [`Family::read`].
    fn read(fields: &Fields<'_>) -> Result<Self>;

    /// [`Family::to_json`].
    fn to_json(&self) -> Value;

    /// The decoder.
    fn decoder(&self) -> RotaryDecoder;
}

impl<F: RotaryFamily> Family for F {
    const ABOUT: About = F::ABOUT;

    fn read(fields: &Fields<'_>, _lm_head: bool) -> Result<Self> {
        F::read(fields)
    }

    fn to_json(&self) -> Value {
        F::to_json(self)
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        self.decoder().specification(head)
    }

    fn block_linears(&self) -> Vec<String> {
        self.decoder().block_linears()
    }

    fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        self.decoder().extra(name, head)
    }

    fn rotary_decoder(&self) -> Option<RotaryDecoder> {
        Some(self.decoder())
    }

    fn positions(&self) -> usize {
        self.decoder().max_position_embeddings
    }

    fn vocabulary(&self) -> usize {
        self.decoder().vocab_size
    }

    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        self.decoder().states(graph, batch)
    }

    fn output<T: Scalar>(
        &self,
        _graph: &Graph<'_, T>,
        head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        self.decoder().output(head, states)
    }
}
