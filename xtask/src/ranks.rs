//! The program under `mpirun` beside itself without.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ggpo_lab::bench::Machine;
use ggpo_lab::bench::ranks::{Turn, TwoRanks, step_ms};
use ggpo_lab::progress::Followed;

/// Steps of the runs whose difference is measured.
const STEPS: [u32; 2] = [2, 22];
/// Starts two ranks.
const MPIRUN: [&str; 5] = [
    "mpirun",
    "--allow-run-as-root",
    "--oversubscribe",
    "-n",
    "2",
];

/// What is measured: a program with the feature `mpi`, and a run.
pub(crate) struct Subject<'a> {
    program: &'a Path,
    run: String,
    threads: usize,
}

impl<'a> Subject<'a> {
    /// GGPO on the mails, in four micro-batches.
    pub(crate) fn new(program: &'a Path, model: &Path) -> Self {
        let run = format!(
            "--model {} --train data/spam/train.tsv --validation data/spam/validation.tsv \
             --max-length 64 --method ggpo --batch-size 16 --micro-batches 4",
            model.display()
        );
        let threads = Machine::this().threads;
        Subject {
            program,
            run,
            threads,
        }
    }

    /// One process, two ranks, and the estimate of them, in turn.
    pub(crate) fn measure(&self, rounds: usize) -> Result<TwoRanks> {
        let threads = self.threads;
        ensure!(
            threads >= 2,
            "two ranks: expected two threads, found {threads}"
        );
        let mut progress = Followed::begin("two ranks", "rounds", rounds as u64, "rounds");
        let mut turns = Vec::new();
        for done in 1..=rounds {
            turns.push(Turn {
                alone_ms: self.trained(Self::one, threads)?,
                ranks_ms: self.trained(Self::two, threads / 2)?,
                estimated_ms: self.estimated(threads / 2)?,
            });
            progress.reach(done as u64, || format!("{done} of {rounds}"));
        }
        let run = format!("ggpo train {}", self.run);
        Ok(TwoRanks { run, turns })
    }

    /// The program on its own.
    fn one(&self) -> Command {
        Command::new(self.program)
    }

    /// The program on two ranks.
    fn two(&self) -> Command {
        let mut command = Command::new(MPIRUN[0]);
        command.args(&MPIRUN[1..]).arg(self.program);
        command
    }

    /// A command of the program on the run.
    fn on_run(&self, mut start: Command, command: &str, threads: usize, steps: u32) -> Command {
        start
            .arg(command)
            .args(self.run.split_whitespace())
            .args(["--steps", &steps.to_string()])
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        start
    }

    /// Milliseconds of a step of a training.
    fn trained(&self, start: fn(&Self) -> Command, threads: usize) -> Result<f64> {
        let seconds = |steps: u32| -> Result<f64> {
            let folder = tempfile::tempdir().context("a temporary folder")?;
            let mut command = self.on_run(start(self), "train", threads, steps);
            command.args(["--evaluate-every", &steps.to_string()]);
            command.arg("--out").arg(folder.path().join("run"));
            let begun = Instant::now();
            let status = command.stdout(Stdio::null()).status();
            let status = status.with_context(|| self.program.display().to_string())?;
            let program = self.program.display();
            ensure!(
                status.success(),
                "{program}: the training ended with {status}"
            );
            Ok(begun.elapsed().as_secs_f64())
        };
        let [few, more] = STEPS;
        Ok(step_ms([(few, seconds(few)?), (more, seconds(more)?)]))
    }

    /// Milliseconds of a step on two ranks as estimated, by two processes at once.
    fn estimated(&self, threads: usize) -> Result<f64> {
        let start = |_| {
            let mut command = self.on_run(self.one(), "estimate", threads, STEPS[1]);
            command
                .args(["--ranks", "2", "--json"])
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut sum = 0.0;
        let children = [0, 1].map(start);
        let count = children.len() as f64;
        for child in children {
            let said = child.and_then(std::process::Child::wait_with_output);
            let said = said.with_context(|| self.program.display().to_string())?;
            let found: serde_json::Value = serde_json::from_slice(&said.stdout)
                .with_context(|| format!("{}: what estimate prints", self.program.display()))?;
            sum += found["step_ms_on_ranks"]
                .as_f64()
                .context("step_ms_on_ranks")?;
        }
        Ok(sum / count)
    }
}
