//! The kinds of experiments: what is said and shown of the runs.
//!
//! A kind is one file here and one line in each of the two matches below; what all have
//! in common, from the plan to the verdicts, is in [`outcome`](super::outcome).

mod bump;
mod calibration;
mod comparison;
mod cost;
mod dose;
mod flatness;
mod peak;
mod tuning;

use ggpo_report::Block;
use serde::Deserialize;

use super::outcome::Outcome;
use crate::verdict::Judgement;

pub use cost::Measured;

/// What is done with the runs of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Problems whose answers are known, without runs.
    Calibration,
    /// Methods beside references, each at the learning rate that tuning chose for it or
    /// at one fixed for all.
    Comparison,
    /// Methods over the strength of what they do.
    Dose,
    /// The course of the training loss at high rank and learning rate.
    Bump,
    /// Test error over the rank.
    Peak,
    /// Sharpness at the end of the runs.
    Flatness,
    /// Time and memory, without runs.
    Cost,
}

/// A claim with its verdict.
pub struct Finding {
    /// The claim in words.
    pub claim: String,
    /// Of the experiment's own methods, the one that the project is about; it comes
    /// first.
    pub is_headline: bool,
    /// The verdict, and the numbers it rests on.
    pub judgement: Judgement,
    /// Pairs that were planned; where there are fewer, not all runs have a record.
    pub planned: usize,
    /// The margin.
    pub margin: f64,
    /// The unit of both, with a space before it.
    pub unit: &'static str,
    /// Digits after the point.
    pub decimals: usize,
}

/// What an experiment found.
pub struct Findings {
    /// The claims.
    pub claims: Vec<Finding>,
    /// Figures, tables and sentences.
    pub blocks: Vec<Block>,
}

impl Kind {
    /// Whether it trains models.
    pub fn has_runs(self) -> bool {
        !matches!(self, Kind::Calibration | Kind::Cost)
    }

    /// What came out.
    pub(super) fn findings(self, outcome: &Outcome<'_>, costs: Option<&Measured>) -> Findings {
        match self {
            Kind::Calibration => calibration::findings(outcome),
            Kind::Comparison => comparison::findings(outcome),
            Kind::Dose => dose::findings(outcome),
            Kind::Bump => bump::findings(outcome),
            Kind::Peak => peak::findings(outcome),
            Kind::Flatness => flatness::findings(outcome),
            Kind::Cost => cost::findings(outcome, costs),
        }
    }
}
