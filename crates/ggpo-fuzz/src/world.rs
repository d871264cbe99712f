//! What the targets put hostile files beside: a tiny model, its tokenizer, a folder.

use std::path::{Path, PathBuf};

use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::weights::to_safetensors;
use ggpo_model::{BertConfig, Body, Head, LlamaConfig, Model, Precision};

/// A folder with tiny models, gone when dropped.
pub struct World {
    folder: tempfile::TempDir,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) encoder: Model,
    pub(crate) decoder: Model,
}

impl World {
    /// Makes the folder where the environment says (`TMPDIR`), or in memory where there is
    /// such a file system.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = match memory.is_dir() && std::env::var_os("TMPDIR").is_none() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let folder = tempfile::tempdir_in(place).expect("a temporary folder");
        let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>"];
        let texts = ["the sun and the sea and the iron night"];
        let tokenizer = Tokenizer::train_byte_level_bpe(&texts, 270, &specials).expect("trains");
        let vocab_size = tokenizer.vocabulary();
        let encoder = Body::Bert(BertConfig {
            vocab_size,
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 8,
            max_position_embeddings: 16,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        });
        let decoder = Body::Llama(LlamaConfig {
            vocab_size,
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 4,
            intermediate_size: 8,
            max_position_embeddings: 16,
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            rope_scaling: None,
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
        });
        let world = World {
            folder,
            tokenizer,
            encoder: Model {
                body: encoder,
                head: Head::Classes(2),
            },
            decoder: Model {
                body: decoder,
                head: Head::Tokens,
            },
        };
        for (name, model) in [("encoder", &world.encoder), ("decoder", &world.decoder)] {
            let parameters = model.new_parameters::<f32>(0.02, 7);
            world.write(
                &format!("{name}/model.safetensors"),
                &to_safetensors(&parameters, Precision::F32),
            );
            world.write(
                &format!("{name}/config.json"),
                model.config_json().as_bytes(),
            );
            let json = world.tokenizer.to_json(&world.path(name)).expect("a form");
            world.write(&format!("{name}/tokenizer.json"), json.as_bytes());
        }
        world
    }

    /// Where a file of that name is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file there; its folder is made.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        let parent = path.parent().expect("a file in the folder");
        std::fs::create_dir_all(parent).expect("a folder");
        std::fs::write(&path, bytes).expect("writes");
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("is there")
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Two pieces of one input: a length of two bytes, the first piece, the second.
pub(crate) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return (bytes, &[]);
    };
    let length = usize::from(u16::from_le_bytes(*length));
    rest.split_at(length.min(rest.len()))
}

/// The input that [`split`] takes apart.
pub(crate) fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let length = u16::try_from(first.len()).expect("a short first piece");
    [&length.to_le_bytes(), first, second].concat()
}
