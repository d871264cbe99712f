//! Generation: a cache changes nothing but the time, and sequences end where
//! they should.

mod cache;
mod sequences;
mod texts;

use std::ops::ControlFlow;
use std::path::Path;

use ggpo_autograd::Tape;
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::batch::{Batch, DecoderInput, collate_causal};
use ggpo_model::generate::{GenerateConfig, generate};
use ggpo_model::weights::load;
use ggpo_model::{
    Adapters, Body, Gpt2Config, Graph, Head, KeyValueCache, LlamaConfig, Model, Number, Parameters,
    RopeScaling, T5Config,
};
use ggpo_tensor::{Scalar, Tensor, view2};
use proptest::prelude::*;

/// A model with what belongs to it.
struct Loaded<T> {
    model: Model,
    parameters: Parameters<T>,
    adapters: Adapters<T>,
}

const FAMILIES: [&str; 7] = [
    "llama", "qwen2", "qwen3", "gemma3", "gpt2", "t5", "t5_gated",
];

fn fixture<T: Scalar>(family: &str) -> Loaded<T> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/reference");
    let folder = fixtures.join(family);
    let model = Model::read(&folder.join("model"), Head::Tokens).unwrap();
    let adapter = PeftAdapter::<T>::read(folder.join("adapter")).unwrap();
    Loaded {
        parameters: load(&folder.join("model"), &model).unwrap().parameters,
        adapters: adapter.adapters,
        model,
    }
}

/// A random model whose logits lie far apart.
fn random<T: Scalar>(body: Body, seed: u64) -> Loaded<T> {
    let head = Head::Tokens;
    let model = Model { body, head };
    Loaded {
        parameters: model.new_parameters(0.5, seed),
        adapters: Adapters::new(),
        model,
    }
}

fn llama([groups, kv_heads]: [usize; 2], layers: usize, tied: bool) -> Body {
    Body::Llama(LlamaConfig {
        vocab_size: 23,
        hidden_size: 8,
        num_hidden_layers: layers,
        num_attention_heads: groups * kv_heads,
        num_key_value_heads: kv_heads,
        head_dim: 4,
        intermediate_size: 12,
        max_position_embeddings: 24,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: tied.then_some(RopeScaling::Linear { factor: 2.0 }),
        tie_word_embeddings: tied,
        attention_bias: false,
        mlp_bias: false,
    })
}

fn gpt2(heads: usize, layers: usize) -> Body {
    Body::Gpt2(Gpt2Config {
        vocab_size: 23,
        n_positions: 24,
        n_embd: 4 * heads,
        n_layer: layers,
        n_head: heads,
        n_inner: 12,
        layer_norm_epsilon: 1e-5,
    })
}

fn t5(heads: usize, layers: usize, gated: bool) -> Body {
    Body::T5(T5Config {
        vocab_size: 23,
        d_model: 8,
        d_kv: 4,
        d_ff: 12,
        num_layers: layers,
        num_decoder_layers: layers,
        num_heads: heads,
        relative_attention_num_buckets: 8,
        relative_attention_max_distance: 12,
        layer_norm_epsilon: 1e-6,
        is_gated_act: gated,
        tie_word_embeddings: !gated,
        scale_decoder_outputs: !gated,
    })
}

/// Small models of every family.
fn small_body() -> impl Strategy<Value = Body> {
    let sizes = (1..4usize, 1..3usize, 1..3usize, any::<bool>());
    (0..4, sizes).prop_map(|(family, (groups, heads, layers, flag))| match family {
        0 => llama([groups, heads], layers, flag),
        1 => gpt2(heads, layers),
        // Whose window is of four positions.
        2 => fixture::<f64>("gemma3").model.body,
        _ => t5(heads, layers, flag),
    })
}

/// A batch of rows of the same length; an encoder reads the sources.
fn batch(model: &Model, sources: &[&[usize]], ids: &[&[usize]]) -> Batch {
    match model.start_token() {
        None => collate_causal(ids, 0),
        Some(_) => Batch {
            decoder: Some(DecoderInput {
                shape: [ids.len(), ids[0].len()],
                ids: ids.concat(),
            }),
            ..collate_causal(sources, 0)
        },
    }
}

impl<T: Number> Loaded<T> {
    /// Logits after every token, without a cache.
    fn whole(&self, source: &[usize], ids: &[usize]) -> Tensor<T> {
        let batch = batch(&self.model, &[source], &[ids]);
        self.model
            .evaluate(&self.parameters, &self.adapters, &batch)
    }

    /// Logits after the last of some tokens in every row, which follow what is
    /// in the caches.
    fn next(
        &self,
        sources: &[&[usize]],
        ids: &[&[usize]],
        caches: &mut [KeyValueCache<T>],
    ) -> Tensor<T> {
        let batch = batch(&self.model, sources, ids);
        let time = ids[0].len();
        let last: Vec<usize> = (0..ids.len()).map(|row| row * time + time - 1).collect();
        let graph = Graph::for_evaluation(Tape::new(), &self.parameters, &self.adapters)
            .with_caches(caches.iter_mut().collect());
        let logits = self.model.logits_at(&graph, &batch, &last);
        assert!(graph.tape().is_empty());
        logits.value().clone()
    }

    fn generate(&self, prompts: &[Vec<usize>], config: &GenerateConfig) -> Vec<Vec<usize>> {
        let mut told = vec![Vec::new(); prompts.len()];
        let mut on_token = |prompt: usize, token| {
            told[prompt].push(token);
            ControlFlow::Continue(())
        };
        let found = self.try_generate(prompts, config, &mut on_token).unwrap();
        assert_eq!(found, told, "every token is told once and in order");
        found
    }

    fn try_generate(
        &self,
        prompts: &[Vec<usize>],
        config: &GenerateConfig,
        on_token: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> ggpo_model::Result<Vec<Vec<usize>>> {
        let Loaded {
            model,
            parameters,
            adapters,
        } = self;
        generate(model, parameters, adapters, prompts, config, on_token)
    }
}

fn last_row<T: Scalar>(logits: &Tensor<T>) -> Vec<f64> {
    let row = view2(logits);
    row.row(row.nrows() - 1).iter().map(|x| x.value()).collect()
}

/// Largest difference over the largest magnitude expected.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let pairs = found.iter().zip(expected);
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    error / expected.iter().map(|x| x.abs()).fold(0.0, f64::max)
}

fn largest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best })
}

fn tokens(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..23usize, count)
}

fn greedy(max_new_tokens: usize) -> GenerateConfig {
    GenerateConfig {
        max_new_tokens,
        ..Default::default()
    }
}
