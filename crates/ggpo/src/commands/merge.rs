//! `ggpo merge`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ggpo_files::{check_new_folder, check_target};
use ggpo_model::assembled::Assembled;
use ggpo_model::base::{write_model_file, write_model_folder};
use ggpo_model::gguf::Elements;
use ggpo_model::merge::Merged;
use ggpo_model::{Adapters, Precision};
use ggpo_tensor::BlockFormat;
use ggpo_train::Error;
use ggpo_train::run::assemble;
use serde_json::json;

use crate::output::print_json;
use crate::say;

/// Arguments of `ggpo merge`.
#[derive(Args)]
#[command(after_help = "\
Several adapters make W + c_1 (W_1 - W) + c_2 (W_2 - W) + ... of a weight W, where W_i is what
adapter i makes of it and c_i its weight.

Examples:
  ggpo merge --run runs/ggpo --out merged
  ggpo merge --model models/fetched/minilm --adapter adapter --out merged --precision f16
  ggpo merge --run runs/assistant --gguf assistant.gguf --quantize q8_0
  ggpo merge --model base.gguf --adapter a=0.7 --adapter b=0.3 --gguf both.gguf")]
pub(crate) struct Merge {
    /// Folder of a finished run
    #[arg(long, value_name = "DIR", help_heading = "Model", required_unless_present = "model",
          conflicts_with_all = ["model", "adapter"])]
    run: Option<PathBuf>,
    /// Folder of a model, or a GGUF file
    #[arg(long, value_name = "PATH", help_heading = "Model")]
    model: Option<PathBuf>,
    /// Folder of a PEFT adapter for the model, with a weight of 1 or the one after the sign;
    /// may be repeated
    #[arg(
        long,
        value_name = "DIR[=WEIGHT]",
        help_heading = "Model",
        requires = "model"
    )]
    adapter: Vec<Weighted>,
    /// Folder to write, as Hugging Face has them; it must not exist
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "gguf",
        conflicts_with = "gguf"
    )]
    out: Option<PathBuf>,
    /// Precision of the weights in the folder
    #[arg(long, value_enum, default_value = "f32", conflicts_with = "gguf")]
    precision: StoredAs,
    /// File to write: the whole model as llama.cpp takes it, with its tokenizer and chat
    /// template; a model without an adapter is written, too
    #[arg(long, value_name = "FILE.gguf")]
    gguf: Option<PathBuf>,
    /// How matrices are stored in the file. What comes in smaller blocks and is not changed
    /// stays in them; with q4_0 the tables of tokens become q8_0
    #[arg(long, value_enum, default_value = "f16", conflicts_with = "out")]
    quantize: Quantize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The folder of an adapter, and its weight.
#[derive(Clone, Debug, PartialEq)]
struct Weighted {
    folder: PathBuf,
    weight: f32,
}

impl FromStr for Weighted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = || Weighted {
            folder: text.into(),
            weight: 1.0,
        };
        match text.rsplit_once('=') {
            // A folder may have the sign in its name.
            Some((folder, weight)) if !folder.is_empty() && !Path::new(text).is_dir() => {
                let number = weight.parse().ok().filter(|it: &f32| it.is_finite());
                let weight = number.ok_or_else(|| {
                    format!("expected a finite number after \"=\", the adapter's weight, found {weight:?}")
                })?;
                Ok(Weighted {
                    folder: folder.into(),
                    weight,
                })
            }
            _ => Ok(whole()),
        }
    }
}

/// Precision of stored weights.
#[derive(Clone, Copy, ValueEnum)]
enum StoredAs {
    F32,
    F16,
    Bf16,
}

/// How matrices are stored in a GGUF file.
#[derive(Clone, Copy, ValueEnum)]
enum Quantize {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

/// What is merged.
struct Opened {
    base: PathBuf,
    assembled: Assembled,
    adapters: Vec<(f32, Adapters<f32>)>,
}

impl Merge {
    pub(crate) fn execute(&self) -> Result<()> {
        self.check()?;
        let Opened {
            base,
            assembled,
            adapters,
        } = self.open()?;
        let adapted = adapters
            .iter()
            .map(|(weight, adapters)| (*weight, adapters));
        let merged = Merged::new(&assembled.parameters, adapted);
        let layers = merged.layers().len();
        if let Some(path) = &self.gguf {
            let (model, tokenizer) = (&assembled.model, &assembled.tokenizer);
            let elements = self.quantize.elements();
            let kinds = write_model_file(path, &base, model, tokenizer, elements, &merged)?;
            if self.json {
                return print_json(&json!({
                    "gguf": path,
                    "merged_layers": layers,
                    "tensors": kinds,
                }));
            }
            let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
            let kinds: Vec<String> = kinds.collect();
            let (path, kinds) = (path.display(), kinds.join(", "));
            say!("adapters of {layers} layers merged; tensors: {kinds}; written: {path}");
            return Ok(());
        }
        if layers == 0 {
            bail!("expected a model with an adapter to merge, found none; name it with --adapter");
        }
        let out = self.out.as_deref().unwrap_or(Path::new("merged"));
        let precision = match self.precision {
            StoredAs::F32 => Precision::F32,
            StoredAs::F16 => Precision::F16,
            StoredAs::Bf16 => Precision::BF16,
        };
        let (model, labels) = (&assembled.model, &assembled.labels);
        write_model_folder(out, &base, model, labels, &merged.all(), precision)?;
        if self.json {
            return print_json(&json!({
                "out": out,
                "merged_layers": layers,
            }));
        }
        say!("{layers} adapters merged; written: {}", out.display());
        Ok(())
    }

    /// Checks that the target can be written, before the work.
    fn check(&self) -> Result<()> {
        if let Some(path) = &self.gguf {
            check_target(path).map_err(|cause| Error::io(path, cause))?;
        }
        if let Some(out) = &self.out {
            check_new_folder(out).map_err(|cause| match cause.kind() {
                ErrorKind::AlreadyExists => {
                    Error::file(out, "expected a new folder, found one that exists")
                }
                _ => Error::io(out, cause),
            })?;
        }
        Ok(())
    }

    fn open(&self) -> Result<Opened> {
        if let Some(folder) = &self.run {
            let (run, mut assembled) = assemble(folder)?;
            let adapters = std::mem::take(&mut assembled.adapters);
            return Ok(Opened {
                base: run.model,
                assembled,
                adapters: vec![(1.0, adapters)],
            });
        }
        let base = self.model.clone().unwrap_or_default();
        let (assembled, adapters) = match &*self.adapter {
            [] => (Assembled::open(&base, None)?, Vec::new()),
            [Weighted { folder, weight }] if *weight == 1.0 => {
                let mut assembled = Assembled::open(&base, Some(folder))?;
                let adapters = std::mem::take(&mut assembled.adapters);
                (assembled, vec![(1.0, adapters)])
            }
            several => {
                let folders: Vec<PathBuf> = several.iter().map(|it| it.folder.clone()).collect();
                let (assembled, adapters) = Assembled::open_several(&base, &folders)?;
                let weights = several.iter().map(|it| it.weight);
                (assembled, weights.zip(adapters).collect())
            }
        };
        Ok(Opened {
            base,
            assembled,
            adapters,
        })
    }
}

impl Quantize {
    fn elements(self) -> Elements {
        match self {
            Quantize::F32 => Elements::F32,
            Quantize::F16 => Elements::Blocks(BlockFormat::F16),
            Quantize::Bf16 => Elements::Blocks(BlockFormat::BF16),
            Quantize::Q8_0 => Elements::Blocks(BlockFormat::Q8_0),
            Quantize::Q4_0 => Elements::Blocks(BlockFormat::Q4_0),
        }
    }
}
