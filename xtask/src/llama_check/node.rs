//! llama.cpp, as the package node-llama-cpp brings it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::there_is;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../peers/llama");
/// Where the package is installed, unless the variable names another folder.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/llama-check");
const VARIABLE: &str = "LLAMA_CHECK_MODULES";

/// Node, and the folder whose `node_modules` has llama.cpp.
pub(super) struct Node {
    modules: PathBuf,
}

impl Node {
    /// Installs the package with npm where it is not there yet.
    ///
    /// # Errors
    /// If there is no node or npm; the sentence says what to install.
    pub(super) fn find() -> Result<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let modules = named.clone().unwrap_or_else(|| INSTALLED.into());
        if !there_is("node") {
            bail!("not run: expected node 20 or newer, which runs llama.cpp, found none");
        }
        if modules.join("node_modules/node-llama-cpp").is_dir() {
            return Ok(Node { modules });
        }
        if named.is_some() || !there_is("npm") {
            bail!(
                "not run: expected node-llama-cpp in {}, or npm to install it there, found neither",
                modules.display()
            );
        }
        std::fs::create_dir_all(&modules).with_context(|| modules.display().to_string())?;
        let package = "package.json";
        std::fs::copy(Path::new(SCRIPTS).join(package), modules.join(package))
            .context("cannot copy package.json")?;
        ggpo::note!(
            "installing node-llama-cpp with npm in {}",
            modules.display()
        );
        // The ready-built program comes as a package of its own; nothing is built.
        let status = Command::new("npm")
            .args([
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--silent",
            ])
            .current_dir(&modules)
            .status();
        match status.context("npm")?.success() {
            true => Ok(Node { modules }),
            false => bail!("not run: npm could not install node-llama-cpp"),
        }
    }

    /// Runs the script on a question.
    pub(super) fn ask(&self, question: &Path, answer: &Path) -> Result<()> {
        let output = Command::new("node")
            .arg(Path::new(SCRIPTS).join("probabilities.mjs"))
            .args([question, answer])
            .env(VARIABLE, &self.modules)
            .output()
            .context("node")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said
            .lines()
            .find(|line| line.contains("Error"))
            .unwrap_or("nothing");
        bail!("expected an answer of llama.cpp, found: {}", said.trim())
    }
}
