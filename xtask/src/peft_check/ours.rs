//! Adapters that we train, one of every kind that a file can hold.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ggpo_lora::method::method;
use ggpo_train::run::{Keep, RunConfig, ScoredRows, run};

/// Root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The run whose model, data and settings are taken.
const RUN: &str = "examples/spam-ggpo.toml";
/// Methods whose adapters differ in the files.
pub(super) const METHODS: [&str; 6] = ["rslora", "dora", "adalora", "pissa", "lora-ga", "olora"];
const STEPS: u32 = 12;

/// Trains an adapter by a method for a few steps in the folder `out`; returns its folder
/// and that of its base model.
pub(super) fn train(name: &str, out: &Path) -> Result<(PathBuf, PathBuf)> {
    let root = Path::new(ROOT);
    let mut config = RunConfig::read(&root.join(RUN))?;
    config.model = root.join(&config.model);
    config.task.train = root.join(&config.task.train);
    for split in [&mut config.task.validation, &mut config.task.test] {
        *split = split.take().map(|path| root.join(path));
    }
    config.task.scored_rows = Some(ScoredRows {
        validation: 32,
        test: 1,
        train: 1,
    });
    let named = method(name).with_context(|| format!("there is no method {name}"))?;
    config.method = named.config();
    config.training.steps = STEPS;
    config.evaluate_every = STEPS / 2;
    let result = run(&config, out, Keep::Weights, &mut |_| {})?;
    if result.best_step == 0 {
        bail!("expected a validation loss that falls, found the best before the first step");
    }
    Ok((out.join("adapter"), config.model))
}
