//! What was measured, and what it says of the goals.

mod measure;
mod plan;

pub use measure::{Host, StudyConfig, measure};

use ggpo_tensor::simd::Level;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::goals::{Bound, GOALS, Goal, Group, Quantity};
use super::products::Products;
use super::profile::ProfileRow;
use super::rounds::{Rounds, Spread};
use super::{Machine, Shape, SideReport, level};

/// All that was measured; `speed.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The machine.
    pub machine: Machine,
    /// Version of this workspace.
    pub version: String,
    /// What was measured at every level of instruction set.
    pub sections: Vec<Section>,
}

/// What was measured at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The level.
    #[serde(with = "level::by_name")]
    pub level: Level,
    /// The goals of what was measured.
    pub rows: Vec<GoalRow>,
    /// What the noise costs, over the tokens of a step.
    pub noise: Vec<NoisePoint>,
    /// Products of matrices on their own.
    pub products: Option<Products>,
    /// The measurements of steps.
    pub groups: Vec<Measured>,
}

/// A goal and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoalRow {
    /// The ratio in words.
    pub what: String,
    /// What it should be, if it is held to anything.
    pub goal: Option<Bound>,
    /// What it is.
    pub outcome: Verdict,
}

/// The time of a GGPO step of MiniLM over that of a LoRA step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoisePoint {
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// The ratio.
    pub ratio: Spread,
}

/// What came of a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Of times, from many rounds.
    Times(Spread),
    /// Of memory, which is one number per process.
    Memory(f64),
    /// Of a product.
    Product {
        /// The ratio.
        ratio: f64,
        /// Name of the product.
        of: String,
        /// Whether the machine was not quiet.
        busy: bool,
    },
    /// Nothing, for this reason.
    NotMeasured(String),
}

impl Verdict {
    /// The ratio.
    pub fn value(&self) -> Option<f64> {
        match self {
            Verdict::Times(spread) => Some(spread.median),
            Verdict::Memory(ratio) | Verdict::Product { ratio, .. } => Some(*ratio),
            Verdict::NotMeasured(_) => None,
        }
    }
}

/// The processes of one group, and the rounds they took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Name of the group.
    pub group: String,
    /// The processes, in the order of their steps.
    pub processes: Vec<Process>,
    /// Their steps.
    pub rounds: Rounds,
    /// Where the time of some of them goes, measured on their own.
    pub profiles: Vec<Profiled>,
}

/// A process that did steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Whose.
    pub contender: Contender,
    /// Useful operations of a step.
    pub flops_per_step: f64,
    /// What it said at its end, once it has ended.
    pub finished: Option<SideReport>,
}

/// Where the time of a process's steps goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profiled {
    /// Whose.
    pub contender: Contender,
    /// By operation.
    pub rows: Vec<ProfileRow>,
}

impl Section {
    fn new(level: Level) -> Self {
        Section {
            level,
            rows: Vec::new(),
            noise: Vec::new(),
            products: None,
            groups: Vec::new(),
        }
    }

    /// The fastest that any probe was, in GFLOP/s.
    pub fn peak(&self) -> f64 {
        let peaks = self.groups.iter().map(|measured| measured.rounds.peak());
        peaks.fold(0.0, f64::max)
    }

    /// Says of all goals what the measurements so far came to.
    fn conclude(&mut self) {
        let rows = GOALS.iter().filter_map(|goal| {
            let outcome = self.outcome(goal)?;
            Some(GoalRow {
                what: goal.what.to_owned(),
                goal: goal.bound(self.level),
                outcome,
            })
        });
        self.rows = rows.collect();
        let points = self.groups.iter().flat_map(Measured::noise);
        self.noise = points.collect();
        self.noise.sort_by_key(|point| point.batch * point.seq);
    }

    /// What came of a goal; `None` if its part was not to be measured.
    fn outcome(&self, goal: &Goal) -> Option<Verdict> {
        let Some(processes) = goal.quantity.processes() else {
            return self.outcome_of_products(goal.quantity);
        };
        let measured = self.groups.iter().find(|measured| {
            Group::named(&measured.group).is_some_and(|group| group.has(&processes))
        });
        Some(measured?.outcome(goal.quantity, processes))
    }

    fn outcome_of_products(&self, quantity: Quantity) -> Option<Verdict> {
        let products = self.products.as_ref()?;
        let found = match quantity {
            Quantity::LayerRateOfPeak => {
                let layer = products.layer();
                layer.map(|layer| (products.rate_of_peak(layer), layer))
            }
            _ => products.lowest_ratio(),
        };
        Some(match found {
            Some((ratio, product)) => Verdict::Product {
                ratio,
                of: product.name.clone(),
                busy: products.is_busy(),
            },
            None => Verdict::NotMeasured("cargo bench left no such product".to_owned()),
        })
    }
}

impl Measured {
    fn place(&self, contender: &Contender) -> Option<usize> {
        let mut processes = self.processes.iter();
        processes.position(|process| process.contender == *contender)
    }

    /// LoRA-GGPO's steps of MiniLM beside LoRA's on the same tokens: the places of
    /// both.
    fn noise_pairs(&self) -> impl Iterator<Item = [usize; 2]> {
        let of = |(lora, process): (usize, &Process)| {
            let contender = process.contender;
            let ggpo = self.place(&contender.ggpo())?;
            (contender.shape == Shape::Minilm && ggpo != lora).then_some([ggpo, lora])
        };
        self.processes.iter().enumerate().filter_map(of)
    }

    fn noise(&self) -> impl Iterator<Item = NoisePoint> {
        self.noise_pairs().filter_map(|[ggpo, lora]| {
            let Contender { batch, seq, .. } = self.processes[lora].contender;
            let ratio = self.rounds.ratio(ggpo, lora)?;
            Some(NoisePoint { batch, seq, ratio })
        })
    }

    /// The places of the processes whose times are compared.
    fn pairs(&self) -> Vec<[usize; 2]> {
        let goals = GOALS.iter().filter_map(|goal| match goal.quantity {
            Quantity::StepTime(..) | Quantity::RateOfPeak(_) => {
                let [of, to] = goal.quantity.processes()?;
                Some([self.place(&of)?, self.place(&to)?])
            }
            _ => None,
        });
        let pairs: Vec<_> = goals.chain(self.noise_pairs()).collect();
        match pairs.is_empty() {
            true => (0..self.processes.len()).map(|place| [place; 2]).collect(),
            false => pairs,
        }
    }

    fn outcome(&self, quantity: Quantity, [of, to]: [Contender; 2]) -> Verdict {
        let find = |contender: &Contender| {
            let missing = || Verdict::NotMeasured(format!("without {}", contender.missing()));
            self.place(contender).ok_or_else(missing)
        };
        let (of, to) = match (find(&of), find(&to)) {
            (Ok(of), Ok(to)) => (of, to),
            (Err(missing), _) | (_, Err(missing)) => return missing,
        };
        let times = |spread: Option<Spread>| match spread {
            Some(spread) => Verdict::Times(spread),
            None => Verdict::NotMeasured("not yet".to_owned()),
        };
        let memory = |mib: fn(&SideReport) -> Option<f64>| {
            let finished = [of, to].map(|place| self.processes[place].finished.as_ref());
            match finished.map(|finished| finished.map(mib)) {
                [Some(Some(of)), Some(Some(to))] => Verdict::Memory(of / to),
                [Some(_), Some(_)] => {
                    Verdict::NotMeasured("the operating system does not tell".to_owned())
                }
                _ => Verdict::NotMeasured("not yet".to_owned()),
            }
        };
        match quantity {
            Quantity::RateOfPeak(_) => {
                let flops = self.processes[of].flops_per_step;
                times(self.rounds.rate_of_peak(of, flops))
            }
            Quantity::PeakMemory(..) => memory(|finished| finished.peak_rss_mib),
            Quantity::Weights(..) => memory(|finished| finished.weights_mib),
            _ => times(self.rounds.ratio(of, to)),
        }
    }
}
