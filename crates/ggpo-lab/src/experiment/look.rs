//! The one look at the results before all seeds have run.

use super::description::{MethodEntry, TaskEntry};
use super::outcome::Outcome;
use crate::statistics::mean;
use crate::verdict::{Interim, interim_look};

impl Outcome<'_> {
    /// What the one look at the first seeds shows of a judged method; none where no look
    /// is planned, or not all of these seeds have run.
    pub fn look(&self, task: &TaskEntry, method: &MethodEntry) -> Option<Interim> {
        let look = self.grid.look?;
        let references = self.experiment.references_of(method).iter();
        let all: Vec<Vec<f64>> = references
            .map(|id| {
                let pair = [method, self.experiment.method(id)];
                let pairs = self.pairs(task, pair, look).into_iter();
                pairs
                    .map(|[run, other]| self.sign() * (self.value(run) - self.value(other)))
                    .collect()
            })
            .collect();
        if all.iter().any(|them| them.len() as u64 != look) {
            return None;
        }
        // As in the rule, the reference with the smallest mean decides.
        let mean = |differences: &Vec<f64>| mean(differences).unwrap_or(f64::NAN);
        let deciding = all.iter().min_by(|a, b| mean(a).total_cmp(&mean(b)))?;
        interim_look(deciding, self.experiment.margin)
    }

    /// The last seed that a method runs with: that of the look, until it shows that the
    /// method, or one that it is a reference of, must go on. Nothing ends for a control.
    pub(super) fn last_seed(&self, task: &TaskEntry, method: &MethodEntry) -> u64 {
        let Some(look) = self.grid.look else {
            return u64::MAX;
        };
        let mut concerned = self.experiment.judged(self.grid);
        concerned.retain(|it| {
            it.id == method.id || self.experiment.references_of(it).contains(&method.id)
        });
        let goes_on = |it: &&MethodEntry| self.look(task, it) == Some(Interim::Continue);
        match concerned.is_empty() || concerned.iter().any(goes_on) {
            true => u64::MAX,
            false => look,
        }
    }
}
