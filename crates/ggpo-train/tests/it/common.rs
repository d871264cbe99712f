//! A tiny model, tokeniser and data set, made on the spot.

#![allow(dead_code, reason = "not every test file uses everything")]

use std::path::{Path, PathBuf};

use ggpo_lora::method::{METHODS, method};
use ggpo_lora::{GgpoConfig, PerturbationConfig};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::weights::to_safetensors;
use ggpo_model::{BertConfig, Body, Head, LlamaConfig, Model, Precision};
use ggpo_train::method::MethodConfig;
use ggpo_train::run::{RunConfig, TaskConfig, TaskKind};
use ggpo_train::schedule::{Schedule, ScheduleKind, Warmup};
use ggpo_train::trainer::TrainerConfig;

/// A folder with a model and data, gone when dropped.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

fn rows(count: usize, shift: usize) -> String {
    let words = ["sun", "sea", "rose", "stone", "iron", "night"];
    let mut table = "label\ttext\n".to_owned();
    for row in 0..count {
        let (label, first) = if row % 2 == 0 {
            ("warm", 0)
        } else {
            ("cold", 3)
        };
        let word = |n: usize| words[first + (row + shift + n) % 3];
        let length = 1 + (row + shift) % 4;
        let text: Vec<&str> = (0..length).map(word).collect();
        table += &format!("{label}\tthe {}\n", text.join(" and the "));
    }
    table
}

impl World {
    pub(crate) fn new() -> Self {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        for (name, text) in [
            ("train", rows(48, 0)),
            ("validation", rows(16, 1)),
            ("test", rows(20, 2)),
        ] {
            std::fs::write(world.path(&format!("{name}.tsv")), &text).unwrap();
            std::fs::write(world.path(&format!("{name}.txt")), &text).unwrap();
        }
        let text = rows(48, 0);
        let tokenizer = Tokenizer::train_byte_level_bpe(&[text], 290, &SPECIALS).unwrap();
        let encoder = Body::Bert(BertConfig {
            vocab_size: tokenizer.vocabulary(),
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            max_position_embeddings: 32,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        });
        let decoder = Body::Llama(LlamaConfig {
            vocab_size: tokenizer.vocabulary(),
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            intermediate_size: 24,
            max_position_embeddings: 32,
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            rope_scaling: None,
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
        });
        for (name, body) in [("encoder", encoder), ("decoder", decoder)] {
            let folder = world.path(name);
            std::fs::create_dir(&folder).unwrap();
            let model = Model {
                body,
                head: Head::Tokens,
            };
            let bytes = to_safetensors(&model.new_parameters::<f32>(0.02, 7), Precision::F32);
            std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
            std::fs::write(folder.join("config.json"), model.config_json()).unwrap();
            tokenizer.save(&folder.join("tokenizer.json")).unwrap();
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A classification run of 12 steps.
    pub(crate) fn classification(&self, method: MethodConfig) -> RunConfig {
        self.config("encoder", TaskKind::Classification, "tsv", method)
    }

    /// A language modelling run of 12 steps.
    pub(crate) fn language_modelling(&self, method: MethodConfig) -> RunConfig {
        self.config("decoder", TaskKind::LanguageModelling, "txt", method)
    }

    fn config(&self, model: &str, kind: TaskKind, ending: &str, method: MethodConfig) -> RunConfig {
        let file = |name: &str| self.path(&format!("{name}.{ending}"));
        RunConfig {
            seed: 3,
            model: self.path(model),
            adapter: None,
            task: TaskConfig {
                validation: Some(file("validation")),
                test: Some(file("test")),
                ..TaskConfig::new(kind, file("train"), 24)
            },
            method,
            head: Default::default(),
            training: TrainerConfig {
                learning_rate: 1e-2,
                steps: 12,
                schedule: Schedule {
                    kind: ScheduleKind::Cosine,
                    warmup: Warmup::Steps(2),
                },
                clip: Some(1.0),
                adamw: Default::default(),
            },
            batch_size: 8,
            micro_batches: 1,
            evaluate_every: 4,
            patience: None,
            checkpoint_every: 3,
        }
    }
}

/// LoRA of rank 4, under GGPO with these options if there are any.
pub(crate) fn lora(perturbation: Option<GgpoConfig>) -> MethodConfig {
    rank_4(MethodConfig {
        perturbation: perturbation.map(PerturbationConfig::Ggpo),
        ..MethodConfig::default()
    })
}

/// A method of the table with adapters of rank 4.
pub(crate) fn named(name: &str) -> MethodConfig {
    rank_4(method(name).expect("a method of the table").config())
}

/// Every method of the table.
pub(crate) fn every_method() -> Vec<MethodConfig> {
    METHODS.iter().map(|method| named(method.name)).collect()
}

fn rank_4(mut method: MethodConfig) -> MethodConfig {
    method.lora.rank = 4;
    method.adalora.init_rank = 6;
    method
}

/// Training of every weight.
pub(crate) fn full() -> MethodConfig {
    named("full")
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
