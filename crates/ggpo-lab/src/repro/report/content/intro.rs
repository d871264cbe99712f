//! What comes first: the answers, what was run, and how to read the numbers.

use super::super::document::{Block, Section, Table, Text};
use super::super::format::{ABSENT, count, counted, listed, percent, probability, rates, setting};
use super::super::summary::{
    ATTAINABLE, AuditSummary, BumpSummary, LEVEL, Role, SweepSummary, TaskSummary, level, role,
    smallest_p, with_role,
};
use super::{audit, comparison, cost_link, descent, reference};
use crate::repro::config::{MethodEntry, TaskEntry};
use crate::repro::outcome::Outcome;

/// What stands below the title.
pub(super) fn lead(outcome: &Outcome) -> Vec<Block> {
    let about = outcome.config.about.as_deref();
    let mut blocks: Vec<Block> = about.map(Block::paragraph).into_iter().collect();
    let before = Text::new("Results of ")
        .code("cargo xtask repro")
        .plain(format!(
            " at the level \"{}\". Every sentence and number below is computed from the runs; \
             the numbers of each run are in ",
            outcome.level
        ))
        .file("results.csv", "results.csv");
    let words = match outcome.cost {
        Some(_) => {
            let words = ". What is measured, and so not the same twice, stands apart: ";
            let words = before.plain(words);
            cost_link(words).plain(".")
        }
        None => before.plain("."),
    };
    blocks.push(Block::paragraph(words));
    blocks
}

/// The answers.
pub(super) fn summary(
    outcome: &Outcome,
    tasks: &[TaskSummary],
    sweep: Option<&SweepSummary>,
    bump: Option<&BumpSummary>,
    audits: Option<&[AuditSummary]>,
) -> Section {
    let mut points = Vec::new();
    for task in tasks {
        points.extend(comparison::verdicts(outcome, task));
    }
    points.extend(audits.map(audit::verdict));
    points.extend(sweep.map(|sweep| {
        Text::default()
            .strong("The classical double descent (test error over rank): ")
            .plain(descent::rank_verdicts(sweep).join(" "))
    }));
    points.extend(bump.map(|bump| {
        Text::default()
            .strong("The paper's double descent (training loss over steps): ")
            .plain(descent::step_verdicts(outcome, bump).join(" "))
    }));
    let seeds = level(outcome).seeds.len();
    let words = format!(
        "Methods are compared seed by seed, each at the learning rate that suits it best. With {} \
         the smallest p that the exact test can give is {}.",
        counted(seeds, "seed"),
        probability(smallest_p(seeds)),
    );
    let mut blocks = vec![Block::paragraph(words)];
    blocks.extend((!points.is_empty()).then_some(Block::List(points)));
    Section::new("summary", "Summary", blocks)
}

/// Methods, tasks, learning rates and seeds.
pub(super) fn what_was_run(outcome: &Outcome, tasks: &[TaskSummary]) -> Section {
    let level = level(outcome);
    let runs_each = level.learning_rates.len() * level.tuning_seeds.len();
    let tuning = format!(
        "Every method had the same trials on every task: the learning rates {} with the tuning {} \
         {}, {} for each method and task. The rate with the best mean validation score was kept \
         (a rate at which a run diverged only if there was no other; of equals the lowest). The \
         tuning seeds are used for nothing else. Then every method ran with the {} {}, at its own \
         rate and at the one that {} had chosen.",
        rates(&level.learning_rates),
        noun("seed", level.tuning_seeds.len()),
        seeds(&level.tuning_seeds),
        counted(runs_each, "run"),
        noun("seed", level.seeds.len()),
        seeds(&level.seeds),
        reference(outcome),
    );
    let scored = "Test scores are those of the step with the best validation score of the run; the \
                  test split is not looked at before. A run diverges when its loss or a gradient is \
                  no longer a number; it keeps the best step it had.";
    let mut blocks = vec![
        Block::Table(methods(outcome)),
        Block::Table(task_table(outcome, tasks)),
    ];
    let models = outcome.config.base_models.as_deref();
    blocks.extend(models.map(Block::paragraph));
    blocks.push(Block::paragraph(tuning));
    blocks.push(Block::paragraph(scored));
    blocks.extend(chosen_otherwise(outcome));
    Section::new("what-was-run", "What was run", blocks)
}

/// Names the tasks whose best step is not chosen by what they are judged by.
fn chosen_otherwise(outcome: &Outcome) -> Vec<Block> {
    let tasks = outcome.tasks.iter().map(|task| &task.task);
    let others = tasks.filter(|task| !task.judged_by().orders_as(task.steps_chosen_by()));
    let one = |task: &TaskEntry| {
        Block::paragraph(format!(
            "\"{}\" is judged by {}, the learning rates included; within a run the best step is \
             still the one with the best validation {}.",
            task.title,
            task.judged_by().name(),
            task.steps_chosen_by().name(),
        ))
    };
    others.map(one).collect()
}

fn noun(noun: &str, number: usize) -> String {
    if number == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}

fn seeds(seeds: &[u64]) -> String {
    let words: Vec<String> = seeds.iter().map(u64::to_string).collect();
    listed(&words)
}

fn methods(outcome: &Outcome) -> Table {
    let head = ["Method", "Trained", "Noise on the weights", "Rank", "Alpha"];
    let mut table = Table::new("The methods", 3, &head);
    for method in &outcome.config.methods {
        let lora = &method.config.lora;
        let (rank, alpha) = match method.config.has_adapters() {
            false => (ABSENT.to_owned(), ABSENT.to_owned()),
            true => (lora.rank.to_string(), setting(lora.alpha)),
        };
        let trained = method.config.trained();
        let mut title = method.title.clone();
        if role(outcome, method) == Role::Reference {
            title.push_str(" (reference)");
        }
        let noise = noise(outcome, method);
        table
            .rows
            .push(vec![title, trained.to_owned(), noise, rank, alpha]);
    }
    table
}

fn noise(outcome: &Outcome, method: &MethodEntry) -> String {
    let mut words = method.config.perturbation_in_words();
    if role(outcome, method) == Role::Control {
        let guided: Vec<&str> = with_role(outcome, Role::Guided)
            .map(|method| method.title.as_str())
            .collect();
        words.push_str("; the control");
        if !guided.is_empty() {
            words.push_str(&format!(
                " for {}: as much noise, no guidance",
                listed(&guided)
            ));
        }
    }
    words
}

fn task_table(outcome: &Outcome, tasks: &[TaskSummary]) -> Table {
    let head = [
        "Task",
        "What is learnt",
        "Base model",
        "Score",
        "Steps",
        "Rows per step",
        "Tokens at most",
    ];
    let mut table = Table::new("The tasks", 4, &head);
    for (task, summary) in outcome.tasks.iter().zip(tasks) {
        let run = task.methods.iter().flat_map(|method| &method.best).next();
        let model = task.task.model.file_name().unwrap_or_default();
        table.rows.push(vec![
            task.task.title.clone(),
            task.task.about.clone(),
            model.to_string_lossy().into_owned(),
            summary.judged_by.title().to_owned(),
            run.map_or(ABSENT.to_owned(), |run| {
                count(run.plan.config.training.steps as usize)
            }),
            task.task.batch_size.to_string(),
            task.task.data.max_length.to_string(),
        ]);
    }
    table
}

/// What intervals, p and d mean, and what they do not.
pub(super) fn how_to_read(outcome: &Outcome, tasks: &[TaskSummary]) -> Section {
    let compared = tasks
        .iter()
        .flat_map(|task| task.own.iter().chain(&task.common));
    let intervals = compared
        .filter(|method| {
            method
                .comparison
                .as_ref()
                .is_some_and(|c| c.interval.is_some())
        })
        .count();
    let reference = reference(outcome);
    let points = vec![
        Text::new(format!(
            "A difference is a method's score less that of {reference}, paired by seed. The interval \
             is the 95 % percentile bootstrap interval of the mean difference. It shows the \
             variation over seeds (initial values of adapters and head, order of the data, noise) \
             with the split of the data fixed: nothing about other data, other tasks or larger \
             models."
        )),
        Text::new(
            "p is that of the exact two-sided sign-flip test: how often a random choice of signs \
             brings the mean difference at least as far from 0. Cohen's d is the mean difference \
             over the standard deviation of the differences. After ± stands the sample standard \
             deviation over the seeds.",
        ),
        Text::new(format!(
            "\"Better\" and \"worse\" are said only if the interval excludes 0 and there are enough \
             seeds for a p of {} or less: of few differences the bootstrap interval is too narrow. \
             In all other cases there is no difference that this many seeds can show, which is not \
             the same as no difference. A p above {} is never called more than a hint.",
            setting(ATTAINABLE),
            setting(LEVEL),
        )),
        Text::new(format!(
            "The tables of the tasks hold {}. If no method differed from {reference}, {} in a \
             hundred or more would exclude 0 all the same.",
            counted(intervals, "interval"),
            percent(LEVEL)
                .trim_end_matches(" %")
                .trim_end_matches(".00"),
        )),
    ];
    Section::new(
        "how-to-read",
        "How to read the numbers",
        vec![Block::List(points)],
    )
}
