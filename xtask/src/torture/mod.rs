//! What happens to a run that is ended, hindered or changed under way: it goes on to the
//! same bits, or it is refused in one sentence.
//!
//! The program is run from outside on a tiny model. Faults of the disk are made by a small
//! library that is put before the system's own (`preload.rs`, compiled here), which fails
//! the n-th call of a kind; a disk that is full by a limit on the size of files.

mod elsewhere;
mod preload;
mod subject;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ggpo_tensor::random::{Purpose, Stream};

use preload::Faults;
use subject::Subject;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long, in minutes
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// What the random moments come from [default: the time]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// Tortures runs until the time is over, each way at least once.
pub(crate) fn torture(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(seed_of_now);
    ggpo::note!("torture with --seed {seed}");
    let subject = Subject::new()?;
    let faults = Faults::compile(subject.home())?;
    let begin = Instant::now();
    let most = Duration::from_secs_f64(60.0 * arguments.minutes);
    let mut counts = [0_usize; WAYS.len()];
    for round in 0_u32.. {
        for (way, (name, torture)) in WAYS.iter().enumerate() {
            let chance = Chance(Stream::new(seed, Purpose::Data, round, way as u32));
            torture(&subject, &faults, round, &chance)
                .with_context(|| format!("{name}, round {round} of --seed {seed}"))?;
            counts[way] += 1;
            subject.clear()?;
        }
        if begin.elapsed() >= most {
            break;
        }
    }
    for ((name, _), count) in WAYS.iter().zip(counts) {
        ggpo::say!("{name}: {count} times, nothing lost");
    }
    Ok(())
}

fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Random choices of a round.
struct Chance(Stream);

impl Chance {
    /// A number below `most`.
    fn below(&self, which: u64, most: u64) -> u64 {
        self.0.below(which, most)
    }
}

type Torture = fn(&Subject, &Faults, u32, &Chance) -> Result<()>;

/// The ways, in turn.
const WAYS: [(&str, Torture); 9] = [
    ("training killed", killed),
    ("training asked to stop", stopped),
    ("calls that fail", failing_calls),
    ("disks that are full", full_disks),
    ("two processes in a folder", two_processes),
    ("inputs changed under way", changed_inputs),
    ("predicting and merging killed", killed_readers),
    ("experiments ended", elsewhere::experiments),
    ("downloads ended", elsewhere::downloads),
];

/// Kills at random moments, up to three of them in one run.
fn killed(subject: &Subject, _: &Faults, _: u32, chance: &Chance) -> Result<()> {
    let mut resume = false;
    for kill in 0..3 {
        let moment = Duration::from_millis(chance.below(kill, 1500));
        resume |= subject.train(resume).kill_after(moment, "KILL")?.began;
    }
    subject.finish()
}

/// Signals that ask for an end.
fn stopped(subject: &Subject, _: &Faults, round: u32, chance: &Chance) -> Result<()> {
    let (signal, code) = [("INT", 130), ("TERM", 143)][round as usize % 2];
    let moment = Duration::from_millis(chance.below(0, 1500));
    let end = subject.train(false).kill_after(moment, signal)?;
    match end.code {
        Some(0) => {}
        Some(found) if found == code => end.says("go on with: ggpo train")?,
        // Before there was anything to save.
        None if !end.began => {}
        found => bail!(
            "SIG{signal}: expected {code}, found {found:?}: {}",
            end.errors
        ),
    }
    subject.finish()
}

/// The n-th call of a kind fails, for another n in every round.
fn failing_calls(subject: &Subject, faults: &Faults, round: u32, _: &Chance) -> Result<()> {
    for call in ["write", "fsync", "rename", "ftruncate"] {
        for n in [2 * round + 1, 2 * round + 2] {
            let mut command = subject.train(false);
            faults.inject(&mut command, call, n);
            let end = command.end()?;
            end.is_clear().with_context(|| format!("{call} {n}"))?;
            subject.finish().with_context(|| format!("{call} {n}"))?;
            subject.clear()?;
        }
    }
    Ok(())
}

/// Files of at most so many blocks of 1024 bytes.
fn full_disks(subject: &Subject, _: &Faults, round: u32, _: &Chance) -> Result<()> {
    let blocks = 96_u32.saturating_sub(4 * (round % 24));
    let end = subject.train(false).limited_to(blocks).end()?;
    end.is_clear().with_context(|| format!("{blocks} blocks"))?;
    subject.finish().with_context(|| format!("{blocks} blocks"))
}

/// Two that begin, or go on, at the same time: one is refused.
fn two_processes(subject: &Subject, _: &Faults, _: u32, chance: &Chance) -> Result<()> {
    let first = subject.train(false).start()?;
    std::thread::sleep(Duration::from_millis(chance.below(0, 300)));
    let second = subject.train(false).start()?;
    let ends = [first.wait()?, second.wait()?];
    for end in &ends {
        end.is_clear()?;
    }
    if ends.iter().filter(|end| end.code == Some(0)).count() != 1 {
        // Or the second found the first finished.
        let finished = ends.iter().any(|end| end.output.contains("is finished"));
        if !finished {
            bail!("expected one to be refused: {ends:?}");
        }
    }
    subject.finish()
}

/// A file that the run reads changes while it is stopped, or while it runs.
fn changed_inputs(subject: &Subject, _: &Faults, round: u32, chance: &Chance) -> Result<()> {
    const INPUTS: [&str; 4] = [
        "train.tsv",
        "validation.tsv",
        "encoder/model.safetensors",
        "encoder/tokenizer.json",
    ];
    let path = subject.path(INPUTS[round as usize % INPUTS.len()]);
    let before = std::fs::read(&path)?;
    let running = subject.train(false).start()?;
    std::thread::sleep(Duration::from_millis(chance.below(0, 800)));
    let cut = before.len() - 1 - chance.below(1, before.len() as u64 / 2) as usize;
    std::fs::write(&path, &before[..cut])?;
    let first = running.kill("KILL")?;
    let second = subject.train(first.began).end()?;
    std::fs::write(&path, &before)?;
    second.is_clear()?;
    if second.code == Some(0) {
        if !subject.is_whole()? {
            bail!("a run on changed inputs ended as if nothing had happened");
        }
        return Ok(());
    }
    subject.finish()
}

/// What is written by a command that was killed is whole or not there.
fn killed_readers(subject: &Subject, _: &Faults, round: u32, chance: &Chance) -> Result<()> {
    subject.finish()?;
    let moment = Duration::from_millis(chance.below(0, 150));
    let signal = ["KILL", "INT", "TERM"][round as usize % 3];
    subject
        .command("predict --run run --out p.tsv test.tsv")
        .kill_after(moment, signal)?;
    subject
        .command("merge --run run --out merged")
        .kill_after(moment, signal)?;
    check_whole(&subject.path("p.tsv"), &subject.path("merged"))?;
    for command in ["predict --run run --out p.tsv test.tsv", "inspect run"] {
        let end = subject.command(command).end()?;
        if end.code != Some(0) {
            bail!("{command}: {}", end.errors);
        }
    }
    subject.refuse_left_over(&[])
}

fn check_whole(table: &Path, merged: &Path) -> Result<()> {
    if table.exists() && std::fs::read_to_string(table)?.lines().count() != subject::TEST_ROWS + 1 {
        bail!("{}: a part of a table", table.display());
    }
    if merged.exists() && !merged.join("tokenizer.json").exists() {
        bail!("{}: a part of a folder", merged.display());
    }
    Ok(())
}
