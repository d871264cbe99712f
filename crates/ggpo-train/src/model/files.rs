//! How the files of a family differ from the parameters of its models: names,
//! layouts, and tensors that are there besides.

use super::{Body, Model};

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
        }
    }

    /// The module behind the prefix that every file of the family has: where
    /// it stands without prefix, the file has none.
    pub(crate) fn word_table(&self) -> &'static str {
        match &self.body {
            Body::Bert(_) => "bert.embeddings.word_embeddings.weight",
            Body::Llama(_) => "model.embed_tokens.weight",
        }
    }

    /// What a stored tensor of this name is if it is not a parameter; none if
    /// nobody knows it.
    pub(crate) fn extra(&self, name: &str) -> Option<Extra> {
        match &self.body {
            Body::Bert(config) => config.extra(name, self.head),
            Body::Llama(config) => config.extra(name, self.head),
        }
    }

    /// Whether files hold this parameter turned round, as in x out.
    pub(crate) fn stores_transposed(&self, _name: &str) -> bool {
        match &self.body {
            Body::Bert(_) | Body::Llama(_) => false,
        }
    }
}
