//! `ggpo`: fine-tune a transformer with LoRA, LoRA-GGPO and their kin, and use
//! what came out.

mod commands;
pub mod fetch;
mod loss;
mod options;
mod output;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    bench, compare, eval, export, features, fetch as fetching, generate, inspect, landscape, merge,
    methods, predict, preview, sharpness, shell, train,
};

#[derive(Parser)]
#[command(
    name = "ggpo",
    version,
    about = "Fine-tune transformers on a CPU with LoRA and LoRA-GGPO",
    after_help = "\
Example: ggpo train --model models/fetched/minilm --train train.tsv --method ggpo --out runs/first

Environment:
  GGPO_SIMD  instruction set of the calculations, at most what the processor has: portable,
             avx2 or avx512 [default: the best one]"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fine-tune a model; writes one folder with the adapter.
    Train(Box<train::Train>),
    /// List the methods, their formulas, sources and settings.
    Methods(methods::Methods),
    /// Compare methods on a model and data by a rule fixed beforehand; writes a report.
    Compare(Box<compare::Compare>),
    /// Show rows of a data file as the model reads them: every token, and where loss counts.
    Preview(preview::Preview),
    /// Score a model on a file with answers.
    Eval(eval::Eval),
    /// Write labels and probabilities, numbers or texts for a file of texts.
    Predict(predict::Predict),
    /// Continue texts.
    Generate(generate::Generate),
    /// Merge an adapter into its base; writes a folder that Transformers loads.
    Merge(merge::Merge),
    /// Write an adapter as a GGUF file, which llama.cpp puts on its base.
    Export(export::Export),
    /// Turn the states of a model on a data set into a model of one layer.
    Features(features::Features),
    /// Fetch a model from a hub.
    Fetch(fetching::Fetch),
    /// Say what a model, adapter, run, checkpoint or data file holds.
    Inspect(inspect::Inspect),
    /// Measure how sharp the loss is around a model.
    Sharpness(sharpness::SharpnessCommand),
    /// Draw the loss along random directions from a model.
    Landscape(landscape::LandscapeCommand),
    /// Measure how long training steps take, and how much memory
    Bench(bench::Bench),
    /// Print what a shell needs to complete commands and options.
    Completions(shell::Completions),
    /// Write manual pages.
    Man(shell::Man),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    ggpo_tensor::memory::keep_freed_memory();
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    ggpo_tensor::simd::requested()?;
    match command {
        Command::Train(train) => train.execute(),
        Command::Methods(methods) => methods.execute(),
        Command::Compare(compare) => compare.execute(),
        Command::Preview(preview) => preview.execute(),
        Command::Eval(eval) => eval.execute(),
        Command::Predict(predict) => predict.execute(),
        Command::Generate(generate) => generate.execute(),
        Command::Merge(merge) => merge.execute(),
        Command::Export(export) => export.execute(),
        Command::Features(features) => features.execute(),
        Command::Fetch(fetch) => fetch.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Sharpness(sharpness) => sharpness.execute(),
        Command::Landscape(landscape) => landscape.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute(),
    }
}
