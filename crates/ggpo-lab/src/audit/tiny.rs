//! A model so small that an audit shows it whole, and the texts it learns from.
//!
//! It is a model folder like any other: read, adapted and trained by the code that
//! reads, adapts and trains published ones.

use std::path::Path;

use ggpo_files::write_atomically;
use ggpo_model::weights::to_safetensors;
use ggpo_model::{BertConfig, Body, Head, Model, Precision};
use ggpo_train::Error;
use ggpo_train::run::Description;

use super::Result;

/// Width of the states.
const WIDTH: usize = 8;
/// Words and special tokens of `tokenizer.json`.
const VOCABULARY: usize = 15;
/// What the weights start from.
const SEED: u64 = 20250214;

const TOKENIZER: &str = include_str!("tiny/tokenizer.json");
const TRAIN: &str = include_str!("tiny/train.tsv");

/// An encoder of two blocks and 1024 adapted weights.
fn model() -> Model {
    Model {
        body: Body::Bert(BertConfig {
            vocab_size: VOCABULARY,
            hidden_size: WIDTH,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 2 * WIDTH,
            max_position_embeddings: WIDTH,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        }),
        head: Head::Classes(2),
    }
}

/// Writes the model and its texts into a folder, and describes a run on them as far as
/// `description` does not.
///
/// # Errors
/// If a file cannot be written.
pub fn describe(folder: &Path, description: &mut Description) -> Result<()> {
    let model = model();
    // Weights of this deviation keep the size of the states from layer to layer.
    let deviation = (1.0 / WIDTH as f32).sqrt();
    let weights = to_safetensors(
        &model.new_parameters::<f32>(deviation, SEED),
        Precision::F32,
    );
    let config = model.config_json();
    for (name, bytes) in [
        ("config.json", config.as_bytes()),
        ("model.safetensors", &weights),
        ("tokenizer.json", TOKENIZER.as_bytes()),
        ("train.tsv", TRAIN.as_bytes()),
    ] {
        let path = folder.join(name);
        write_atomically(&path, bytes).map_err(|cause| Error::io(path, cause))?;
    }
    let path = |name: &str| folder.join(name).display().to_string();
    description.set("model", folder.display().to_string())?;
    description.set("task.train", path("train.tsv"))?;
    let mut default = |field: &str, value: toml::Value| match description.get(field) {
        Some(_) => Ok(()),
        None => description.set(field, value),
    };
    default("task.max_length", (WIDTH as i64).into())?;
    default("method.lora.rank", 2.into())?;
    default("method.lora.alpha", 4.0.into())?;
    default("training.learning_rate", 1e-2.into())?;
    default("batch_size", 4.into())?;
    Ok(())
}
