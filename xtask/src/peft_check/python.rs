//! The Python that has PEFT.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../peers");

/// An interpreter with PyTorch, Transformers and PEFT.
pub(super) struct Python(String);

impl Python {
    /// The interpreter that `PYTHON` names, or python3.
    ///
    /// # Errors
    /// If it cannot import PEFT; the sentence says what to install.
    pub(super) fn find() -> Result<Self> {
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let imports = Command::new(&python)
            .args(["-c", "import torch, transformers, peft"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if imports.is_ok_and(|status| status.success()) {
            return Ok(Python(python));
        }
        bail!(
            "not run: {python} does not import torch, transformers and peft; install them with \
             `pip install -r peers/requirements.txt` (peers/README.md says how to save space), or \
             name another interpreter in PYTHON"
        )
    }

    /// Runs a script; returns its last line, or what it complained of.
    pub(super) fn run(&self, script: &str, arguments: impl FnOnce(&mut Command)) -> Result<String> {
        let mut command = Command::new(&self.0);
        command.arg(Path::new(SCRIPTS).join(script));
        arguments(&mut command);
        let output = command.output().with_context(|| self.0.clone())?;
        let last = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().last().unwrap_or_default().to_owned()
        };
        if output.status.success() {
            return Ok(last(&output.stdout));
        }
        let said = [last(&output.stdout), last(&output.stderr)];
        bail!("{}", said.join(" ").trim())
    }
}
