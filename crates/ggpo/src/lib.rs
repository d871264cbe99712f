//! `ggpo`: fine-tune a transformer with LoRA, LoRA-GGPO and their kin, and use
//! what came out.

mod commands;
pub mod fetch;
mod loss;
mod options;
pub mod output;
mod ranks;
pub mod signals;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    audit, bench, compare, estimate, eval, export, features, fetch as fetching, generate, inspect,
    landscape, merge, methods, predict, preview, sharpness, shell, train,
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
    /// Say how long a run will take, and how much memory, before it starts.
    Estimate(Box<estimate::Estimate>),
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
    /// Follow one number through steps of training; writes a page that checks itself.
    Audit(Box<audit::AuditCommand>),
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
    signals::survive_limits();
    match parse::<Arguments>() {
        Ok(arguments) => {
            let outcome = execute(arguments.command);
            let failed = outcome.is_err();
            let code = output::conclude(outcome);
            ranks::leave(failed);
            code
        }
        Err(code) => code,
    }
}

/// Reads the command line, or ends: with help where that is asked for, with 2 and one
/// line where the usage is wrong.
///
/// # Errors
/// The exit code.
pub fn parse<A: Parser>() -> Result<A, ExitCode> {
    const USAGE: u8 = 2;
    // Descriptions of runs, results and messages are text, so paths must be, too.
    let strange = std::env::args_os().find(|argument| argument.to_str().is_none());
    if let Some(argument) = strange {
        let found = argument.to_string_lossy();
        note!("error: expected arguments in UTF-8, found other bytes in {found:?}");
        return Err(USAGE.into());
    }
    let error = match A::try_parse() {
        Ok(arguments) => return Ok(arguments),
        Err(error) => error,
    };
    if !error.use_stderr() {
        output::keep(error.print());
        return Err(output::conclude(Ok(())));
    }
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].map(|rest| text.find(rest));
    let end = end.into_iter().flatten().min().unwrap_or(text.len());
    note!("{}; --help shows what is accepted", &text[..end]);
    Err(USAGE.into())
}

/// Starts the threads of all calculations, which would be started when they are needed
/// and end the process if the system does not grant them.
///
/// # Errors
/// If it does not.
fn start_threads() -> anyhow::Result<()> {
    const NAME: &str = "RAYON_NUM_THREADS";
    /// More than any machine has; to start ten times as many takes minutes.
    const MOST: usize = 4096;
    let asked = std::env::var(NAME).ok().and_then(|text| text.parse().ok());
    if let Some(asked) = asked.filter(|asked: &usize| *asked > MOST) {
        let expected = format!("at most {MOST} threads");
        return Err(ggpo_train::Error::config(NAME, expected, asked).into());
    }
    let started = rayon::ThreadPoolBuilder::new().build_global();
    started.map_err(|cause| {
        let expected = "as many threads as the system grants";
        let found = asked.map_or_else(|| "none".to_owned(), |asked| asked.to_string());
        ggpo_train::Error::config(NAME, expected, format!("{found} ({cause})")).into()
    })
}

fn execute(command: Command) -> anyhow::Result<()> {
    ggpo_tensor::simd::requested()?;
    // A measurement sets its own number.
    if !matches!(command, Command::Bench(_)) {
        start_threads()?;
    }
    match command {
        Command::Train(train) => train.execute(),
        Command::Methods(methods) => methods.execute(),
        Command::Compare(compare) => compare.execute(),
        Command::Estimate(estimate) => estimate.execute(),
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
        Command::Audit(audit) => audit.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute(),
    }
}
