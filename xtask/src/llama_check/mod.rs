//! What we write as GGUF, in llama.cpp.
//!
//! An adapter is put on small models of every architecture and on a published one, and
//! written for llama.cpp: beside its base, and merged in several formats. There and here
//! the same rows of tokens are read, prompts with our model's greedy continuation, and the
//! probabilities of the next token are compared at every position.

mod case;
mod compare;
mod node;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use case::Case;
use compare::Compared;
use node::Node;

/// The published model.
const MODEL: &str = "models/fetched/qwen2.5-coder/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf";
/// Small models, one of each architecture.
const SMALL: [&str; 4] = ["tiny", "qwen2", "qwen3", "gemma3"];
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/gguf");

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// GGUF file of another model than the published one.
    #[arg(long, value_name = "FILE.gguf")]
    model: Option<PathBuf>,
    /// Folder of an adapter of it, instead of one that is trained for a few steps.
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Small models alone.
    #[arg(long, conflicts_with = "model")]
    small: bool,
}

impl Arguments {
    /// The model that is not one of the small ones, if there is to be one.
    fn published(&self) -> Result<Option<PathBuf>> {
        if self.small {
            return Ok(None);
        }
        let model = self.model.clone();
        let model = model.unwrap_or_else(|| PathBuf::from(MODEL));
        match model.is_file() {
            true => Ok(Some(model)),
            false => bail!(
                "{}: expected the model to check, found no such file; cargo xtask fetch \
                 qwen2.5-coder brings it, --small goes without",
                model.display()
            ),
        }
    }
}

/// Runs all comparisons.
///
/// # Errors
/// If there is no llama.cpp, an input cannot be used, or something differs.
pub(crate) fn check(arguments: &Arguments) -> Result<()> {
    let published = arguments.published()?;
    let node = Node::find()?;
    let work = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut cases = Vec::new();
    if arguments.model.is_none() {
        for name in SMALL {
            let base = Path::new(FIXTURES).join(format!("{name}.gguf"));
            cases.push(Case::small(name, &base, work.path())?);
        }
    }
    if let Some(model) = published {
        let adapter = arguments.adapter.as_deref();
        cases.push(Case::trained(&model, adapter, work.path())?);
    }
    let (mut checks, mut failures) = (0, 0);
    for case in &cases {
        for written in case.written(work.path())? {
            let name = format!("{}, {}", case.name, written.what);
            let compared = Compared::of(&node, case, &written, work.path());
            checks += 1;
            match compared.and_then(|compared| compared.judge(written.bound)) {
                Ok(line) => ggpo::say!("{name}: {line}"),
                Err(error) => {
                    ggpo::note!("{name}: failed: {error:#}");
                    failures += 1;
                }
            }
        }
    }
    match failures {
        0 => Ok(()),
        failures => bail!("{failures} of {checks} checks failed"),
    }
}
