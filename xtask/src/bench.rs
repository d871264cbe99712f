//! The goals of speed and memory, measured.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use ggpo_files::write_atomically;
use ggpo_lab::bench::contender::{Contender, Engine};
use ggpo_lab::bench::goals::{GROUPS, Group, PRODUCTS};
use ggpo_lab::bench::level::{measured_levels, parse_level};
use ggpo_lab::bench::study::{Host, Study, StudyConfig, measure};
use ggpo_lab::bench::torch::{TCMALLOC, Torch};
use ggpo_lab::bench::{Job, serve, speed};
use ggpo_tensor::simd::Level;

use crate::python::{Python, script};

/// Where `cargo xtask fetch smollm2` puts the quantised model.
const SMOLLM2: &str = "models/fetched/smollm2";
/// Where the workspace is.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Take PyTorch's steps in turn with ours.
    #[arg(long, value_parser = ["torch"])]
    against: Option<String>,
    /// Python with what peers/requirements.txt lists [default: PYTHON, or python3].
    #[arg(long, requires = "against", value_name = "PATH")]
    python: Option<PathBuf>,
    /// Levels of instruction set, each measured on its own [default: those of this
    /// processor above portable, whatever GGPO_SIMD is].
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', value_parser = parse_level)]
    simd: Vec<Level>,
    /// What to measure, separated by commas [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = names())]
    groups: Vec<String>,
    /// Samples on a quiet machine that are wanted of every ratio.
    #[arg(long, value_name = "N", default_value_t = 15)]
    steps: u32,
    /// End after about this many minutes on a machine that is never quiet.
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Folder for speed.md, speed.json and speed-noise.svg; those of a study that
    /// was stopped are called speed-partial.
    #[arg(long, default_value = "docs/results")]
    out: PathBuf,
}

/// Accepts the names of the groups, and of the products.
fn names() -> PossibleValuesParser {
    let groups = GROUPS.iter().map(|group| group.name);
    PossibleValuesParser::new(groups.chain([PRODUCTS]))
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
    let program = std::env::current_exe().context("the program's own path")?;
    // The program is in target/release.
    let target = program.ancestors().nth(2).unwrap_or(Path::new("target"));
    let config = arguments.config(torch.is_some());
    let host = Workspace {
        torch,
        separate_target: target.join("bench-avx2"),
        program,
        out: &arguments.out,
        command: arguments.command(&config),
    };
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let study = measure(&config, &host)?;
    ggpo::say_part!("{}", host.write(&study, "speed")?);
    for name in files("speed-partial") {
        // Of a study without the noise there is no figure.
        _ = std::fs::remove_file(arguments.out.join(name));
    }
    Ok(())
}

/// Does the steps of a job as the standard input asks.
pub(crate) fn do_steps(job: &str) -> Result<()> {
    Ok(serve(&Job::parse(job)?, io::stdin().lock(), io::stdout())?)
}

impl Arguments {
    fn config(&self, torch: bool) -> StudyConfig {
        let wanted = |name: &str| self.groups.is_empty() || self.groups.iter().any(|n| n == name);
        let groups = GROUPS.iter().map(|group| group.name);
        let groups = groups.filter(|name| wanted(name)).filter_map(Group::named);
        let mut levels = self.simd.clone();
        if levels.is_empty() {
            levels = measured_levels();
        }
        levels.sort();
        levels.dedup();
        StudyConfig {
            levels,
            groups: groups.collect(),
            products: wanted(PRODUCTS),
            steps: self.steps,
            minutes: self.minutes,
            torch,
            quantized: gguf_file(Path::new(SMOLLM2)),
        }
    }

    /// The command line, without what has nothing to do with the result.
    fn command(&self, config: &StudyConfig) -> String {
        let mut command = "cargo xtask bench".to_owned();
        if let Some(peer) = &self.against {
            command += &format!(" --against {peer}");
        }
        let levels: Vec<&str> = config.levels.iter().map(|level| level.name()).collect();
        command += &format!(" --simd {}", levels.join(","));
        if !self.groups.is_empty() {
            command += &format!(" --groups {}", self.groups.join(","));
        }
        command + &format!(" --steps {} --minutes {}", self.steps, self.minutes)
    }
}

/// The files of a study that are called `stem`.
fn files(stem: &str) -> [String; 3] {
    ["STEM.md", "STEM.json", "STEM-noise.svg"].map(|name| name.replace("STEM", stem))
}

/// This workspace, which measures itself.
struct Workspace<'a> {
    torch: Option<Torch>,
    program: PathBuf,
    separate_target: PathBuf,
    out: &'a Path,
    command: String,
}

impl Workspace<'_> {
    /// Writes the files that are called `stem` and returns the page.
    fn write(&self, study: &Study, stem: &str) -> ggpo_train::Result<String> {
        let page = speed::page(study, &self.command, stem);
        let json = serde_json::to_string_pretty(study).expect("a study has a JSON form");
        let texts = [Some(page.clone()), Some(json), speed::figure(study)];
        for (name, text) in files(stem).iter().zip(texts) {
            if let Some(text) = text {
                let path = self.out.join(name);
                let written = write_atomically(&path, text.as_bytes());
                written.map_err(|error| ggpo_train::Error::io(&path, error))?;
            }
        }
        Ok(page)
    }
}

impl Host for Workspace<'_> {
    fn process(&self, contender: &Contender, job: &Job) -> Command {
        match (&self.torch, contender.engine) {
            (Some(torch), Engine::Torch) => torch.command(contender.method, job),
            _ => job.command(&self.program, &["bench-steps"]),
        }
    }

    fn bench_products(&self) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(WORKSPACE).args([
            "bench",
            "--locked",
            "-p",
            "ggpo-tensor",
            "--bench",
            "matmul",
            "--",
        ]);
        command
    }

    fn separate_target(&self) -> &Path {
        &self.separate_target
    }

    fn save(&self, study: &Study) -> ggpo_train::Result<()> {
        self.write(study, "speed-partial").map(|_| ())
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
