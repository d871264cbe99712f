//! How the files of a family differ from the parameters of its models: names,
//! layouts, and tensors that are there besides.

use super::families::{Family, of_family};
use super::{Form, Head, Model};

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
        self.body.about().prefix
    }

    /// Name of the table that embeds tokens. Every file of the family has it:
    /// where it stands without prefix, the file has none.
    pub fn word_table(&self) -> &'static str {
        self.body.about().word_table
    }

    /// What a stored tensor of this name is if it is not a parameter; none if
    /// nobody knows it.
    pub(crate) fn extra(&self, name: &str) -> Option<Extra> {
        of_family!(&self.body, family => family.extra(name, self.head))
    }

    /// Whether files hold this parameter transposed, as in x out.
    pub(crate) fn stores_transposed(&self, name: &str) -> bool {
        of_family!(&self.body, family => family.stores_transposed(name))
    }

    /// Whether the weights that adapters sit on are stored in x out, which an
    /// adapter's `fan_in_fan_out` tells PEFT.
    pub fn fan_in_fan_out(&self) -> bool {
        self.body.about().fan_in_fan_out
    }

    /// What PEFT calls the model's task.
    pub fn peft_task_type(&self) -> &'static str {
        match (self.head, self.form()) {
            (Head::Classes(_) | Head::Value, _) => "SEQ_CLS",
            (Head::Tokens, Form::EncoderDecoder) => "SEQ_2_SEQ_LM",
            (Head::Tokens, _) => "CAUSAL_LM",
        }
    }
}
