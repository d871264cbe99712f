//! What a study does one after the other, and about how long that takes.

use ggpo_tensor::simd::Level;

use super::StudyConfig;
use crate::bench::contender::{Contender, Engine, THREADS};
use crate::bench::goals::Group;
use crate::bench::rounds::TURN_MS;
use crate::bench::{USUAL_RATE, WARM_UP, flops, machine_rate};
use ggpo_train::Result;

/// Steps whose time is noted by operation.
pub(super) const PROFILED: u32 = 10;

/// A part of a study.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) level: Level,
    pub(super) work: Work,
    /// Expected on a quiet machine.
    pub(super) seconds: f64,
}

/// What is done in a part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Steps of processes in turn.
    Group(&'static Group),
    /// `cargo bench` of the products.
    Products,
}

/// Share of the multiply-add peak that a peer's steps reach somehow; ours are
/// [`USUAL_RATE`].
const PEERS_RATE: f64 = 0.25;
/// Seconds until a process can begin.
const OUR_START: f64 = 1.0;
const PEERS_START: f64 = 8.0;
/// Seconds of a probe between two turns.
const PROBE: f64 = 0.03;
/// Seconds of building and running the benchmark of the products.
const PRODUCTS: f64 = 90.0;

/// All parts, in order.
///
/// # Errors
/// If the threads of the probe cannot be had.
pub(super) fn plan(config: &StudyConfig) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for &level in &config.levels {
        let peak = machine_rate(THREADS, level)?;
        pieces.extend(config.groups.iter().map(|&group| Piece {
            level,
            work: Work::Group(group),
            seconds: group_seconds(group, peak, config),
        }));
        pieces.extend(config.products.then_some(Piece {
            level,
            work: Work::Products,
            seconds: PRODUCTS,
        }));
    }
    Ok(pieces)
}

fn group_seconds(group: &Group, peak: f64, config: &StudyConfig) -> f64 {
    let contenders = || group.contenders.iter().filter(|one| config.takes_part(one));
    let start = |contender: &Contender| match contender.engine {
        Engine::Ggpo => OUR_START,
        Engine::Torch => PEERS_START,
    };
    let turn = |contender: &Contender| step_seconds(contender, peak).max(TURN_MS / 1e3) + PROBE;
    let round: f64 = contenders().map(turn).sum();
    let starts: f64 = contenders().map(start).sum();
    let profiled = group
        .profiled
        .iter()
        .map(|contender| OUR_START + f64::from(WARM_UP + PROFILED) * step_seconds(contender, peak));
    starts + f64::from(WARM_UP + config.steps) * round + profiled.sum::<f64>()
}

fn step_seconds(contender: &Contender, peak: f64) -> f64 {
    let Contender {
        shape, batch, seq, ..
    } = *contender;
    let flops = flops::of_step(shape, &contender.method.config(), batch, seq);
    let share = match contender.engine {
        Engine::Ggpo => USUAL_RATE,
        Engine::Torch => PEERS_RATE,
    };
    flops / (share * peak * contender.threads as f64 / THREADS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goals::GROUPS;

    /// On 500 GFLOP/s, at most minutes and at least what the turns fill.
    #[test]
    fn a_quiet_machine_takes_minutes() {
        let config = StudyConfig {
            levels: vec![Level::Portable],
            groups: GROUPS.iter().collect(),
            products: false,
            steps: 15,
            minutes: 30.0,
            torch: true,
            quantized: None,
        };
        for group in &GROUPS {
            let seconds = group_seconds(group, 500e9, &config);
            let ours = group.contenders.iter().filter(|one| config.takes_part(one));
            let turns = 18.0 * 0.1 * ours.count() as f64;
            assert!(
                (turns..300.0).contains(&seconds),
                "{}: {seconds}",
                group.name
            );
        }
        let pieces = plan(&StudyConfig {
            products: true,
            ..config
        })
        .unwrap();
        assert_eq!(pieces.len(), GROUPS.len() + 1);
    }
}
