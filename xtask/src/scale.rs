//! What a training takes on models and machines that are not here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ggpo_files::write_atomically;
use ggpo_lab::bench::scale::{MEASURED, page};
use ggpo_lab::bench::{BenchConfig, Job, Machine, Record, bench};
use ggpo_lab::progress::Followed;
use ggpo_lora::method::method;
use ggpo_tensor::simd::level;

use crate::ranks::Subject;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measured steps of each model.
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: u32,
    /// The program, built with the feature mpi: two ranks of it are measured as well.
    #[arg(long, value_name = "GGPO")]
    program: Option<PathBuf>,
    /// Model of the ranks, one that `cargo xtask fetch` brings.
    #[arg(long, default_value = "models/fetched/minilm")]
    model: PathBuf,
    /// Rounds of the ranks.
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// The page to write.
    #[arg(long, default_value = "docs/scale.md")]
    out: PathBuf,
}

/// Measures, and writes the page.
pub(crate) fn scale(arguments: &Arguments) -> Result<()> {
    let ranks = arguments.program.as_deref().map(|program| {
        let subject = Subject::new(program, &arguments.model);
        subject.measure(arguments.rounds.max(1))
    });
    let ranks = ranks.transpose()?;
    let records = models(arguments.steps)?;
    let mut command = format!("cargo xtask scale --steps {}", arguments.steps);
    if let Some(program) = &arguments.program {
        command += &format!(" --program {}", program.display());
    }
    let text = page(&records, ranks.as_ref(), &command).to_markdown("figures");
    write_atomically(&arguments.out, text.as_bytes())
        .with_context(|| arguments.out.display().to_string())?;
    ggpo::say!("{}", arguments.out.display());
    Ok(())
}

/// Steps of the models that fit here.
fn models(steps: u32) -> Result<Vec<Record>> {
    let program = std::env::current_exe().context("the program's own path")?;
    let process = |job: &Job| job.command(&program, &["bench-steps"]);
    let lora = method("lora").expect("a method of the table").config();
    let count = MEASURED.len();
    let headline = format!("steps of {count} models");
    let mut progress = Followed::begin(&headline, "models", count as u64, "models");
    let mut records = Vec::new();
    for (done, shape) in MEASURED.into_iter().enumerate() {
        progress.reach(done as u64, || shape.name().to_owned());
        let [batch, seq] = shape.batch();
        let config = BenchConfig {
            shape,
            model: None,
            batch,
            seq,
            steps,
            threads: Machine::this().threads,
            simd: level(),
            methods: vec![("lora".to_owned(), lora.clone())],
            profile: false,
        };
        records.extend(bench(&config, process, || {})?);
    }
    Ok(records)
}
