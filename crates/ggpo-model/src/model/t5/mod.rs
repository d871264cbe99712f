//! The encoder and decoder in the T5 form.

mod config;

use std::ops::Range;

use ggpo_autograd::{Var, ops};
use ggpo_tensor::Scalar;
use ggpo_tensor::attention::AttentionMask;
use serde_json::Value;

use super::families::{About, Family, Form, HeadKind};
use super::fields::Fields;
use super::{
    Extra, Graph, Head, InitialValue, OutputLayer, ParameterSpec, is_in, linear_spec, norm_spec,
};
use crate::Result;
use crate::batch::Batch;

/// Shape of a T5 model, under the names of its `config.json`.
///
/// The last two fields differ between versions 1.0 and 1.1. They are worked out
/// when a folder is read, since older files say both with `tie_word_embeddings`,
/// and newer ones always write true there and leave it to the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct T5Config {
    /// Tokens known.
    pub vocab_size: usize,
    /// Channels of a state.
    pub d_model: usize,
    /// Channels of a head; the heads together need not be as wide as a state.
    pub d_kv: usize,
    /// Channels inside the feed-forward layer.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub num_layers: usize,
    /// Blocks of the decoder.
    pub num_decoder_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Rows of the table of relative positions.
    pub relative_attention_num_buckets: usize,
    /// From this distance on, all positions share a row.
    pub relative_attention_max_distance: usize,
    /// Added to the mean square in RMS norm.
    pub layer_norm_epsilon: f64,
    /// Whether the feed-forward layer is gated by GELU (version 1.1) instead
    /// of plain with ReLU (version 1.0).
    pub is_gated_act: bool,
    /// Whether the output head is the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether the head reads the states times `1 / sqrt(d_model)`.
    pub scale_decoder_outputs: bool,
}

/// The token that the decoder reads first: the padding token.
const START: usize = 0;

/// One of the two halves of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Encoder,
    Decoder,
}

impl Stack {
    fn name(self) -> &'static str {
        match self {
            Stack::Encoder => "encoder",
            Stack::Decoder => "decoder",
        }
    }

    /// Attention layers of a block, before its feed-forward layer.
    fn attention(self) -> &'static [&'static str] {
        match self {
            Stack::Encoder => &["layer.0.SelfAttention"],
            Stack::Decoder => &["layer.0.SelfAttention", "layer.1.EncDecAttention"],
        }
    }

    fn feed_forward(self) -> String {
        format!("layer.{}.DenseReluDense", self.attention().len())
    }

    /// The module whose table of relative positions all blocks use.
    fn positions(self) -> String {
        let attention = self.attention()[0];
        format!(
            "{}.block.0.{attention}.relative_attention_bias",
            self.name()
        )
    }
}

impl T5Config {
    fn blocks(&self, stack: Stack) -> impl Iterator<Item = String> {
        let count = match stack {
            Stack::Encoder => self.num_layers,
            Stack::Decoder => self.num_decoder_layers,
        };
        (0..count).map(move |layer| format!("{}.block.{layer}", stack.name()))
    }

    /// Name, outputs and inputs of the linear layers of one block.
    fn linears(&self, stack: Stack, block: &str) -> Vec<(String, usize, usize)> {
        let (width, heads) = (self.d_model, self.num_heads * self.d_kv);
        let mut linears = Vec::new();
        for attention in stack.attention() {
            let part = |part: &str| format!("{block}.{attention}.{part}");
            linears.extend(["q", "k", "v"].map(|name| (part(name), heads, width)));
            linears.push((part("o"), width, heads));
        }
        let part = |part: &str| format!("{block}.{}.{part}", stack.feed_forward());
        let inner: &[&str] = if self.is_gated_act {
            &["wi_0", "wi_1"]
        } else {
            &["wi"]
        };
        linears.extend(inner.iter().map(|name| (part(name), self.d_ff, width)));
        linears.push((part("wo"), width, self.d_ff));
        linears
    }

    fn embed<T: Scalar>(&self, graph: &Graph<'_, T>, ids: &[usize], shape: [usize; 2]) -> Var<T> {
        ops::embedding(&graph.parameter("shared.weight"), ids, &shape)
    }

    /// Runs `x` (batch x time x width) through a stack; the decoder also reads
    /// `memory`, the encoder's states and which of them count.
    fn forward<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        stack: Stack,
        mut x: Var<T>,
        mask: &AttentionMask,
        memory: Option<(&Var<T>, &AttentionMask)>,
    ) -> Var<T> {
        let (rows, time) = (x.shape()[0], x.shape()[1]);
        let before = match stack {
            Stack::Encoder => 0,
            Stack::Decoder => graph.first_positions(rows).into_iter().max().unwrap_or(0),
        };
        let bias = self.position_bias(graph, stack, before..before + time);
        for block in self.blocks(stack) {
            let normed = self.norm(graph, &x, &format!("{block}.layer.0.layer_norm"));
            let module = format!("{block}.layer.0.SelfAttention");
            let inputs = [&normed, &normed];
            let attended = self.attention(graph, stack, inputs, &module, Some(&bias), mask);
            x = ops::add(&x, &attended);
            if let Some((encoded, tokens)) = memory {
                let normed = self.norm(graph, &x, &format!("{block}.layer.1.layer_norm"));
                let module = format!("{block}.layer.1.EncDecAttention");
                let inputs = [&normed, encoded];
                let attended = self.attention(graph, stack, inputs, &module, None, tokens);
                x = ops::add(&x, &attended);
            }
            x = ops::add(&x, &self.feed_forward(graph, stack, &x, &block));
        }
        self.norm(graph, &x, &format!("{}.final_layer_norm", stack.name()))
    }

    /// What is added to the scores: heads x queries x keys, the entry of the
    /// table for the distance from the query to the key. The keys stand at all
    /// positions up to the last query.
    fn position_bias<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        stack: Stack,
        queries: Range<usize>,
    ) -> Var<T> {
        let table = graph.parameter(&format!("{}.weight", stack.positions()));
        let shape = [queries.end, queries.len()];
        let mut buckets = Vec::with_capacity(shape[0] * shape[1]);
        for key in 0..queries.end {
            for query in queries.clone() {
                buckets.push(self.bucket(stack, query, key));
            }
        }
        let by_key = ops::embedding(&table, &buckets, &shape);
        ops::transpose(&by_key, 0, 2)
    }

    /// The row of the table for a query and a key: in the encoder, half of the
    /// rows are for keys after the query; in the decoder such keys are masked.
    /// Of the rows of a direction, half are for the distances 0, 1, 2, ...,
    /// and half for ranges that grow exponentially up to the largest distance.
    fn bucket(&self, stack: Stack, query: usize, key: usize) -> usize {
        let (first, rows) = match stack {
            Stack::Encoder => {
                let half = self.relative_attention_num_buckets / 2;
                (if key > query { half } else { 0 }, half)
            }
            Stack::Decoder => (0, self.relative_attention_num_buckets),
        };
        let distance = match stack {
            Stack::Encoder => query.abs_diff(key),
            Stack::Decoder => query.saturating_sub(key),
        };
        let exact = rows / 2;
        if distance < exact {
            return first + distance;
        }
        let share = (distance as f64 / exact as f64).ln()
            / (self.relative_attention_max_distance as f64 / exact as f64).ln();
        // A range that begins at a whole number begins there despite rounding.
        let range = (share * (rows - exact) as f64 + 1e-9).floor() as usize;
        first + (exact + range).min(rows - 1)
    }

    /// Attention of `x` over `memory`, without a scale on the scores.
    fn attention<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        stack: Stack,
        [x, memory]: [&Var<T>; 2],
        module: &str,
        bias: Option<&Var<T>>,
        mask: &AttentionMask,
    ) -> Var<T> {
        let (rows, time) = (x.shape()[0], x.shape()[1]);
        let project = |x: &Var<T>, part: &str| {
            let y = graph.linear(x, &format!("{module}.{part}"));
            ops::reshape(&y, &[rows, x.shape()[1], self.num_heads, self.d_kv])
        };
        let (q, k, v) = (project(x, "q"), project(memory, "k"), project(memory, "v"));
        let context = match stack {
            Stack::Encoder => ops::attention(&q, &k, &v, T::ONE, bias, mask),
            Stack::Decoder => graph.attention(module, &q, [&k, &v], T::ONE, bias, mask),
        };
        let context = ops::reshape(&context, &[rows, time, self.num_heads * self.d_kv]);
        graph.linear(&context, &format!("{module}.o"))
    }

    fn feed_forward<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        stack: Stack,
        x: &Var<T>,
        block: &str,
    ) -> Var<T> {
        let norm = format!("{block}.layer.{}.layer_norm", stack.attention().len());
        let x = self.norm(graph, x, &norm);
        let linear =
            |x: &Var<T>, part| graph.linear(x, &format!("{block}.{}.{part}", stack.feed_forward()));
        let inner = if self.is_gated_act {
            ops::mul(&ops::gelu_tanh(&linear(&x, "wi_0")), &linear(&x, "wi_1"))
        } else {
            ops::relu(&linear(&x, "wi"))
        };
        linear(&inner, "wo")
    }

    fn norm<T: Scalar>(&self, graph: &Graph<'_, T>, x: &Var<T>, module: &str) -> Var<T> {
        let weight = graph.parameter(&format!("{module}.weight"));
        ops::rms_norm(x, &weight, self.layer_norm_epsilon)
    }
}

impl Family for T5Config {
    const ABOUT: About = About {
        model_type: "t5",
        architectures: &[
            (HeadKind::Tokens, "T5ForConditionalGeneration"),
            // What the first files call it.
            (HeadKind::Tokens, "T5WithLMHeadModel"),
        ],
        form: Form::EncoderDecoder,
        prefix: "",
        word_table: "shared.weight",
        leaves_lm_head_open: true,
        ..About::DECODER
    };

    fn read(fields: &Fields<'_>, lm_head: bool) -> Result<Self> {
        config::read(fields, lm_head)
    }

    fn to_json(&self) -> Value {
        config::to_json(self)
    }

    fn specification(&self, _head: Head) -> Vec<ParameterSpec> {
        let width = self.d_model;
        let table = |module: &str, rows, columns| ParameterSpec {
            name: format!("{module}.weight"),
            shape: vec![rows, columns],
            start: InitialValue::Normal,
        };
        let mut all = vec![table("shared", self.vocab_size, width)];
        for stack in [Stack::Encoder, Stack::Decoder] {
            let buckets = self.relative_attention_num_buckets;
            all.push(table(&stack.positions(), buckets, self.num_heads));
            for block in self.blocks(stack) {
                for layer in 0..=stack.attention().len() {
                    let norm = format!("{block}.layer.{layer}.layer_norm");
                    all.extend(norm_spec(&norm, width, false));
                }
                for (name, outputs, inputs) in self.linears(stack, &block) {
                    all.extend(linear_spec(&name, outputs, inputs, false));
                }
            }
            let last = format!("{}.final_layer_norm", stack.name());
            all.extend(norm_spec(&last, width, false));
        }
        if !self.tie_word_embeddings {
            all.extend(linear_spec("lm_head", self.vocab_size, width, false));
        }
        all
    }

    fn block_linears(&self) -> Vec<String> {
        let mut names = Vec::new();
        for stack in [Stack::Encoder, Stack::Decoder] {
            for block in self.blocks(stack) {
                let linears = self.linears(stack, &block);
                names.extend(linears.into_iter().map(|(name, ..)| name));
            }
        }
        names
    }

    fn extra(&self, name: &str, _head: Head) -> Option<Extra> {
        match name {
            "encoder.embed_tokens.weight" | "decoder.embed_tokens.weight" => {
                Some(Extra::CopyOf("shared.weight"))
            }
            "lm_head.weight" if self.tie_word_embeddings => Some(Extra::CopyOf("shared.weight")),
            // The first files hold a table here that the model never read.
            _ if is_in(
                name,
                &["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias"],
            ) =>
            {
                Some(Extra::Unused)
            }
            _ => None,
        }
    }

    /// Relative positions have no end.
    fn positions(&self) -> usize {
        usize::MAX
    }

    fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    fn start_token(&self) -> Option<usize> {
        Some(START)
    }

    /// Final states of the decoder, batch x time x width.
    ///
    /// # Panics
    /// If the batch has no input for the decoder.
    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let Some(input) = &batch.decoder else {
            panic!("a T5 model needs an input for its decoder")
        };
        let tokens = AttentionMask {
            keys: Some(batch.attention.clone()),
            ..AttentionMask::default()
        };
        // Padding on the right is after all that counts.
        let past = AttentionMask {
            causal: true,
            ..AttentionMask::default()
        };
        // Of a batch that continues from caches, the encoder has nothing to read.
        let ids = self.embed(graph, &batch.ids, batch.shape);
        let encoded = self.forward(graph, Stack::Encoder, ids, &tokens, None);
        let ids = self.embed(graph, &input.ids, input.shape);
        let memory = Some((&encoded, &tokens));
        self.forward(graph, Stack::Decoder, ids, &past, memory)
    }

    fn output<T: Scalar>(
        &self,
        _graph: &Graph<'_, T>,
        _head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer) {
        let states = if self.scale_decoder_outputs {
            let factor = 1.0 / (self.d_model as f64).sqrt();
            ops::scale(&states, T::from_f64(factor))
        } else {
            states
        };
        let layer = if self.tie_word_embeddings {
            OutputLayer::Tied {
                table: "shared.weight",
                bias: None,
            }
        } else {
            OutputLayer::Module("lm_head")
        };
        (states, layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> T5Config {
        T5Config {
            vocab_size: 1,
            d_model: 1,
            d_kv: 1,
            d_ff: 1,
            num_layers: 1,
            num_decoder_layers: 1,
            num_heads: 1,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            is_gated_act: false,
            tie_word_embeddings: true,
            scale_decoder_outputs: true,
        }
    }

    /// Distances at which a new row of the table begins.
    fn starts(bucket: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
        let changes = |d: &usize| *d == 0 || bucket(*d) != bucket(*d - 1);
        let distances = (0..300).filter(changes);
        distances.map(|d| (d, bucket(d))).collect()
    }

    #[test]
    fn the_encoder_has_rows_for_both_directions() {
        // From 8 on, row 8 + k begins at 8 * 16^(k / 8), rounded up.
        let rows = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        let expected: Vec<(usize, usize)> = (0..16).map(|row| (rows[row], row)).collect();
        let config = published();
        let back = starts(|distance| config.bucket(Stack::Encoder, 500, 500 - distance));
        assert_eq!(back, expected);
        let ahead = starts(|distance| config.bucket(Stack::Encoder, 500, 500 + distance));
        let ahead: Vec<_> = ahead[1..].iter().map(|(d, row)| (*d, row - 16)).collect();
        assert_eq!(ahead, expected[1..]);
    }

    #[test]
    fn the_decoder_has_rows_for_the_past() {
        // From 16 on, row 16 + k begins at 16 * 8^(k / 16), rounded up.
        let late = [
            16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113,
        ];
        let early = 0..16;
        let expected: Vec<(usize, usize)> = early.chain(late).zip(0..32).collect();
        let config = published();
        let found = starts(|distance| config.bucket(Stack::Decoder, 500, 500 - distance));
        assert_eq!(found, expected);
        assert_eq!(config.bucket(Stack::Decoder, 3, 9), 0);
    }
}
