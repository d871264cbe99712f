//! Makes the small base models of the experiments, from public-domain text.
//!
//! One byte-level BPE vocabulary serves both models. The encoder learns to
//! fill in masked tokens, the decoder to continue text.

use std::path::{Path, PathBuf};

use ggpo_files::write_atomically;
use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::weights;
use ggpo_model::{Adapters, BertConfig, Body, Head, LlamaConfig, Model, Precision};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::data::bucket::epoch_batches;
use ggpo_train::data::{collate_masked, text};
use ggpo_train::evaluation::evaluate;
use ggpo_train::method::{AdapterKind, MethodConfig, Trainable};
use ggpo_train::ranks::Alone;
use ggpo_train::trainer::{Trainer, TrainerConfig, TrainerState};
use ggpo_train::{Error, Result, checkpoint, interrupt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::progress;

/// The description of a pre-training: a TOML file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The seed of everything random.
    pub seed: u64,
    /// Tokens of the vocabulary, the special ones included.
    pub vocabulary: usize,
    /// The list of works and what each is for.
    pub manifest: PathBuf,
    /// Where the model folders go.
    pub models: PathBuf,
    /// The encoder.
    pub encoder: Pretraining,
    /// The decoder.
    pub decoder: Pretraining,
}

/// One model and its training.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretraining {
    /// Blocks.
    pub layers: usize,
    /// Channels of a state.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads; only the decoder shares them.
    #[serde(default)]
    pub kv_heads: Option<usize>,
    /// Channels inside the feed-forward layer.
    pub inner: usize,
    /// Longest sequence the model can read, in tokens.
    pub positions: usize,
    /// Tokens of a training sequence.
    pub length: usize,
    /// Sequences per step.
    pub batch_size: usize,
    /// Standard deviation of the weights at the start.
    pub initializer_range: f32,
    /// Share of tokens that the encoder has to fill in.
    #[serde(default)]
    pub masked: f64,
    /// The optimisation.
    pub training: TrainerConfig,
}

impl PretrainConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, or a field is missing, unknown or out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let config: PretrainConfig = read_toml(path)?;
        for settings in [&config.encoder, &config.decoder] {
            settings.training.validate()?;
            if !(0.0..=1.0).contains(&settings.masked) {
                return Err(Error::config(
                    "masked",
                    "a share in [0, 1]",
                    settings.masked,
                ));
            }
            if settings.length < 3 || settings.length > settings.positions {
                let expected = format!("3 to {}, the positions", settings.positions);
                return Err(Error::config("length", expected, settings.length));
            }
        }
        Ok(config)
    }
}

/// The special tokens, which get the first ids.
const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const CHECKPOINT_KIND: &str = "pretraining";
/// Steps between two checkpoints.
const CHECKPOINT_EVERY: u32 = 200;

#[derive(Deserialize)]
struct Manifest {
    work: Vec<Work>,
}

#[derive(Deserialize)]
struct Work {
    path: PathBuf,
    split: String,
}

/// The texts of one split of the corpus, in the order of the manifest.
fn read_split(manifest: &Path, split: &str) -> Result<Vec<String>> {
    let works: Manifest = read_toml(manifest)?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let of_split = works.work.iter().filter(|work| work.split == split);
    let texts: Vec<String> = of_split
        .map(|work| read(&folder.join(&work.path)))
        .collect::<Result<_>>()?;
    if texts.is_empty() {
        let problem = format!("expected works with split = \"{split}\", found none");
        return Err(Error::file(manifest, problem));
    }
    Ok(texts)
}

fn read(path: &Path) -> Result<String> {
    ggpo_files::read_text(path, ggpo_files::read::ANY).map_err(|source| Error::io(path, source))
}

fn read_toml<V: DeserializeOwned>(path: &Path) -> Result<V> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| {
        let problem = ggpo_files::toml_problem(&text, error.message(), error.span());
        Error::file(path, problem)
    })
}

/// Which of the two models to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The BERT-form encoder.
    Encoder,
    /// The Llama-form decoder.
    Decoder,
}

/// Makes one model folder: `config.json`, `model.safetensors` in half
/// precision and `tokenizer.json`. Stopped, it continues from its checkpoint in
/// `work`.
///
/// Returns the validation loss in nats per target.
///
/// # Errors
/// If the corpus cannot be read or a file cannot be written.
pub fn pretrain(config: &PretrainConfig, which: Which, work: &Path) -> Result<f64> {
    let (settings, name) = match which {
        Which::Encoder => (&config.encoder, "encoder"),
        Which::Decoder => (&config.decoder, "decoder"),
    };
    let train_texts = read_split(&config.manifest, "pretrain")?;
    let tokenizer = Tokenizer::train_byte_level_bpe(&train_texts, config.vocabulary, &SPECIALS)?;
    let corpus = Corpus::new(config, settings, which, &tokenizer, &train_texts)?;
    let model = Model {
        body: settings.body(which, tokenizer.vocabulary()),
        head: Head::Tokens,
    };
    let parameters = model.new_parameters::<f32>(settings.initializer_range, config.seed);
    let trainable = Trainable {
        trained: parameters.keys().cloned().collect(),
        model: model.clone(),
        parameters,
        adapters: Adapters::new(),
    };
    let method = MethodConfig {
        adapter: AdapterKind::Full,
        ..MethodConfig::default()
    };
    let mut trainer = Trainer::new(trainable, &method, settings.training.clone(), config.seed)?;
    ggpo_files::create_folder(work).map_err(|source| Error::io(work, source))?;
    let saved = work.join(format!("{name}.bin"));
    let newest = checkpoint::read_newest::<TrainerState<f32>>(&saved, CHECKPOINT_KIND)?;
    if let Some((state, _)) = newest {
        trainer.restore(state)?;
    }
    train(&mut trainer, &corpus, settings, name, &saved)?;
    let validation = corpus.validation();
    let scores = evaluate(
        &model,
        trainer.parameters(),
        &Adapters::new(),
        &validation,
        &Alone,
    );

    let folder = config.models.join(name);
    ggpo_files::create_folder(&folder).map_err(|source| Error::io(&folder, source))?;
    let write = |file: &str, bytes: &[u8]| {
        let path = folder.join(file);
        write_atomically(&path, bytes).map_err(|source| Error::io(path, source))
    };
    let bytes = weights::to_safetensors(trainer.parameters(), Precision::F16);
    write("model.safetensors", &bytes)?;
    write("config.json", model.config_json().as_bytes())?;
    tokenizer.save(&folder.join("tokenizer.json"))?;
    Ok(scores.loss)
}

fn train(
    trainer: &mut Trainer<f32>,
    corpus: &Corpus<'_>,
    settings: &Pretraining,
    name: &str,
    saved: &Path,
) -> Result<()> {
    let total = settings.training.steps;
    let bar = progress::bar(total.into(), name, "steps");
    let per_epoch = corpus.order(0).len() as u32;
    let mut order = Vec::new();
    while trainer.steps_done() < total {
        let step = trainer.steps_done();
        if order.is_empty() || step.is_multiple_of(per_epoch) {
            order = corpus.order(step / per_epoch);
        }
        let batch = corpus.batch(&order[(step % per_epoch) as usize], step);
        if interrupt::requested().is_some() {
            checkpoint::write(saved, CHECKPOINT_KIND, &trainer.state())?;
            return Err(interrupt::stopped(step, saved));
        }
        let report = trainer.step(&[batch])?;
        bar.set_position(u64::from(step) + 1);
        bar.set_message(format!("loss {:.3}", report.loss));
        if trainer.steps_done().is_multiple_of(CHECKPOINT_EVERY) {
            checkpoint::write(saved, CHECKPOINT_KIND, &trainer.state())?;
        }
    }
    bar.finish();
    Ok(())
}

impl Pretraining {
    fn body(&self, which: Which, vocabulary: usize) -> Body {
        match which {
            Which::Encoder => Body::Bert(BertConfig {
                vocab_size: vocabulary,
                hidden_size: self.width,
                num_hidden_layers: self.layers,
                num_attention_heads: self.heads,
                intermediate_size: self.inner,
                max_position_embeddings: self.positions,
                type_vocab_size: 2,
                layer_norm_eps: 1e-12,
            }),
            Which::Decoder => Body::Llama(LlamaConfig {
                vocab_size: vocabulary,
                hidden_size: self.width,
                num_hidden_layers: self.layers,
                num_attention_heads: self.heads,
                num_key_value_heads: self.kv_heads.unwrap_or(self.heads),
                head_dim: self.width / self.heads,
                intermediate_size: self.inner,
                max_position_embeddings: self.positions,
                rms_norm_eps: 1e-6,
                rope_theta: 10_000.0,
                rope_scaling: None,
                tie_word_embeddings: true,
                attention_bias: false,
                mlp_bias: false,
            }),
        }
    }
}

/// The corpus in sequences.
struct Corpus<'a> {
    which: Which,
    seed: u64,
    batch_size: usize,
    masked: f64,
    tokenizer: &'a Tokenizer,
    train: Vec<Vec<usize>>,
    validation: Vec<Vec<usize>>,
}

impl<'a> Corpus<'a> {
    fn new(
        config: &PretrainConfig,
        settings: &Pretraining,
        which: Which,
        tokenizer: &'a Tokenizer,
        train: &[String],
    ) -> Result<Self> {
        let validation = read_split(&config.manifest, "pretrain-validation")?;
        let cut = |texts: &[String]| -> Result<Vec<Vec<usize>>> {
            let mut sequences = Vec::new();
            for text in texts {
                let ids = tokenizer.encode(text)?;
                sequences.extend(match which {
                    Which::Decoder => text::blocks(&ids, settings.length),
                    Which::Encoder => frame(&ids, settings.length, tokenizer),
                });
            }
            Ok(sequences)
        };
        Ok(Corpus {
            which,
            seed: config.seed,
            batch_size: settings.batch_size,
            masked: settings.masked,
            tokenizer,
            train: cut(train)?,
            validation: cut(&validation)?,
        })
    }

    fn order(&self, epoch: u32) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = self.train.iter().map(Vec::len).collect();
        epoch_batches(&lengths, self.batch_size, self.seed, epoch)
    }

    fn batch(&self, rows: &[usize], step: u32) -> Batch {
        let rows: Vec<&[usize]> = rows.iter().map(|row| self.train[*row].as_slice()).collect();
        self.collate(&rows, Stream::new(self.seed, Purpose::Masking, step, 0))
    }

    /// The validation sequences, with masks that are always the same.
    fn validation(&self) -> Vec<Batch> {
        let rows: Vec<&[usize]> = self.validation.iter().map(Vec::as_slice).collect();
        rows.chunks(self.batch_size)
            .enumerate()
            .map(|(index, rows)| {
                let stream = Stream::new(self.seed, Purpose::Masking, index as u32, 1);
                self.collate(rows, stream)
            })
            .collect()
    }

    fn collate(&self, rows: &[&[usize]], stream: Stream) -> Batch {
        let padding = special(self.tokenizer, "[PAD]");
        match self.which {
            Which::Decoder => collate_causal(rows, padding),
            Which::Encoder => {
                let mask = special(self.tokenizer, "[MASK]");
                let (specials, vocabulary) = (SPECIALS.len(), self.tokenizer.vocabulary());
                let ordinary = specials..vocabulary;
                collate_masked(rows, padding, mask, ordinary, self.masked, stream)
            }
        }
    }
}

fn special(tokenizer: &Tokenizer, token: &str) -> usize {
    tokenizer
        .id(token)
        .expect("trained with the special tokens")
}

/// Sequences of `length` tokens, each between `[CLS]` and `[SEP]`.
fn frame(ids: &[usize], length: usize, tokenizer: &Tokenizer) -> Vec<Vec<usize>> {
    let (start, end) = (special(tokenizer, "[CLS]"), special(tokenizer, "[SEP]"));
    ids.chunks(length - 2)
        .map(|ids| [&[start], ids, &[end]].concat())
        .collect()
}
