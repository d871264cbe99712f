//! What a training takes on models and machines that are not here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ggpo_files::write_atomically;
use ggpo_lab::bench::scale::{MEASURED, page};
use ggpo_lab::bench::{BenchConfig, Job, Machine, bench};
use ggpo_lab::progress::Followed;
use ggpo_lora::method::method;
use ggpo_tensor::simd::level;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measured steps of each model.
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: u32,
    /// The page to write.
    #[arg(long, default_value = "docs/scale.md")]
    out: PathBuf,
}

/// Measures, and writes the page.
pub(crate) fn scale(arguments: &Arguments) -> Result<()> {
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
            steps: arguments.steps,
            threads: Machine::this().threads,
            simd: level(),
            methods: vec![("lora".to_owned(), lora.clone())],
            profile: false,
        };
        records.extend(bench(&config, process, || {})?);
    }
    drop(progress);
    let command = format!("cargo xtask scale --steps {}", arguments.steps);
    let text = page(&records, &command).to_markdown("figures");
    write_atomically(&arguments.out, text.as_bytes())
        .with_context(|| arguments.out.display().to_string())?;
    ggpo::say!("{}", arguments.out.display());
    Ok(())
}
