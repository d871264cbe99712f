//! The goals of speed and memory, measured.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ggpo_files::write_atomically;
use ggpo_lab::bench::goals::{Contender, Engine};
use ggpo_lab::bench::study::{StudyConfig, measure};
use ggpo_lab::bench::torch::{TCMALLOC, Torch};
use ggpo_lab::bench::{Job, Shape, serve, speed};
use ggpo_lab::progress;

use crate::python::{Python, script};

/// Where `cargo xtask fetch smollm2` puts the quantised model.
const SMOLLM2: &str = "models/fetched/smollm2";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Take PyTorch's steps in turn with ours.
    #[arg(long, value_parser = ["torch"])]
    against: Option<String>,
    /// Python with what peers/requirements.txt lists [default: PYTHON, or python3].
    #[arg(long, requires = "against", value_name = "PATH")]
    python: Option<PathBuf>,
    /// Shapes to measure, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = shapes(), default_value = "minilm,llama,tiny,smollm2")]
    shapes: Vec<Shape>,
    /// Rounds of every shape that are wanted on a quiet machine.
    #[arg(long, value_name = "N", default_value_t = 15)]
    steps: u32,
    /// Folder for speed.md and speed.json.
    #[arg(long, default_value = "docs/results")]
    out: PathBuf,
}

/// Accepts the names of the shapes.
fn shapes() -> impl TypedValueParser<Value = Shape> {
    PossibleValuesParser::new(Shape::ALL.map(Shape::name))
        .map(|name| Shape::named(&name).expect("one of the names"))
}

/// Measures, writes and prints the page.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    let torch = match &arguments.against {
        None => None,
        Some(_) => {
            let python = Python::find(arguments.python.as_deref())?;
            let script = script("bench_torch.py");
            Some(Torch::new(python.path(), &script, &TCMALLOC))
        }
    };
    let config = StudyConfig {
        shapes: arguments.shapes.clone(),
        steps: arguments.steps,
        torch: torch.is_some(),
        quantized: gguf_file(Path::new(SMOLLM2)),
    };
    let program = std::env::current_exe().context("the program's own path")?;
    let start = |contender: &Contender, job: &Job| match (&torch, contender.engine) {
        (Some(torch), Engine::Torch) => torch.command(contender.method, job),
        _ => {
            let mut command = Command::new(&program);
            command.args(["bench-steps", &job.to_json()]);
            command
        }
    };
    let rounds = arguments.steps as usize * arguments.shapes.len();
    let bar = progress::bar(rounds as u64, "bench", "rounds");
    let study = measure(&config, start, |shape| {
        bar.set_message(shape.name());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let page = speed::page(&study, &arguments.command());
    let json = serde_json::to_string_pretty(&study).context("a study as JSON")?;
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    for (name, text) in [("speed.md", &page), ("speed.json", &json)] {
        let path = arguments.out.join(name);
        write_atomically(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
    }
    print!("{page}");
    Ok(())
}

/// Does the steps of a job as the standard input asks.
pub(crate) fn do_steps(job: &str) -> Result<()> {
    Ok(serve(&Job::parse(job)?, io::stdin().lock(), io::stdout())?)
}

impl Arguments {
    /// The command line, without what has nothing to do with the result.
    fn command(&self) -> String {
        let names: Vec<&str> = self.shapes.iter().map(|shape| shape.name()).collect();
        let against = match &self.against {
            Some(peer) => format!(" --against {peer}"),
            None => String::new(),
        };
        let (names, steps) = (names.join(","), self.steps);
        format!("cargo xtask bench{against} --shapes {names} --steps {steps}")
    }
}

/// The first GGUF file of a folder, by name.
fn gguf_file(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "gguf"))
        .min()
}
