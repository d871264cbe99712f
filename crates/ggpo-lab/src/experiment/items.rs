//! What other test rows would change.

use super::description::{MethodEntry, TaskEntry};
use super::outcome::Outcome;
use super::record::Record;
use crate::statistics::{Interval, two_way_interval};

impl Outcome<'_> {
    /// The interval of a method's gain on the reference of that title for other seeds and
    /// other test rows; none if a record does not hold its rows.
    pub(super) fn two_way(
        &self,
        task: &TaskEntry,
        method: &MethodEntry,
        reference: Option<&str>,
    ) -> Option<Interval> {
        let references = self.experiment.references_of(method).iter();
        let mut references = references.map(|id| self.experiment.method(id));
        let reference = references.find(|it| Some(it.title.as_str()) == reference)?;
        let last = self.last_seed(task, method);
        let pairs = self.pairs(task, [method, reference], last);
        let (_, weights) = pairs.iter().flatten().find_map(|it| self.measured(it))?;
        let differences = |[run, other]: &[&Record; 2]| {
            let [run, other] = [run, other].map(|record| self.values_of_rows(record, &weights));
            let terms = run?.into_iter().zip(other?);
            Some(terms.map(|(x, y)| self.sign() * (x - y)).collect())
        };
        let rows: Option<Vec<Vec<f64>>> = pairs.iter().map(differences).collect();
        two_way_interval(&rows?, &weights, 0)
    }

    /// The rows of a run that did not diverge, each with its weight.
    fn measured(&self, record: &Record) -> Option<(Vec<f64>, Vec<f64>)> {
        let rows = record
            .rows
            .as_ref()
            .filter(|_| record.diverged_at.is_none());
        rows?.measured(self.experiment.primary)
    }

    /// The measure of every row times its weight; of a run that diverged, the worst value
    /// that was fixed. None if the record does not hold its rows, or others.
    fn values_of_rows(&self, record: &Record, weights: &[f64]) -> Option<Vec<f64>> {
        if record.diverged_at.is_some() {
            let worst = self.value(record);
            return Some(weights.iter().map(|weight| weight * worst).collect());
        }
        let (values, own) = self.measured(record)?;
        (own == weights).then_some(values)
    }
}
