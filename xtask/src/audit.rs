//! The audit of a step of MiniLM that the documentation shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ggpo_files::write_atomically;
use ggpo_lab::audit::{AuditConfig, audit, browser};
use ggpo_train::run::{Corpora, Description};

/// What the documentation shows: a query of the first block.
const LAYER: &str = "bert.encoder.layer.0.attention.self.query";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of MiniLM.
    #[arg(long, value_name = "DIR", default_value = "models/fetched/minilm")]
    model: PathBuf,
    /// Folder to write: minilm.html and minilm.png.
    #[arg(long, value_name = "DIR", default_value = "docs/audit")]
    out: PathBuf,
}

/// Audits two steps, writes the page, and takes a picture of it.
pub(crate) fn document(arguments: &Arguments) -> Result<()> {
    let data = "data/spam/train.tsv";
    let mut description = Description::default();
    description.set("model", arguments.model.display().to_string())?;
    description.set("task.train", data)?;
    description.set("task.max_length", 32)?;
    description.set("method.name", "ggpo")?;
    description.set("training.learning_rate", 1e-3)?;
    description.set("training.steps", 2)?;
    description.set("batch_size", 4)?;
    let config = AuditConfig {
        run: description.complete(&Corpora::default())?,
        model: "all-MiniLM-L6-v2".to_owned(),
        data: data.to_owned(),
        layer: Some(LAYER.to_owned()),
        row: None,
        column: None,
    };
    let page = audit(&config, &mut |step| {
        eprintln!("step {}: loss {}", step.step, step.loss)
    })?
    .html();
    std::fs::create_dir_all(&arguments.out).context("the folder to write")?;
    let out = arguments
        .out
        .canonicalize()
        .context("the folder to write")?;
    let path = out.join("minilm.html");
    write_atomically(&path, page.as_bytes()).with_context(|| path.display().to_string())?;
    ggpo::say!("{}", path.display());
    picture(&path, &out.join("minilm.png"))
}

/// Takes a picture of the head of a page.
fn picture(page: &Path, to: &Path) -> Result<()> {
    let Some(found) = browser::find() else {
        bail!("expected chromium on the PATH for the picture, found none");
    };
    let profile = tempfile::tempdir().context("a temporary folder")?;
    let output = browser::command(&found, page, profile.path(), (1000, 900))
        .arg("--hide-scrollbars")
        .arg(format!("--screenshot={}", to.display()))
        .output()
        .context("cannot start the browser")?;
    if !output.status.success() || !to.is_file() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: the browser wrote no picture: {said}", to.display());
    }
    ggpo::say!("{}", to.display());
    Ok(())
}
