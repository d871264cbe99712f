//! The passes of a decoder with rotary positions.

use std::sync::Arc;

use ggpo_autograd::{Var, ops};
use ggpo_tensor::attention::AttentionMask;
use ggpo_tensor::rotary::RotaryTable;
use ggpo_tensor::{Scalar, tensor};

use super::{Graph, Head, OutputLayer, RotaryDecoder, WORD_TABLE};
use crate::batch::Batch;
use crate::model::rope::Rope;

/// What the layers of one kind see.
struct View {
    mask: AttentionMask,
    rotary: Arc<RotaryTable>,
}

impl RotaryDecoder {
    pub(super) fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let mut x = graph.embedding(WORD_TABLE, &batch.ids, &batch.shape);
        if self.gemma.is_some() {
            let scale = (self.hidden_size as f64).sqrt();
            x = ops::scale(&x, T::from_f64(scale));
        }
        let first = graph.first_positions(batch.shape[0]);
        let positions = first.iter().max().unwrap_or(&0) + batch.shape[1];
        let view = |window, rope: &Rope| View {
            mask: AttentionMask {
                causal: true,
                window,
                keys: Some(batch.attention.clone()),
            },
            rotary: Arc::new(rope.table(positions, self.head_dim)),
        };
        let all = view(None, &self.rope);
        let window = self
            .gemma
            .as_ref()
            .map(|it| view(Some(it.window), &it.rope));
        for layer in 0..self.num_hidden_layers {
            let windowed = self.gemma.as_ref().is_some_and(|it| it.windowed[layer]);
            let view = window.as_ref().filter(|_| windowed).unwrap_or(&all);
            x = self.forward_block(graph, &x, &self.block(layer), view, &first);
        }
        self.norm(graph, &x, "model.norm")
    }

    fn forward_block<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        view: &View,
        first: &[usize],
    ) -> Var<T> {
        let norm = |x: &Var<T>, name: &str| self.norm(graph, x, &format!("{block}.{name}"));
        let normed = norm(x, "input_layernorm");
        let attended = self.attention(graph, &normed, block, view, first);
        if self.gemma.is_none() {
            let x = ops::add(x, &attended);
            let normed = norm(&x, "post_attention_layernorm");
            return ops::add(&x, &self.feed_forward(graph, &normed, block));
        }
        let x = ops::add(x, &norm(&attended, "post_attention_layernorm"));
        let normed = norm(&x, "pre_feedforward_layernorm");
        let fed = self.feed_forward(graph, &normed, block);
        ops::add(&x, &norm(&fed, "post_feedforward_layernorm"))
    }

    fn feed_forward<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, block: &str) -> Var<T> {
        let gate = graph.linear(x, &format!("{block}.mlp.gate_proj"));
        let up = graph.linear(x, &format!("{block}.mlp.up_proj"));
        let inner = match self.gemma {
            Some(_) => ops::mul(&ops::gelu_tanh(&gate), &up),
            None => ops::swiglu(&gate, &up),
        };
        graph.linear(&inner, &format!("{block}.mlp.down_proj"))
    }

    fn attention<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        x: &Var<T>,
        block: &str,
        view: &View,
        first: &[usize],
    ) -> Var<T> {
        let (rows, time) = (x.shape()[0], x.shape()[1]);
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let project = |part: &str, heads: usize| {
            let y = graph.linear(x, &format!("{block}.self_attn.{part}_proj"));
            ops::reshape(&y, &[rows, time, heads, self.head_dim])
        };
        let turned = |part: &str, heads: usize| {
            let mut y = project(part, heads);
            if self.head_norms {
                y = self.norm(graph, &y, &format!("{block}.self_attn.{part}_norm"));
            }
            ops::rotary(&y, &view.rotary, first)
        };
        let (q, k, v) = (
            turned("q", heads),
            turned("k", kv_heads),
            project("v", kv_heads),
        );
        let scale = T::from_f64(1.0 / self.query_pre_attn_scalar.sqrt());
        let context = graph.attention(block, &q, [&k, &v], scale, None, &view.mask);
        let context = ops::reshape(&context, &[rows, time, heads * self.head_dim]);
        graph.linear(&context, &format!("{block}.self_attn.o_proj"))
    }

    fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let mut weight = graph.parameter(&format!("{module}.weight"));
        if self.gemma.is_some() {
            let ones = tensor(weight.shape(), vec![T::ONE; weight.shape()[0]]);
            weight = ops::add(&weight, &graph.tape().constant(ones));
        }
        ops::rms_norm(x, &weight, self.rms_norm_eps)
    }

    pub(super) fn output<T: Scalar>(&self, head: Head, states: Var<T>) -> (Var<T>, OutputLayer) {
        let layer = match head {
            Head::Classes(_) | Head::Value => OutputLayer::Module("score"),
            Head::Tokens if self.tie_word_embeddings => OutputLayer::Tied {
                table: WORD_TABLE,
                bias: None,
            },
            Head::Tokens => OutputLayer::Module("lm_head"),
        };
        (states, layer)
    }
}
