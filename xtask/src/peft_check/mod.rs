//! Our adapters in PEFT, and our training beside PyTorch's.

mod case;
mod ours;
mod theirs;
mod trajectory;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::weights::load;
use ggpo_model::{Head, Model, Parameters};
use ggpo_tensor::Tensor;

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
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut outcome = Outcome::default();
    if let (Some(adapter), Some(model)) = (&arguments.adapter, &arguments.model) {
        let name = adapter.display().to_string();
        outcome.note(&name, check_adapter(&python, adapter, model));
        return outcome.finish();
    }
    for (adapter, model) in fixtures()? {
        let name = adapter.parent().and_then(Path::file_name);
        let name = name.map_or_else(Default::default, |name| name.to_string_lossy());
        outcome.note(&name, check_adapter(&python, &adapter, &model));
    }
    for method in ours::METHODS {
        let checked = ours::train(method, &work.path().join(method))
            .and_then(|(adapter, model)| check_adapter(&python, &adapter, &model));
        outcome.note(&format!("trained here, {method}"), checked);
    }
    for kind in theirs::KINDS {
        let name = format!("trained in PEFT, {kind}");
        match theirs::check(&python, kind, work.path()) {
            Ok((line, adapter)) => {
                outcome.note(&name, Ok(line));
                let again = check_adapter(&python, &adapter, theirs::base());
                outcome.note(&format!("{name}, written again"), again);
            }
            Err(error) => outcome.note(&name, Err(error)),
        }
    }
    let refused = theirs::check_refusal(&python, work.path());
    outcome.note("trained in PEFT, to be refused", refused);
    outcome.finish()
}

/// How many checks there were, and how many failed.
#[derive(Default)]
struct Outcome {
    checks: usize,
    failures: usize,
}

impl Outcome {
    fn note(&mut self, name: &str, checked: Result<String>) {
        self.checks += 1;
        match checked {
            Ok(line) => ggpo::say!("{name}: {line}"),
            Err(error) => {
                ggpo::note!("{name}: failed: {error:#}");
                self.failures += 1;
            }
        }
    }

    fn finish(self) -> Result<()> {
        match self.failures {
            0 => Ok(()),
            failures => bail!("{failures} of {} checks failed", self.checks),
        }
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
    let adapted = adapted(&adapter, folder)?;
    let inputs = Inputs::new(&adapted.model, adapter.config.task_type.as_deref());
    let logits = Some(logits(adapter.clone(), &adapted, &inputs)?);

    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let written = work.path().join("adapter");
    adapter.write(&written)?;
    let case = work.path().join("case.safetensors");
    Case { inputs, logits }.write(&case)?;
    python.run("load_in_peft.py", |command| {
        command.arg(&written).arg(folder).arg("--case").arg(&case);
    })
}

/// A base model, with what was trained as a whole beside an adapter.
struct Adapted {
    model: Model,
    parameters: Parameters<f32>,
}

fn adapted(adapter: &PeftAdapter<f32>, folder: &Path) -> Result<Adapted> {
    let model = Model::read(folder, head(adapter)?)?;
    let mut parameters = load::<f32>(folder, &model)?.parameters;
    parameters.extend(adapter.saved_modules.clone());
    for spec in model.specification() {
        if !parameters.contains_key(&spec.name) {
            bail!("{} is neither in the model nor in the adapter", spec.name);
        }
    }
    Ok(Adapted { model, parameters })
}

fn logits(adapter: PeftAdapter<f32>, on: &Adapted, inputs: &Inputs) -> Result<Tensor<f32>> {
    let weight = |module: &str| on.parameters.weight(&format!("{module}.weight"));
    let adapters = adapter.on_bases(weight)?.adapters;
    Ok(on.model.evaluate(&on.parameters, &adapters, &inputs.batch))
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
