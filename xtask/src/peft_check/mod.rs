//! Our adapters in PEFT, and our training beside PyTorch's.

mod case;
mod trajectory;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::weights::load;
use ggpo_model::{Head, Model};

use crate::python::Python;
use case::{Case, Inputs};

/// Models with adapters, one folder per family.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reference");

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of an adapter, instead of those of the tests.
    #[arg(long, requires = "model")]
    adapter: Option<PathBuf>,
    /// Folder of its base model.
    #[arg(long, requires = "adapter")]
    model: Option<PathBuf>,
    /// Train as this file describes, here and in PyTorch, and compare.
    #[arg(long, conflicts_with = "adapter")]
    run: Option<PathBuf>,
    /// Steps of that training.
    #[arg(long, default_value_t = 20, requires = "run")]
    steps: u32,
}

/// Runs what was asked for.
///
/// # Errors
/// If an input cannot be used, there is no PEFT, or something differs.
pub(crate) fn check(arguments: &Arguments) -> Result<()> {
    let python = Python::find(None)?;
    if let Some(run) = &arguments.run {
        return trajectory::check(&python, run, arguments.steps);
    }
    let pairs = match (&arguments.adapter, &arguments.model) {
        (Some(adapter), Some(model)) => vec![(adapter.clone(), model.clone())],
        _ => fixtures()?,
    };
    let mut differ = 0;
    for (adapter, model) in &pairs {
        let name = adapter.parent().and_then(Path::file_name);
        let name = name.map_or_else(Default::default, |name| name.to_string_lossy());
        match check_adapter(&python, adapter, model) {
            Ok(line) => println!("{name}: {line}"),
            Err(error) => {
                eprintln!("{name}: {error}");
                differ += 1;
            }
        }
    }
    match differ {
        0 => Ok(()),
        _ => bail!("{differ} of {} adapters differ in PEFT", pairs.len()),
    }
}

/// Adapter and model of every family of the tests.
fn fixtures() -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut families: Vec<PathBuf> = std::fs::read_dir(FIXTURES)
        .context(FIXTURES)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("adapter").is_dir() && path.join("model").is_dir())
        .collect();
    families.sort();
    Ok(families
        .into_iter()
        .map(|family| (family.join("adapter"), family.join("model")))
        .collect())
}

/// Reads an adapter, writes it again, and compares the logits of its model with
/// those that PEFT gets with what was written.
fn check_adapter(python: &Python, adapter: &Path, folder: &Path) -> Result<String> {
    let adapter = PeftAdapter::<f32>::read(adapter)?;
    let model = Model::read(folder, head(&adapter)?)?;
    let mut parameters = load::<f32>(folder, &model)?.parameters;
    parameters.extend(adapter.saved_modules.clone());
    for spec in model.specification() {
        if !parameters.contains_key(&spec.name) {
            bail!("{} is neither in the model nor in the adapter", spec.name);
        }
    }
    let inputs = Inputs::new(&model, adapter.config.task_type.as_deref());
    let logits = model.evaluate(&parameters, &adapter.adapters, &inputs.batch);

    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let written = work.path().join("adapter");
    adapter.write(&written)?;
    let case = work.path().join("case.safetensors");
    Case { inputs, logits }.write(&case)?;
    python.run("load_in_peft.py", |command| {
        command.arg(&written).arg(folder).arg("--case").arg(&case);
    })
}

/// The head that the adapter was trained with.
fn head(adapter: &PeftAdapter<f32>) -> Result<Head> {
    let task = adapter.config.task_type.as_deref();
    if task != Some("SEQ_CLS") {
        return Ok(Head::Tokens);
    }
    let classes = ["classifier.weight", "score.weight"]
        .iter()
        .find_map(|name| adapter.saved_modules.get(*name));
    match classes.map(|weight| weight.shape()[0]) {
        None => bail!("the adapter classifies but holds no trained classifier"),
        Some(1) => Ok(Head::Value),
        Some(classes) => Ok(Head::Classes(classes)),
    }
}
