//! `ggpo estimate`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use ggpo_lab::bench::estimate::{Network, RunEstimate, estimate};
use ggpo_lab::progress::minutes;
use ggpo_train::run::{Corpora, Description};
use serde_json::json;

use crate::options::RunOptions;
use crate::output::print_json;
use crate::{note, say};

/// Arguments of `ggpo estimate`.
#[derive(Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  ggpo estimate --model models/fetched/minilm --train train.tsv --method ggpo
  ggpo estimate examples/spam-ggpo.toml --json
  ggpo estimate examples/spam-ggpo.toml --micro-batches 8 --ranks 4 --bandwidth 1e9")]
pub(crate) struct Estimate {
    /// Description of the run, a TOML file; options go before its fields
    #[arg(value_name = "FILE.toml")]
    description: Option<PathBuf>,
    /// Ranks that share the run, each on a machine like this one
    #[arg(long, value_name = "N", default_value_t = 1)]
    ranks: usize,
    /// Bytes per second that a rank receives from the others
    #[arg(long, value_name = "B", default_value_t = 1e9)]
    bandwidth: f64,
    /// Seconds until the first byte of a message is there
    #[arg(long, value_name = "L", default_value_t = 5e-5)]
    latency: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: RunOptions,
}

impl Estimate {
    pub(crate) fn execute(&self) -> Result<()> {
        let network = Network {
            bandwidth: self.bandwidth,
            latency: self.latency,
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        ensure!(
            positive(network.bandwidth) && positive(network.latency),
            "--bandwidth and --latency: expected finite numbers above 0, found {} and {}",
            network.bandwidth,
            network.latency
        );
        let mut description = match &self.description {
            Some(path) => Description::read(path)?,
            None => Description::default(),
        };
        self.options.apply(&mut description)?;
        let config = description.complete(&Corpora::default())?;
        ensure!(
            (1..=config.micro_batches).contains(&self.ranks),
            "--ranks: expected 1 to {}, the run's micro_batches, found {}",
            config.micro_batches,
            self.ranks
        );
        note!("measuring a few steps and scores");
        let found = estimate(&config)?;
        match self.json {
            true => self.print_json(&found, network),
            false => {
                self.print(&found, network);
                Ok(())
            }
        }
    }

    fn print(&self, found: &RunEstimate, network: Network) {
        say!("trained numbers: {}", found.trained);
        say!("steps: {}, {:.1} ms each", found.steps, found.step_ms);
        say!("training: {}", minutes(found.training_seconds));
        say!("scores: {}", minutes(found.scoring_seconds));
        say!("all together: {}", minutes(found.seconds()));
        if let Some(memory) = found.peak_memory_mib {
            say!("peak memory: {memory:.0} MiB");
        }
        if self.ranks > 1 {
            let step = found.step_ms_on(self.ranks, network);
            say!(
                "on {} ranks: {step:.1} ms a step, {:.1} times as fast; {:.2} MB received in each",
                self.ranks,
                found.step_ms / step,
                found.traffic(self.ranks) as f64 / 1e6
            );
        }
    }

    fn print_json(&self, found: &RunEstimate, network: Network) -> Result<()> {
        print_json(&json!({
            "run": found,
            "seconds": found.seconds(),
            "ranks": self.ranks,
            "step_ms_on_ranks": found.step_ms_on(self.ranks, network),
            "bytes_received_per_step": found.traffic(self.ranks),
        }))
    }
}
