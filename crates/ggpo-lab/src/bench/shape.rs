//! The models that are measured, and their batches.

use std::path::Path;

use ggpo_model::base::Base;
use ggpo_model::batch::Batch;
use ggpo_model::{BertConfig, Body, Head, INITIALIZER_RANGE, LlamaConfig, Model, Parameters};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A model's shape and its usual batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// BERT as in all-MiniLM-L6: 6 layers, hidden 384, 12 heads, FFN 1536,
    /// vocabulary 30522, 2 classes; 32 rows of 128 tokens.
    Minilm,
    /// A Llama of 6 layers, hidden 288, 6 heads, FFN 768, vocabulary 32000 tied;
    /// 8 rows of 256 tokens.
    Llama,
    /// A Llama of 2 layers, hidden 64, 4 heads, FFN 256, vocabulary 256 tied; 16
    /// rows of 64 tokens.
    Tiny,
    /// SmolLM2-135M: a Llama of 30 layers, hidden 576, 9 heads over 3 of keys and
    /// values, FFN 1536, vocabulary 49152 tied; 4 rows of 128 tokens.
    Smollm2,
    /// A Llama of the shape of Qwen2.5-0.5B: 24 layers, hidden 896, 14 heads over 2 of
    /// keys and values, FFN 4864, vocabulary 151936 tied; a row of 256 tokens.
    #[serde(rename = "0.5b")]
    HalfBillion,
    /// Llama-3.2-1B: 16 layers, hidden 2048, 32 heads over 8 of keys and values, FFN
    /// 8192, vocabulary 128256 tied; a row of 256 tokens.
    #[serde(rename = "1b")]
    OneBillion,
    /// Llama-3.1-8B: 32 layers, hidden 4096, 32 heads over 8 of keys and values, FFN
    /// 14336, vocabulary 128256, not tied; a row of 256 tokens.
    #[serde(rename = "8b")]
    EightBillion,
}

/// Seed of weights and tokens.
const SEED: u64 = 1;

impl Shape {
    /// All shapes.
    pub const ALL: [Shape; 7] = [
        Shape::Minilm,
        Shape::Llama,
        Shape::Tiny,
        Shape::Smollm2,
        Shape::HalfBillion,
        Shape::OneBillion,
        Shape::EightBillion,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Minilm => "minilm",
            Shape::Llama => "llama",
            Shape::Tiny => "tiny",
            Shape::Smollm2 => "smollm2",
            Shape::HalfBillion => "0.5b",
            Shape::OneBillion => "1b",
            Shape::EightBillion => "8b",
        }
    }

    /// The shape of this name.
    pub fn named(name: &str) -> Option<Self> {
        Shape::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// Rows and tokens of its usual batch.
    pub const fn batch(self) -> [usize; 2] {
        match self {
            Shape::Minilm => [32, 128],
            Shape::Llama => [8, 256],
            Shape::Tiny => [16, 64],
            Shape::Smollm2 => [4, 128],
            Shape::HalfBillion | Shape::OneBillion | Shape::EightBillion => [1, 256],
        }
    }

    /// The model, with room for rows of `seq` tokens.
    pub fn model(self, seq: usize) -> Model {
        let llama = |layers, width, heads, kv_heads, inner, vocabulary| {
            Body::Llama(LlamaConfig {
                vocab_size: vocabulary,
                hidden_size: width,
                num_hidden_layers: layers,
                num_attention_heads: heads,
                num_key_value_heads: kv_heads,
                head_dim: width / heads,
                intermediate_size: inner,
                max_position_embeddings: seq,
                rms_norm_eps: 1e-5,
                rope_theta: 10_000.0,
                rope_scaling: None,
                attention_bias: false,
                mlp_bias: false,
                tie_word_embeddings: self != Shape::EightBillion,
            })
        };
        let (body, head) = match self {
            Shape::Minilm => {
                let config = BertConfig {
                    vocab_size: 30_522,
                    hidden_size: 384,
                    num_hidden_layers: 6,
                    num_attention_heads: 12,
                    intermediate_size: 1536,
                    max_position_embeddings: seq.max(512),
                    type_vocab_size: 2,
                    layer_norm_eps: 1e-12,
                };
                (Body::Bert(config), Head::Classes(2))
            }
            Shape::Llama => (llama(6, 288, 6, 6, 768, 32_000), Head::Tokens),
            Shape::Tiny => (llama(2, 64, 4, 4, 256, 256), Head::Tokens),
            Shape::Smollm2 => (llama(30, 576, 9, 3, 1536, 49_152), Head::Tokens),
            Shape::HalfBillion => (llama(24, 896, 14, 2, 4864, 151_936), Head::Tokens),
            Shape::OneBillion => (llama(16, 2048, 32, 8, 8192, 128_256), Head::Tokens),
            Shape::EightBillion => (llama(32, 4096, 32, 8, 14_336, 128_256), Head::Tokens),
        };
        Model { body, head }
    }

    /// The model with random weights, or with those of a folder or GGUF file.
    ///
    /// # Errors
    /// If the file cannot be read or its model has another shape.
    pub fn load(self, seq: usize, file: Option<&Path>) -> Result<(Model, Parameters<f32>)> {
        let model = self.model(seq);
        let Some(path) = file else {
            let parameters = model.new_parameters(INITIALIZER_RANGE, SEED);
            return Ok((model, parameters));
        };
        let mut base = Base::open(path, Some(model.head))?;
        let specification = base.model.specification();
        if let Some(other) = model
            .specification()
            .iter()
            .find(|parameter| !specification.contains(parameter))
        {
            let (name, shape) = (&other.name, &other.shape);
            let problem = format!(
                "expected a model of the shape {} with {name} of {shape:?}, found none",
                self.name()
            );
            return Err(Error::file(path, problem));
        }
        if base.model.positions() < seq {
            let problem = format!(
                "expected a model that reads {seq} tokens, found {}",
                base.model.positions()
            );
            return Err(Error::file(path, problem));
        }
        for spec in &base.missing {
            let new = base.model.new_parameter(spec, INITIALIZER_RANGE, SEED);
            base.parameters.insert(spec.name.clone(), new);
        }
        Ok((base.model, base.parameters))
    }
}

/// A batch of random tokens without padding, with a random target for every row
/// of a classification and for every position of a decoder.
pub fn random_batch(model: &Model, rows: usize, time: usize) -> Batch {
    let draw = |stream: u32, count: usize, bound: usize| -> Vec<usize> {
        let stream = Stream::new(SEED, Purpose::Data, 0, stream);
        let below = |index| stream.below(index as u64, bound as u64) as usize;
        (0..count).map(below).collect()
    };
    let targets = match model.head {
        Head::Classes(classes) => draw(1, rows, classes),
        Head::Tokens | Head::Value => draw(1, rows * time, model.vocabulary()),
    };
    Batch {
        shape: [rows, time],
        ids: draw(0, rows * time, model.vocabulary()),
        token_types: vec![0; rows * time],
        attention: Array2::from_elem([rows, time], true),
        targets: targets.into_iter().map(Some).collect(),
        values: Vec::new(),
        decoder: None,
    }
}
