//! The experiments, and reports of what several machines left.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ggpo_lab::bench::Job;
use ggpo_lab::experiment::{Experiment, Finding, Jobs, Order, report_of, reproduce};

/// Folder of the descriptions.
const EXPERIMENTS: &str = "experiments";
/// Title of the report.
const TITLE: &str = "LoRA-GGPO: what the experiments show";

/// Which experiments, and how much of them.
#[derive(Args)]
pub(crate) struct Chosen {
    /// Few seeds and steps, to see that everything works: three minutes on two cores
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More seeds, ranks, rates and models: a night
    #[arg(long)]
    full: bool,
    /// Folder for records and report [default: out/LEVEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder of the descriptions
    #[arg(long, default_value = EXPERIMENTS)]
    experiments: PathBuf,
}

#[derive(Args)]
pub(crate) struct Repro {
    /// Experiments by name, that of their file; all without it
    names: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Runs side by side [default: one for each processor]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Folder of another part, whose records count as done; it may not be there yet
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Do the I-th of N parts of the runs, which are about the same amount of work
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
}

#[derive(Args)]
pub(crate) struct Report {
    /// Folders with records
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
}

/// Carries out the experiments and writes the report.
pub(crate) fn repro(arguments: &Repro) -> Result<()> {
    let chosen = &arguments.chosen;
    let experiments = read(&chosen.experiments, &arguments.names)?;
    let all = Jobs::all();
    let out = chosen.out();
    let order = Order {
        experiments: &experiments,
        level: chosen.level(),
        out: &out,
        known: &arguments.with,
        jobs: Jobs {
            side_by_side: arguments.jobs.map_or(all.side_by_side, usize::from),
            shard: arguments.shard.unwrap_or(all.shard),
        },
        title: TITLE,
    };
    let program = std::env::current_exe().context("the program's own path")?;
    let start = |job: &Job| job.command(&program, &["bench-steps"]);
    let findings = ggpo::output::go_on_with("cargo xtask", reproduce(&order, &start))?;
    say(&findings, &out);
    Ok(())
}

/// Reports what folders hold.
pub(crate) fn report(arguments: &Report) -> Result<()> {
    let chosen = &arguments.chosen;
    let experiments = read(&chosen.experiments, &[])?;
    let out = chosen.out();
    let order = Order {
        experiments: &experiments,
        level: chosen.level(),
        out: &out,
        known: &[],
        jobs: Jobs::all(),
        title: TITLE,
    };
    let findings = report_of(&order, &arguments.folders)?;
    say(&findings, &out);
    Ok(())
}

impl Chosen {
    fn level(&self) -> &'static str {
        match (self.quick, self.full) {
            (true, _) => "quick",
            (_, true) => "full",
            _ => "default",
        }
    }

    fn out(&self) -> PathBuf {
        let usual = || Path::new("out").join(self.level());
        self.out.clone().unwrap_or_else(usual)
    }
}

/// The experiments of a folder, in the order in which they are reported.
fn read(folder: &Path, names: &[String]) -> Result<Vec<Experiment>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut experiments = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            experiments.push(Experiment::read(&path)?);
        }
    }
    experiments.sort_by_key(|experiment| (experiment.place, experiment.id.clone()));
    let known: Vec<String> = experiments.iter().map(|it| it.id.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        bail!("experiment: expected one of {known}, found {name}");
    }
    if !names.is_empty() {
        experiments.retain(|experiment| names.contains(&experiment.id));
    }
    Ok(experiments)
}

/// The verdicts on the method that the project is about, and where the report is.
fn say(findings: &[Finding], out: &Path) {
    for finding in findings.iter().filter(|finding| finding.is_headline) {
        ggpo::say!("{}: {}", finding.claim, finding.judgement.verdict);
    }
    ggpo::say!("report: {}", out.join("report.html").display());
    ggpo::say!("        {}", out.join("report.md").display());
}

/// `I/N` with 1 <= I <= N.
fn shard(text: &str) -> Result<(usize, usize)> {
    let expected = || anyhow!("expected I/N with I from 1 to N, found {text}");
    let (part, of) = text.split_once('/').ok_or_else(expected)?;
    let (part, of) = (
        part.parse().map_err(|_| expected())?,
        of.parse().map_err(|_| expected())?,
    );
    match (1..=of).contains(&part) {
        true => Ok((part, of)),
        false => Err(expected()),
    }
}
