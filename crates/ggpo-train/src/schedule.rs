//! The course of the learning rate.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The course of the learning rate: a warm-up, then the kind's course.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Course of the learning rate after the warm-up.
    pub kind: ScheduleKind,
    /// Length of the warm-up: a whole number of steps, or with a decimal point a
    /// share of all steps, rounded up.
    pub warmup: Warmup,
}

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The highest rate to the end.
    #[default]
    Constant,
    /// Down to 0 along a line.
    Linear,
    /// Down to 0 along half a period of the cosine.
    Cosine,
}

/// Length of the warm-up: a whole number means steps, a number with a decimal
/// point a share of all steps, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Warmup {
    /// Number of steps.
    Steps(u32),
    /// Share of all steps, from 0 to 1.
    Fraction(f64),
}

impl Default for Warmup {
    fn default() -> Self {
        Warmup::Steps(0)
    }
}

impl Warmup {
    /// Number of steps in a run of `total` steps.
    pub fn steps(self, total: u32) -> u32 {
        match self {
            Warmup::Steps(steps) => steps,
            Warmup::Fraction(fraction) => (f64::from(total) * fraction).ceil() as u32,
        }
    }
}

impl Schedule {
    /// Checks every setting.
    ///
    /// # Errors
    /// If the warm-up is a share that is not from 0 to 1.
    pub fn validate(&self) -> Result<()> {
        match self.warmup {
            Warmup::Fraction(fraction) if !(0.0..=1.0).contains(&fraction) => {
                let expected = "a number of steps or a share from 0.0 to 1.0";
                Err(Error::config("schedule.warmup", expected, fraction))
            }
            _ => Ok(()),
        }
    }

    /// What the learning rate of a step (from 0) is multiplied by, in a run of
    /// `total` steps: `(step + 1) / warmup` during the warm-up, so that no step
    /// is idle; after it, with p the share of the remaining steps that is done, 1
    /// (constant), `1 - p` (linear) or `(1 + cos(pi p)) / 2` (cosine).
    pub fn factor(&self, step: u32, total: u32) -> f64 {
        let warmup = self.warmup.steps(total);
        if step < warmup {
            return f64::from(step + 1) / f64::from(warmup);
        }
        let rest = f64::from(total.saturating_sub(warmup).max(1));
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => f64::from(total.saturating_sub(step)) / rest,
            ScheduleKind::Cosine => {
                let done = f64::from(step.min(total).saturating_sub(warmup)) / rest;
                0.5 * (1.0 + (PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(text: &str) -> Schedule {
        toml::from_str(text).expect("a schedule")
    }

    #[test]
    fn cosine_after_two_warm_up_steps() {
        let schedule = schedule("kind = \"cosine\"\nwarmup = 2");
        let expected = [
            0.5,
            1.0,
            1.0,
            0.5 + 0.125f64.sqrt(),
            0.5,
            0.5 - 0.125f64.sqrt(),
        ];
        for (step, expected) in expected.into_iter().enumerate() {
            // Rounding of one cosine.
            assert!((schedule.factor(step as u32, 6) - expected).abs() < 1e-15);
        }
        assert_eq!(schedule.factor(6, 6), 0.0);
        assert_eq!(schedule.factor(9, 6), 0.0);
    }

    #[test]
    fn linear_without_warm_up_goes_from_one_to_zero() {
        let schedule = schedule("kind = \"linear\"");
        let factors: Vec<f64> = (0..=4).map(|step| schedule.factor(step, 4)).collect();
        assert_eq!(factors, [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(schedule.factor(5, 4), 0.0);
    }

    #[test]
    fn constant_stays_at_one_after_the_warm_up() {
        let schedule = schedule("warmup = 4");
        assert_eq!(schedule.factor(0, 10), 0.25);
        assert_eq!(schedule.factor(4, 10), 1.0);
        assert_eq!(schedule.factor(10, 10), 1.0);
    }

    #[test]
    fn shares_are_rounded_up_to_steps() {
        assert_eq!(schedule("warmup = 0.03").warmup.steps(115), 4);
        assert_eq!(schedule("warmup = 1.0").warmup.steps(10), 10);
        assert_eq!(schedule("warmup = 1").warmup.steps(10), 1);
        assert_eq!(schedule("").warmup.steps(10), 0);
    }

    #[test]
    fn steps_and_shares_stay_apart_in_a_file() {
        for warmup in [
            Warmup::Steps(1),
            Warmup::Fraction(1.0),
            Warmup::Fraction(0.03),
        ] {
            let written = Schedule {
                kind: ScheduleKind::Linear,
                warmup,
            };
            let text = toml::to_string(&written).expect("a form");
            assert_eq!(schedule(&text), written);
        }
    }

    #[test]
    fn what_cannot_be_a_schedule_is_refused() {
        assert!(schedule("warmup = 0.5").validate().is_ok());
        assert!(schedule("warmup = 1.5").validate().is_err());
        assert!(schedule("warmup = nan").validate().is_err());
        assert!(toml::from_str::<Schedule>("warmup = -1").is_ok_and(|s| s.validate().is_err()));
        assert!(toml::from_str::<Schedule>("kind = \"step\"").is_err());
    }

    proptest! {
        #[test]
        fn factors_rise_to_one_and_then_never_rise(
            kind in prop::sample::select(vec!["constant", "linear", "cosine"]),
            total in 1u32..200,
            share in 0.0..1.0,
        ) {
            let schedule = schedule(&format!("kind = \"{kind}\"\nwarmup = {share:?}"));
            let warmup = schedule.warmup.steps(total);
            let factors: Vec<f64> = (0..total).map(|t| schedule.factor(t, total)).collect();
            for (t, pair) in factors.windows(2).enumerate() {
                prop_assert!((0.0..=1.0).contains(&pair[0]));
                let rises = t < warmup as usize;
                prop_assert!(pair[0] == pair[1] || (pair[0] < pair[1]) == rises);
            }
            if warmup < total {
                prop_assert_eq!(factors[warmup as usize], 1.0);
            }
        }
    }
}
