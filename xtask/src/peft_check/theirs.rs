//! Adapters that PEFT trains, read here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ggpo_lora::peft::PeftAdapter;
use ggpo_tensor::flat;
use safetensors::SafeTensors;

use super::{Case, Inputs, adapted, logits};
use crate::python::Python;

/// The base model.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/decoder");
/// Adapters that load here.
pub(super) const KINDS: [&str; 6] = [
    "dora",
    "adalora",
    "pissa",
    "olora",
    "pissa-dora",
    "pissa-converted",
];
/// An adapter whose base cannot be made again.
const REFUSED: &str = "pissa-niter";
/// Largest difference of two logits, relative to the largest logit: the tolerance of
/// `load_in_peft.py`.
const TOLERANCE: f64 = 2e-5;

/// Trains an adapter in PEFT, reads it, and compares the logits with those of the model
/// that was trained.
pub(super) fn check(python: &Python, kind: &str, work: &Path) -> Result<(String, PathBuf)> {
    let made = make(python, kind, work)?;
    let adapter = PeftAdapter::<f32>::read(&made.folder)?;
    let model = adapted(&adapter, Path::new(MODEL))?;
    let inputs = Inputs::new(&model.model, adapter.config.task_type.as_deref());
    let ours = logits(adapter, &model, &inputs)?;
    let theirs = read_logits(&made.logits)?;
    let ours = flat(&ours);
    if ours.len() != theirs.len() {
        bail!("{} logits here, {} in PEFT", ours.len(), theirs.len());
    }
    let largest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);
    let pairs = ours.iter().zip(&theirs);
    let difference = largest(&mut pairs.map(|(a, b)| f64::from((a - b).abs())));
    let relative = difference / largest(&mut theirs.iter().map(|x| f64::from(x.abs())));
    // A comparison with NaN is never "within".
    if relative.is_nan() || relative > TOLERANCE {
        bail!("expected logits within {TOLERANCE:e} of those in PEFT, found {relative:.2e}");
    }
    let said = made.said;
    let line = format!("{said}; largest difference {difference:.2e}, relative {relative:.2e}");
    Ok((line, made.folder))
}

/// Makes sure that an adapter of an unknown base is refused; returns the sentence.
pub(super) fn check_refusal(python: &Python, work: &Path) -> Result<String> {
    let made = make(python, REFUSED, work)?;
    match PeftAdapter::<f32>::read(&made.folder) {
        Err(error) => Ok(error.to_string()),
        Ok(_) => bail!("expected a refusal, but it was read"),
    }
}

/// The base model of these adapters.
pub(super) fn base() -> &'static Path {
    Path::new(MODEL)
}

struct Made {
    folder: PathBuf,
    logits: PathBuf,
    said: String,
}

fn make(python: &Python, kind: &str, work: &Path) -> Result<Made> {
    let model = ggpo_model::Model::open(base())?;
    // Adapters that are made here have the same names.
    let work = &work.join("in-peft");
    fs::create_dir_all(work).with_context(|| work.display().to_string())?;
    let case = work.join("batch.safetensors");
    Case::of(Inputs::new(&model, Some("CAUSAL_LM"))).write(&case)?;
    let (folder, logits) = (work.join(kind), work.join(format!("{kind}.safetensors")));
    let said = python.run("make_in_peft.py", |command| {
        command.arg(base()).arg(&folder).args(["--kind", kind]);
        command.arg("--case").arg(&case);
        command.arg("--logits").arg(&logits);
    })?;
    Ok(Made {
        folder,
        logits,
        said,
    })
}

fn read_logits(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes)?;
    let (numbers, _) = file.tensor("logits")?.data().as_chunks::<4>();
    Ok(numbers.iter().map(|&x| f32::from_le_bytes(x)).collect())
}
