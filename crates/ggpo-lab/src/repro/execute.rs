//! Many runs side by side, each on one thread.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ggpo_train::run::{Corpora, Keep, RunResult, run_on};
use ggpo_train::{Error, Result};
use rayon::ThreadPoolBuilder;

use super::outcome::FinishedRun;
use super::plan::PlannedRun;
use crate::progress;

/// Carries out `runs` below `out`, as many side by side as there are threads;
/// what is finished already is not done again. The results are in the order of
/// the runs.
///
/// Every run has one thread to itself, so its bits do not depend on how many
/// there are.
///
/// # Errors
/// The first error of a run; no further run is begun then.
pub(super) fn finish(
    runs: Vec<PlannedRun>,
    corpora: &Corpora,
    out: &Path,
    keep: Keep,
    label: &str,
) -> Result<Vec<FinishedRun>> {
    let steps = runs.iter().map(|run| u64::from(run.config.training.steps));
    let bar = progress::bar(steps.sum(), label, "steps");
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<RunResult>>>> =
        Mutex::new(runs.iter().map(|_| None).collect());
    let work = || {
        let pool = ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.expect("the operating system grants a thread");
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = runs.get(index) else {
                break;
            };
            bar.set_message(format!("{} {}", planned.task, planned.method));
            let folder = out.join(planned.folder());
            let mut seen = 0;
            let result = pool.install(|| {
                run_on(&planned.config, corpora, &folder, keep, &mut |_| {
                    seen += 1;
                    bar.inc(1);
                })
            });
            // Steps that an earlier call had done, or that were given up.
            bar.inc(u64::from(planned.config.training.steps) - seen);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            results.lock().expect("no panic while locked")[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(runs.len()) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let results = results.into_inner().expect("no panic while locked");
    let mut finished = Vec::with_capacity(runs.len());
    let mut error: Option<Error> = None;
    for (plan, result) in runs.into_iter().zip(results) {
        match result {
            None => {}
            Some(Ok(result)) => finished.push(FinishedRun { plan, result }),
            Some(Err(first)) => error = error.or(Some(first)),
        }
    }
    error.map_or(Ok(finished), Err)
}
