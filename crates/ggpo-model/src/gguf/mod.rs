//! Models in GGUF files: one file with the model's description, its weights,
//! many of them quantised, and its tokenizer.
//!
//! What is supported: version 3 of the format, the architectures `llama`, `qwen2`,
//! `qwen3` and `gemma3`, and the tensor types of [`BlockFormat`](ggpo_tensor::BlockFormat) and F32. Quantised
//! weights are kept as they are, in their blocks, and stay frozen: such a model
//! is the base of adapters.

mod adapter;
mod carried;
mod described;
mod description;
mod file;
mod metadata;
mod parameters;
mod pieces;
mod reader;
mod rope_factors;
mod sentencepiece;
mod tokenizer;
mod vocabulary;
mod whole;
mod writer;

use std::path::Path;

use ggpo_files::read::ANY;
use ggpo_tensor::Scalar;

pub use adapter::adapter_bytes;
pub use file::Elements;
pub use metadata::{Metadata, Value};
pub use whole::{Kinds, Origin, Weight, Weights, write_model};

use crate::model::{Head, Model};
use crate::parameters::Parameters;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use file::File;

/// What a step of reading gives, or what is wrong with the file.
type Reading<T> = std::result::Result<T, String>;

/// A model of a GGUF file, with everything that is needed to use it.
#[derive(Debug)]
pub struct GgufModel<T> {
    /// The model, predicting tokens.
    pub model: Model,
    /// Its parameters under the names of Hugging Face folders. Matrices are
    /// quantised as in the file; [`Parameters::bytes`] is their size.
    pub parameters: Parameters<T>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// What the file says of special tokens.
    pub special_tokens: SpecialTokens,
    /// The template of conversations, in the language Jinja.
    pub chat_template: Option<String>,
    /// Everything the file says of itself.
    pub metadata: Metadata,
}

/// The special tokens of a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Id of the token before a text.
    pub bos: Option<usize>,
    /// Id of the token after a text.
    pub eos: Option<usize>,
    /// Whether the model was trained on texts that begin with `bos`.
    pub add_bos: bool,
}

/// Opens a GGUF file.
///
/// The file is held in memory while it is read. It is not mapped: whoever cut it off
/// meanwhile would end the process.
///
/// # Errors
/// If the file cannot be read, is malformed, describes something this project
/// does not calculate, or holds NaN or infinity. The error names the file and
/// the field or tensor.
pub fn open<T: Scalar>(path: &Path) -> Result<GgufModel<T>> {
    let bytes = ggpo_files::read(path, ANY).map_err(|source| Error::io(path, source))?;
    let model = File::read(&bytes).and_then(model);
    model.map_err(|problem| Error::file(path, problem))
}

/// Opens the tokenizer of a GGUF file alone; no weight is read.
///
/// # Errors
/// As [`open`], as far as the tokenizer goes.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    let bytes = ggpo_files::read(path, ANY).map_err(|source| Error::io(path, source))?;
    let tokenizer = |file: File<'_>| {
        let rows = description::read(&file)?.decoder.vocab_size;
        let (tokenizer, _) = tokenizer::read(&file.metadata, rows)?;
        Ok(tokenizer)
    };
    let tokenizer = File::read(&bytes).and_then(tokenizer);
    tokenizer.map_err(|problem| Error::file(path, problem))
}

fn model<T: Scalar>(file: File<'_>) -> Reading<GgufModel<T>> {
    let description = description::read(&file)?;
    let rows = description.decoder.vocab_size;
    let (tokenizer, special_tokens) = tokenizer::read(&file.metadata, rows)?;
    let chat_template = file.metadata.optional_text("tokenizer.chat_template")?;
    let chat_template = chat_template.map(str::to_owned);
    let model = Model {
        body: description.body.clone(),
        head: Head::Tokens,
    };
    let parameters = parameters::read(&file, &description, &model)?;
    Ok(GgufModel {
        model,
        parameters,
        tokenizer,
        special_tokens,
        chat_template,
        metadata: file.metadata,
    })
}

#[cfg(test)]
mod tests;
