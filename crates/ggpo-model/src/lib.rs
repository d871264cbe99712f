//! Transformers, written once as plain functions of parameters, and the files
//! they come in. Nothing here knows of training.
//!
//! A model's forward pass asks a [`Graph`] for parameters and linear layers by
//! name. Whether a linear layer carries an adapter, and whether noise acts on
//! its weight, is the graph's business: the model does not know. Attention of a
//! decoder is asked for in the same way, so that a graph can keep the keys and
//! values of earlier positions while text is generated.
//!
//! * [`Model`], [`Parameters`], [`Graph`]: a transformer's shape, its numbers, and
//!   the tape they are bound to.
//! * [`batch`]: what a model reads.
//! * [`weights`] and [`gguf`]: the files that hold a model's numbers.
//! * [`base`]: base models, as folders or GGUF files.
//! * [`tokenizer`]: texts to token ids and back.
//! * [`chat`]: conversations, as a model's chat template writes them.
//! * [`assembled`]: base, adapter and tokenizer, put together for use.
//! * [`merge`]: adapters merged into the weights of their base.
//! * [`fit`]: whether they belong together.
//! * [`generate`]: how a model continues texts.
//!
//! Code that is generic over the number is compiled wherever it is used, so the
//! passes of a model are compiled once, here, for the numbers that implement
//! [`Number`].
//!
//! Chapters of the book:
//! [one step in full](../../../docs/book/src/one-step.md).

pub mod assembled;
pub mod base;
pub mod batch;
pub mod chat;
pub mod error;
pub mod fit;
pub mod generate;
pub mod gguf;
pub mod logits;
pub mod merge;
mod model;
mod number;
mod parameters;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
pub use model::*;
pub use number::Number;
pub use parameters::Parameters;
