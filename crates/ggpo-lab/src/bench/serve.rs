//! The end of a stepping process that steps.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ggpo_model::batch::Batch;
use ggpo_tensor::simd::{self, Level};
use ggpo_train::method::{MethodConfig, Trainable};
use ggpo_train::trainer::{Trainer, TrainerConfig};
use ggpo_train::{Error, Result};
use rayon::ThreadPoolBuilder;
use serde::{Deserialize, Serialize};

use super::WARM_UP;
use super::profile::profile;
use super::shape::{Shape, random_batch};
use super::side::{READY, STEP, SideReport};

/// What one process does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The model's shape.
    pub shape: Shape,
    /// Weights of that shape, in place of random ones.
    pub model: Option<PathBuf>,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Steps that there will be, which some schedules want to know.
    pub steps: u32,
    /// Threads.
    pub threads: usize,
    /// Level of instruction set.
    #[serde(with = "super::level::by_name")]
    pub simd: Level,
    /// The method.
    pub method: MethodConfig,
    /// Whether to note where the time of the steps after the warm-up goes.
    pub profile: bool,
}

impl Job {
    /// The job as text, for the command line of its process.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a job has a JSON form")
    }

    /// The job that [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::config("job", "a job", error))
    }

    /// A process of `program` with these arguments that is to [`serve`](serve())
    /// the job: its environment names the level.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.to_json());
        command.env(simd::VARIABLE, self.simd.name());
        command
    }
}

/// Learning rate of the steps, which does not matter to their time.
const LEARNING_RATE: f64 = 1e-4;
/// Limit of the global norm of the gradients.
const CLIP: f64 = 1.0;
const SEED: u64 = 1;

/// Does steps as the lines of `requests` ask, on the job's threads, and answers on
/// `answers`: when ready, the milliseconds of every step, and at the end of the
/// requests what remains to be said. To be called once in a process.
///
/// # Errors
/// If the model cannot be had, a step fails, or the other end speaks otherwise.
pub fn serve(job: &Job, requests: impl BufRead, mut answers: impl Write) -> Result<()> {
    ThreadPoolBuilder::new()
        .num_threads(job.threads)
        .build_global()
        .map_err(|error| Error::config("threads", "threads to run on", error))?;
    let (mut trainer, batch) = job.open()?;
    let batches = [batch];
    let mut answer = |line: String| {
        let written = writeln!(answers, "{line}").and_then(|()| answers.flush());
        written.map_err(|error| Error::io("standard output", error))
    };
    answer(READY.to_owned())?;
    for (step, request) in requests.lines().enumerate() {
        let request = request.map_err(|error| Error::io("standard input", error))?;
        if request != STEP {
            return Err(Error::config("request", STEP, request));
        }
        if job.profile && step == WARM_UP as usize {
            trainer.start_timing();
        }
        let start = Instant::now();
        trainer.step(&batches)?;
        answer((start.elapsed().as_secs_f64() * 1e3).to_string())?;
    }
    let finished = SideReport {
        peak_rss_mib: peak_memory_mib(),
        weights_mib: Some(trainer.parameters().bytes() as f64 / f64::from(1 << 20)),
        profile: trainer
            .timing()
            .map(|timing| profile(timing, trainer.steps_done() - WARM_UP)),
        ..SideReport::default()
    };
    answer(serde_json::to_string(&finished).expect("a measurement has a JSON form"))
}

impl Job {
    /// The model in training, and its batch.
    fn open(&self) -> Result<(Trainer<f32>, Batch)> {
        let (model, parameters) = self.shape.load(self.seq, self.model.as_deref())?;
        let batch = random_batch(&model, self.batch, self.seq);
        let first_rows = |rows| random_batch(&model, rows, self.seq);
        let trainable = Trainable::new(&self.method, model.clone(), parameters, SEED, first_rows)?;
        let training = TrainerConfig {
            learning_rate: LEARNING_RATE,
            steps: self.steps,
            schedule: Default::default(),
            clip: Some(CLIP),
            adamw: Default::default(),
        };
        let trainer = Trainer::new(trainable, &self.method, training, SEED)?;
        Ok((trainer, batch))
    }
}

/// Peak resident memory of this process in MiB, where the operating system
/// tells: Linux, in `/proc/self/status`.
pub(super) fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
