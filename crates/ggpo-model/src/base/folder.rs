//! A whole model folder, as Transformers reads it.

use std::path::Path;

use ggpo_files::read::TOKENIZER;
use ggpo_files::write_folder_atomically;
use ggpo_tensor::{Scalar, flat};
use serde_json::{Map, Value};

use super::{is_gguf, tokenizer};
use crate::model::{ConfigJson, Model, Precision};
use crate::parameters::Parameters;
use crate::tokenizer::Tokenizer;
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
    let tensors = stored_tensors(model, parameters);
    for (name, tensor) in &tensors {
        let lost = |x: &&T| !precision.holds(x.value());
        if let Some(bad) = flat(tensor).iter().find(lost) {
            let problem = format!(
                "{name}: expected finite numbers that {} can hold, found {bad}",
                precision.name()
            );
            return Err(Error::file(out, problem));
        }
    }
    let weights = to_safetensors(&tensors, precision);
    let mut files = vec![("model.safetensors", weights)];
    if is_gguf(base) {
        let tokenizer = tokenizer(base)?;
        let [config, special] = described(model, &tokenizer);
        files.push(("config.json", config.into_bytes()));
        files.push(("tokenizer_config.json", special.into_bytes()));
        files.push(("tokenizer.json", tokenizer.to_json(base)?.into_bytes()));
        if let Some(template) = &tokenizer.said_of_chats().template {
            files.push((chat::FILE, template.clone().into_bytes()));
        }
    } else {
        let config = ConfigJson::read(base)?.text_for(model, labels, precision);
        files.push(("config.json", config.into_bytes()));
    }
    for name in TOKENIZER_FILES {
        if let Some(bytes) = own_file(base, name)? {
            files.push((name, bytes));
        }
    }
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    write_folder_atomically(out, &files).map_err(|cause| Error::io(out, cause))
}

/// `config.json`, and `tokenizer_config.json`, which names the tokens around a text.
fn described(model: &Model, tokenizer: &Tokenizer) -> [String; 2] {
    let said = tokenizer.said_of_chats();
    let fields = serde_json::from_str(&model.config_json());
    let mut config: Map<String, Value> = fields.expect("it is a JSON object");
    let mut special = Map::new();
    special.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    for (name, token) in [("bos", &said.bos), ("eos", &said.eos)] {
        let id = token.as_deref().and_then(|token| tokenizer.id(token));
        if let (Some(token), Some(id)) = (token, id) {
            special.insert(format!("{name}_token"), token.clone().into());
            config.insert(format!("{name}_token_id"), id.into());
        }
    }
    [config, special].map(|fields| format!("{:#}\n", Value::from(fields)))
}

/// A file of a model's folder, if it is there. A link may lead within the folder, or
/// to the contents in a folder of downloads that the model folder is a part of; what is
/// elsewhere is not the model's, and is not copied.
fn own_file(base: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = base.join(name);
    let Ok(found) = path.symlink_metadata() else {
        return Ok(None);
    };
    let io = |cause| Error::io(&path, cause);
    if found.is_symlink() {
        let to = path.canonicalize().map_err(io)?;
        let folder = base.canonicalize().map_err(io)?;
        // models--owner--name/snapshots/COMMIT, beside models--owner--name/blobs.
        let snapshots = folder.parent().filter(|it| it.ends_with("snapshots"));
        let downloads = snapshots.and_then(Path::parent).map(|it| it.join("blobs"));
        if !to.starts_with(&folder) && downloads.is_none_or(|blobs| !to.starts_with(blobs)) {
            let problem = "expected a file of the model, found a link to one outside its folder";
            return Err(Error::file(&path, problem));
        }
    }
    ggpo_files::read(&path, TOKENIZER).map(Some).map_err(io)
}
