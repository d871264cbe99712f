//! `ggpo fetch`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::fetch::fetch_repository;
use crate::output::print_json;
use crate::say;

/// Arguments of `ggpo fetch`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo fetch sentence-transformers/all-MiniLM-L6-v2
  ggpo fetch unsloth/SmolLM2-135M-Instruct-GGUF --gguf SmolLM2-135M-Instruct-Q4_K_M.gguf
  ggpo fetch org/private-model --revision v1.0 --to models/private   (with HF_TOKEN set)")]
pub(crate) struct Fetch {
    /// Repository of the hub, as owner/name; HF_ENDPOINT names another hub
    #[arg(value_name = "REPO")]
    repository: String,
    /// Branch, tag or commit [default: main]
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// Fetch this one GGUF file instead of a model folder
    #[arg(long, value_name = "FILE")]
    gguf: Option<String>,
    /// Folder to write; it must not exist [default: models/fetched/NAME]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(crate) fn execute(&self) -> Result<()> {
        let name = self.repository.rsplit('/').next().unwrap_or_default();
        let default = || PathBuf::from("models/fetched").join(name.to_lowercase());
        let to = self.to.clone().unwrap_or_else(default);
        let (revision, gguf) = (self.revision.as_deref(), self.gguf.as_deref());
        let fetched = fetch_repository(&self.repository, revision, gguf, &to)?;
        if self.json {
            return print_json(&json!({
                "to": to,
                "commit": fetched.commit,
                "files": fetched.files,
                "bytes": fetched.bytes,
            }));
        }
        say!("{} at commit {}", self.repository, fetched.commit);
        say!(
            "{} files, {} bytes: {}",
            fetched.files.len(),
            fetched.bytes,
            to.display()
        );
        say!(
            "next: ggpo train --model {} --train FILE --out DIR",
            to.display()
        );
        Ok(())
    }
}
