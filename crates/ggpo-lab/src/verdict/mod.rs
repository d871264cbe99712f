//! What is said of a claim, by a rule fixed before the runs.
//!
//! A claim compares a method with one or more references. D is the paired
//! difference to a reference, positive where the method is *better* (so a loss is
//! subtracted the other way round), one for each seed, or each learning rate and
//! seed, in the unit of the margin delta. A run that diverged has no score: the
//! caller counts it as the fixed worst value that the experiment names, before the
//! difference is taken; a D that is not finite makes the claim not testable.
//!
//! In this order, of which the first that holds is the verdict ([`judge`]):
//!
//! 1. **not testable**: the precondition fails, or the smallest p that so many
//!    pairs can have after Holm's correction is above 0.05 ([`plan_is_testable`]).
//! 2. **equivalent**: the 90 % t interval of D lies inside `(-delta, delta)`, two
//!    one-sided tests at 5 %. Of a claim to be *no worse*: **supported**.
//! 3. **supported**: *better*: the 95 % t interval lies above 0 and the exact
//!    sign-flip p, corrected by Holm over the methods of the table, is at most 0.05.
//!    *No worse*: the lower end of the 90 % interval is above `-delta`.
//! 4. **contradicted**: *better*: the upper end of the 95 % interval is below delta:
//!    a gain of delta is excluded (below 0: contradicted, worse). *No worse*: that
//!    end is below `-delta`.
//! 5. **undecided**, with the pairs that the spread of D calls for.
//!
//! Of several references the one with the smallest mean D decides.

mod plan;
mod rule;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::statistics::Interval;

pub use plan::{INTERIM_PAIRS, Interim, fewest_pairs, interim_look, plan_is_testable};
pub use rule::{judge, judge_table};

/// The chance of a false verdict that is allowed.
pub const ALPHA: f64 = 0.05;

/// What a claim says of its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// It gains on its references.
    Better,
    /// It costs nothing against its references.
    NoWorse,
}

impl fmt::Display for ClaimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::NoWorse => "no worse",
        })
    }
}

/// A claim and what was measured for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What it says.
    pub kind: ClaimKind,
    /// Delta, the smallest difference that matters: positive, in the unit of D.
    pub margin: f64,
    /// The paired differences D to each reference, with its name; in the same unit,
    /// positive where the method is better, in any order.
    pub references: Vec<(String, Vec<f64>)>,
    /// Methods of the table that are tested together: the family of Holm's
    /// correction. Those that are not among the claims at hand count as tests with
    /// p = 1.
    pub tests_in_table: usize,
    /// Whether what the claim stands on holds; else the number that does not.
    pub precondition: Result<(), String>,
}

/// What is said of a claim. Its words ([`Display`](fmt::Display)) are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The runs cannot answer the question, for this reason.
    NotTestable(String),
    /// The difference is smaller than the margin, either way.
    Equivalent,
    /// The runs show what the claim says.
    Supported,
    /// The runs exclude what the claim says.
    Contradicted {
        /// Whether they show the opposite: the method is worse.
        worse: bool,
    },
    /// The runs show neither.
    Undecided {
        /// Pairs for 80 % power at an effect of the margin, given the spread that
        /// was observed; absent above a million. It may be no more than there are,
        /// where the difference itself lies near a limit of the rule.
        pairs_needed: Option<usize>,
    },
}

impl Verdict {
    /// The verdict without its reason or number.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotTestable(_) => "not testable",
            Self::Equivalent => "equivalent",
            Self::Supported => "supported",
            Self::Contradicted { worse: false } => "contradicted",
            Self::Contradicted { worse: true } => "contradicted, worse",
            Self::Undecided { .. } => "undecided",
        }
    }
}

/// The word, and the reason or the number after a colon.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::NotTestable(reason) => write!(f, ": {reason}"),
            Self::Undecided {
                pairs_needed: Some(pairs),
            } => write!(f, ": {pairs} pairs needed"),
            Self::Undecided { pairs_needed: None } => {
                f.write_str(": more than a million pairs needed")
            }
            _ => Ok(()),
        }
    }
}

/// A verdict and the numbers it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What is said of the claim.
    pub verdict: Verdict,
    /// The reference that decided; absent if there is none with finite differences.
    /// All that follows is of it.
    pub reference: Option<String>,
    /// Pairs.
    pub pairs: usize,
    /// The mean of D.
    pub mean: Option<f64>,
    /// Its 95 % t interval; absent below two pairs.
    pub interval_95: Option<Interval>,
    /// Its 90 % t interval; absent below two pairs.
    pub interval_90: Option<Interval>,
    /// The two-sided p of the sign-flip test: exact up to 40 pairs, and above from
    /// 99,999 random choices of signs.
    pub p: Option<f64>,
    /// That p after Holm's correction over the table.
    pub p_holm: Option<f64>,
}
