//! The fuzz targets, all in turn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use ggpo_files::write_atomically;
use ggpo_fuzz::{TARGETS, target};
use ggpo_tensor::simd::{Level, VARIABLE};
use serde_json::{Value, json};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Targets by name; all without it
    names: Vec<String>,
    /// How long, in minutes, for all of them together
    #[arg(long, value_name = "N", default_value_t = 60.0)]
    minutes: f64,
}

/// What has run so far.
const RESULTS: &str = "fuzz/results.json";
const README: &str = "fuzz/README.md";
const BEGIN: &str = "<!-- counts: written by cargo xtask fuzz -->\n";
const END: &str = "<!-- end of counts -->";
/// The platform must be named, or the libraries that run while compiling would be
/// instrumented too.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Coverage counters as libFuzzer reads them; all of these are stable options.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds the targets and runs them, all of them even if one finds something.
pub(crate) fn fuzz(arguments: &Arguments) -> Result<()> {
    if let Some(name) = arguments.names.iter().find(|name| target(name).is_none()) {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("target: expected one of {}, found {name}", known.join(", "));
    }
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--target", PLATFORM])
        .env("RUSTFLAGS", FLAGS)
        .current_dir("fuzz")
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the fuzz targets cannot be built");
    }
    let chosen =
        |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|it| it == name);
    let chosen: Vec<&str> = TARGETS
        .iter()
        .map(|it| it.name)
        .filter(|it| chosen(it))
        .collect();
    let seconds = (60.0 * arguments.minutes / chosen.len() as f64)
        .ceil()
        .max(1.0);
    let mut found = Vec::new();
    for name in chosen {
        let levels = levels(name);
        let each = (seconds / levels.len() as f64).ceil();
        for level in levels {
            match run(name, each as u64, level)? {
                Some(executions) => {
                    add(name, executions, each)?;
                    ggpo::say!("{name}, {level}: {executions} executions, nothing found");
                }
                None => found.push(format!("{name} ({level})")),
            }
        }
        write_readme()?;
    }
    match found.as_slice() {
        [] => Ok(()),
        found => bail!(
            "found something: {}; the inputs are in fuzz/artifacts",
            found.join(", ")
        ),
    }
}

/// The levels that a target runs at: the best, but for the one that is about them.
fn levels(name: &str) -> Vec<Level> {
    match name {
        "kernels" => Level::available().collect(),
        _ => vec![Level::best()],
    }
}

/// Runs a target; returns how often, or none if it has found something.
fn run(name: &str, seconds: u64, level: Level) -> Result<Option<u64>> {
    let seeds = Path::new("corpus").join(name);
    let work = Path::new("target/corpus").join(name);
    let finds = Path::new("artifacts").join(name);
    for folder in [&work, &finds] {
        fs::create_dir_all(Path::new("fuzz").join(folder))?;
    }
    ggpo::note!("{name}, {level}: {seconds} s");
    let program = Path::new("target")
        .join(PLATFORM)
        .join("release")
        .join(name);
    let program = Path::new("fuzz").join(program).canonicalize()?;
    // A target that ends by a signal removes nothing.
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let place = place.context("a temporary folder")?;
    let output = Command::new(program)
        .args([&work, &seeds])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", finds.display()))
        .args([
            "-rss_limit_mb=2048",
            "-timeout=10",
            "-max_len=65536",
            "-print_final_stats=1",
        ])
        .env("RAYON_NUM_THREADS", "1")
        .env(VARIABLE, level.name())
        .env("TMPDIR", place.path())
        .current_dir("fuzz")
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start the target {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().rev().take(30).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        eprintln!("{}", lines.join("\n"));
        return Ok(None);
    }
    let count = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let count = count.and_then(|count| count.trim().parse().ok());
    count
        .map(Some)
        .with_context(|| format!("{name}: expected a number of executions, found none"))
}

fn results() -> Result<BTreeMap<String, Value>> {
    let bytes = ggpo_files::read(RESULTS, ggpo_files::read::DESCRIPTION).context(RESULTS)?;
    ggpo_files::json::from_slice(&bytes).map_err(|error| anyhow::anyhow!("{RESULTS}: {error}"))
}

/// What all runs of a target together have, of executions or seconds.
fn sum(results: &BTreeMap<String, Value>, name: &str, of: &str) -> f64 {
    let of = results.get(name).and_then(|target| target.get(of));
    of.and_then(Value::as_f64).unwrap_or(0.0)
}

fn add(name: &str, executions: u64, seconds: f64) -> Result<()> {
    let mut results = results()?;
    let executions = sum(&results, name, "executions") as u64 + executions;
    let seconds = (sum(&results, name, "seconds") + seconds) as u64;
    let both = json!({ "executions": executions, "seconds": seconds });
    results.insert(name.to_owned(), both);
    let text = format!("{}\n", serde_json::to_string_pretty(&results)?);
    write_atomically(RESULTS, text.as_bytes()).context(RESULTS)
}

/// The table of the README, as the results have it.
fn table(results: &BTreeMap<String, Value>) -> String {
    let mut table =
        "| target | from bytes to use | executions | minutes |\n|---|---|---:|---:|\n".to_owned();
    let (mut all, mut long) = (0.0, 0.0);
    for target in &TARGETS {
        let count = sum(results, target.name, "executions");
        let minutes = sum(results, target.name, "seconds") / 60.0;
        (all, long) = (all + count, long + minutes);
        let (name, about) = (target.name, target.about);
        table += &format!("| `{name}` | {about} | {count} | {minutes:.0} |\n");
    }
    table + &format!("| all | | {all} | {long:.0} |\n")
}

fn write_readme() -> Result<()> {
    let text = fs::read_to_string(README).context(README)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .context("the README has a table of counts")?;
    let (_, after) = rest.split_once(END).context("the table has an end")?;
    let text = format!("{before}{BEGIN}{}{END}{after}", table(&results()?));
    write_atomically(README, text.as_bytes()).context(README)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_counts_of_the_results() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let text = fs::read_to_string(README).unwrap();
        assert!(text.contains(&format!("{BEGIN}{}{END}", table(&results().unwrap()))));
    }

    #[test]
    fn every_target_has_its_program_and_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        for target in &TARGETS {
            assert!(
                root.join(format!("fuzz_targets/{}.rs", target.name))
                    .is_file()
            );
            assert!(root.join("corpus").join(target.name).is_dir());
        }
    }
}
