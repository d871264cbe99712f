//! What every method costs beside LoRA.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ggpo_files::write_atomically;
use ggpo_lab::bench::cost::{CostConfig, cost_page, measure_costs};
use ggpo_lab::bench::level::parse_level;
use ggpo_lab::bench::{Job, Machine, Shape};
use ggpo_lab::progress::Followed;
use ggpo_lora::method::METHODS;
use ggpo_tensor::simd::{Level, level};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Turns of every method beside LoRA.
    #[arg(long, value_name = "N", default_value_t = 15)]
    steps: u32,
    /// Level of instruction set [default: that of GGPO_SIMD, or the best of this
    /// processor].
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    simd: Option<Level>,
    /// The page to write.
    #[arg(long, default_value = "docs/results/cost.md")]
    out: PathBuf,
}

/// Measures, writes and prints the page.
pub(crate) fn cost(arguments: &Arguments) -> Result<()> {
    let shape = Shape::Minilm;
    let [batch, seq] = shape.batch();
    let config = CostConfig {
        shape,
        batch,
        seq,
        rounds: arguments.steps,
        threads: Machine::this().threads,
        simd: arguments.simd.unwrap_or_else(level),
    };
    let program = std::env::current_exe().context("the program's own path")?;
    let process = |job: &Job| job.command(&program, &["bench-steps"]);
    let headline = format!(
        "{} methods beside LoRA on {} shapes, {} turns each",
        METHODS.len(),
        shape.name(),
        config.rounds
    );
    let mut progress = Followed::begin(&headline, "methods", METHODS.len() as u64, "methods");
    let mut done = 0;
    let costs = measure_costs(&config, METHODS, process, |cost| {
        done += 1;
        progress.reach(done, || {
            format!(
                "{done} of {}, {} at {:.3}",
                METHODS.len(),
                cost.method,
                cost.time.median
            )
        });
    })?;
    drop(progress);
    let command = format!(
        "cargo xtask cost --steps {} --simd {}",
        config.rounds, config.simd
    );
    let page = cost_page(&config, &costs, &command);
    write_atomically(&arguments.out, page.as_bytes())
        .with_context(|| arguments.out.display().to_string())?;
    ggpo::say_part!("{page}");
    Ok(())
}
