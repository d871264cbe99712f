//! `ggpo audit`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ggpo_files::write_folder_atomically;
use ggpo_lab::audit::{AuditConfig, Document, audit, describe_tiny_model};
use ggpo_lab::progress;
use ggpo_train::Error;
use ggpo_train::run::{Corpora, Description};
use serde_json::json;

use crate::options::RunOptions;
use crate::output::print_json;
use crate::say;

/// Arguments of `ggpo audit`.
#[derive(Args)]
#[command(args_override_self = true)]
#[command(mut_arg("task.train", |train| train.visible_alias("data")))]
#[command(after_help = "\
Examples:
  ggpo audit --out audited
  ggpo audit --model models/fetched/minilm --data data/spam/train.tsv --max-length 32 \\
    --batch-size 4 --steps 2 --layer bert.encoder.layer.0.attention.self.query \\
    --row 3 --column 5 --out audited")]
pub(crate) struct AuditCommand {
    /// Folder to write: audit.jsonl for machines, audit.html for people
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The layer whose element the page follows [default: the first]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Row of the element, from 0 [default: 3, or the last]
    #[arg(long, value_name = "I")]
    row: Option<usize>,
    /// Column of the element, from 0 [default: 5, or the last]
    #[arg(long, value_name = "J")]
    column: Option<usize>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: RunOptions,
}

impl AuditCommand {
    pub(crate) fn execute(&self) -> Result<()> {
        let out = &self.out;
        if std::fs::symlink_metadata(out).is_ok() {
            bail!(
                "{}: expected a new folder, found something there",
                out.display()
            );
        }
        let tiny = tempfile::tempdir()?;
        let config = self.config(tiny.path())?;
        let steps = config.run.training.steps;
        let bar = progress::bar(steps.into(), "auditing", "steps");
        let found = audit(&config, &mut |record| {
            bar.set_position(u64::from(record.step) + 1);
            bar.set_message(format!("loss {:.4}", record.loss));
        });
        bar.finish_and_clear();
        let found = found?;
        let (lines, page) = (found.jsonl(), found.html());
        let files = [
            ("audit.jsonl", lines.as_bytes()),
            ("audit.html", page.as_bytes()),
        ];
        write_folder_atomically(out, &files).map_err(|cause| Error::io(out, cause))?;
        self.report(&found.document)
    }

    /// The run, on the model that is shown whole if none is named.
    fn config(&self, tiny: &std::path::Path) -> Result<AuditConfig> {
        let mut description = Description::default();
        // What is said goes before these.
        description.set("method.name", "ggpo")?;
        description.set("training.steps", i64::from(STEPS))?;
        self.options.apply(&mut description)?;
        let text = |field: &str| {
            let value = description.get(field)?.as_str()?;
            Some(value.to_owned())
        };
        let (model, data) = (text("model"), text("task.train"));
        if model.is_none() && data.is_none() {
            describe_tiny_model(tiny, &mut description)?;
        }
        Ok(AuditConfig {
            run: description.complete(&Corpora::default())?,
            model: model.unwrap_or_else(|| "the built-in model of width 8".to_owned()),
            data: data.unwrap_or_else(|| "the built-in texts".to_owned()),
            layer: self.layer.clone(),
            row: self.row,
            column: self.column,
        })
    }

    fn report(&self, found: &Document) -> Result<()> {
        let page = self.out.join("audit.html");
        if self.json {
            return print_json(&json!({
                "out": self.out, "page": page, "run": found.run, "steps": found.steps,
            }));
        }
        for step in &found.steps {
            say!(
                "step {}: loss {:.6}, without noise {:.6}; {} frozen tensors {}",
                step.step,
                step.loss,
                step.loss_without,
                step.frozen,
                match step.unchanged {
                    true => "have the same bits",
                    false => "HAVE CHANGED",
                }
            );
        }
        say!("page: {}", page.display());
        Ok(())
    }
}

/// Steps where nothing says how many.
const STEPS: u32 = 3;
