//! A whole model folder, as Transformers reads it.

use std::path::Path;

use ggpo_files::write_folder_atomically;
use ggpo_tensor::Scalar;

use super::{is_gguf, tokenizer};
use crate::model::{ConfigJson, Model, Precision};
use crate::parameters::Parameters;
use crate::weights::{stored_tensors, to_safetensors};
use crate::{Error, Result, chat};

/// Files of a tokenizer that go along with a model.
const TOKENIZER_FILES: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "generation_config.json",
    chat::FILE,
];

/// Writes a model made from the one at `base` to the folder `out`, whole or not
/// at all: `config.json` with the fields of the base and the model's own head and
/// `labels`, `model.safetensors`, and the tokenizer's files as they are. Of a
/// GGUF base they are written anew.
///
/// # Errors
/// If there is something under that name, a file of the base cannot be read, or
/// the folder cannot be written.
pub fn write_model_folder<T: Scalar>(
    out: &Path,
    base: &Path,
    model: &Model,
    labels: &[String],
    parameters: &Parameters<T>,
    precision: Precision,
) -> Result<()> {
    if out.symlink_metadata().is_ok() {
        return Err(Error::file(
            out,
            "expected a new folder, found one that exists",
        ));
    }
    let weights = to_safetensors(&stored_tensors(model, parameters), precision);
    let mut files = vec![("model.safetensors", weights)];
    if is_gguf(base) {
        let tokenizer = tokenizer(base)?;
        files.push(("config.json", model.config_json().into_bytes()));
        files.push(("tokenizer.json", tokenizer.to_json(base)?.into_bytes()));
        if let Some(template) = &tokenizer.said_of_chats().template {
            files.push((chat::FILE, template.clone().into_bytes()));
        }
    } else {
        let config = ConfigJson::read(base)?.text_for(model, labels, precision);
        files.push(("config.json", config.into_bytes()));
    }
    for name in TOKENIZER_FILES {
        let path = base.join(name);
        if path.exists() {
            let bytes = std::fs::read(&path).map_err(|cause| Error::io(&path, cause))?;
            files.push((name, bytes));
        }
    }
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    write_folder_atomically(out, &files).map_err(|cause| Error::io(out, cause))
}
