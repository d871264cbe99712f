//! What continuous integration runs, and what a person runs before handing in.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use ggpo_tensor::simd::{Level, VARIABLE};

/// A check: cargo's arguments, and the variable it runs with.
struct Check {
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
}

const fn check_with(
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
) -> Check {
    Check {
        arguments,
        variable,
    }
}

const CLIPPY: [&str; 7] = [
    "clippy",
    "--workspace",
    "--all-targets",
    "--locked",
    "--",
    "-D",
    "warnings",
];
const DOC: [&str; 4] = ["doc", "--workspace", "--no-deps", "--locked"];

/// The examples on other frameworks, which are workspaces of their own.
const CANDLE: &str = "examples/candle/Cargo.toml";
const BURN: &str = "examples/burn/Cargo.toml";

/// Trainings that `mpirun` starts, in the program as the workspace has it.
const MPI: [&str; 7] = [
    "test",
    "--workspace",
    "--locked",
    "--features",
    "ggpo/mpi",
    "--test",
    "mpi",
];

/// Licences, advisories and sources of what the workspace depends on; `deny.toml` says
/// what is allowed, and why. The list of advisories comes over the network.
const DENY: [&str; 2] = ["deny", "check"];

const MPI_CLIPPY: [&str; 9] = [
    "clippy",
    "--workspace",
    "--all-targets",
    "--locked",
    "--features",
    "ggpo/mpi",
    "--",
    "-D",
    "warnings",
];

/// The program for people without a compiler, installed from its wheel.
const RELEASE: [&str; 5] = [
    "xtask",
    "release",
    "--out",
    "target/release/files",
    "--check",
];

/// Whether a program can be started.
pub(crate) fn there_is(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The checks, in order; the last one gets a folder to write to.
///
/// The tests run as the README says, at the best level of instruction set, and
/// then again at each lower one, without the examples of the documentation, which
/// would be compiled anew.
fn checks() -> Vec<Check> {
    let mut checks = vec![
        check_with(&["fmt", "--all", "--check"], None),
        check_with(&["fmt", "--check", "--manifest-path", CANDLE], None),
        check_with(&["fmt", "--check", "--manifest-path", BURN], None),
        check_with(&CLIPPY, None),
        check_with(&DOC, Some(("RUSTDOCFLAGS", "-D warnings"))),
        check_with(&["test", "--workspace", "--locked"], None),
    ];
    let lower = Level::available().filter(|level| *level < Level::best());
    checks.extend(lower.map(|level| {
        let arguments = &["test", "--workspace", "--locked", "--tests"];
        check_with(arguments, Some((VARIABLE, level.name())))
    }));
    checks.push(check_with(&["xtask", "torture", "--minutes", "1"], None));
    match there_is("mpirun") {
        true => checks.extend([check_with(&MPI_CLIPPY, None), check_with(&MPI, None)]),
        false => eprintln!("not run: trainings on several ranks, as there is no mpirun"),
    }
    checks.push(check_with(&["xtask", "repro", "--quick", "--out"], None));
    checks
}

/// What needs published models and other people's libraries: they are fetched, the
/// tests that ask for them run, adapters are taken to PEFT and back, and the examples on
/// other frameworks run.
const FULL: [Check; 9] = [
    check_with(&RELEASE, None),
    check_with(&["run", "--locked", "--manifest-path", CANDLE], None),
    check_with(&["run", "--locked", "--manifest-path", BURN], None),
    check_with(&["xtask", "fetch", "minilm"], None),
    check_with(&["xtask", "fetch", "smollm2"], None),
    check_with(&["xtask", "fetch", "qwen2.5-coder"], None),
    check_with(&["xtask", "peft-check"], None),
    check_with(&["xtask", "llama-check"], None),
    check_with(
        &[
            "test",
            "-p",
            "ggpo-model",
            "-p",
            "ggpo-train",
            "--test",
            "it",
            "--",
            "--ignored",
        ],
        None,
    ),
];

/// Where the fetched models are, for the tests that ask.
const MODELS: [(&str, &str); 3] = [
    ("GGPO_MINILM", "models/fetched/minilm"),
    (
        "SMOLLM2_GGUF",
        "models/fetched/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    (
        "QWEN2_GGUF",
        "models/fetched/qwen2.5-coder/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
    ),
];

/// Runs all checks, with `full` also those that need published models and Python; the
/// first that fails ends them.
pub(crate) fn check(full: bool) -> Result<()> {
    let out = tempfile::tempdir().context("cannot make a temporary folder")?;
    let root = std::env::current_dir().context("the current folder")?;
    let mut more = Vec::new();
    if full {
        match there_is("cargo-deny") {
            true => more.push(check_with(&DENY, None)),
            false => eprintln!("not run: cargo deny check, as there is no cargo-deny"),
        }
        more.extend(FULL);
    }
    for Check {
        arguments,
        variable,
    } in checks().into_iter().chain(more)
    {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).env_remove(VARIABLE).envs(variable);
        command.envs(MODELS.map(|(name, path)| (name, root.join(path))));
        if arguments.last() == Some(&"--out") {
            command.arg(out.path());
        }
        let setting = variable.map(|(name, value)| format!("{name}={value:?} "));
        let words = format!(
            "{}cargo {}",
            setting.unwrap_or_default(),
            arguments.join(" ")
        );
        eprintln!("{words}");
        let status = command.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("{words} failed");
        }
    }
    for file in ["report.md", "report.html", "results.csv"] {
        let path = out.path().join(file);
        if !Path::new(&path).is_file() {
            bail!("the quick experiments wrote no {file}");
        }
    }
    Ok(())
}
