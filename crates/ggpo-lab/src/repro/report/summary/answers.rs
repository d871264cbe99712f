//! Answers as numbers: shares, losses, and what lies between two models.

use crate::repro::answers::{AnswersOutcome, Solved};
use crate::statistics::{Interval, bootstrap_interval, mean, wilson_interval};

/// The seed of the bootstrap.
const SEED: u64 = 1;

/// The answers of one model.
pub(crate) struct AnswersRow {
    /// Name of the method; of the base model its own.
    pub(crate) title: String,
    /// Learning rate and seed; none of the base model.
    pub(crate) run: Option<(f64, u64)>,
    /// Mean cross entropy per token of all reference solutions.
    pub(crate) loss: f64,
    /// Problems with a right answer.
    pub(crate) right: usize,
    /// Wilson's interval of their share.
    pub(crate) interval: Option<Interval>,
    /// Answers that the model ended.
    pub(crate) ended: usize,
    /// Mean length of an answer in tokens.
    pub(crate) tokens: f64,
}

/// Two models on the same problems, the mean over the seeds of each.
pub(crate) struct AnswersPair {
    /// The first.
    pub(crate) first: String,
    /// What it is compared with.
    pub(crate) second: String,
    /// Loss per token of the first less that of the second.
    pub(crate) loss: (f64, Option<Interval>),
    /// Share of right answers of the first less that of the second.
    pub(crate) accuracy: (f64, Option<Interval>),
    /// Problems that only the first answered right, and only the second; with
    /// several seeds, pairs of problem and seed.
    pub(crate) only: [usize; 2],
}

/// Name of the base model in tables.
const BASE: &str = "Base model";

/// One row per model: the base model, then every run of every method.
pub(crate) fn answers_rows(outcome: &AnswersOutcome) -> Vec<AnswersRow> {
    let mut rows = vec![row(BASE, None, &outcome.base)];
    for method in &outcome.methods {
        for (run, solved) in &method.runs {
            let of_run = Some((run.plan.learning_rate, run.plan.seed));
            rows.push(row(&method.title, of_run, solved));
        }
    }
    rows
}

fn row(title: &str, run: Option<(f64, u64)>, solved: &[Solved]) -> AnswersRow {
    let count = |what: fn(&Solved) -> bool| solved.iter().filter(|it| what(it)).count();
    let right = count(|it| it.right);
    let targets: usize = solved.iter().map(|it| it.targets).sum();
    let total: f64 = solved.iter().map(|it| it.loss * it.targets as f64).sum();
    let tokens: usize = solved.iter().map(|it| it.tokens).sum();
    AnswersRow {
        title: title.to_owned(),
        run,
        loss: total / targets as f64,
        right,
        interval: wilson_interval(right, solved.len()),
        ended: count(|it| it.ended),
        tokens: tokens as f64 / solved.len() as f64,
    }
}

/// Every method against the base model, and all others against the reference.
pub(crate) fn answers_pairs(outcome: &AnswersOutcome) -> Vec<AnswersPair> {
    let AnswersOutcome {
        config,
        base,
        methods,
    } = outcome;
    let runs = |index: usize| -> Vec<&[Solved]> {
        let runs = methods[index].runs.iter();
        runs.map(|(_, solved)| solved.as_slice()).collect()
    };
    let mut pairs = Vec::new();
    for (index, method) in methods.iter().enumerate() {
        let base = vec![base.as_slice(); runs(index).len()];
        pairs.push(pair([&method.title, BASE], [&runs(index), &base]));
    }
    let mut ids = config.methods.iter().map(|method| &method.id);
    let reference = ids.position(|id| *id == config.reference);
    let reference = reference.expect("checked when the file was read");
    for (index, method) in methods.iter().enumerate() {
        if index != reference {
            let titles = [method.title.as_str(), &methods[reference].title];
            pairs.push(pair(titles, [&runs(index), &runs(reference)]));
        }
    }
    pairs
}

/// Compares the runs of two models, as many of one as of the other.
fn pair([first, second]: [&str; 2], [a, b]: [&[&[Solved]]; 2]) -> AnswersPair {
    let problems = a[0].len();
    let seeds = a.len() as f64;
    // By problem, the mean over the seeds of the first less the second.
    let differences = |of: &dyn Fn(&Solved) -> f64| -> Vec<f64> {
        let by_seed = |problem: usize| {
            let runs = a.iter().zip(b);
            runs.map(move |(a, b)| of(&a[problem]) - of(&b[problem]))
        };
        (0..problems)
            .map(|problem| by_seed(problem).sum::<f64>() / seeds)
            .collect()
    };
    // Problems weigh by their tokens, so that their mean is the difference per
    // token.
    let targets: usize = a[0].iter().map(|it| it.targets).sum();
    let per_problem = targets as f64 / problems as f64;
    let loss = differences(&|it| it.loss * it.targets as f64 / per_problem);
    let accuracy = differences(&|it| f64::from(u8::from(it.right)));
    let estimate = |differences: &[f64]| {
        let mean = mean(differences).expect("at least one problem");
        (mean, bootstrap_interval(differences, SEED))
    };
    let only = |a: &[&[Solved]], b: &[&[Solved]]| {
        let all = a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b.iter()));
        all.filter(|(a, b)| a.right && !b.right).count()
    };
    AnswersPair {
        first: first.to_owned(),
        second: second.to_owned(),
        loss: estimate(&loss),
        accuracy: estimate(&accuracy),
        only: [only(a, b), only(b, a)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solved(loss: f64, targets: usize, right: bool) -> Solved {
        Solved {
            line: 1,
            loss,
            targets,
            right,
            ended: right,
            tokens: 10,
            text: String::new(),
        }
    }

    #[test]
    fn losses_weigh_by_tokens_and_answers_by_problems() {
        let a = [solved(1.0, 10, true), solved(2.0, 30, false)];
        let b = [solved(3.0, 10, false), solved(2.0, 30, false)];
        let row = row("a", None, &a);
        assert_eq!((row.loss, row.right, row.ended), (1.75, 1, 1));
        assert_eq!(row.tokens, 10.0);
        let pair = pair(["a", "b"], [&[&a], &[&b]]);
        // (10 + 60) / 40 less (30 + 60) / 40.
        assert_eq!(pair.loss.0, 1.75 - 2.25);
        assert_eq!(pair.accuracy.0, 0.5);
        assert_eq!(pair.only, [1, 0]);
        let interval = pair.accuracy.1.unwrap();
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
    }

    #[test]
    fn seeds_are_averaged_before_problems_are_drawn() {
        let (right, wrong) = ([solved(1.0, 5, true)], [solved(1.0, 5, false)]);
        let pair = pair(["a", "b"], [&[&right, &wrong], &[&wrong, &wrong]]);
        assert_eq!(pair.accuracy.0, 0.5);
        let interval = pair.accuracy.1.unwrap();
        assert_eq!((interval.low, interval.high), (0.5, 0.5));
        assert_eq!(pair.only, [1, 0]);
    }
}
