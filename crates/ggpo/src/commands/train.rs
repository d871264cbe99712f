//! `ggpo train`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use ggpo_lab::progress;
use ggpo_train::Error;
use ggpo_train::ranks::Ranks;
use ggpo_train::run::{
    Corpora, DESCRIPTION, Description, FolderState, Keep, RunConfig, RunResult, Task, read_result,
    run_shared, state,
};
use indicatif::ProgressBar;
use serde_json::json;

use crate::options::RunOptions;
use crate::output::print_json;
use crate::ranks::ranks;
use crate::signals;
use crate::{note, say};

/// Arguments of `ggpo train`.
#[derive(Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  ggpo train --model models/fetched/minilm --train train.tsv --method ggpo --out runs/ggpo
  ggpo train examples/spam-ggpo.toml --learning-rate 1e-3 --out runs/spam
  ggpo train --model base.gguf --train more.jsonl --adapter runs/chat/adapter --out runs/more
  ggpo train --out runs/ggpo --resume")]
pub(crate) struct Train {
    /// Description of the run, a TOML file; options go before its fields
    #[arg(value_name = "FILE.toml")]
    description: Option<PathBuf>,
    /// Folder of the run: new, or with --resume an unfinished run's
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the run in the folder where it stopped
    #[arg(long)]
    resume: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: RunOptions,
}

impl Train {
    pub(crate) fn execute(&self) -> Result<()> {
        signals::stop_runs();
        let corpora = Corpora::default();
        let ranks = ranks()?;
        let config = self.describe()?.complete(&corpora)?;
        match (state(&config, &self.out)?, self.resume) {
            (FolderState::New, true) => bail!(
                "{}: expected an unfinished run to resume, found none; leave out --resume",
                self.out.display()
            ),
            (FolderState::Unfinished, false) => bail!(
                "{}: expected a new folder, found this run unfinished; --resume continues it",
                self.out.display()
            ),
            (FolderState::Finished, _) if !self.json && ranks.is_first() => {
                say!("{}: this run is finished", self.out.display());
            }
            _ => {}
        }
        let result = self.run(&config, &corpora, &ranks)?;
        match ranks.is_first() {
            true => self.report(&config, &result),
            false => Ok(()),
        }
    }

    /// The file, or with `--resume` alone the folder's own description, with
    /// the options put in.
    fn describe(&self) -> Result<Description> {
        let own = self.out.join(DESCRIPTION);
        let mut description = match &self.description {
            Some(path) => Description::read(path)?,
            None if self.resume && own.exists() => Description::read(&own)?,
            None => Description::default(),
        };
        self.options.apply(&mut description)?;
        Ok(description)
    }

    fn run(
        &self,
        config: &RunConfig,
        corpora: &Corpora,
        ranks: &Arc<dyn Ranks>,
    ) -> Result<RunResult> {
        if let Some(result) = read_result(&self.out)? {
            return Ok(result);
        }
        let bar = match ranks.is_first() {
            true => {
                for (split, notes) in Task::open(config, corpora)?.notes() {
                    note!("{split}: {notes}");
                }
                progress::bar(config.training.steps.into(), "training", "steps")
            }
            false => ProgressBar::hidden(),
        };
        let (begin, mut tokens) = (Instant::now(), 0);
        let (out, ranks) = (&self.out, Arc::clone(ranks));
        let result = run_shared(config, corpora, out, Keep::Weights, ranks, &mut |report| {
            tokens += report.tokens;
            let rate = tokens as f64 / begin.elapsed().as_secs_f64();
            bar.set_position(u64::from(report.step) + 1);
            bar.set_message(format!("loss {:.4}, {rate:.0} tokens/s", report.loss));
        });
        bar.finish_and_clear();
        if let Err(error @ Error::Interrupted { .. }) = result {
            note!(
                "go on with: ggpo train --out {} --resume",
                self.out.display()
            );
            return Err(error.into());
        }
        result.context("the run has stopped")
    }

    fn report(&self, config: &RunConfig, result: &RunResult) -> Result<()> {
        let trained = self.out.join(match config.method.has_adapters() {
            true => "adapter",
            false => "model",
        });
        if self.json {
            print_json(&json!({
                "out": self.out,
                "trained": trained,
                "steps": result.losses.len(),
                "best_step": result.best_step,
                "trained_parameters": result.trained_parameters,
                "model_bytes": result.model_bytes,
                "validation": result.validation,
                "test": result.test,
                "diverged_at": result.diverged_at,
            }))?;
        } else {
            say!("trained numbers: {}", result.trained_parameters);
            say!("model in memory: {:.1} MB", result.model_bytes as f64 / 1e6);
            say!("best after step {}", result.best_step);
            say!("validation: {}", result.validation);
            if let Some(test) = &result.test {
                say!("test: {test}");
            }
            say!("written: {}", trained.display());
        }
        if let Some(what) = &result.diverged {
            bail!("{what}; {} holds the best state before", trained.display());
        }
        Ok(())
    }
}
