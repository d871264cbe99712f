//! A study of written answers: the same problems put to a base model and to
//! what every method makes of it.
//!
//! Every method tries the same learning rates in short runs, judged by
//! validation loss. Then it is trained with every compared seed, and the base
//! model and all that were trained write answers, which are counted if right.

mod config;
mod solve;

use std::path::Path;

use ggpo_model::assembled::Assembled;
use ggpo_train::Result;
use ggpo_train::run::{Corpora, Keep, assemble};

pub use config::{AnswersConfig, Tuning};
pub use solve::Solved;

use super::score::Score;
use super::{FinishedRun, choose_learning_rate, execute, plan, report};
use solve::{Asked, solve};

/// What came out: everything the report is made of.
#[derive(Debug, Clone)]
pub struct AnswersOutcome {
    /// The description.
    pub config: AnswersConfig,
    /// The problems, put to the base model.
    pub base: Vec<Solved>,
    /// The methods, in the order of the description.
    pub methods: Vec<MethodAnswers>,
}

/// What came out of one method.
#[derive(Debug, Clone)]
pub struct MethodAnswers {
    /// Name in the report.
    pub title: String,
    /// The short runs, one per learning rate and seed.
    pub tuning: Vec<FinishedRun>,
    /// The learning rate they chose.
    pub learning_rate: f64,
    /// The compared runs, one per seed, and the problems put to what they made.
    pub runs: Vec<(FinishedRun, Vec<Solved>)>,
}

/// Carries out the study and writes `report.md` to `out`; continues where an
/// earlier call stopped.
///
/// # Errors
/// If an input cannot be used or a file not written.
pub fn study_answers(config: AnswersConfig, out: &Path) -> Result<AnswersOutcome> {
    let asked = |run: Option<String>| Asked {
        model: config.task.model.clone(),
        run,
        task: config.task.data.clone(),
        max_new_tokens: config.max_new_tokens,
    };
    let answers = |name: &str| out.join("answers").join(format!("{name}.jsonl"));
    let base = solve(
        || Ok(Assembled::open(&config.task.model, None)?),
        &asked(None),
        config.problems,
        &answers("base"),
    )?;

    let (level, corpora) = (config.level(), Corpora::default());
    let (tuning_task, task) = (config.tuning_task(), config.trained_task());
    let runs = config.methods.iter();
    let runs: Vec<_> = runs
        .flat_map(|method| plan::tuning(&tuning_task, method, &level))
        .collect();
    let tuning = execute::finish(runs, &corpora, out, Keep::Records, &tuning_task.id)?;
    let mut tuned = Vec::new();
    let mut runs = Vec::new();
    for method in &config.methods {
        let own = tuning.iter().filter(|run| run.plan.method == method.id);
        let own: Vec<FinishedRun> = own.cloned().collect();
        let learning_rate = choose_learning_rate(&own, &level.learning_rates, Score::Loss);
        runs.extend(plan::compared(&task, method, &level, learning_rate));
        tuned.push((method, own, learning_rate));
    }
    let compared = execute::finish(runs, &corpora, out, Keep::Weights, &task.id)?;

    let mut methods = Vec::new();
    for (method, tuning, learning_rate) in tuned {
        let mut runs = Vec::new();
        for run in compared.iter().filter(|run| run.plan.method == method.id) {
            let folder = run.plan.folder();
            let solved = solve(
                || Ok(assemble(&out.join(&folder))?.1),
                &asked(Some(folder.clone())),
                config.problems,
                &answers(&format!("{}-seed-{}", method.id, run.plan.seed)),
            )?;
            runs.push((run.clone(), solved));
        }
        methods.push(MethodAnswers {
            title: method.title.clone(),
            tuning,
            learning_rate,
            runs,
        });
    }
    let outcome = AnswersOutcome {
        config,
        base,
        methods,
    };
    report::write_answers(&outcome, out)?;
    Ok(outcome)
}
