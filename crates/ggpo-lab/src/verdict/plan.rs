//! What may be run, and when it may be looked at.

use ggpo_report::format::plural;
use serde::{Deserialize, Serialize};

use super::ALPHA;
use crate::statistics::{equivalent, sign_flip_p_value, smallest_p_after_holm};

/// Refuses a plan that cannot have a significant result: one whose smallest
/// possible p of the exact sign-flip test of `pairs`, as the first of `family` tests
/// under Holm's correction, is above 0.05. 6 pairs are enough alone, 9 in a family
/// of 8; a few more are safe against ties.
///
/// # Errors
/// The reason, as a sentence's end.
pub fn plan_is_testable(pairs: usize, family: usize) -> Result<(), String> {
    let smallest = smallest_p_after_holm(pairs, family);
    if smallest <= ALPHA {
        return Ok(());
    }
    let fewest = fewest_pairs(family);
    Err(format!(
        "the smallest p that {} can have after Holm's correction over {} is {smallest:.3}, above \
         {ALPHA}; {fewest} pairs are needed",
        plural(pairs, "pair"),
        family.max(1)
    ))
}

/// The fewest pairs of a plan that [`plan_is_testable`] for such a family.
pub fn fewest_pairs(family: usize) -> usize {
    // A family of 2^64 takes 70.
    (1..=70)
        .find(|&pairs| smallest_p_after_holm(pairs, family) <= ALPHA)
        .unwrap_or(70)
}

/// Pairs at which one look at the results is allowed before the planned number.
pub const INTERIM_PAIRS: usize = 10;

/// What the look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interim {
    /// Stop: the difference is clear, p is below 0.002.
    Clear,
    /// Stop: the difference is equivalent to 0 within the margin at alpha 0.01.
    Equivalent,
    /// Run the planned number of seeds.
    Continue,
}

/// The one look that is allowed, at [`INTERIM_PAIRS`] pairs: it stops only where
/// all differences have one sign (the exact p is then 0.00195, its floor), or where
/// both one-sided t tests of the margin reject at 0.01. The verdict of what is
/// stopped is that of [`judge`](super::judge).
///
/// `None` at any other number of pairs, where no look is allowed, and of
/// differences that are not finite.
pub fn interim_look(differences: &[f64], margin: f64) -> Option<Interim> {
    if differences.len() != INTERIM_PAIRS {
        return None;
    }
    let p = sign_flip_p_value(differences)?;
    Some(if equivalent(differences, margin, 0.01)? {
        Interim::Equivalent
    } else if p < 0.002 {
        Interim::Clear
    } else {
        Interim::Continue
    })
}
