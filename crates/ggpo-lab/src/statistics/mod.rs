//! What can be said about a handful of runs, and about the course of a loss.
//!
//! Differences between two methods are *paired*: one number for each seed (or
//! each learning rate and seed) that both have run with. Of these:
//!
//! * [`t_interval`] is the interval to report: that of [`bootstrap_interval`] is
//!   too narrow for a handful of pairs.
//! * [`two_way_interval`] holds for other test items, too.
//! * [`sign_flip_p_value`] is an exact test that supposes nothing about their
//!   distribution, [`holm`] corrects a table of them.
//! * [`equivalent`] tells "no difference that matters" from "too few runs".
//! * [`pairs_for_difference`] and its neighbours say how many runs are needed.

mod bootstrap;
mod course;
mod equivalence;
mod holm;
mod interval;
mod power;
mod rank_correlation;
mod sign_flip;
mod student;
mod summary;
mod trials;
mod two_way;
mod welch;
mod wilson;

pub use bootstrap::bootstrap_interval;
pub use course::{Bump, bump, smooth};
pub use equivalence::equivalent;
pub use holm::{holm, smallest_p_after_holm};
pub use interval::{Interval, t_interval};
pub use power::{
    difference_power, equivalence_power, no_worse_power, pairs_for_difference,
    pairs_for_equivalence, pairs_for_no_worse,
};
pub use rank_correlation::{RankCorrelation, rank_correlation};
pub use sign_flip::{
    MOST_PAIRS, sampled_sign_flip_p_value, sign_flip_p_value, smallest_sign_flip_p,
};
pub use summary::{cohens_d, mean, median, quantile, standard_deviation};
pub use trials::expected_best;
pub use two_way::two_way_interval;
pub use welch::{Welch, welch};
pub use wilson::wilson_interval;
