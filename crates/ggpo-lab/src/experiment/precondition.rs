//! What must hold before a claim can be tested.

use super::description::{MethodEntry, Point, Precondition, TaskEntry};
use super::outcome::Outcome;
use crate::statistics::mean;

impl Outcome<'_> {
    /// Whether the claim of a method can be tested on a task; else the number that says no.
    pub(super) fn precondition(
        &self,
        task: &TaskEntry,
        method: &MethodEntry,
    ) -> Result<(), String> {
        for name in &self.experiment.stands_on {
            match self.calibrations.iter().find(|it| it.name == *name) {
                Some(calibration) if calibration.passed => {}
                Some(_) => return Err(format!("the calibration {name} failed")),
                None => return Err(format!("the calibration {name} was not carried out")),
            }
        }
        let at = self.experiment.at;
        for id in self.experiment.references_of(method) {
            let pair = [method, self.experiment.method(id)];
            let pairs = self.pairs(task, pair, self.last_seed(task, method));
            let scores = pairs.iter().flatten().filter(|it| it.diverged_at.is_none());
            if !pairs.is_empty() && scores.count() == 0 {
                let [own, other] = pair.map(|it| &it.title);
                return Err(format!("every run of {own} and {other} diverged"));
            }
        }
        let train_loss = |method: &MethodEntry, at| {
            let runs = self.runs_at(task, method, at);
            let losses: Vec<f64> = runs.iter().map(|run| run.record.train.loss).collect();
            mean(&losses).unwrap_or(f64::NAN)
        };
        let references = self.experiment.references_of(method).iter();
        let mut references = references.map(|id| self.experiment.method(id));
        match self.experiment.precondition {
            Precondition::None => Ok(()),
            Precondition::GradientShare { at_least } => {
                let runs = self.runs_at(task, method, at);
                let shares: Vec<f64> = runs
                    .iter()
                    .filter_map(|run| run.record.gradient_share)
                    .collect();
                match mean(&shares).unwrap_or(0.0) {
                    share if share >= at_least => Ok(()),
                    share => Err(format!(
                        "the gradient term holds {share:.2e} of the noise's variance, less than \
                         {at_least}"
                    )),
                }
            }
            Precondition::MatchedTraining { within } => {
                let own = train_loss(method, at);
                let apart = references.map(|it| (own - train_loss(it, at)).abs());
                // Of what is no number the largest.
                match apart.max_by(f64::total_cmp).unwrap_or(0.0) {
                    furthest if furthest <= within => Ok(()),
                    furthest if furthest.is_finite() => Err(format!(
                        "the mean training losses are {furthest:.4} apart, more than {within}"
                    )),
                    _ => Err("a mean training loss is not finite".to_owned()),
                }
            }
            Precondition::Interpolation { above, below } => {
                references.try_for_each(|it| self.interpolates(task, it, above, below))
            }
        }
    }

    /// Whether the mean training error of a method falls over the rank from above one bound
    /// to below another, without rising by more than the second on the way.
    fn interpolates(
        &self,
        task: &TaskEntry,
        method: &MethodEntry,
        above: f64,
        below: f64,
    ) -> Result<(), String> {
        let mut ranks = self.grid.ranks.clone();
        ranks.sort_unstable();
        let error = |&rank: &usize| {
            let at = Point {
                rank: Some(rank),
                ..self.experiment.at
            };
            let runs = self.runs_at(task, method, at);
            let classes = runs
                .iter()
                .filter_map(|run| run.record.train.classes.as_ref());
            let errors: Vec<f64> = classes.map(|it| 1.0 - it.accuracy).collect();
            mean(&errors).unwrap_or(f64::NAN)
        };
        let shares: Vec<f64> = ranks.iter().map(error).collect();
        let (Some(first), Some(last)) = (shares.first(), shares.last()) else {
            return Err("there is no rank".to_owned());
        };
        if *first <= above || first.is_nan() {
            return Err(format!(
                "the mean training error is {first:.4} at rank {}, not above {above}",
                ranks[0]
            ));
        }
        if *last >= below || last.is_nan() {
            let rank = ranks[ranks.len() - 1];
            return Err(format!(
                "the mean training error is {last:.4} at rank {rank}, not below {below}"
            ));
        }
        let rise = shares.windows(2).position(|pair| pair[1] > pair[0] + below);
        match rise {
            None => Ok(()),
            Some(index) => Err(format!(
                "the mean training error rises from rank {} to {}",
                ranks[index],
                ranks[index + 1]
            )),
        }
    }
}
