//! Many runs side by side.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use ggpo_files::{FolderLock, create_folder};
use ggpo_train::run::{Corpora, DESCRIPTION, Keep, run_on};
use ggpo_train::{Error, Result};
use rayon::ThreadPoolBuilder;

use super::description::Experiment;
use super::plan::PlannedRun;
use super::record::{Flatness, Record, Records};
use crate::progress::Followed;
use crate::sharpness::{DensityConfig, NoiseConfig, PowerConfig, SharpnessConfig, measure_run};

/// How runs are carried out.
#[derive(Debug, Clone, Copy)]
pub struct Jobs {
    /// Runs side by side.
    pub side_by_side: usize,
    /// This part of the runs, counted from 1, of so many.
    pub shard: (usize, usize),
}

impl Jobs {
    /// As many runs side by side as there are threads, and all of them.
    pub fn all() -> Self {
        Jobs {
            side_by_side: rayon::current_num_threads(),
            shard: (1, 1),
        }
    }
}

/// Carries out those of `runs` that have no record yet, and adds their records.
///
/// Each of the runs that go side by side has its own part of the threads; the bits of a
/// run do not depend on how many these are.
///
/// # Errors
/// The first error of a run; no further run is begun then.
pub(super) fn carry_out(
    runs: &[PlannedRun],
    jobs: Jobs,
    (experiment, features): (&Experiment, Option<&Path>),
    (records, out): (&mut Records, &Path),
) -> Result<()> {
    let label = &experiment.id;
    let mut missing: Vec<&PlannedRun> = Vec::new();
    for run in mine(runs, jobs.shard) {
        let known = missing.iter().any(|other| other.key == run.key);
        if records.get(run).is_none() && !known {
            missing.push(run);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    create_folder(out).map_err(|source| Error::io(out, source))?;
    let _lock = FolderLock::take(out).map_err(|source| Error::io(out, source))?;
    let headline = format!("{label}: {} runs", missing.len());
    let total: u64 = missing.iter().map(|run| run.work()).sum();
    // In thousands of tokens.
    let unit = 1000;
    let progress = Followed::begin(&headline, label, total / unit, "k tokens");
    let corpora = Corpora::default();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let state = Mutex::new((progress, records, 0_usize, 0_u64, None::<Error>));
    let side_by_side = jobs.side_by_side.clamp(1, missing.len());
    let threads = (rayon::current_num_threads() / side_by_side).max(1);
    let work = || {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = match pool {
            Ok(pool) => pool,
            Err(cause) => {
                failed.store(true, Ordering::Relaxed);
                let mut state = state.lock().expect("no panic while locked");
                let expected = "as many as the system grants";
                let error = Error::config("threads", expected, format!("{threads} ({cause})"));
                state.4.get_or_insert(error);
                return;
            }
        };
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = missing.get(index) else {
                break;
            };
            let per_step = planned.work() / u64::from(planned.config.training.steps);
            let folder = out.join("work").join(&planned.key);
            let mut seen = 0;
            let outcome = pool.install(|| {
                let on_step = &mut || {
                    seen += per_step;
                    let mut state = state.lock().expect("no panic while locked");
                    state.3 += per_step;
                    let (done, finished) = (state.3 / unit, state.2);
                    let of = missing.len();
                    state.0.reach(done, || format!("{finished} of {of} runs"));
                };
                one(planned, &corpora, &folder, experiment, features, on_step)
            });
            let mut state = state.lock().expect("no panic while locked");
            // Steps that an earlier call had done, or that were given up.
            state.3 += planned.work() - seen;
            state.2 += 1;
            if let Err(error) = outcome.and_then(|record| state.1.add(record)) {
                failed.store(true, Ordering::Relaxed);
                state.4.get_or_insert(error);
            } else {
                // The record is safe; what the run left is of no use.
                _ = std::fs::remove_dir_all(&folder);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(work);
        }
    });
    let (.., error) = state.into_inner().expect("no panic while locked");
    _ = std::fs::remove_dir(out.join("work"));
    error.map_or(Ok(()), Err)
}

/// A run from its start or its checkpoint to its record.
fn one(
    planned: &PlannedRun,
    corpora: &Corpora,
    folder: &Path,
    experiment: &Experiment,
    features: Option<&Path>,
    on_step: &mut dyn FnMut(),
) -> Result<Record> {
    let config = planned.resolved(features);
    // A process that was killed while it removed a finished run's folder leaves a part.
    if folder.exists() && !folder.join(DESCRIPTION).exists() {
        std::fs::remove_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    }
    let begun = Instant::now();
    let keep = match planned.sharpness {
        true => Keep::Weights,
        false => Keep::Records,
    };
    let result = run_on(&config, corpora, folder, keep, &mut |_| on_step())?;
    let seconds = begun.elapsed().as_secs_f64();
    let measured = planned.sharpness && result.diverged_at.is_none();
    let sharpness = measured.then(|| sharpness_of(folder)).transpose()?;
    Ok(Record::new(planned, result, experiment, seconds, sharpness))
}

/// Training rows that the sharpness is measured on.
const SHARPNESS_ROWS: usize = 16;

/// The sharpness of what a run has trained.
fn sharpness_of(folder: &Path) -> Result<Flatness> {
    let config = SharpnessConfig {
        density: DensityConfig { steps: 1, runs: 1 },
        power: PowerConfig {
            iterations: 12,
            ..PowerConfig::default()
        },
        trace_samples: 6,
        noise: NoiseConfig {
            draws: 4,
            samples: 4,
            ..NoiseConfig::default()
        },
        ..SharpnessConfig::default()
    };
    let measured = measure_run(folder, SHARPNESS_ROWS, &config)
        .map_err(|error| Error::file(folder, error.to_string()))?;
    Ok(Flatness::of(&measured))
}

/// The runs of one part of several: the next largest goes to the part with the least.
fn mine(runs: &[PlannedRun], (part, of): (usize, usize)) -> Vec<&PlannedRun> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(runs[index].work()), index));
    let mut loads = vec![0; of.max(1)];
    let mut chosen = vec![false; runs.len()];
    for index in order {
        let least = (0..loads.len())
            .min_by_key(|&it| (loads[it], it))
            .expect("a part");
        loads[least] += runs[index].work();
        chosen[index] = least + 1 == part;
    }
    let pairs = runs.iter().zip(chosen);
    pairs
        .filter_map(|(run, chosen)| chosen.then_some(run))
        .collect()
}
