//! The rule.

use super::plan::{fewest_pairs, plan_is_testable};
use super::{ALPHA, Claim, ClaimKind, Judgement, Verdict};
use crate::statistics::{
    Interval, MOST_PAIRS, holm, mean, pairs_for_difference, pairs_for_no_worse,
    sampled_sign_flip_p_value, sign_flip_p_value, standard_deviation, t_interval,
};

/// Choices of signs that are drawn where there are too many to count.
const DRAWS: u32 = 99_999;

/// Judges one claim of a table whose other tests are not at hand: its p is
/// multiplied by all tests of the table, the most that Holm's correction can do.
pub fn judge(claim: &Claim) -> Judgement {
    let found = Evidence::of(claim);
    let family = claim.tests_in_table.max(1);
    let p_holm = found.p.map(|p| (p * family as f64).min(1.0));
    found.judged(claim, family, p_holm)
}

/// Judges the claims of a table, one for each method, in their order. Their p are
/// corrected together (Holm 1979); a claim without a p, and every test of the table
/// that is not here, counts as one with p = 1. So the family does not shrink by
/// what is found.
pub fn judge_table(claims: &[Claim]) -> Vec<Judgement> {
    let named = claims.iter().map(|claim| claim.tests_in_table);
    let family = named.fold(claims.len(), usize::max);
    let found: Vec<Evidence<'_>> = claims.iter().map(Evidence::of).collect();
    let mut p_values: Vec<f64> = found.iter().map(|found| found.p.unwrap_or(1.0)).collect();
    p_values.resize(family, 1.0);
    let corrected = holm(&p_values);
    let rows = claims.iter().zip(found).zip(corrected);
    rows.map(|((claim, found), p_holm)| {
        let p_holm = found.p.map(|_| p_holm);
        found.judged(claim, family, p_holm)
    })
    .collect()
}

/// What the deciding reference shows.
struct Evidence<'a> {
    reference: Option<&'a str>,
    differences: &'a [f64],
    mean: Option<f64>,
    interval_95: Option<Interval>,
    interval_90: Option<Interval>,
    p: Option<f64>,
}

impl<'a> Evidence<'a> {
    fn of(claim: &'a Claim) -> Self {
        let means = claim.references.iter().filter_map(|(name, differences)| {
            let mean = mean(differences).filter(|mean| mean.is_finite())?;
            Some((mean, name.as_str(), differences.as_slice()))
        });
        let deciding = means.min_by(|a, b| a.0.total_cmp(&b.0));
        let (mean, reference, differences) = match deciding {
            Some((mean, name, differences)) => (Some(mean), Some(name), differences),
            None => (None, None, [].as_slice()),
        };
        let p = match differences.len() > MOST_PAIRS {
            true => sampled_sign_flip_p_value(&sorted(differences), DRAWS, 0),
            false => sign_flip_p_value(differences),
        };
        Evidence {
            reference,
            differences,
            mean,
            interval_95: t_interval(differences, 0.95),
            interval_90: t_interval(differences, 0.90),
            p,
        }
    }

    fn judged(self, claim: &Claim, family: usize, p_holm: Option<f64>) -> Judgement {
        Judgement {
            verdict: self.verdict(claim, family, p_holm),
            reference: self.reference.map(str::to_owned),
            pairs: self.differences.len(),
            mean: self.mean,
            interval_95: self.interval_95,
            interval_90: self.interval_90,
            p: self.p,
            p_holm,
        }
    }

    fn verdict(&self, claim: &Claim, family: usize, p_holm: Option<f64>) -> Verdict {
        if let Err(reason) = testable(claim, family) {
            return Verdict::NotTestable(reason);
        }
        let (Some(wide), Some(narrow), Some(p)) = (self.interval_95, self.interval_90, p_holm)
        else {
            return Verdict::NotTestable("fewer than two pairs".into());
        };
        let margin = claim.margin;
        let inside = -margin < narrow.low && narrow.high < margin;
        match claim.kind {
            ClaimKind::Better if inside => Verdict::Equivalent,
            ClaimKind::Better if wide.low > 0.0 && p <= ALPHA => Verdict::Supported,
            ClaimKind::Better if wide.high < margin => Verdict::Contradicted {
                worse: wide.high < 0.0,
            },
            // Equivalence is the stronger of the two conditions.
            ClaimKind::NoWorse if narrow.low > -margin => Verdict::Supported,
            ClaimKind::NoWorse if wide.high < -margin => Verdict::Contradicted { worse: true },
            kind => Verdict::Undecided {
                pairs_needed: self.pairs_needed(kind, margin, family),
            },
        }
    }

    /// Pairs for 80 % power at an effect of the margin and the observed spread: of
    /// *better*, of the two-sided t test at Holm's first step; of *no worse*, of the
    /// one-sided test at 5 %. Never fewer than a testable plan has.
    fn pairs_needed(&self, kind: ClaimKind, margin: f64, family: usize) -> Option<usize> {
        let fewest = fewest_pairs(family);
        let spread = standard_deviation(self.differences).filter(|&spread| spread > 0.0);
        let Some(spread) = spread else {
            return Some(fewest);
        };
        let pairs = match kind {
            ClaimKind::Better => pairs_for_difference(margin, spread, ALPHA / family as f64),
            ClaimKind::NoWorse => pairs_for_no_worse(margin, spread, ALPHA),
        };
        pairs.map(|pairs| pairs.max(fewest))
    }
}

/// Whether the claim can be judged at all.
fn testable(claim: &Claim, family: usize) -> Result<(), String> {
    claim.precondition.clone()?;
    if !(claim.margin > 0.0 && claim.margin.is_finite()) {
        return Err(format!("the margin is {}, not positive", claim.margin));
    }
    if claim.references.is_empty() {
        return Err("there is no reference to compare with".into());
    }
    for (name, differences) in &claim.references {
        // A difference to every reference must be possible to see: which of them
        // decides is not known before.
        plan_is_testable(differences.len(), family)
            .map_err(|reason| format!("against {name} {reason}"))?;
        if !differences.iter().all(|x| x.is_finite()) {
            return Err(format!(
                "a difference to {name} is not finite; a diverged run counts as the \
                 experiment's worst value"
            ));
        }
    }
    Ok(())
}

/// In rising order, so that what is drawn does not depend on that of the pairs.
fn sorted(differences: &[f64]) -> Vec<f64> {
    let mut sorted = differences.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
