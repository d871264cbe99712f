//! A whole model as a GGUF file, as llama.cpp and what is built on it read it.

use std::path::Path;

use super::is_gguf;
use crate::Result;
use crate::gguf::{Elements, Kinds, Origin, Weights, write_model};
use crate::model::Model;
use crate::tokenizer::Tokenizer;

/// Writes a model made from the one at `base` to the file `out`, whole or not at all, with
/// its tokenizer and its chat template. Of a GGUF base everything that the file says of
/// itself is taken along. Returns how many tensors there are of each kind.
///
/// # Errors
/// If the file cannot be written, or a GGUF file has nothing for the model or its
/// tokenizer.
pub fn write_model_file(
    out: &Path,
    base: &Path,
    model: &Model,
    tokenizer: &Tokenizer,
    elements: Elements,
    weights: &dyn Weights,
) -> Result<Kinds> {
    let name = base.file_name().unwrap_or(base.as_os_str());
    let name = name.to_string_lossy();
    let origin = match is_gguf(base) {
        true => Origin::File(base),
        false => Origin::New {
            name: &name,
            tokenizer,
        },
    };
    write_model(out, model, origin, elements, weights)
}
