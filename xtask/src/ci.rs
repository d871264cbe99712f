//! What continuous integration runs, and what a person runs before handing in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A check: cargo's arguments, and the variables they run with.
struct Check {
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const fn check_with(
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
) -> Check {
    Check {
        arguments,
        variables,
    }
}

/// The checks, in order; the last one gets a folder to write to.
const CHECKS: [Check; 5] = [
    check_with(&["fmt", "--all", "--check"], &[]),
    check_with(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    check_with(
        &["doc", "--workspace", "--no-deps", "--locked"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ),
    check_with(&["test", "--workspace", "--locked"], &[]),
    check_with(&["xtask", "repro", "--quick", "--out"], &[]),
];

/// Runs all checks; the first that fails ends them.
pub(crate) fn check() -> Result<()> {
    let out = tempfile::tempdir().context("cannot make a temporary folder")?;
    for Check {
        arguments,
        variables,
    } in CHECKS
    {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).envs(variables.iter().copied());
        if arguments.last() == Some(&"--out") {
            command.arg(out.path());
        }
        eprintln!("cargo {}", arguments.join(" "));
        let status = command.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo {} failed", arguments.join(" "));
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
