//! The Python that has PEFT.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../peers");

/// An interpreter with PyTorch, Transformers and PEFT.
pub(crate) struct Python(PathBuf);

/// The path of a script.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(SCRIPTS).join(name)
}

/// The interpreter that `PYTHON` names, or python3.
pub(crate) fn interpreter() -> PathBuf {
    let variable = std::env::var_os("PYTHON").map(PathBuf::from);
    variable.unwrap_or_else(|| PathBuf::from("python3"))
}

impl Python {
    /// The interpreter that is named, or `PYTHON` names, or python3.
    ///
    /// # Errors
    /// If it cannot import PEFT; the sentence says what to install.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        let python = named.map_or_else(interpreter, Path::to_path_buf);
        let imports = Command::new(&python)
            .args(["-c", "import torch, transformers, peft"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if imports.is_ok_and(|status| status.success()) {
            return Ok(Python(python));
        }
        bail!(
            "not run: {} does not import torch, transformers and peft; install them with \
             `pip install -r peers/requirements.txt` (peers/README.md says how to save space), or \
             name another interpreter in PYTHON",
            python.display()
        )
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs a script; returns its last line, or what it complained of.
    pub(crate) fn run(&self, name: &str, arguments: impl FnOnce(&mut Command)) -> Result<String> {
        let mut command = Command::new(&self.0);
        command.arg(script(name));
        arguments(&mut command);
        let output = command
            .output()
            .with_context(|| self.0.display().to_string())?;
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
