//! One training on both sides: the same start, the same batches, the same steps.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ggpo_lora::{NoiseStatistics, PerturbationConfig};
use ggpo_model::Precision;
use ggpo_model::weights::to_safetensors;
use ggpo_train::run::{RunConfig, ScoredRows, Stepper};
use serde_json::Value;

use crate::python::Python;

/// Largest difference of two losses, relative to the first step's: both sides
/// round to 6e-8 at every operation, and AdamW divides gradients that are nearly
/// 0 by their own size, so that their rounding grows with the steps.
const LOSSES: f64 = 1e-5;
/// The same for norms of the gradient, and for what the noise is made of.
const NORMS: f64 = 1e-4;
/// Too small to change a weight, so that the two generators, which differ, do
/// not matter; the statistics of the noise do not depend on it.
const NO_NOISE: f64 = 1e-12;

/// Trains `steps` steps here and in PyTorch and compares losses, gradient norms
/// and, under a perturbation, what the noise is made of.
pub(super) fn check(python: &Python, path: &Path, steps: u32) -> Result<()> {
    let mut config = RunConfig::read(path)?;
    config.training.steps = config.training.steps.max(steps);
    config.evaluate_every = u32::MAX;
    // Scores are not compared.
    config.task.scored_rows = Some(ScoredRows {
        validation: 1,
        test: 1,
        train: 1,
    });
    if let Some(PerturbationConfig::Ggpo(noise)) = &mut config.method.perturbation {
        noise.sigma = NO_NOISE;
    }
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = |name: &str| work.path().join(name);
    let mut stepper = Stepper::open(&config)?;
    let start = to_safetensors(&stepper.trained(), Precision::F32);
    fs::write(file("run.toml"), config.to_toml())?;
    fs::write(file("init.safetensors"), start)?;
    fs::write(
        file("batches.json"),
        serde_json::to_string(&stepper.rows(steps))?,
    )?;

    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let report = stepper.step()?;
        losses.push(report.loss);
        norms.push(report.gradient_norm);
    }
    python.run("train_classification.py", |command| {
        command.arg(file("run.toml")).arg(file("out"));
        command.arg("--init").arg(file("init.safetensors"));
        command.arg("--batches").arg(file("batches.json"));
    })?;
    let theirs = read_result(&file("out"))?;
    let parameters: usize = stepper.trained().values().map(|tensor| tensor.len()).sum();
    ggpo::say!("trained parameters: {parameters}");
    if theirs["trained_parameters"] != parameters {
        bail!("PyTorch trains {} parameters", theirs["trained_parameters"]);
    }
    compare("loss", &losses, &numbers(&theirs["losses"]), LOSSES)?;
    compare(
        "gradient norm",
        &norms,
        &numbers(&theirs["gradient_norms"]),
        NORMS,
    )?;
    compare_noise(stepper.noise_statistics(), &theirs["noise"][0][1])
}

/// The only file in the folder.
fn read_result(folder: &Path) -> Result<Value> {
    let entry = fs::read_dir(folder)?
        .next()
        .context("PyTorch left no result")??;
    let text = fs::read_to_string(entry.path())?;
    Ok(serde_json::from_str(&text)?)
}

fn numbers(values: &Value) -> Vec<f64> {
    let values = values.as_array().into_iter().flatten();
    values
        .map(|value| value.as_f64().unwrap_or(f64::NAN))
        .collect()
}

/// Prints the largest difference, relative to the first step's value.
fn compare(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) -> Result<()> {
    if ours.len() != theirs.len() {
        bail!("{what}: {} here, {} in PyTorch", ours.len(), theirs.len());
    }
    let differences: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs() / ours[0].abs())
        .collect();
    let largest = differences.iter().copied().fold(0.0, f64::max);
    ggpo::say!(
        "{what}: {:.6} to {:.6} here, {:.6} to {:.6} in PyTorch; differences relative to the \
         first: step 1 {:.1e}, largest of {} {largest:.1e}",
        ours[0],
        ours[ours.len() - 1],
        theirs[0],
        theirs[theirs.len() - 1],
        differences[0],
        ours.len(),
    );
    // A comparison with NaN is never "within".
    match differences
        .iter()
        .all(|difference| *difference <= tolerance)
    {
        true => Ok(()),
        false => bail!("{what}: expected within {tolerance:e}, found {largest:e}"),
    }
}

/// Compares what the noise of the last step was made of, layer by layer.
fn compare_noise(ours: &[NoiseStatistics], theirs: &Value) -> Result<()> {
    let theirs = theirs.as_array().map_or(&[][..], Vec::as_slice);
    if ours.len() != theirs.len() {
        bail!(
            "noise: {} layers here, {} in PyTorch",
            ours.len(),
            theirs.len()
        );
    }
    type Get = fn(&NoiseStatistics) -> f64;
    let quantities: [(&str, Get); 4] = [
        ("row_std", |layer| layer.row_std),
        ("weight_norm", |layer| layer.weight_norm),
        ("grad_norm", |layer| layer.grad_norm),
        ("gradient_share", |layer| layer.gradient_share),
    ];
    for (name, get) in quantities.into_iter().filter(|_| !ours.is_empty()) {
        let relative = ours.iter().zip(theirs).map(|(ours, theirs)| {
            let theirs = theirs[name].as_f64().unwrap_or(f64::NAN);
            (get(ours) - theirs).abs() / theirs.abs()
        });
        let relative: Vec<f64> = relative.collect();
        let largest = relative.iter().copied().fold(0.0, f64::max);
        let layers = ours.len();
        ggpo::say!("noise, {name}: largest relative difference of {layers} layers {largest:.1e}");
        if !relative.iter().all(|difference| *difference <= NORMS) {
            bail!("noise, {name}: expected within {NORMS:e}, found {largest:e}");
        }
    }
    Ok(())
}
