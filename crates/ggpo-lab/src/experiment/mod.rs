//! Experiments: described in files, carried out, judged by a rule, reported.
//!
//! * [`compare`]: the same rule on a person's own model and data.
//! * [`description`]: what a file says before anything runs.
//! * [`plan`]: from the description to single runs, each known by a hash.
//! * [`mod@record`]: what is kept of a run, one line each.
//! * [`outcome`]: pairs, preconditions and verdicts.
//! * [`kinds`]: what is said and shown of the runs.
//!
//! What has a record is not done again, in whatever order and on whatever machine it was
//! made: [`reproduce`] does what is missing, [`report_of`] reports what is there.

pub mod compare;
pub mod description;
mod execute;
mod items;
pub mod kinds;
mod look;
pub mod outcome;
pub mod plan;
mod precondition;
pub mod primary;
pub mod record;
mod report;
pub mod rows;

use std::path::{Path, PathBuf};
use std::time::Instant;

use ggpo_files::write_atomically;
use ggpo_lora::method::METHODS;
use ggpo_tensor::simd;
use ggpo_train::features::write_features;
use ggpo_train::{Error, Result};

pub use compare::{Comparison, ONLY_LEVEL};
pub use description::{Experiment, Grid};
pub use execute::Jobs;
pub use kinds::{Finding, Kind};
pub use outcome::Outcome;
pub use primary::Primary;
pub use record::{Record, Records};

use crate::bench::cost::{CostConfig, measure_costs};
use crate::bench::{Job, Machine, Shape};
use crate::calibration::{self, Calibration, Effort};
use crate::progress::Followed;
use description::sha256;
use kinds::Measured;
use report::Study;

/// Starts a process that does the steps of a job, for measurements of time.
pub type StartProcess<'a> = &'a dyn Fn(&Job) -> std::process::Command;

/// What is to be done.
pub struct Order<'a> {
    /// The experiments.
    pub experiments: &'a [Experiment],
    /// The level of effort.
    pub level: &'a str,
    /// The folder for records and report.
    pub out: &'a Path,
    /// Folders of others, whose records count as done.
    pub known: &'a [PathBuf],
    /// How many runs go side by side, and which part of them.
    pub jobs: Jobs,
    /// Title of the report.
    pub title: &'a str,
}

/// Carries out what is missing of the experiments, and writes the report; continues where
/// an earlier call stopped. Experiments that do not have the level are left out.
///
/// # Errors
/// If no experiment has the level, an input cannot be used or a file not written.
pub fn reproduce(order: &Order<'_>, start: StartProcess<'_>) -> Result<Vec<Finding>> {
    let begun = Instant::now();
    let mut records = Records::open(order.out)?;
    for folder in order.known {
        records.merge(Records::read(folder)?)?;
    }
    let chosen = chosen(order)?;
    let calibrations = calibrated(&chosen, order.level);
    let mut costs = None;
    for (experiment, grid) in &chosen {
        match experiment.kind {
            Kind::Calibration => {}
            Kind::Cost => costs = Some(measure(experiment, grid, order.out, start)?),
            _ => run_all(experiment, grid, order, &mut records)?,
        }
    }
    finish(
        order,
        &chosen,
        &records,
        &calibrations,
        costs.as_ref(),
        begun,
    )
}

/// Writes the report of what folders hold, without running anything but the calibrations:
/// the records of all of them together, as far as they belong to the experiments.
///
/// # Errors
/// If a folder cannot be read, two records of one run are of different versions, or the
/// report cannot be written.
pub fn report_of(order: &Order<'_>, folders: &[PathBuf]) -> Result<Vec<Finding>> {
    let begun = Instant::now();
    let mut records = Records::default();
    for folder in folders {
        records.merge(Records::read(folder)?)?;
    }
    let chosen = chosen(order)?;
    let calibrations = calibrated(&chosen, order.level);
    let costs = folders
        .iter()
        .find_map(|folder| read_costs(folder).transpose());
    ggpo_files::create_folder(order.out).map_err(|source| Error::io(order.out, source))?;
    finish(
        order,
        &chosen,
        &records,
        &calibrations,
        costs.transpose()?.as_ref(),
        begun,
    )
}

type Chosen<'a> = Vec<(&'a Experiment, &'a Grid)>;

fn chosen<'a>(order: &Order<'a>) -> Result<Chosen<'a>> {
    let experiments = order.experiments.iter();
    let of_level = experiments.filter_map(|it| Some((it, it.grid.get(order.level)?)));
    let chosen: Chosen<'a> = of_level.collect();
    if chosen.is_empty() {
        let mut levels: Vec<&str> = order
            .experiments
            .iter()
            .flat_map(|it| it.grid.keys().map(String::as_str))
            .collect();
        levels.sort_unstable();
        levels.dedup();
        return Err(Error::config("level", levels.join(", "), order.level));
    }
    Ok(chosen)
}

/// The calibrations, if an experiment asks for them or stands on them.
fn calibrated(chosen: &Chosen<'_>, level: &str) -> Vec<Calibration> {
    let asks = |experiment: &Experiment| {
        experiment.kind == Kind::Calibration || !experiment.stands_on.is_empty()
    };
    if !chosen.iter().any(|(experiment, _)| asks(experiment)) {
        return Vec::new();
    }
    ggpo_files::sentence::note("calibration");
    calibration::all(match level {
        "quick" => Effort::Quick,
        _ => Effort::Default,
    })
}

/// Carries out the runs of an experiment until its plan is complete.
fn run_all(
    experiment: &Experiment,
    grid: &Grid,
    order: &Order<'_>,
    records: &mut Records,
) -> Result<()> {
    let features = features_of(experiment, order.out)?;
    loop {
        let outcome = Outcome {
            experiment,
            level: order.level,
            grid,
            records,
            calibrations: &[],
        };
        let plan = outcome.agenda();
        let before = records.iter().count();
        let with = (experiment, features.as_deref());
        let place = (&mut *records, order.out);
        execute::carry_out(&plan, order.jobs, with, place)?;
        // Tuning that is finished brings new runs; a part of a plan may bring none.
        if records.iter().count() == before {
            return Ok(());
        }
    }
}

/// The folder of the features of an experiment, made if it is not there.
fn features_of(experiment: &Experiment, out: &Path) -> Result<Option<PathBuf>> {
    let Some(config) = &experiment.features else {
        return Ok(None);
    };
    let text = toml::to_string(config).expect("settings have a TOML form");
    let folder = out.join("features").join(&sha256(text.as_bytes())[..16]);
    if !folder.join("features.toml").exists() {
        ggpo_files::sentence::note(&format!(
            "{}: features of {}",
            experiment.id,
            config.model.display()
        ));
        write_features(config, &folder)?;
        let path = folder.join("features.toml");
        write_atomically(&path, text.as_bytes()).map_err(|source| Error::io(path, source))?;
    }
    Ok(Some(folder))
}

/// Name of the file with measurements of time and memory.
const COSTS: &str = "cost.json";

fn read_costs(folder: &Path) -> Result<Option<Measured>> {
    let path = folder.join(COSTS);
    match ggpo_files::read_text(&path, ggpo_files::read::ANY) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, source)),
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::file(path, format!("expected a measurement, found {error}"))),
    }
}

/// Measures the methods of an experiment beside LoRA; what was measured is not repeated.
fn measure(
    experiment: &Experiment,
    grid: &Grid,
    out: &Path,
    start: StartProcess<'_>,
) -> Result<Measured> {
    if let Some(known) = read_costs(out)? {
        return Ok(known);
    }
    let methods: Vec<_> = experiment
        .methods_of(grid)
        .into_iter()
        .filter_map(|entry| {
            METHODS
                .iter()
                .find(|method| method.name == entry.id)
                .copied()
        })
        .collect();
    let shape = Shape::Tiny;
    let [batch, seq] = shape.batch();
    let machine = Machine::this();
    let config = CostConfig {
        shape,
        batch,
        seq,
        rounds: grid.rounds,
        threads: machine.threads,
        simd: simd::level(),
    };
    let headline = format!("{}: {} methods beside LoRA", experiment.id, methods.len());
    let mut progress = Followed::begin(&headline, "cost", methods.len() as u64, "methods");
    let mut done = 0;
    let costs = measure_costs(&config, &methods, start, |cost| {
        done += 1;
        progress.reach(done, || format!("{done} methods, {} last", cost.method));
    })?;
    let measured = Measured {
        machine,
        simd: config.simd.name().to_owned(),
        shape: format!("the shape {} with {batch} x {seq} tokens", shape.name()),
        costs,
    };
    ggpo_files::create_folder(out).map_err(|source| Error::io(out, source))?;
    let text = serde_json::to_string_pretty(&measured).expect("a measurement has a JSON form");
    let path = out.join(COSTS);
    write_atomically(&path, text.as_bytes()).map_err(|source| Error::io(path, source))?;
    Ok(measured)
}

fn finish(
    order: &Order<'_>,
    chosen: &Chosen<'_>,
    records: &Records,
    calibrations: &[Calibration],
    costs: Option<&Measured>,
    begun: Instant,
) -> Result<Vec<Finding>> {
    let parts = chosen.iter().map(|&(experiment, grid)| {
        let outcome = Outcome {
            experiment,
            level: order.level,
            grid,
            records,
            calibrations,
        };
        let findings = experiment.kind.findings(&outcome, costs);
        (outcome, findings)
    });
    let study = Study {
        title: order.title,
        parts: parts.collect(),
        records,
        seconds: begun.elapsed().as_secs_f64(),
    };
    study.write(order.out)?;
    let claims = study
        .parts
        .into_iter()
        .flat_map(|(_, findings)| findings.claims);
    Ok(claims.collect())
}
