//! How long training steps take, method beside method.
//!
//! Every method runs in a process of its own ([`serve()`]), which does a step of
//! the real [`Trainer`](ggpo_train::trainer::Trainer) when it is asked to and says how
//! long it took. So the steps of several methods, or of this program and another
//! one, can be taken in turn ([`alternate`]), and each has its own peak of memory.
//! The shapes need no files: weights and tokens are random.
//!
//! * [`shape`]: the models that are measured, and their batches.
//! * [`flops`]: the useful floating-point operations of a step.
//! * [`serve`](mod@serve) and [`side`]: the two ends of a process that steps.
//! * [`record`]: the result, as JSON and as a table.
//! * [`profile`]: where a step's time goes.
//! * [`cost`]: every method beside LoRA.
//! * [`estimate`](mod@estimate): a run before it starts; [`ranks`]: two of them, measured
//!   beside it; [`scale`]: models and machines that are not here.
//! * [`contender`] and [`goals`]: who is compared, and what they are held to at
//!   each [`level`] of instruction set; [`study`]: the goals, measured in
//!   [`rounds`], also beside PyTorch ([`torch`]), with the [`products`] on their
//!   own, on a [`machine`]; [`speed`]: the page that says so.

pub mod contender;
pub mod cost;
pub mod estimate;
pub mod flops;
pub mod goals;
pub mod level;
pub mod machine;
pub mod products;
pub mod profile;
pub mod ranks;
pub mod record;
pub mod rounds;
pub mod scale;
pub mod serve;
pub mod shape;
pub mod side;
pub mod speed;
pub mod study;
pub mod torch;

pub use level::level_of_peak;
pub use machine::Machine;
pub use record::{Record, StepTimes, table};
pub use serve::{Job, serve};
pub use shape::Shape;
pub use side::{Side, SideReport, alternate};

use std::path::PathBuf;

use ggpo_tensor::probe::multiply_add_rate;
use ggpo_tensor::simd::Level;
use ggpo_train::method::MethodConfig;
use ggpo_train::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Steps of every method before the measured ones.
pub const WARM_UP: u32 = 3;

/// Share of the multiply-add peak that the useful operations of our steps reach
/// somehow, to say beforehand how long they will take.
const USUAL_RATE: f64 = 0.55;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// The model's shape.
    pub shape: Shape,
    /// Weights of that shape, in place of random ones.
    pub model: Option<PathBuf>,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Measured steps of every method.
    pub steps: u32,
    /// Threads of every method.
    pub threads: usize,
    /// Level of instruction set.
    pub simd: Level,
    /// The methods, by name.
    pub methods: Vec<(String, MethodConfig)>,
    /// Whether to note where the time goes.
    pub profile: bool,
}

impl BenchConfig {
    /// # Errors
    /// If a size is 0.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("batch", self.batch),
            ("seq", self.seq),
            ("steps", self.steps as usize),
            ("threads", self.threads),
            ("method", self.methods.len()),
        ];
        match sizes.into_iter().find(|(_, size)| *size == 0) {
            Some((field, _)) => Err(Error::config(field, "at least 1", 0)),
            None => Ok(()),
        }
    }

    /// About how many seconds the steps will take, warm-up included, after a short
    /// probe of the processor.
    ///
    /// # Errors
    /// If the threads cannot be had.
    pub fn expected_seconds(&self) -> Result<f64> {
        let rate = USUAL_RATE * machine_rate(self.threads, self.simd)?;
        let methods = self.methods.iter();
        let flops: f64 = methods
            .map(|(_, method)| flops::of_step(self.shape, method, self.batch, self.seq))
            .sum();
        Ok(f64::from(WARM_UP + self.steps) * flops / rate)
    }

    /// The steps of one method.
    fn job(&self, method: &(String, MethodConfig)) -> Job {
        Job {
            shape: self.shape,
            model: self.model.clone(),
            batch: self.batch,
            seq: self.seq,
            steps: WARM_UP + self.steps,
            threads: self.threads,
            simd: self.simd,
            method: method.1.clone(),
            profile: self.profile,
        }
    }
}

/// Measures the steps of all methods in turn, each in a process that `start`
/// makes of its job, and calls `on_step` after every step of all.
///
/// # Errors
/// If a size is 0, or a process cannot be started or fails.
pub fn bench(
    config: &BenchConfig,
    start: impl Fn(&Job) -> std::process::Command,
    on_step: impl FnMut(),
) -> Result<Vec<Record>> {
    config.validate()?;
    let begin =
        |method: &(String, MethodConfig)| Side::start(&method.0, start(&config.job(method)));
    let mut sides = config
        .methods
        .iter()
        .map(begin)
        .collect::<Result<Vec<_>>>()?;
    let before = machine_rate(config.threads, config.simd)?;
    let step_ms = alternate(&mut sides, WARM_UP, config.steps, on_step)?;
    let after = machine_rate(config.threads, config.simd)?;
    let mut records = Vec::new();
    for ((side, times), (name, method)) in sides.into_iter().zip(step_ms).zip(&config.methods) {
        let flops = flops::of_step(config.shape, method, config.batch, config.seq);
        let finished = side.finish()?;
        records.push(Record::new(
            config,
            name,
            &times,
            flops,
            [before, after],
            finished,
        ));
    }
    Ok(records)
}

/// Peak of `threads` threads, in floating-point operations per second, that bounds
/// the products of a level; see [`level_of_peak`].
///
/// # Errors
/// If the threads cannot be had.
pub fn machine_rate(threads: usize, level: Level) -> Result<f64> {
    Ok(pool(threads)?.install(|| multiply_add_rate(level_of_peak(level))))
}

fn pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::config("threads", "threads to run on", error))
}
