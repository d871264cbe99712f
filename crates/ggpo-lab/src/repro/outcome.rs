//! What came out of the experiments: everything the report is made of.

use ggpo_train::metrics::Scores;
use ggpo_train::run::RunResult;

use super::config::{ReproConfig, TaskEntry};
use super::plan::PlannedRun;

/// A finished run.
#[derive(Debug, Clone)]
pub struct FinishedRun {
    /// What was planned.
    pub plan: PlannedRun,
    /// What came out.
    pub result: RunResult,
}

impl FinishedRun {
    /// Test scores of the best step.
    ///
    /// # Panics
    /// Never: tasks without a test split are refused with the description.
    pub fn test(&self) -> &Scores {
        self.result.test.as_ref().expect("a test split")
    }

    /// Test scores after the last step.
    ///
    /// # Panics
    /// Never: tasks without a test split are refused with the description.
    pub fn last_test(&self) -> &Scores {
        self.result.last_test.as_ref().expect("a test split")
    }
}

/// One method on one task.
#[derive(Debug, Clone)]
pub struct MethodOutcome {
    /// Id of the method.
    pub id: String,
    /// Name in the report.
    pub title: String,
    /// The runs that chose the learning rate.
    pub tuning: Vec<FinishedRun>,
    /// The learning rate they chose, by the validation split.
    pub learning_rate: f64,
    /// The compared runs at that learning rate, one per seed.
    pub best: Vec<FinishedRun>,
    /// The compared runs at the learning rate common to all methods, one per seed.
    pub common: Vec<FinishedRun>,
}

/// All methods on one task.
#[derive(Debug, Clone)]
pub struct TaskOutcome {
    /// The task.
    pub task: TaskEntry,
    /// The learning rate that the reference method chose.
    pub common_learning_rate: f64,
    /// The methods, in the order of the report.
    pub methods: Vec<MethodOutcome>,
}

impl TaskOutcome {
    /// The compared runs of a method at a learning rate, if there are any.
    pub fn compared(&self, method: &str, learning_rate: f64) -> Option<&[FinishedRun]> {
        let found = self.methods.iter().find(|entry| entry.id == method)?;
        if learning_rate == found.learning_rate {
            Some(&found.best)
        } else if learning_rate == self.common_learning_rate {
            Some(&found.common)
        } else {
            None
        }
    }
}

/// Time and memory of one method.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MethodCost {
    /// Id of the method.
    pub method: String,
    /// Milliseconds of every measured step, in turn with the other methods.
    pub step_ms: Vec<f64>,
    /// Peak resident memory of a process that runs this method only, in MiB;
    /// absent where the operating system does not tell.
    pub peak_mib: Option<f64>,
}

/// The measurement of time and memory.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// Id of the task whose steps were measured.
    pub task: String,
    /// Threads in use.
    pub threads: usize,
    /// The methods, in the order of the report.
    pub methods: Vec<MethodCost>,
}

/// Everything that came out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The description of the experiments.
    pub config: ReproConfig,
    /// Name of the level of effort.
    pub level: String,
    /// The comparisons.
    pub tasks: Vec<TaskOutcome>,
    /// Test error over rank, by method, rank and seed; empty if the study has
    /// no rank sweep.
    pub sweep: Vec<FinishedRun>,
    /// Training loss over steps, by method, learning rate and seed; empty if the
    /// study has no such experiment.
    pub bump: Vec<FinishedRun>,
    /// Time and memory, if the study measures them.
    pub cost: Option<Cost>,
}
