//! `ggpo completions` and `ggpo man`: what a shell knows of the program.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use ggpo_train::Error;

use crate::Arguments;
use crate::{say, say_part};

/// Arguments of `ggpo completions`.
#[derive(Args)]
#[command(
    after_help = "Example: ggpo completions bash > ~/.local/share/bash-completion/completions/ggpo"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn execute(&self) -> Result<()> {
        let mut command = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "ggpo", &mut script);
        say_part!("{}", String::from_utf8_lossy(&script));
        Ok(())
    }
}

/// Arguments of `ggpo man`.
#[derive(Args)]
#[command(after_help = "Example: ggpo man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Folder to write the pages to
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(crate) fn execute(&self) -> Result<()> {
        ggpo_files::create_folder(&self.out).map_err(|cause| Error::io(&self.out, cause))?;
        clap_mangen::generate_to(Arguments::command(), &self.out)
            .map_err(|cause| Error::io(&self.out, cause))?;
        say!("pages written: {}", self.out.display());
        Ok(())
    }
}
