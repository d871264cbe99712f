//! `ggpo bench`.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use ggpo_lab::bench::level::parse_level;
use ggpo_lab::bench::{BenchConfig, Job, Shape, WARM_UP, bench, serve, table};
use ggpo_lab::progress::{Followed, minutes};
use ggpo_tensor::simd::{Level, level};

use ggpo_lora::method::{METHODS, Method};

use crate::output::print_json;
use crate::say_part;

/// Arguments of `ggpo bench`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo bench --shape minilm --method lora,ggpo
  ggpo bench --shape minilm --method all --steps 5
  ggpo bench --shape smollm2 --model smollm2.Q4_1.gguf --steps 5 --json")]
pub(crate) struct Bench {
    /// Shape of the model
    #[arg(long, value_parser = shapes(), required_unless_present = "serve")]
    shape: Option<Shape>,
    /// Weights of that shape, a folder or a GGUF file, in place of random ones
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Rows of a batch [default: the shape's own]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Tokens of a row [default: the shape's own]
    #[arg(long, value_name = "N")]
    seq: Option<usize>,
    /// Measured steps of every method
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: u32,
    /// The methods, separated by commas, or all of them
    #[arg(long, value_delimiter = ',', default_value = "lora,ggpo", value_parser = methods())]
    method: Vec<String>,
    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Level of instruction set [default: that of GGPO_SIMD, or the best of this
    /// processor]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    simd: Option<Level>,
    /// Say where the time of a step goes, by operation; noting it takes a little time
    #[arg(long)]
    profile: bool,
    /// Print one JSON object per method
    #[arg(long)]
    json: bool,
    /// Do the steps of this job as the standard input asks
    #[arg(long, hide = true, value_name = "JOB", exclusive = true)]
    serve: Option<String>,
}

/// Accepts the names of the shapes.
fn shapes() -> impl TypedValueParser<Value = Shape> {
    PossibleValuesParser::new(Shape::ALL.map(Shape::name))
        .map(|name| Shape::named(&name).expect("one of the names"))
}

/// The word for every method.
const ALL: &str = "all";

/// Accepts the names of the methods, and the word for all.
fn methods() -> PossibleValuesParser {
    let names = METHODS.iter().map(|method| method.name);
    PossibleValuesParser::new(names.chain([ALL]))
}

impl Bench {
    pub(crate) fn execute(&self) -> Result<()> {
        if let Some(job) = &self.serve {
            return Ok(serve(&Job::parse(job)?, io::stdin().lock(), io::stdout())?);
        }
        let config = self.config()?;
        let program = std::env::current_exe().context("the program's own path")?;
        let process = |job: &Job| job.command(&program, &["bench", "--serve"]);
        let rounds = WARM_UP + config.steps;
        config.validate()?;
        let headline = headline(&config, config.expected_seconds()?);
        let mut progress = Followed::begin(&headline, "steps", rounds.into(), "of every method");
        let mut done = 0;
        let records = bench(&config, process, || {
            done += 1;
            let left = progress.gone().as_secs_f64() / f64::from(done) * f64::from(rounds - done);
            progress.reach(done.into(), || {
                format!(
                    "{done} of {rounds} of every method, about {} left",
                    minutes(left)
                )
            });
        })?;
        drop(progress);
        match self.json {
            true => records.iter().try_for_each(print_json),
            false => {
                say_part!("{}", table(&records));
                Ok(())
            }
        }
    }

    fn config(&self) -> Result<BenchConfig> {
        let shape = self.shape.expect("required without --serve");
        let [batch, seq] = shape.batch();
        let asked = |method: &&Method| {
            let mut asked = self.method.iter();
            asked.any(|name| name == ALL || name == method.name)
        };
        let methods = METHODS.iter().filter(asked);
        let methods = methods.map(|method| (method.name.to_owned(), method.config()));
        Ok(BenchConfig {
            shape,
            model: self.model.clone(),
            batch: self.batch.unwrap_or(batch),
            seq: self.seq.unwrap_or(seq),
            steps: self.steps,
            threads: self.threads.unwrap_or_else(rayon::current_num_threads),
            simd: self.simd.unwrap_or_else(level),
            methods: methods.collect(),
            profile: self.profile,
        })
    }
}

/// What begins, in words.
fn headline(config: &BenchConfig, seconds: f64) -> String {
    let BenchConfig {
        shape,
        batch,
        seq,
        threads,
        simd,
        steps,
        ..
    } = config;
    let methods = config.methods.iter();
    let names: Vec<&str> = methods.map(|(name, _)| name.as_str()).collect();
    let (shape, names, time) = (shape.name(), names.join(" and "), minutes(seconds));
    format!(
        "{simd}, {shape} on {batch} x {seq}, {threads} threads: {names} in turn, {WARM_UP} steps to \
         warm up, then {steps}; about {time}"
    )
}
