//! Shapes and passes of the families.
//!
//! The dropout that a base model was pre-trained with is not applied, whatever
//! its `config.json` says; only the adapters have dropout.

mod bert;
mod cache;
mod config;
mod families;
mod feature_layer;
mod fields;
mod files;
mod gemma3;
mod gpt2;
mod graph;
mod llama;
mod passes;
mod precision;
mod qwen2;
mod qwen3;
mod roberta;
mod rope;
mod rotary_decoder;
mod specification;
mod t5;

use ggpo_autograd::{Tape, Var};
use ggpo_tensor::Tensor;
use ggpo_tensor::parallel::in_pool;

pub use bert::BertConfig;
pub use cache::KeyValueCache;
pub use config::ConfigJson;
pub use families::{Body, Form};
pub use feature_layer::FeatureLayerConfig;
pub(crate) use files::Extra;
pub use gemma3::Gemma3Config;
pub(crate) use gemma3::{PATTERN as GEMMA3_PATTERN, THETA as GEMMA3_THETA};
pub use ggpo_lora::Adapters;
pub use gpt2::Gpt2Config;
pub use graph::{
    ActingWeights, Graph, LayerPerturbation, OutputLayer, PassGradients, TracedLinear,
    acting_weights,
};
pub use llama::LlamaConfig;
pub use precision::Precision;
pub use qwen2::Qwen2Config;
pub use qwen3::Qwen3Config;
pub use roberta::RobertaConfig;
pub(crate) use rope::Rope;
pub use rope::RopeScaling;
pub(crate) use rotary_decoder::{Gemma, RotaryDecoder};
pub use specification::{INITIALIZER_RANGE, InitialValue, ParameterSpec, is_in};
use specification::{linear_spec, norm_spec};
pub use t5::T5Config;

use families::{Family, of_family};

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
        of_family!(&self.body, family => family.specification(self.head))
    }

    /// Names of the linear layers inside the blocks: what LoRA may adapt.
    pub fn block_linears(&self) -> Vec<String> {
        of_family!(&self.body, family => family.block_linears())
    }

    /// Whether passes ask for an adapter of this module: the linear layers of the blocks
    /// and of the head.
    pub fn takes_adapter(&self, module: &str) -> bool {
        module == "lm_head"
            || self.head_modules().iter().any(|head| head == module)
            || self.block_linears().iter().any(|linear| linear == module)
    }

    /// Names of the head's own modules, new for every task and always trained.
    pub fn head_modules(&self) -> Vec<String> {
        let modules = match self.head {
            Head::Tokens => &[],
            Head::Classes(_) | Head::Value => self.body.about().head_modules,
        };
        modules.iter().map(|&name| name.to_owned()).collect()
    }

    /// The longest sequence the model can read, in tokens; the largest number
    /// there is for T5, whose relative positions have no end.
    pub fn positions(&self) -> usize {
        of_family!(&self.body, family => family.positions())
    }

    /// Whether there is a table of positions, beyond which nothing can be calculated.
    pub fn has_learned_positions(&self) -> bool {
        self.body.about().learned_positions
    }

    /// Rows of the token embedding.
    pub fn vocabulary(&self) -> usize {
        of_family!(&self.body, family => family.vocabulary())
    }

    /// Kinds of segment, if the model's tokens belong to segments.
    pub fn segments(&self) -> Option<usize> {
        of_family!(&self.body, family => family.segments())
    }

    /// The token that a decoder beside an encoder reads first. None for a model
    /// without an encoder, which continues what it is given.
    pub fn start_token(&self) -> Option<usize> {
        of_family!(&self.body, family => family.start_token())
    }

    /// Which way the body reads.
    pub fn form(&self) -> Form {
        self.body.about().form
    }

    /// Whether the model predicts the next token of a text from those before
    /// it, so that it can generate.
    pub fn is_decoder(&self) -> bool {
        self.head == Head::Tokens && self.form() != Form::Encoder
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

    /// The [`loss`](Self::loss) of a head over tokens without recording anything, and
    /// that of every target of which it is the mean, in their order.
    ///
    /// # Panics
    /// If the head is another.
    pub fn evaluate_losses<T: Number>(
        &self,
        parameters: &Parameters<T>,
        adapters: &Adapters<T>,
        batch: &Batch,
    ) -> (f64, Vec<f64>) {
        assert_eq!(self.head, Head::Tokens, "losses of single tokens");
        in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), parameters, adapters);
            let mean = self.loss(&graph, batch).item().value();
            let losses = graph.row_losses().into_iter();
            (mean, losses.map(|loss| loss.value()).collect())
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
