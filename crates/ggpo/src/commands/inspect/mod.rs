//! `ggpo inspect`: what a model, an adapter, a run, a checkpoint or a data file
//! holds.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ggpo_files::read::ANY;
use ggpo_files::sentence::at_most;
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::{ConfigJson, Head, Model, gguf, weights};
use ggpo_train::Error;
use ggpo_train::run::{CHECKPOINT, DESCRIPTION, RunConfig, read_result, summarize_checkpoint};
use serde_json::{Map, Value, json};

use crate::output::print_json;
use crate::say;

/// Arguments of `ggpo inspect`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo inspect models/fetched/minilm
  ggpo inspect runs/ggpo/adapter
  ggpo inspect runs/ggpo/checkpoint.bin --json")]
pub(crate) struct Inspect {
    /// A model folder, adapter folder, run folder, checkpoint, .safetensors,
    /// .gguf or data file
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Most characters of a line that is printed: names come out of files.
const WIDEST: usize = 4000;

/// Facts about a file, in the order in which they are shown.
#[derive(Default)]
struct Facts(Vec<(String, Value)>);

impl Facts {
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into()));
    }

    fn print(self, json: bool) -> Result<()> {
        if json {
            return print_json(&Map::from_iter(self.0));
        }
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.0 {
            match value {
                Value::String(text) => say!("{name:width$}  {}", at_most(&text, WIDEST)),
                Value::Array(entries) => {
                    say!("{name}:");
                    for entry in entries {
                        say!("  {}", at_most(&plain(&entry), WIDEST));
                    }
                }
                other => say!("{name:width$}  {}", at_most(&other.to_string(), WIDEST)),
            }
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Inspect {
    pub(crate) fn execute(&self) -> Result<()> {
        let path = &self.path;
        let facts = if path.is_dir() {
            self.folder()?
        } else {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("safetensors") => tensors(path)?,
                Some("gguf") => gguf_file(path)?,
                Some("bin") => checkpoint(path)?,
                Some("tsv" | "csv" | "jsonl") => table::facts(path)?,
                Some("txt") => text(path)?,
                _ => bail!(
                    "{}: expected a folder, or a file ending in .safetensors, .gguf, .bin, .tsv, \
                     .csv, .jsonl or .txt",
                    path.display()
                ),
            }
        };
        facts.print(self.json)
    }

    fn folder(&self) -> Result<Facts> {
        let has = |name: &str| self.path.join(name).exists();
        if has("adapter_config.json") {
            adapter(&self.path)
        } else if has(DESCRIPTION) {
            run(&self.path)
        } else if has("config.json") {
            model(&self.path)
        } else {
            bail!(
                "{}: expected a folder with config.json (a model), adapter_config.json (an \
                 adapter) or {DESCRIPTION} (a run), found none of them",
                self.path.display()
            )
        }
    }
}

fn model(folder: &Path) -> Result<Facts> {
    // A body stored without head is shown under a head of two classes.
    let headless = ConfigJson::read(folder)?.head().is_err();
    let model = match headless {
        true => Model::read(folder, Head::Classes(2))?,
        false => Model::open(folder)?,
    };
    let loaded = weights::load::<f32>(folder, &model)?;
    let count: usize = loaded.parameters.values().map(|tensor| tensor.len()).sum();
    let mut facts = Facts::default();
    facts.add("kind", "model");
    add_shape(&mut facts, &model);
    let head = match headless {
        true => "none".to_owned(),
        false => format!("{:?}", model.head),
    };
    facts.add("head", head);
    facts.add("parameters", count);
    facts.add("vocabulary", model.vocabulary());
    facts.add("positions", model.positions());
    facts.add("linear layers of the blocks", model.block_linears().len());
    if !loaded.missing.is_empty() {
        let missing = loaded.missing.into_iter().map(|spec| spec.name);
        facts.add("new when trained", missing.collect::<Vec<_>>());
    }
    Ok(facts)
}

/// The family, and what `config.json` says of a model of this shape.
fn add_shape(facts: &mut Facts, model: &Model) {
    facts.add("family", model.body.model_type());
    let fields = serde_json::from_str(&model.config_json());
    let fields: Map<String, Value> = fields.unwrap_or_default();
    let fields = fields.into_iter().filter(|(name, value)| {
        let is_shape = matches!(value, Value::Number(_) | Value::Bool(_));
        is_shape && !["vocab_size", "max_position_embeddings"].contains(&name.as_str())
    });
    for (name, value) in fields {
        facts.add(&name.replace('_', " "), value);
    }
}

fn gguf_file(path: &Path) -> Result<Facts> {
    let file = gguf::open::<f32>(path)?;
    let dense: usize = file.parameters.values().map(|tensor| tensor.len()).sum();
    let matrices = file.parameters.quantized.values();
    let blocks: usize = matrices.map(|matrix| matrix.dim().0 * matrix.dim().1).sum();
    let mut formats: BTreeMap<String, usize> = BTreeMap::new();
    for matrix in file.parameters.quantized.values() {
        *formats.entry(format!("{:?}", matrix.format())).or_default() += 1;
    }
    let mut facts = Facts::default();
    facts.add("kind", "GGUF model");
    add_shape(&mut facts, &file.model);
    facts.add("parameters", dense + blocks);
    facts.add("bytes in memory", file.parameters.bytes());
    facts.add("bytes in single precision", 4 * (dense + blocks));
    facts.add("dense tensors", file.parameters.len());
    for (format, count) in formats {
        facts.add(&format!("tensors in {format}"), count);
    }
    facts.add("vocabulary", file.model.vocabulary());
    facts.add("positions", file.model.positions());
    facts.add("chat template", file.chat_template.is_some());
    Ok(facts)
}

fn adapter(folder: &Path) -> Result<Facts> {
    let adapter = PeftAdapter::<f32>::read(folder)?;
    let config = &adapter.config;
    let factors = adapter.adapters.values().flat_map(|it| it.factors());
    let numbers = factors.map(|(_, factor)| factor.len());
    let mut facts = Facts::default();
    facts.add("kind", "adapter");
    let base = config.base_model_name_or_path.as_deref();
    facts.add("base model", base.unwrap_or("not named"));
    facts.add("task", config.task_type.as_deref().unwrap_or("not named"));
    facts.add("form", config.form.title);
    let names = config.form.factors.iter().map(|(name, _)| *name);
    facts.add("factors", names.collect::<Vec<_>>().join(", "));
    match &config.budget {
        None => facts.add("rank", config.r),
        Some(budget) => {
            facts.add("rank at the start", budget.settings.init_rank);
            facts.add("mean rank aimed at", budget.target_rank);
        }
    }
    facts.add("alpha", config.lora_alpha);
    facts.add("rsLoRA", config.use_rslora);
    if let Some(start) = config.start() {
        let start = start.title();
        let base = format!("W - s B0 A0, the start of {start}, made of W when it is loaded");
        facts.add("acts on", base);
    }
    facts.add("adapted layers", adapter.adapters.len());
    facts.add("trained numbers in adapters", numbers.sum::<usize>());
    let layers = adapter.adapters.iter().map(|(module, adapter)| {
        let (m, n) = adapter.dim();
        let of_budget = config.budget.as_ref();
        let kept = of_budget.and_then(|budget| budget.kept.get(module));
        let rank = kept.map_or(adapter.rank(), |kept| kept.iter().filter(|&&k| k).count());
        format!("{module}: {m} x {n}, rank {rank}")
    });
    facts.add("layers", layers.collect::<Vec<_>>());
    let saved = adapter.saved_modules.iter();
    let saved: Vec<_> = saved
        .map(|(name, t)| format!("{name} {:?}", t.shape()))
        .collect();
    if !saved.is_empty() {
        facts.add("modules saved whole", saved);
    }
    Ok(facts)
}

fn run(folder: &Path) -> Result<Facts> {
    let config = RunConfig::read(&folder.join(DESCRIPTION))?;
    let mut facts = Facts::default();
    facts.add("kind", "run");
    facts.add("model", config.model.display().to_string());
    facts.add(
        "training rows from",
        config.task.train.display().to_string(),
    );
    facts.add("method", json!(config.method));
    facts.add("steps", config.training.steps);
    match read_result(folder)? {
        Some(result) => {
            facts.add("state", "finished");
            facts.add("best after step", result.best_step);
            facts.add("validation", json!(result.validation));
            facts.add("test", json!(result.test));
        }
        None => facts.add("state", "unfinished; ggpo train --resume continues it"),
    }
    let path = folder.join(CHECKPOINT);
    if path.exists() {
        facts.0.extend(checkpoint(&path)?.0.into_iter().skip(1));
    }
    Ok(facts)
}

fn checkpoint(path: &Path) -> Result<Facts> {
    let summary = summarize_checkpoint(path)?;
    let mut facts = Facts::default();
    facts.add("kind", "checkpoint of a run");
    facts.add("steps done", summary.steps_done);
    facts.add("trained tensors", summary.trained_tensors);
    facts.add("trained numbers", summary.trained_numbers);
    if let Some((step, scores)) = summary.best {
        facts.add("best so far after step", step);
        facts.add("its validation scores", json!(scores));
    }
    if let Some(loss) = summary.last_loss {
        facts.add("last training loss", loss);
    }
    Ok(facts)
}

fn tensors(path: &Path) -> Result<Facts> {
    let bytes = ggpo_files::read(path, ANY).with_context(|| path.display().to_string())?;
    ggpo_files::json::check_safetensors(&bytes).map_err(|found| {
        Error::file(path, format!("expected a safetensors file, found {found}"))
    })?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| {
        Error::file(path, format!("expected a safetensors file, found {error}"))
    })?;
    let tensors: BTreeMap<_, _> = header.tensors().into_iter().collect();
    let count: usize = tensors
        .values()
        .map(|t| t.shape.iter().product::<usize>())
        .sum();
    let mut facts = Facts::default();
    facts.add("kind", "tensors");
    facts.add("bytes", bytes.len());
    facts.add("numbers", count);
    let lines = tensors
        .iter()
        .map(|(name, t)| format!("{name} {:?} {}", t.shape, t.dtype));
    facts.add("tensors", lines.collect::<Vec<_>>());
    Ok(facts)
}

fn text(path: &Path) -> Result<Facts> {
    let text = ggpo_files::read_text(path, ANY).map_err(|cause| Error::io(path, cause))?;
    let mut facts = Facts::default();
    facts.add("kind", "text");
    facts.add("characters", text.chars().count());
    facts.add("lines", text.lines().count());
    facts.add("words", text.split_whitespace().count());
    Ok(facts)
}
