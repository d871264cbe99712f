//! A study in the making.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ggpo_tensor::simd::Level;

use super::plan::{PROFILED, Piece, Work, plan};
use super::{Measured, Process, Profiled, Section, Study};
use crate::bench::contender::{Contender, Engine, THREADS};
use crate::bench::goals::{Group, PRODUCTS};
use crate::bench::products::Products;
use crate::bench::rounds::{Rounds, Turns};
use crate::bench::{Job, Machine, Side, WARM_UP, flops};
use crate::progress::{Followed, minutes};
use ggpo_train::{Error, Result};

/// Seconds between two savings while rounds are taken.
const BETWEEN_SAVINGS: f64 = 5.0;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct StudyConfig {
    /// Levels of instruction set, each measured on its own.
    pub levels: Vec<Level>,
    /// Groups of processes.
    pub groups: Vec<&'static Group>,
    /// Whether `cargo bench` measures the products.
    pub products: bool,
    /// Samples on a quiet machine that are wanted of every ratio.
    pub steps: u32,
    /// Minutes after which the study is to be at its end, on a machine that is
    /// never quiet. Every part gets a share, but one round of a group is always
    /// taken.
    pub minutes: f64,
    /// Whether PyTorch takes part.
    pub torch: bool,
    /// GGUF file of SmolLM2.
    pub quantized: Option<PathBuf>,
}

impl StudyConfig {
    pub(super) fn takes_part(&self, contender: &Contender) -> bool {
        (self.torch || contender.engine != Engine::Torch)
            && (self.quantized.is_some() || !contender.quantized)
    }

    fn job(&self, contender: &Contender, level: Level, profile: bool) -> Job {
        let steps = WARM_UP + self.steps.max(PROFILED);
        contender.job(level, self.quantized.clone(), steps, profile)
    }
}

/// What a study needs of the program that makes it.
pub trait Host {
    /// The process that does the steps of a job.
    fn process(&self, contender: &Contender, job: &Job) -> Command;

    /// `cargo bench` of the products, which further arguments for the benchmark
    /// can follow.
    fn bench_products(&self) -> Command;

    /// Where cargo builds what is to be held back to a level.
    fn separate_target(&self) -> &Path;

    /// Keeps what was measured so far.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&self, study: &Study) -> Result<()>;
}

/// Measures all groups at all levels, says on the error output what it is doing
/// and how long that will take, and has the study saved as it grows.
///
/// # Errors
/// If there is nothing to measure, or a process cannot be started or fails.
pub fn measure(config: &StudyConfig, host: &impl Host) -> Result<Study> {
    if config.steps == 0 {
        return Err(Error::config("steps", "at least 1", 0));
    }
    let limit = 60.0 * config.minutes;
    if !(limit > 0.0 && limit.is_finite()) {
        return Err(Error::config("minutes", "more than 0", config.minutes));
    }
    let mut study = Study {
        machine: Machine::this(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sections: config.levels.iter().copied().map(Section::new).collect(),
    };
    let pieces = plan(config)?;
    let quiet = pieces.iter().map(|piece| piece.seconds).sum();
    ggpo_files::sentence::note(&format!(
        "about {} on a quiet machine, at most about {}",
        minutes(quiet),
        minutes(limit)
    ));
    let begun = Instant::now();
    for (index, piece) in pieces.iter().enumerate() {
        let later: f64 = pieces[index + 1..].iter().map(|piece| piece.seconds).sum();
        let left = (limit - begun.elapsed().as_secs_f64()).max(0.0);
        let part = Part {
            config,
            host,
            piece: *piece,
            share: left * piece.seconds / (piece.seconds + later),
            later: later.min(left),
        };
        match piece.work {
            Work::Group(group) => part.measure_group(group, &mut study)?,
            Work::Products => part.measure_products(&mut study)?,
        }
        section(&mut study, piece.level).conclude();
        host.save(&study)?;
    }
    Ok(study)
}

fn section(study: &mut Study, level: Level) -> &mut Section {
    let mut sections = study.sections.iter_mut();
    let found = sections.find(|section| section.level == level);
    found.expect("a section for every level")
}

/// A part of a study in the making.
struct Part<'a, H> {
    config: &'a StudyConfig,
    host: &'a H,
    piece: Piece,
    /// Seconds that it may take.
    share: f64,
    /// Seconds that the parts after it are expected to take.
    later: f64,
}

impl<H: Host> Part<'_, H> {
    /// Says that the part begins.
    fn begin(&self, name: &str, what: &str, total: u64, unit: &str) -> Followed {
        let label = format!("{}, {name}", self.piece.level);
        let (expected, most) = (minutes(self.piece.seconds), minutes(self.share));
        let headline = format!("{label}: {what}; about {expected}, at most about {most}");
        Followed::begin(&headline, &label, total, unit)
    }

    fn measure_products(&self, study: &mut Study) -> Result<()> {
        let level = self.piece.level;
        let progress = self.begin(PRODUCTS, "cargo bench", 1, "times");
        let command = self.host.bench_products();
        let products = Products::measure(command, level, THREADS, self.host.separate_target())?;
        section(study, level).products = Some(products);
        drop(progress);
        Ok(())
    }

    fn measure_group(&self, group: &Group, study: &mut Study) -> Result<()> {
        let level = self.piece.level;
        let contenders = group.contenders.iter();
        let contenders: Vec<&Contender> = contenders
            .filter(|contender| self.config.takes_part(contender))
            .collect();
        let (what, rounds) = (headline(&contenders, self.config.steps), self.config.steps);
        let progress = self.begin(group.name, &what, rounds.into(), "quiet rounds");
        section(study, level).groups.push(Measured {
            group: group.name.to_owned(),
            processes: contenders.iter().map(|one| process(one)).collect(),
            rounds: Rounds::default(),
            profiles: Vec::new(),
        });
        let start = |contender: &&Contender| {
            let job = self.config.job(contender, level, false);
            Side::start(&contender.name(), self.host.process(contender, &job))
        };
        let sides = contenders.iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut turns = Turns::new(sides, THREADS, level)?;
        self.take_rounds(&mut turns, study, progress)?;
        let finished = turns.finish()?;
        let processes = &mut current(study, level).processes;
        for (process, finished) in processes.iter_mut().zip(finished) {
            process.finished = Some(finished);
        }
        for contender in group.profiled {
            let profile = self.profile(contender)?;
            current(study, level).profiles.push(profile);
        }
        Ok(())
    }

    /// Takes rounds until there are enough quiet samples of every pair, or the
    /// part's time is over.
    fn take_rounds(
        &self,
        turns: &mut Turns,
        study: &mut Study,
        mut progress: Followed,
    ) -> Result<()> {
        let (level, wanted) = (self.piece.level, self.config.steps);
        let pairs = current(study, level).pairs();
        for _ in 0..WARM_UP {
            turns.round()?;
        }
        let (measuring, mut saved) = (Instant::now(), Instant::now());
        loop {
            let round = turns.round()?;
            let rounds = &mut current(study, level).rounds;
            rounds.0.push(round);
            let (done, quiet) = (rounds.0.len(), rounds.quiet(&pairs) as u32);
            let left = (self.share - progress.gone().as_secs_f64()).max(0.0);
            progress.reach(quiet.min(wanted).into(), || {
                // Without a quiet round infinite, so what is left of the share.
                let per_quiet = measuring.elapsed().as_secs_f64() / f64::from(quiet);
                let left = left.min(per_quiet * f64::from(wanted.saturating_sub(quiet)));
                let (whole, left) = (minutes(left + self.later), minutes(left));
                let quiet = format!("{quiet} of {wanted} quiet ones");
                format!("{done} rounds, {quiet}, about {left} left, {whole} of the whole")
            });
            if quiet >= wanted || left == 0.0 {
                return Ok(());
            }
            if saved.elapsed().as_secs_f64() >= BETWEEN_SAVINGS {
                section(study, level).conclude();
                self.host.save(study)?;
                saved = Instant::now();
            }
        }
    }

    fn profile(&self, contender: &Contender) -> Result<Profiled> {
        let job = self.config.job(contender, self.piece.level, true);
        let mut side = Side::start("the profile", self.host.process(contender, &job))?;
        for _ in 0..WARM_UP + PROFILED {
            side.step()?;
        }
        Ok(Profiled {
            contender: *contender,
            rows: side.finish()?.profile.unwrap_or_default(),
        })
    }
}

/// The group that is being measured.
fn current(study: &mut Study, level: Level) -> &mut Measured {
    let groups = &mut section(study, level).groups;
    groups.last_mut().expect("a group was begun")
}

/// The processes of a group, their batches and their rounds, in words.
fn headline(contenders: &[&Contender], steps: u32) -> String {
    let once = |said: fn(&Contender) -> String| {
        let mut all: Vec<String> = Vec::new();
        for words in contenders.iter().map(|contender| said(contender)) {
            if !all.contains(&words) {
                all.push(words);
            }
        }
        all
    };
    let names = once(Contender::name).join("; ");
    let batches = once(|one| format!("{} x {}", one.batch, one.seq)).join(", ");
    format!("{names}, on {batches}; {WARM_UP} rounds to warm up, then {steps} quiet ones")
}

fn process(contender: &Contender) -> Process {
    let Contender {
        shape, batch, seq, ..
    } = *contender;
    Process {
        contender: *contender,
        flops_per_step: flops::of_step(shape, &contender.method.config(), batch, seq),
        finished: None,
    }
}
