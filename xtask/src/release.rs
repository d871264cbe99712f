//! The program for people without a compiler: an archive and a wheel.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use ggpo_files::write_atomically;
use sha2::{Digest, Sha256};

use crate::python::interpreter;

/// Arguments of `cargo xtask release`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder for the files.
    #[arg(long, default_value = "out/release")]
    out: PathBuf,
    /// Install the wheel in a fresh environment and start the program there.
    #[arg(long)]
    check: bool,
}

/// Builds both and writes their checksums.
pub(crate) fn release(arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let archive = archive(out)?;
    let wheel = wheel(out)?;
    let mut sums = String::new();
    for file in [&archive, &wheel] {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let sum = Sha256::digest(&bytes);
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        sums += &format!("{sum}  {name}\n");
        ggpo::say!("{}: {:.1} MB", file.display(), bytes.len() as f64 / 1e6);
    }
    let path = out.join("SHA256SUMS");
    write_atomically(&path, sums.as_bytes()).with_context(|| path.display().to_string())?;
    if arguments.check {
        check_wheel(&wheel)?;
    }
    Ok(())
}

/// The program with its licences in a folder of their own, named as `cargo binstall`
/// looks for it: `ggpo-{target}-v{version}.tgz`.
fn archive(out: &Path) -> Result<PathBuf> {
    run(Command::new(env!("CARGO")).args(["build", "--release", "--locked", "-p", "ggpo"]))?;
    let name = format!("ggpo-{}-v{}", target()?, env!("CARGO_PKG_VERSION"));
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let program = format!("ggpo{}", std::env::consts::EXE_SUFFIX);
    let built = Path::new("target/release").join(&program);
    let mut add = |from: &Path, to: &str| {
        let added = archive.append_path_with_name(from, format!("{name}/{to}"));
        added.with_context(|| from.display().to_string())
    };
    add(&built, &program)?;
    for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        add(Path::new(file), file)?;
    }
    let bytes = archive.into_inner().and_then(GzEncoder::finish)?;
    let path = out.join(format!("{name}.tgz"));
    write_atomically(&path, &bytes).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The wheel that `maturin` builds.
fn wheel(out: &Path) -> Result<PathBuf> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let mut maturin = Command::new(interpreter());
    maturin.args(["-m", "maturin", "build", "--release", "--locked"]);
    maturin.args(["--manifest-path", "crates/ggpo/Cargo.toml", "--out"]);
    run(maturin.arg(folder.path()))
        .context("a wheel needs maturin: pip install maturin, or PYTHON names another Python")?;
    let mut files = std::fs::read_dir(folder.path())?;
    let Some(built) = files.next().transpose()? else {
        bail!("maturin: expected a wheel, found none");
    };
    let path = out.join(built.file_name());
    let bytes = std::fs::read(built.path())?;
    write_atomically(&path, &bytes).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Installs a wheel in an environment of its own and asks the program for its version.
fn check_wheel(wheel: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let environment = folder.path().join("environment");
    run(Command::new(interpreter())
        .args(["-m", "venv"])
        .arg(&environment))?;
    let programs = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let pip = ["-m", "pip", "install", "--quiet", "--no-index"];
    run(Command::new(programs.join("python")).args(pip).arg(wheel))?;
    let output = Command::new(programs.join("ggpo"))
        .arg("--version")
        .output();
    let output = output.context("the installed program")?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!("ggpo {}", env!("CARGO_PKG_VERSION"));
    ensure!(
        version.trim() == expected,
        "the installed program: expected the version {expected}, found {version:?}"
    );
    ggpo::say!("installed from the wheel: {expected}");
    Ok(())
}

/// The triple of this machine.
fn target() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc -vV names no host")
}

fn run(command: &mut Command) -> Result<()> {
    std::io::stdout().flush()?;
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
