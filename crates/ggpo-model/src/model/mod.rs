//! Shapes and passes of the families.
//!
//! The dropout that a base model was pre-trained with is not applied, whatever
//! its `config.json` says; only the adapters have dropout.

mod bert;
mod cache;
mod config;
mod feature_layer;
mod files;
mod gpt2;
mod graph;
mod llama;
mod passes;
mod precision;
mod specification;
mod t5;

use ggpo_autograd::{Tape, Var};
use ggpo_tensor::Tensor;
use ggpo_tensor::parallel::in_pool;

pub use bert::BertConfig;
pub use cache::KeyValueCache;
pub use config::ConfigJson;
pub use feature_layer::FeatureLayerConfig;
pub(crate) use files::Extra;
pub use ggpo_lora::Adapters;
pub use gpt2::Gpt2Config;
pub use graph::{
    ActingWeights, Graph, LayerPerturbation, OutputLayer, PassGradients, TracedLinear,
    acting_weights,
};
pub use llama::{LlamaConfig, RopeScaling};
pub use precision::Precision;
pub use specification::{INITIALIZER_RANGE, InitialValue, ParameterSpec, is_in};
use specification::{linear_spec, norm_spec};
pub use t5::T5Config;

use crate::batch::Batch;
use crate::number::Number;
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
    /// One layer on features that were calculated before.
    FeatureLayer(FeatureLayerConfig),
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// One class per sequence, out of this number of classes.
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
            Body::FeatureLayer(config) => config.specification(self.head),
        }
    }

    /// Names of the linear layers inside the blocks: what LoRA may adapt.
    pub fn block_linears(&self) -> Vec<String> {
        match &self.body {
            Body::Bert(config) => config.block_linears(),
            Body::Llama(config) => config.block_linears(),
            Body::Gpt2(config) => config.block_linears(),
            Body::T5(config) => config.block_linears(),
            Body::FeatureLayer(config) => config.block_linears(),
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
            Body::FeatureLayer(_) => 1,
        }
    }

    /// Rows of the token embedding.
    pub fn vocabulary(&self) -> usize {
        match &self.body {
            Body::Bert(config) => config.vocab_size,
            Body::Llama(config) => config.vocab_size,
            Body::Gpt2(config) => config.vocab_size,
            Body::T5(config) => config.vocab_size,
            Body::FeatureLayer(config) => config.rows,
        }
    }

    /// The token that a decoder beside an encoder reads first. None for a model
    /// without an encoder, which continues what it is given.
    pub fn start_token(&self) -> Option<usize> {
        match &self.body {
            Body::Bert(_) | Body::Llama(_) | Body::Gpt2(_) | Body::FeatureLayer(_) => None,
            Body::T5(_) => Some(t5::START),
        }
    }

    /// Whether the model predicts the next token of a text from those before
    /// it, so that it can generate.
    pub fn is_decoder(&self) -> bool {
        self.head == Head::Tokens && !matches!(self.body, Body::Bert(_) | Body::FeatureLayer(_))
    }

    /// Logits of every row (classes; one number of a regression) or every
    /// position (tokens): batch x classes, or (batch * time) x vocabulary.
    pub fn logits<T: Number>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        T::logits(self, graph, batch)
    }

    /// Logits at the chosen ones of the batch * time positions of a decoder, in
    /// their order: positions x vocabulary. The head reads only their states.
    pub fn logits_at<T: Number>(
        &self,
        graph: &Graph<'_, T>,
        batch: &Batch,
        positions: &[usize],
    ) -> Var<T> {
        T::logits_at(self, graph, batch, positions)
    }

    /// Mean cross entropy over the targets of a batch, mean squared error of a
    /// regression, or the mean squared distance from the values of the classes, of
    /// shape `[1]`.
    ///
    /// The head reads only the states where a target stands, and of a token
    /// head the logits are not stored.
    pub fn loss<T: Number>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        T::loss(self, graph, batch)
    }

    /// Final states of the body, before any head: batch x time x width. Those
    /// of a decoder are after its last normalisation; for T5 they are those of
    /// the decoder.
    ///
    /// # Panics
    /// If a T5 model is given a batch without input for the decoder. This holds
    /// for [`logits`](Self::logits) and [`loss`](Self::loss) too.
    pub fn hidden_states<T: Number>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T> {
        T::hidden_states(self, graph, batch)
    }

    /// Logits without recording anything, for evaluation.
    pub fn evaluate<T: Number>(
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
    pub fn evaluate_loss<T: Number>(
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
