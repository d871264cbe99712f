//! The decoder in the GPT-2 form.

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use ggpo_tensor::attention::AttentionMask;
use serde_json::{Value, json};

use super::families::{About, Family, HeadKind};
use super::fields::Fields;
use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
use crate::Result;
use crate::batch::Batch;

/// Shape of a GPT-2 decoder, under the names of its `config.json`.
///
/// Its files hold the weights of the blocks' linear layers in x out; here they
/// are out x in, as everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpt2Config {
    /// Tokens known.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub n_positions: usize,
    /// Channels of a state.
    pub n_embd: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Attention heads; they divide the channels among them.
    pub n_head: usize,
    /// Channels inside the feed-forward layer.
    pub n_inner: usize,
    /// Added to the variance in layer norm.
    pub layer_norm_epsilon: f64,
}

/// Fields that cannot change the calculation: dropout, which is not applied to
/// a base model; the older name of `n_positions`, whose table says how long it
/// is; special tokens that no model has; and the options of a head that this
/// project does not have.
const PASSED_OVER: &[&str] = &[
    "attn_pdrop",
    "embd_pdrop",
    "n_ctx",
    "n_special",
    "predict_special_tokens",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

impl Gpt2Config {
    fn block(&self, layer: usize) -> String {
        format!("transformer.h.{layer}")
    }

    /// Name, outputs and inputs of the linear layers of one block.
    fn linears(&self, layer: usize) -> Vec<(String, usize, usize)> {
        let (block, width, inner) = (self.block(layer), self.n_embd, self.n_inner);
        vec![
            (format!("{block}.attn.c_attn"), 3 * width, width),
            (format!("{block}.attn.c_proj"), width, width),
            (format!("{block}.mlp.c_fc"), inner, width),
            (format!("{block}.mlp.c_proj"), width, inner),
        ]
    }

    fn forward_block<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        mask: &AttentionMask,
    ) -> Var<T> {
        let normed = self.norm(graph, x, &format!("{block}.ln_1"));
        let x = ops::add(x, &self.attention(graph, &normed, block, mask));
        let normed = self.norm(graph, &x, &format!("{block}.ln_2"));
        let inner = graph.linear(&normed, &format!("{block}.mlp.c_fc"));
        let fed = graph.linear(&ops::gelu_tanh(&inner), &format!("{block}.mlp.c_proj"));
        ops::add(&x, &fed)
    }

    fn attention<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        mask: &AttentionMask,
    ) -> Var<T> {
        let (rows, time, width) = (x.shape()[0], x.shape()[1], self.n_embd);
        let (heads, channels) = (self.n_head, width / self.n_head);
        // Queries, keys and values side by side.
        let fused = graph.linear(x, &format!("{block}.attn.c_attn"));
        let [q, k, v] = [0, 1, 2].map(|part| {
            let y = ops::slice(&fused, 2, part * width..(part + 1) * width);
            ops::reshape(&y, &[rows, time, heads, channels])
        });
        let scale = T::from_f64(1.0 / (channels as f64).sqrt());
        let context = graph.attention(block, &q, [&k, &v], scale, None, mask);
        let context = ops::reshape(&context, &[rows, time, width]);
        graph.linear(&context, &format!("{block}.attn.c_proj"))
    }

    fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let weight = graph.parameter(&format!("{module}.weight"));
        let bias = graph.parameter(&format!("{module}.bias"));
        ops::layer_norm(x, &weight, &bias, self.layer_norm_epsilon)
    }
}

impl Family for Gpt2Config {
    const ABOUT: About = About {
        model_type: "gpt2",
        architectures: &[
            (HeadKind::Tokens, "GPT2LMHeadModel"),
            (HeadKind::Sequence, "GPT2ForSequenceClassification"),
        ],
        prefix: "transformer.",
        word_table: "transformer.wte.weight",
        learned_positions: true,
        fan_in_fan_out: true,
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>, _lm_head: bool) -> Result<Self> {
        fields.only("activation_function", &json!("gelu_new"))?;
        fields.only("scale_attn_weights", &json!(true))?;
        fields.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
        fields.only("reorder_and_upcast_attn", &json!(false))?;
        fields.only("tie_word_embeddings", &json!(true))?;
        fields.only("is_encoder_decoder", &json!(false))?;
        fields.divides("n_head", "n_embd")?;
        let width = fields.count("n_embd")?;
        let config = Gpt2Config {
            vocab_size: fields.count("vocab_size")?,
            n_positions: fields.count("n_positions")?,
            n_embd: width,
            n_layer: fields.layers("n_layer")?,
            n_head: fields.count("n_head")?,
            n_inner: fields.count_or("n_inner", 4 * width)?,
            layer_norm_epsilon: fields.positive("layer_norm_epsilon")?,
        };
        fields.finish(PASSED_OVER)?;
        Ok(config)
    }

    fn to_json(&self) -> Value {
        json!({
            "model_type": "gpt2",
            "vocab_size": self.vocab_size,
            "n_positions": self.n_positions,
            "n_embd": self.n_embd,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_inner": self.n_inner,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "initializer_range": 0.02,
        })
    }

    fn specification(&self, head: Head) -> Vec<ParameterSpec> {
        let width = self.n_embd;
        let table = |name: &str, rows| ParameterSpec {
            name: format!("transformer.{name}.weight"),
            shape: vec![rows, width],
            start: InitialValue::Normal,
        };
        let mut all = vec![
            table("wte", self.vocab_size),
            table("wpe", self.n_positions),
        ];
        for layer in 0..self.n_layer {
            let block = self.block(layer);
            all.extend(norm_spec(&format!("{block}.ln_1"), width, true));
            all.extend(norm_spec(&format!("{block}.ln_2"), width, true));
            for (name, outputs, inputs) in self.linears(layer) {
                all.extend(linear_spec(&name, outputs, inputs, true));
            }
        }
        all.extend(norm_spec("transformer.ln_f", width, true));
        if let Some(outputs) = head.outputs() {
            all.extend(linear_spec("score", outputs, width, false));
        }
        all
    }

    fn block_linears(&self) -> Vec<String> {
        (0..self.n_layer)
            .flat_map(|layer| self.linears(layer))
            .map(|(name, ..)| name)
            .collect()
    }

    fn extra(&self, name: &str, head: Head) -> Option<Extra> {
        let other_heads: &[&str] = match (head, name) {
            (Head::Tokens, "lm_head.weight") => {
                return Some(Extra::CopyOf("transformer.wte.weight"));
            }
            (Head::Tokens, _) => &["score"],
            (Head::Classes(_) | Head::Value, _) => &["lm_head"],
        };
        // The causal mask, and the number that stood for minus infinity.
        let masks = (0..self.n_layer).any(|layer| {
            let rest = name.strip_prefix(&self.block(layer));
            rest == Some(".attn.bias") || rest == Some(".attn.masked_bias")
        });
        (masks || is_in(name, other_heads)).then_some(Extra::Unused)
    }

    fn positions(&self) -> usize {
        self.n_positions
    }

    fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    /// The weights of the blocks' linear layers.
    fn stores_transposed(&self, name: &str) -> bool {
        let linears = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];
        name.starts_with("transformer.h.") && linears.iter().any(|end| name.ends_with(end))
    }

    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let [rows, time] = batch.shape;
        let first = graph.first_positions(rows);
        let positions: Vec<usize> = first.iter().flat_map(|&t| t..t + time).collect();
        let look_up = |name: &str, ids: &[usize]| {
            let table = graph.parameter(&format!("transformer.{name}.weight"));
            ops::embedding(&table, ids, &[rows, time])
        };
        let mut x = ops::add(&look_up("wte", &batch.ids), &look_up("wpe", &positions));
        let mask = AttentionMask {
            causal: true,
            keys: Some(batch.attention.clone()),
            ..AttentionMask::default()
        };
        for layer in 0..self.n_layer {
            x = self.forward_block(graph, &x, &self.block(layer), &mask);
        }
        self.norm(graph, &x, "transformer.ln_f")
    }

    fn output<T: Scalar>(
        &self,
        _graph: &Graph<'_, T>,
        head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        let layer = match head {
            Head::Classes(_) | Head::Value => OutputLayer::Module("score"),
            Head::Tokens => OutputLayer::Tied {
                table: "transformer.wte.weight",
                bias: None,
            },
        };
        (states, layer)
    }
}
