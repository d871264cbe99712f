//! The program on a tiny model and data, and how it ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ggpo_fuzz::World;

/// Rows of the file that is predicted.
pub(super) const TEST_ROWS: usize = 400;

/// Files and folders that a round makes.
const MADE: [&str; 6] = ["run", "p.tsv", "merged", "repro", "fetched", "cache"];

/// A folder with a model and data, and the run that nothing has happened to.
pub(super) struct Subject {
    world: World,
    /// What is started: a file system in memory may forbid that.
    home: tempfile::TempDir,
    program: PathBuf,
    /// This program, which a build may replace.
    tasks: PathBuf,
    adapter: Vec<u8>,
}

impl Subject {
    /// Makes the run that all others are held against.
    pub(super) fn new() -> Result<Self> {
        let world = World::new();
        // This program is the other under another name, so nothing has to be built.
        let home = tempfile::tempdir().context("a temporary folder")?;
        let program = home.path().join(crate::GGPO);
        let tasks = home.path().join("xtask");
        for copy in [&program, &tasks] {
            fs::copy(std::env::current_exe()?, copy).context("the program's own file")?;
        }
        for (name, rows) in [("train", 60), ("validation", 20), ("test", TEST_ROWS)] {
            let row = |row: usize| {
                let label = if row.is_multiple_of(2) {
                    "warm\tthe sun"
                } else {
                    "cold\tthe night"
                };
                format!("{label} {row}\n")
            };
            let rows: String = (0..rows).map(row).collect();
            fs::write(
                world.path(&format!("{name}.tsv")),
                format!("label\ttext\n{rows}"),
            )?;
        }
        let mut subject = Subject {
            world,
            home,
            program,
            tasks,
            adapter: Vec::new(),
        };
        let end = subject.train(false).end()?;
        if end.code != Some(0) {
            bail!("the run that nothing happens to: {}", end.errors);
        }
        subject.adapter = subject.trained()?;
        subject.clear()?;
        Ok(subject)
    }

    /// Where programs and libraries may be.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// Removes what a round has made.
    pub(super) fn clear(&self) -> Result<()> {
        for name in MADE {
            let path = self.path(name);
            match path.is_dir() {
                true => fs::remove_dir_all(&path)?,
                false if path.exists() => fs::remove_file(&path)?,
                false => {}
            }
        }
        Ok(())
    }

    /// A command of the program, its words apart by spaces.
    pub(super) fn command(&self, words: &str) -> Words {
        self.words(&self.program, words)
    }

    /// A task of this program, its words apart by spaces.
    pub(super) fn task(&self, words: &str) -> Words {
        self.words(&self.tasks, words)
    }

    fn words(&self, program: &Path, words: &str) -> Words {
        let mut command = Command::new(program);
        command
            .args(words.split_whitespace())
            .current_dir(self.path(""))
            .env("RAYON_NUM_THREADS", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Words {
            command,
            run: self.path("run"),
        }
    }

    /// The run, from its beginning or from where it is.
    pub(super) fn train(&self, resume: bool) -> Words {
        let more = if resume { "--resume" } else { "" };
        self.command(&format!(
            "train --model encoder --train train.tsv --validation validation.tsv --rank 2 \
             --steps 300 --batch-size 8 --max-length 12 --evaluate-every 50 \
             --checkpoint-every 7 --method ggpo --out run {more}"
        ))
    }

    /// Goes on until the run is finished, and holds its bits against those of the run
    /// that nothing has happened to.
    pub(super) fn finish(&self) -> Result<()> {
        let begun = self.path("run/config.toml").exists();
        let end = self.train(begun).end()?;
        if end.code != Some(0) {
            bail!("expected the run to go on, found {}", end.errors);
        }
        if !self.is_whole()? {
            bail!("expected the bits of a run that nothing has happened to, found others");
        }
        self.refuse_left_over(&["run"])
    }

    /// Whether the run has the bits of the one that nothing has happened to.
    pub(super) fn is_whole(&self) -> Result<bool> {
        Ok(self.trained()? == self.adapter)
    }

    fn trained(&self) -> Result<Vec<u8>> {
        let path = self.path("run/adapter/adapter_model.safetensors");
        fs::read(&path).with_context(|| path.display().to_string())
    }

    /// Nothing half-written may stay in the folder, nor in those named.
    pub(super) fn refuse_left_over(&self, folders: &[&str]) -> Result<()> {
        for folder in folders.iter().chain(&[""]) {
            for entry in fs::read_dir(self.path(folder))? {
                let name = entry?.file_name();
                if name.to_string_lossy().starts_with(".partial-") {
                    bail!("{folder}/{} is left", name.display());
                }
            }
        }
        Ok(())
    }
}

/// A command that has not begun.
pub(super) struct Words {
    pub(super) command: Command,
    run: PathBuf,
}

impl Words {
    /// With a limit on the size of files, in blocks of 1024 bytes.
    pub(super) fn limited_to(self, blocks: u32) -> Self {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("ulimit -f {blocks}; exec {}", words.join(" ")))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        Words {
            command,
            run: self.run,
        }
    }

    pub(super) fn start(mut self) -> Result<Running> {
        let child = self
            .command
            .spawn()
            .context("the program cannot be started")?;
        Ok(Running {
            child,
            run: self.run,
        })
    }

    pub(super) fn end(self) -> Result<End> {
        self.start()?.wait()
    }

    /// Sends a signal after a while.
    pub(super) fn kill_after(self, moment: Duration, signal: &str) -> Result<End> {
        let running = self.start()?;
        std::thread::sleep(moment);
        running.kill(signal)
    }
}

/// A command under way.
pub(super) struct Running {
    child: Child,
    run: PathBuf,
}

impl Running {
    pub(super) fn kill(self, signal: &str) -> Result<End> {
        // It may have ended meanwhile.
        let _ = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        self.wait()
    }

    pub(super) fn wait(self) -> Result<End> {
        let output = self.child.wait_with_output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(End {
            code: output.status.code(),
            began: self.run.join("config.toml").exists(),
            output: text(output.stdout),
            errors: text(output.stderr),
        })
    }
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct End {
    /// The exit code; none after a signal.
    pub(super) code: Option<i32>,
    /// Whether the folder is the run's own now.
    pub(super) began: bool,
    pub(super) output: String,
    pub(super) errors: String,
}

impl End {
    /// A clear end is 0, or 1 with one sentence.
    pub(super) fn is_clear(&self) -> Result<()> {
        let sentences = self
            .errors
            .lines()
            .filter(|line| line.starts_with("error: "));
        match (self.code, sentences.count()) {
            (Some(0), 0) | (Some(1), 1) if !self.errors.contains("panicked") => Ok(()),
            _ => bail!("expected a clear end, found {self:?}"),
        }
    }

    pub(super) fn says(&self, part: &str) -> Result<()> {
        match self.errors.contains(part) {
            true => Ok(()),
            false => bail!("expected {part:?} in: {}", self.errors),
        }
    }
}

/// Compiles a Rust file to a library that can be put before the system's own.
pub(super) fn compile(source: &str, folder: &Path) -> Result<PathBuf> {
    let (from, to) = (folder.join("faults.rs"), folder.join("libfaults.so"));
    fs::write(&from, source)?;
    let compiled = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "-O",
            "-C",
            "panic=abort",
            "-o",
        ])
        .args([&to, &from])
        .status()
        .context("cannot start rustc")?;
    match compiled.success() {
        true => Ok(to),
        false => bail!("the library that makes faults cannot be compiled"),
    }
}
