//! `ggpo bench`.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use ggpo_lab::bench::{BenchConfig, Job, Shape, WARM_UP, bench, serve, table};
use ggpo_lab::progress;

use crate::options::Method;
use crate::output::print_json;

/// Arguments of `ggpo bench`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo bench --shape minilm --method lora,ggpo
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
    /// The methods, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "lora,ggpo")]
    method: Vec<Method>,
    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
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

impl Bench {
    pub(crate) fn execute(&self) -> Result<()> {
        if let Some(job) = &self.serve {
            return Ok(serve(&Job::parse(job)?, io::stdin().lock(), io::stdout())?);
        }
        let config = self.config()?;
        let program = std::env::current_exe().context("the program's own path")?;
        let process = |job: &Job| {
            let mut command = Command::new(&program);
            command.args(["bench", "--serve", &job.to_json()]);
            command
        };
        let bar = progress::bar((WARM_UP + config.steps).into(), "steps", "of every method");
        let records = bench(&config, process, || bar.inc(1))?;
        bar.finish_and_clear();
        match self.json {
            true => records.iter().try_for_each(print_json),
            false => {
                print!("{}", table(&records));
                Ok(())
            }
        }
    }

    fn config(&self) -> Result<BenchConfig> {
        let shape = self.shape.expect("required without --serve");
        let [batch, seq] = shape.batch();
        let methods = self
            .method
            .iter()
            .map(|method| Ok((method.name(), method.config()?)));
        Ok(BenchConfig {
            shape,
            model: self.model.clone(),
            batch: self.batch.unwrap_or(batch),
            seq: self.seq.unwrap_or(seq),
            steps: self.steps,
            threads: self.threads.unwrap_or_else(rayon::current_num_threads),
            methods: methods.collect::<Result<_>>()?,
            profile: self.profile,
        })
    }
}
