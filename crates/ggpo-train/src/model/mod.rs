//! Transformers, written once as plain functions of parameters.
//!
//! A model's forward pass asks a [`Graph`] for parameters and linear layers by
//! name. Whether a linear layer carries an adapter, and whether noise acts on
//! its weight, is the graph's business: the model does not know. Attention of a
//! decoder is asked for in the same way, so that a graph can keep the keys and
//! values of earlier positions while text is generated.
//!
//! The dropout that a base model was pre-trained with is not applied, whatever
//! its `config.json` says; only the adapters have dropout.

mod bert;
mod cache;
mod config;
mod files;
mod gpt2;
mod graph;
mod llama;
mod specification;
mod t5;

use std::path::Path;

use ggpo_autograd::{Tape, Var, ops};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{Scalar, Tensor};

pub use bert::BertConfig;
pub use cache::KeyValueCache;
pub use config::ConfigJson;
pub(crate) use files::Extra;
pub use gpt2::Gpt2Config;
pub use graph::{Adapters, Graph, OutputLayer};
pub(crate) use graph::{lora_a, lora_b};
pub use llama::{LlamaConfig, RopeScaling};
pub(crate) use specification::is_in;
pub use specification::{INITIALIZER_RANGE, ParameterSpec, Start};
use specification::{linear_spec, norm_spec};
pub use t5::T5Config;

use crate::Result;
use crate::data::Batch;
use crate::parameters::Parameters;

/// A transformer's shape, and the head that sits on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The body.
    pub body: Body,
    /// What the body's states are turned into.
    pub head: Head,
}

/// The family of a transformer.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Encoder with learned positions and layer norm after each block.
    Bert(BertConfig),
    /// Decoder with rotary positions, RMS norm before each block, SwiGLU.
    Llama(LlamaConfig),
    /// Decoder with learned positions and layer norm before each block.
    Gpt2(Gpt2Config),
    /// Encoder and decoder with relative positions and RMS norm before each
    /// block.
    T5(T5Config),
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// One of so many classes per sequence.
    Classes(usize),
    /// One number per sequence.
    Value,
    /// A token of the vocabulary per position.
    Tokens,
}

impl Head {
    /// Outputs of a head that speaks once per sequence; none for tokens.
    pub fn outputs(self) -> Option<usize> {
        match self {
            Head::Classes(classes) => Some(classes),
            Head::Value => Some(1),
            Head::Tokens => None,
        }
    }
}

impl Model {
    /// Reads `config.json` of a model folder, for the given head.
    ///
    /// # Errors
    /// If the file cannot be read, has a field that is not known, describes
    /// something this project does not calculate, or a family without such a
    /// head.
    pub fn read(folder: &Path, head: Head) -> Result<Self> {
        ConfigJson::read(folder)?.model(folder, head)
    }

    /// As [`read`](Self::read), with the head that `config.json` names.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`ConfigJson::head`].
    pub fn open(folder: &Path) -> Result<Self> {
        let config = ConfigJson::read(folder)?;
        config.model(folder, config.head()?)
    }

    /// `config.json` of a new model as text, [`ConfigJson::text_for`] being
    /// that of a model made from another.
    pub fn config_json(&self) -> String {
        config::new_text(self)
    }

    /// All parameters, in the order of the forward pass.
    pub fn specification(&self) -> Vec<ParameterSpec> {
        match &self.body {
            Body::Bert(config) => config.specification(self.head),
            Body::Llama(config) => config.specification(self.head),
            Body::Gpt2(config) => config.specification(self.head),
            Body::T5(config) => config.specification(),
        }
    }

    /// Names of the linear layers inside the blocks: what LoRA may adapt.
    pub fn block_linears(&self) -> Vec<String> {
        match &self.body {
            Body::Bert(config) => config.block_linears(),
            Body::Llama(config) => config.block_linears(),
            Body::Gpt2(config) => config.block_linears(),
            Body::T5(config) => config.block_linears(),
        }
    }

    /// Names of the head's own modules, new for every task and always trained.
    pub fn head_modules(&self) -> Vec<String> {
        match (self.head, &self.body) {
            (Head::Tokens, _) => vec![],
            (Head::Classes(_) | Head::Value, Body::Bert(_)) => {
                vec!["bert.pooler.dense".to_owned(), "classifier".to_owned()]
            }
            (Head::Classes(_) | Head::Value, _) => vec!["score".to_owned()],
        }
    }

    /// The longest sequence the model can read, in tokens; the largest number
    /// there is for T5, whose relative positions have no end.
    pub fn positions(&self) -> usize {
        match &self.body {
            Body::Bert(config) => config.max_position_embeddings,
            Body::Llama(config) => config.max_position_embeddings,
            Body::Gpt2(config) => config.n_positions,
            Body::T5(_) => usize::MAX,
        }
    }

    /// Rows of the token embedding.
    pub fn vocabulary(&self) -> usize {
        match &self.body {
            Body::Bert(config) => config.vocab_size,
            Body::Llama(config) => config.vocab_size,
            Body::Gpt2(config) => config.vocab_size,
            Body::T5(config) => config.vocab_size,
        }
    }

    /// The token that a decoder beside an encoder reads first. None for a model
    /// without an encoder, which continues what it is given.
    pub fn start_token(&self) -> Option<usize> {
        match &self.body {
            Body::Bert(_) | Body::Llama(_) | Body::Gpt2(_) => None,
            Body::T5(_) => Some(t5::START),
        }
    }

    /// Whether the model predicts the next token of a text from those before
    /// it, so that it can generate.
    pub fn is_decoder(&self) -> bool {
        self.head == Head::Tokens && !matches!(self.body, Body::Bert(_))
    }

    /// Logits of every row (classes; one number of a regression) or every
    /// position (tokens): batch x classes, or (batch * time) x vocabulary.
    pub fn logits<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        self.head_logits(graph, self.states(graph, batch))
    }

    /// Logits at the chosen ones of the batch * time positions of a decoder, in
    /// their order: positions x vocabulary. The head reads only their states.
    pub fn logits_at<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        batch: &Batch,
        positions: &[usize],
    ) -> Var<T> {
        let states = self.states(graph, batch);
        let states = ops::embedding(&states, positions, &[positions.len()]);
        self.head_logits(graph, states)
    }

    /// Mean cross entropy over the targets of a batch, or mean squared error of
    /// a regression, of shape `[1]`.
    ///
    /// The head reads only the states where a target stands, and of a token
    /// head the logits are not stored.
    pub fn loss<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let states = self.states(graph, batch);
        if self.head == Head::Value {
            let values: Vec<T> = batch.values.iter().map(|&v| T::from_f64(v)).collect();
            return ops::mean_squared_error(&self.head_logits(graph, states), &values);
        }
        let (rows, targets): (Vec<usize>, Vec<usize>) = batch
            .targets
            .iter()
            .enumerate()
            .filter_map(|(row, target)| Some((row, (*target)?)))
            .unzip();
        let states = if rows.len() == batch.targets.len() {
            states
        } else {
            ops::embedding(&states, &rows, &[rows.len()])
        };
        if self.head == Head::Tokens {
            let (states, layer) = self.output(graph, states);
            return graph.output_cross_entropy(&states, layer, &targets);
        }
        let targets: Vec<_> = targets.into_iter().map(Some).collect();
        ops::cross_entropy(&self.head_logits(graph, states), &targets)
    }

    /// Final states of the body, before any head: batch x time x width. Those
    /// of a decoder are after its last normalisation; for T5 they are those of
    /// the decoder.
    ///
    /// # Panics
    /// If a T5 model is given a batch without input for the decoder. This holds
    /// for [`logits`](Self::logits) and [`loss`](Self::loss) too.
    pub fn hidden_states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        match &self.body {
            Body::Bert(config) => config.states(graph, batch),
            Body::Llama(config) => config.states(graph, batch),
            Body::Gpt2(config) => config.states(graph, batch),
            Body::T5(config) => config.states(graph, batch),
        }
    }

    /// The states that the head reads: batch x width where one answer per row is
    /// predicted (the state that speaks for the row), else (batch * time) x width.
    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        let states = self.hidden_states(graph, batch);
        let &[rows, time, width] = states.shape() else {
            panic!("states of shape {:?}", states.shape())
        };
        let states = ops::reshape(&states, &[rows * time, width]);
        match (self.head, &self.body) {
            (Head::Tokens, _) => states,
            (Head::Classes(_) | Head::Value, Body::Bert(_)) => {
                let first: Vec<usize> = (0..rows).map(|row| row * time).collect();
                ops::embedding(&states, &first, &[rows])
            }
            (Head::Classes(_) | Head::Value, _) => {
                let last: Vec<usize> = batch
                    .attention
                    .rows()
                    .into_iter()
                    .enumerate()
                    .map(|(row, kept)| {
                        row * time + kept.iter().rposition(|kept| *kept).unwrap_or(0)
                    })
                    .collect();
                ops::embedding(&states, &last, &[rows])
            }
        }
    }

    fn head_logits<T: Scalar>(&self, graph: &Graph<'_, T>, states: Var<T>) -> Var<T> {
        let (states, layer) = self.output(graph, states);
        graph.output(&states, layer)
    }

    /// What the head's last layer reads, and that layer.
    fn output<T: Scalar>(&self, graph: &Graph<'_, T>, states: Var<T>) -> (Var<T>, OutputLayer) {
        match &self.body {
            Body::Bert(config) => config.output(graph, self.head, states),
            Body::Llama(config) => config.output(self.head, states),
            Body::Gpt2(config) => config.output(self.head, states),
            Body::T5(config) => config.output(states),
        }
    }

    /// Logits without recording anything, for evaluation.
    pub fn evaluate<T: Scalar>(
        &self,
        parameters: &Parameters<T>,
        adapters: &Adapters<T>,
        batch: &Batch,
    ) -> Tensor<T> {
        in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), parameters, adapters);
            self.logits(&graph, batch).value().clone()
        })
    }

    /// The [`loss`](Self::loss) without recording anything.
    pub fn evaluate_loss<T: Scalar>(
        &self,
        parameters: &Parameters<T>,
        adapters: &Adapters<T>,
        batch: &Batch,
    ) -> f64 {
        in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), parameters, adapters);
            self.loss(&graph, batch).item().value()
        })
    }
}
