//! Base models as people have them: Hugging Face folders, and GGUF files.

mod file;
mod folder;

use std::path::{Path, PathBuf};

pub use file::write_model_file;
pub use folder::write_model_folder;

use crate::model::{ConfigJson, Head, Model, ParameterSpec};
use crate::parameters::Parameters;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, gguf, weights};

/// A base model, read whole.
#[derive(Debug)]
pub struct Base {
    /// Shape and head.
    pub model: Model,
    /// What the files hold of its parameters.
    pub parameters: Parameters<f32>,
    /// Parameters of a new head, which the files lack.
    pub missing: Vec<ParameterSpec>,
}

impl Model {
    /// Reads `config.json` of a model folder, for the given head.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`ConfigJson::model`]; of a model whose
    /// weights decide about its head, also if these cannot be read.
    pub fn read(folder: &Path, head: Head) -> Result<Self> {
        let config = ConfigJson::read(folder)?;
        let lm_head = config.leaves_lm_head_open() && weights::holds(folder, "lm_head.weight")?;
        config.model(head, lm_head)
    }

    /// As [`read`](Self::read), with the head that `config.json` names.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`ConfigJson::head`].
    pub fn open(folder: &Path) -> Result<Self> {
        Self::read(folder, ConfigJson::read(folder)?.head()?)
    }
}

/// Whether a path is that of a GGUF file rather than of a folder.
pub fn is_gguf(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

impl Base {
    /// Reads a base model under a head, or under its own.
    ///
    /// # Errors
    /// If a file cannot be read, or the model cannot have the head.
    pub fn open(path: &Path, head: Option<Head>) -> Result<Self> {
        if is_gguf(path) {
            return Self::open_gguf(path, head);
        }
        let model = match head {
            Some(head) => Model::read(path, head)?,
            None => Model::open(path)?,
        };
        let loaded = weights::load(path, &model)?;
        Ok(Base {
            model,
            parameters: loaded.parameters,
            missing: loaded.missing,
        })
    }

    fn open_gguf(path: &Path, head: Option<Head>) -> Result<Self> {
        if head.is_some_and(|head| head != Head::Tokens) {
            let problem = "expected a folder with config.json for a model that classifies, found a \
                           GGUF file, which predicts tokens";
            return Err(Error::file(path, problem));
        }
        let file = gguf::open(path)?;
        Ok(Base {
            model: file.model,
            parameters: file.parameters,
            missing: Vec::new(),
        })
    }
}

/// The files that a base model is read from.
///
/// # Errors
/// If the index of weights in several files cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if is_gguf(path) {
        return Ok(vec![path.to_owned()]);
    }
    let described = ["config.json", "tokenizer.json"].map(|name| path.join(name));
    let described = described.into_iter().filter(|path| path.exists());
    Ok(described.chain(weights::files(path)?).collect())
}

/// The tokenizer of a base model.
///
/// # Errors
/// If it cannot be read, or cannot encode every text.
pub fn tokenizer(path: &Path) -> Result<Tokenizer> {
    if is_gguf(path) {
        return gguf::open_tokenizer(path);
    }
    Tokenizer::open(path)
}
