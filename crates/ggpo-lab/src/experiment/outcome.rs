//! The runs of an experiment at a level of effort, as far as they have records.

use super::description::{Experiment, Grid, MethodEntry, Point, TaskEntry};
use super::plan::{Cell, PlannedRun};
use super::primary::Primary;
use super::record::{Record, Records};
use crate::calibration::Calibration;
use crate::statistics::{Interval, mean};
use crate::verdict::{Claim, INTERIM_PAIRS, Interim, Judgement, judge_table};

/// An experiment at a level of effort, with what is known of it.
pub struct Outcome<'a> {
    /// The description.
    pub experiment: &'a Experiment,
    /// Name of the level.
    pub level: &'a str,
    /// Its grid.
    pub grid: &'a Grid,
    /// The records.
    pub records: &'a Records,
    /// The calibrations that were carried out.
    pub calibrations: &'a [Calibration],
}

/// A run and its record.
pub struct Run<'a> {
    /// Where it stands in the grid.
    pub cell: Cell,
    /// What came out.
    pub record: &'a Record,
}

/// A method on a task, and what is said of the claim.
pub struct Judged<'a> {
    /// The method.
    pub method: &'a MethodEntry,
    /// The verdict, and the numbers it rests on.
    pub judgement: Judgement,
    /// The pairs' differences to each reference, positive where the method is better.
    pub differences: Vec<(String, Vec<f64>)>,
    /// The interval of the gain on the deciding reference for other seeds and other test
    /// rows, where the records hold the rows. It decides nothing.
    pub two_way: Option<Interval>,
}

/// The learning rates at which a method is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Rates {
    /// These, fixed beforehand.
    Fixed(Vec<f64>),
    /// The one that tuning chose.
    Chosen(f64),
    /// Tuning is not finished.
    Open,
}

impl Rates {
    /// The rates, as far as they are known.
    pub fn known(&self) -> &[f64] {
        match self {
            Rates::Fixed(rates) => rates,
            Rates::Chosen(rate) => std::slice::from_ref(rate),
            Rates::Open => &[],
        }
    }
}

impl<'a> Outcome<'a> {
    /// The level's plan as far as it is known: what is to be tuned, and what is compared
    /// of the methods whose learning rate is known.
    pub fn plan(&self) -> Vec<PlannedRun> {
        let mut runs = Vec::new();
        for task in self.experiment.tasks_of(self.grid) {
            for method in self.experiment.methods_of(self.grid) {
                runs.extend(self.experiment.tuning(self.grid, task, method));
                runs.extend(self.compared(task, method, self.last_seed(task, method)));
            }
        }
        runs
    }

    /// The plan in the order in which it is carried out: tuning, then the data on which the
    /// claim is tested, and of these every run of one seed before the next. A study that is
    /// cut short has then compared all methods where it matters, with fewer seeds.
    pub fn agenda(&self) -> Vec<PlannedRun> {
        let mut runs = self.plan();
        runs.sort_by_key(|run| {
            let decides = self.experiment.at.has_data_of(&run.cell);
            (!run.tuning, !decides, run.cell.seed)
        });
        runs
    }

    /// Whether every run of the plan has its record.
    pub fn missing(&self) -> usize {
        let open = |task: &TaskEntry| {
            let methods = self.experiment.methods_of(self.grid).into_iter();
            methods
                .filter(|method| self.rates(task, method) == Rates::Open)
                .count()
        };
        let tasks = self.experiment.tasks_of(self.grid);
        let plan = self.plan();
        let missing = plan.iter().filter(|run| self.records.get(run).is_none());
        missing.count() + tasks.into_iter().map(open).sum::<usize>()
    }

    /// The learning rates of a method on a task: with tuning, that with the best mean on
    /// the validation split after the last step; one at which a run diverged only if that
    /// happened at every one.
    pub fn rates(&self, task: &TaskEntry, method: &MethodEntry) -> Rates {
        if self.grid.tuning_seeds == 0 {
            return Rates::Fixed(self.grid.learning_rates.clone());
        }
        let Some(mut trials) = self.trials(task, method) else {
            return Rates::Open;
        };
        // Of equals the lowest.
        trials.sort_by(|a, b| b.0.total_cmp(&a.0));
        let best = trials.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or(Rates::Open, |(rate, _)| Rates::Chosen(rate))
    }

    /// What tuning saw: every learning rate with its mean on the validation split, higher
    /// being better, minus infinity where a run diverged. None before it is finished.
    pub fn trials(&self, task: &TaskEntry, method: &MethodEntry) -> Option<Vec<(f64, f64)>> {
        let runs = self.experiment.tuning(self.grid, task, method);
        let known: Option<Vec<Run<'_>>> = runs.iter().map(|run| self.run(run)).collect();
        let known = known?;
        let rates = self.grid.learning_rates.iter();
        let of_rate = |&rate: &f64| {
            let at = known.iter().filter(|run| run.cell.learning_rate == rate);
            let qualities: Vec<f64> = at
                .map(|run| match run.record.diverged_at {
                    Some(_) => f64::NEG_INFINITY,
                    None => self.experiment.primary.quality(&run.record.validation),
                })
                // Nothing is worse than what is no number.
                .map(|it| if it.is_nan() { f64::NEG_INFINITY } else { it })
                .collect();
            (rate, mean(&qualities).unwrap_or(f64::NEG_INFINITY))
        };
        Some(rates.map(of_rate).collect())
    }

    fn run(&self, planned: &PlannedRun) -> Option<Run<'a>> {
        let record = self.records.get(planned)?;
        let cell = planned.cell;
        Some(Run { cell, record })
    }

    /// The compared runs of a method on a task up to a seed, as far as its learning rate is
    /// known.
    fn compared(&self, task: &TaskEntry, method: &MethodEntry, last: u64) -> Vec<PlannedRun> {
        let rates = self.rates(task, method);
        let rates = rates.known().iter();
        let mut runs: Vec<PlannedRun> = rates
            .flat_map(|&rate| self.experiment.compared(self.grid, task, method, rate))
            .collect();
        runs.retain(|run| run.cell.seed <= last);
        runs
    }

    /// The compared runs of a method on a task that have a record, over the whole grid.
    pub fn runs(&self, task: &TaskEntry, method: &MethodEntry) -> Vec<Run<'a>> {
        let planned = self.compared(task, method, self.last_seed(task, method));
        planned.iter().filter_map(|run| self.run(run)).collect()
    }

    /// Those of them at the point where the claim is tested.
    pub fn runs_at(&self, task: &TaskEntry, method: &MethodEntry, at: Point) -> Vec<Run<'a>> {
        let mut runs = self.runs(task, method);
        runs.retain(|Run { cell, .. }| {
            at.rank.is_none_or(|rank| rank == cell.rank) && at.has_data_of(cell)
        });
        runs
    }

    /// Pairs of a method and each of its references that are planned.
    pub(super) fn planned_pairs(&self, task: &TaskEntry, method: &MethodEntry) -> usize {
        let references = self.experiment.references_of(method).iter();
        let seeds = references
            .chain([&method.id])
            .map(|id| self.grid.seeds(id).count());
        let seeds = seeds.min().unwrap_or(0);
        let seeds = match self.look(task, method) {
            None | Some(Interim::Continue) => seeds,
            Some(_) => seeds.min(INTERIM_PAIRS),
        };
        match self.grid.tuning_seeds {
            0 => seeds * self.grid.learning_rates.len(),
            _ => seeds,
        }
    }

    /// The measure of a run; of one that diverged, the worst value that was fixed.
    pub fn value(&self, record: &Record) -> f64 {
        match record.diverged_at {
            Some(_) => self.experiment.diverged.unwrap_or(f64::NAN),
            None => self.experiment.primary.of_run(record),
        }
    }

    /// The records of a method and a reference, by the pairs of runs with the same seed up
    /// to the last, and where rates are fixed the same rate.
    pub(super) fn pairs(
        &self,
        task: &TaskEntry,
        [method, reference]: [&MethodEntry; 2],
        last: u64,
    ) -> Vec<[&'a Record; 2]> {
        let at = self.experiment.at;
        let [runs, others] = [method, reference].map(|method| {
            let planned = self.compared(task, method, last).into_iter();
            let here = planned.filter(|run| run.cell.is_at(at));
            here.filter_map(|run| self.run(&run))
                .collect::<Vec<Run<'a>>>()
        });
        let tuned = self.grid.tuning_seeds > 0;
        let pair = |run: &Run<'a>| {
            let matches = |other: &&Run<'a>| {
                other.cell.seed == run.cell.seed
                    && (tuned || other.cell.learning_rate == run.cell.learning_rate)
            };
            let other = others.iter().find(matches)?;
            Some([run.record, other.record])
        };
        runs.iter().filter_map(pair).collect()
    }

    /// 1 where a higher measure is better, else -1.
    pub(super) fn sign(&self) -> f64 {
        match self.experiment.primary.higher_is_better() {
            true => 1.0,
            false => -1.0,
        }
    }

    /// Differences of a method to a reference, positive where the method is better, one
    /// for each pair.
    fn differences(
        &self,
        task: &TaskEntry,
        [method, reference]: [&MethodEntry; 2],
        value: impl Fn(&Record) -> f64,
    ) -> Vec<f64> {
        let last = self.last_seed(task, method);
        let pairs = self.pairs(task, [method, reference], last).into_iter();
        pairs
            .map(|[run, other]| self.sign() * (value(run) - value(other)))
            .collect()
    }

    /// The differences of a method to each of its references; for sharpness, in each of
    /// the two spaces, so that the one with the smaller gain decides.
    fn all_differences(&self, task: &TaskEntry, method: &MethodEntry) -> Vec<(String, Vec<f64>)> {
        let references = self.experiment.references_of(method).iter();
        let references = references.map(|id| self.experiment.method(id));
        if self.experiment.primary != Primary::Sharpness {
            return references
                .map(|reference| {
                    let pair = [method, reference];
                    let found = self.differences(task, pair, |record| self.value(record));
                    (reference.title.clone(), found)
                })
                .collect();
        }
        let mut all = Vec::new();
        for reference in references {
            for (space, sharpness) in super::primary::SPACES {
                let found = self.differences(task, [method, reference], |record| {
                    let measured = record.sharpness.as_ref();
                    measured.map_or(f64::NAN, |it| sharpness(it).ln())
                });
                all.push((format!("{} ({space})", reference.title), found));
            }
        }
        all
    }

    /// The verdicts on all methods of a task.
    pub fn judge(&self, task: &TaskEntry) -> Vec<Judged<'a>> {
        let methods = self.experiment.judged(self.grid);
        let claims: Vec<Claim> = methods
            .iter()
            .map(|method| Claim {
                kind: self.experiment.claim_kind,
                margin: self.experiment.margin,
                references: self.all_differences(task, method),
                tests_in_table: methods.len(),
                precondition: self.precondition(task, method),
            })
            .collect();
        let judged = judge_table(&claims).into_iter().zip(claims);
        methods
            .into_iter()
            .zip(judged)
            .map(|(method, (judgement, claim))| Judged {
                method,
                two_way: self.two_way(task, method, judgement.reference.as_deref()),
                judgement,
                differences: claim.references,
            })
            .collect()
    }
}
