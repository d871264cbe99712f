//! How the files of a family differ from the parameters of its models: names,
//! layouts, and tensors that are there besides.

use super::{Body, Head, Model};

/// A stored tensor that is not a parameter of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// A buffer that some versions store, or a part of another head.
    Unused,
    /// A copy of this parameter, to which the model ties it.
    CopyOf(&'static str),
}

impl Model {
    /// The prefix, with its dot, of the body's names, which files of a body
    /// without head leave out.
    pub(crate) fn prefix(&self) -> &'static str {
        match &self.body {
            Body::Bert(_) => "bert.",
            Body::Llama(_) => "model.",
            Body::Gpt2(_) => "transformer.",
            Body::T5(_) | Body::FeatureLayer(_) => "",
        }
    }

    /// Name of the table that embeds tokens. Every file of the family has it:
    /// where it stands without prefix, the file has none.
    pub fn word_table(&self) -> &'static str {
        match &self.body {
            Body::Bert(_) => "bert.embeddings.word_embeddings.weight",
            Body::Llama(_) => "model.embed_tokens.weight",
            Body::Gpt2(_) => "transformer.wte.weight",
            Body::T5(_) => "shared.weight",
            Body::FeatureLayer(_) => super::feature_layer::TABLE,
        }
    }

    /// What a stored tensor of this name is if it is not a parameter; none if
    /// nobody knows it.
    pub(crate) fn extra(&self, name: &str) -> Option<Extra> {
        match &self.body {
            Body::Bert(config) => config.extra(name, self.head),
            Body::Llama(config) => config.extra(name, self.head),
            Body::Gpt2(config) => config.extra(name, self.head),
            Body::T5(config) => config.extra(name),
            Body::FeatureLayer(config) => config.extra(),
        }
    }

    /// Whether files hold this parameter transposed, as in x out.
    pub(crate) fn stores_transposed(&self, name: &str) -> bool {
        match &self.body {
            Body::Gpt2(config) => config.stores_transposed(name),
            Body::Bert(_) | Body::Llama(_) | Body::T5(_) | Body::FeatureLayer(_) => false,
        }
    }

    /// Whether the weights that adapters sit on are stored in x out, which an
    /// adapter's `fan_in_fan_out` tells PEFT.
    pub fn fan_in_fan_out(&self) -> bool {
        matches!(self.body, Body::Gpt2(_))
    }

    /// What PEFT calls the model's task.
    pub fn peft_task_type(&self) -> &'static str {
        match (self.head, &self.body) {
            (Head::Classes(_) | Head::Value, _) => "SEQ_CLS",
            (Head::Tokens, Body::T5(_)) => "SEQ_2_SEQ_LM",
            (Head::Tokens, _) => "CAUSAL_LM",
        }
    }
}
