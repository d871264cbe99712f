//! Which model a command uses.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ggpo_train::assembled::Assembled;
use ggpo_train::run::RunConfig;

/// A run, or a base model with or without an adapter.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct Source {
    /// Folder of a finished run
    #[arg(long, value_name = "DIR", required_unless_present = "model", conflicts_with_all = ["model", "adapter"])]
    run: Option<PathBuf>,
    /// Folder of a model, or a GGUF file
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Folder of a PEFT adapter for the model
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
}

impl Source {
    /// The model, and the description of the run it comes from.
    pub(crate) fn open(&self) -> Result<(Option<RunConfig>, Assembled)> {
        if let Some(run) = &self.run {
            let (config, assembled) = Assembled::of_run(run)?;
            return Ok((Some(config), assembled));
        }
        let base = self.model.as_deref().unwrap_or_else(|| "".as_ref());
        Ok((None, Assembled::open(base, self.adapter.as_deref())?))
    }

    /// The folder of the base model.
    pub(crate) fn base(&self, config: Option<&RunConfig>) -> PathBuf {
        match (config, &self.model) {
            (Some(config), _) => config.model.clone(),
            (None, Some(model)) => model.clone(),
            (None, None) => PathBuf::new(),
        }
    }
}
