//! Packages of the Python registry, brought by pip, which is held to bounds from outside:
//! what it writes is watched, and whether anything comes.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The ways in which people call their pip.
const WAYS: [&[&str]; 4] = [
    &["pip"],
    &["pip3"],
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
];

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes that count as something.
const SOMETHING: u64 = 1 << 16;
/// What pip says, in the folder that it downloads to, so that this is bounded too.
const SAID: &str = "said-by-pip";

/// A pip that can be started, and what it may do.
pub(super) struct Pip<'a> {
    words: &'a [&'a str],
    /// Most bytes that it may write.
    most: u64,
    patience: Duration,
}

impl Pip<'static> {
    /// The first that can be started; `most` bytes are what a package may have.
    pub(super) fn find(most: u64) -> Option<Self> {
        let starts = |words: &&&[&str]| {
            let mut version = command(words);
            version.arg("--version").stdin(Stdio::null());
            version.stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let words = WAYS.iter().find(starts)?;
        Some(Pip {
            words,
            // What has come is copied once.
            most: 2 * most,
            patience: PATIENCE,
        })
    }
}

impl Pip<'_> {
    /// Downloads the file of a package to a folder; only a wheel, so that nothing of the
    /// package is run.
    ///
    /// # Errors
    /// Why it could not.
    pub(super) fn download(
        &self,
        requirement: &str,
        file: &str,
        folder: &Path,
    ) -> Result<PathBuf, String> {
        let failed = |cause: std::io::Error| format!("{}: {cause}", self.words.join(" "));
        let said = folder.join(SAID);
        let mut download = command(self.words);
        download.args(["download", "--no-deps", "--no-cache-dir", "--quiet"]);
        download.args(["--only-binary", ":all:", "--dest"]);
        let mut started = download
            .arg(folder)
            .arg(requirement)
            // Where it keeps what has come until it is whole.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let status = self.watch(&mut started, folder).inspect_err(|_| {
            let _ = started.kill();
            let _ = started.wait();
        });
        let status = status.map_err(|problem| format!("{requirement}: {problem}"))?;
        let path = folder.join(file);
        if status.success() && path.is_file() {
            return Ok(path);
        }
        let last = last_line(&said);
        Err(format!(
            "pip could not download {requirement} (it said: {last})"
        ))
    }

    /// Waits for the end.
    fn watch(&self, started: &mut Child, folder: &Path) -> Result<ExitStatus, String> {
        let (mut since, mut had) = (Instant::now(), 0);
        loop {
            if let Some(status) = started.try_wait().map_err(|cause| cause.to_string())? {
                return Ok(status);
            }
            let have = bytes_below(folder);
            if have > self.most {
                let most = self.most / 1_000_000;
                return Err(format!("expected at most {most} MB, found more"));
            }
            if have.abs_diff(had) >= SOMETHING {
                (since, had) = (Instant::now(), have);
            }
            if since.elapsed() > self.patience {
                let waited = self.patience;
                return Err(format!("nothing has come for {waited:.0?}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// The last line of a file that names an error, or the last.
fn last_line(path: &Path) -> String {
    const ENOUGH: u64 = 1 << 14;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        file.take(ENOUGH).read_to_end(&mut bytes)
    });
    let said = match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    };
    let last = said.lines().rfind(|line| line.contains("ERROR"));
    let last = last.or(said.lines().last()).unwrap_or("nothing");
    last.trim().to_owned()
}

/// Bytes of all files in a folder, and in those in it.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |found| found.len()),
    };
    entries.map(bytes).sum()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// What comes of a pip that does what `script` says, with the folder in `$to`.
    fn downloaded(script: &str, patience: Duration) -> (Result<PathBuf, String>, Duration) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = format!("while [ \"$1\" != --dest ]; do shift; done; to=$2; {script}");
        let words = ["bash", "-c", &script, "pip"];
        let pip = Pip {
            words: &words,
            most: 2_000_000,
            patience,
        };
        let begin = Instant::now();
        let outcome = pip.download("a==1", "a-1.whl", folder.path());
        (outcome, begin.elapsed())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_pip_that_does_not_end_is_ended() {
        for (script, patience, part) in [
            // A file, and an error output, without end.
            ("exec cat /dev/zero > $to/x", LONG, "at most 2 MB"),
            ("exec cat /dev/zero >&2", LONG, "at most 2 MB"),
            // Nothing, and a byte now and then.
            (
                "exec sleep 1000",
                Duration::from_millis(300),
                "nothing has come",
            ),
            (
                "while true; do echo >> $to/x; sleep 0.02; done",
                Duration::from_millis(300),
                "nothing has come",
            ),
        ] {
            let (outcome, time) = downloaded(script, patience);
            let sentence = outcome.expect_err(script);
            assert!(sentence.contains(part), "{script}: {sentence}");
            assert!(time < LONG / 2, "{script}: {time:?}");
        }
    }

    #[test]
    fn what_pip_says_is_passed_on() {
        // More than a pipe holds.
        let script = "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2; echo ERROR: no >&2; exit 1";
        let (outcome, _) = downloaded(script, LONG);
        let sentence = outcome.expect_err("fails");
        assert_eq!(sentence, "pip could not download a==1 (it said: ERROR: no)");
        let (outcome, _) = downloaded("echo > $to/a-1.whl", LONG);
        assert!(outcome.expect("is there").ends_with("a-1.whl"));
    }
}
