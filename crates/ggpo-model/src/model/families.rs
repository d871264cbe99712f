//! The families of models: what a family says of itself, and the list of them.
//!
//! A family is one file of this folder, with its `impl Family`, and a line each for the
//! module, for its name outside, and in the list below.

use ggpo_autograd::Var;
use ggpo_tensor::Scalar;
use serde_json::Value;

use super::fields::Fields;
use super::{Extra, Graph, Head, OutputLayer, ParameterSpec, RotaryDecoder};
use crate::Result;
use crate::batch::Batch;

/// Which way a transformer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Every position sees all others. The first state speaks for the sequence.
    Encoder,
    /// Every position sees those before it. The last state speaks for the sequence.
    Decoder,
    /// A decoder that also sees the states of an encoder.
    EncoderDecoder,
}

/// What an architecture of Transformers puts on the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// A token per position.
    Tokens,
    /// Classes or a value per sequence.
    Sequence,
}

impl HeadKind {
    pub(super) fn of(head: Head) -> Self {
        match head {
            Head::Tokens => HeadKind::Tokens,
            Head::Classes(_) | Head::Value => HeadKind::Sequence,
        }
    }
}

/// What is the same for all models of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// The name in `config.json`.
    pub(super) model_type: &'static str,
    /// The architectures of Transformers; the first of a kind is what is written.
    pub(super) architectures: &'static [(HeadKind, &'static str)],
    pub(super) form: Form,
    /// The prefix, with its dot, of the body's names, which files of a body without
    /// head leave out.
    pub(super) prefix: &'static str,
    /// Name of the table that embeds tokens. Every file of the family has it: where it
    /// stands without prefix, the file has none.
    pub(super) word_table: &'static str,
    /// Modules of a head that speaks once per sequence.
    pub(super) head_modules: &'static [&'static str],
    /// Whether there is a table of positions, so that none is beyond it.
    pub(super) learned_positions: bool,
    /// Whether the weights alone show if there is an `lm_head` of its own.
    pub(super) leaves_lm_head_open: bool,
    /// Whether files hold the weights that adapters sit on in x out.
    pub(super) fan_in_fan_out: bool,
}

impl About {
    /// A decoder of Transformers' usual names, but for `model_type` and
    /// `architectures`.
    pub(super) const DECODER: Self = About {
        model_type: "",
        architectures: &[],
        form: Form::Decoder,
        prefix: "model.",
        word_table: "model.embed_tokens.weight",
        head_modules: &["score"],
        learned_positions: false,
        leaves_lm_head_open: false,
        fan_in_fan_out: false,
    };
}

/// A family of transformers; a value is the shape of one of its models.
pub(super) trait Family: Sized {
    /// What is the same for all models of the family.
    const ABOUT: About;

    /// Reads `config.json`: every field is asked for, passed over, or refused.
    /// `lm_head` as in [`ConfigJson::model`](super::ConfigJson::model).
    fn read(fields: &Fields<'_>, lm_head: bool) -> Result<Self>;

    /// The fields of `config.json` of a new model, but for those of the head.
    fn to_json(&self) -> Value;

    /// All parameters, in the order of the forward pass.
    fn specification(&self, head: Head) -> Vec<ParameterSpec>;

    /// Names of the linear layers inside the blocks.
    fn block_linears(&self) -> Vec<String>;

    /// What a stored tensor is that is not a parameter; none if nobody knows it.
    fn extra(&self, name: &str, head: Head) -> Option<Extra>;

    /// The longest sequence, in tokens.
    fn positions(&self) -> usize;

    /// Rows of the token embedding.
    fn vocabulary(&self) -> usize;

    /// Kinds of segment, if tokens belong to segments.
    fn segments(&self) -> Option<usize> {
        None
    }

    /// The token that a decoder beside an encoder reads first.
    fn start_token(&self) -> Option<usize> {
        None
    }

    /// Whether files hold this parameter transposed, as in x out.
    fn stores_transposed(&self, _name: &str) -> bool {
        false
    }

    /// The decoder with rotary positions that a model of the family is, if it is one.
    fn rotary_decoder(&self) -> Option<RotaryDecoder> {
        None
    }

    /// What the family is, told from a model of it.
    fn about(&self) -> About {
        Self::ABOUT
    }

    /// Final states, batch x time x width.
    fn states<T: Scalar>(&self, graph: &Graph<'_, T>, batch: &Batch) -> Var<T>;

    /// What the head's last layer reads, and that layer.
    fn output<T: Scalar>(
        &self,
        graph: &Graph<'_, T>,
        head: Head,
        states: Var<T>,
    ) -> (Var<T>, OutputLayer);
}

impl Body {
    /// What the family is.
    pub(super) fn about(&self) -> About {
        of_family!(self, family => family.about())
    }

    /// The decoder with rotary positions that the body is, if it is one.
    pub(crate) fn rotary_decoder(&self) -> Option<RotaryDecoder> {
        of_family!(self, family => family.rotary_decoder())
    }

    /// The family's name in `config.json`.
    pub fn model_type(&self) -> &'static str {
        self.about().model_type
    }
}

/// How the shape of a family's model is read.
type Read = fn(&Fields<'_>, bool) -> Result<Body>;

/// Makes of the list of families the type [`Body`], the readers, and the macro
/// `of_family`, which evaluates an expression with the family of a body. The first
/// token is a dollar, which that macro needs.
macro_rules! families {
    ($dollar:tt $($(#[$about:meta])* $name:ident($config:ident),)*) => {
        $(use super::$config;)*

        /// The shape of a transformer, by its family.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Body {
            $($(#[$about])* $name($config),)*
        }

        /// What every family is, and how a model of it is read.
        pub(super) const FAMILIES: &[(About, Read)] = &[
            $(($config::ABOUT, |fields, lm_head| $config::read(fields, lm_head).map(Body::$name)),)*
        ];

        macro_rules! of_family {
            ($dollar body:expr, $dollar family:ident => $dollar result:expr) => {
                match $dollar body {
                    $($crate::model::Body::$name($dollar family) => $dollar result,)*
                }
            };
        }
        pub(super) use of_family;
    };
}

families! {
    $
    /// Encoder with learned positions and layer norm after each block.
    Bert(BertConfig),
    /// BERT's encoder with positions counted from the padding token's id.
    Roberta(RobertaConfig),
    /// Decoder with rotary positions, RMS norm before each block, SwiGLU.
    Llama(LlamaConfig),
    /// The Llama form with biases on queries, keys and values.
    Qwen2(Qwen2Config),
    /// The Llama form with RMS norm on the heads of queries and keys.
    Qwen3(Qwen3Config),
    /// Decoder with sliding windows and RMS norm before and after each part of a block.
    Gemma3(Gemma3Config),
    /// Decoder with learned positions and layer norm before each block.
    Gpt2(Gpt2Config),
    /// Encoder and decoder with relative positions and RMS norm before each block.
    T5(T5Config),
    /// One layer on features that were calculated before.
    FeatureLayer(FeatureLayerConfig),
}
