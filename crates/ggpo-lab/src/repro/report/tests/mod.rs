mod fixture;
mod peers;
mod studies;

use super::*;
use crate::repro::outcome::FinishedRun;
use crate::repro::score::Score;
use document::{Block, Table};
use fixture::outcome;
use ggpo_train::metrics::Scores;

/// The page on time and memory, which the default study has.
fn cost(outcome: &Outcome) -> Document {
    content::cost(outcome).expect("measured")
}

/// All runs of an outcome.
fn runs_mut(outcome: &mut Outcome) -> impl Iterator<Item = &mut FinishedRun> {
    let methods = outcome.tasks.iter_mut().flat_map(|task| &mut task.methods);
    let compared = methods.flat_map(|method| {
        let all = method.tuning.iter_mut().chain(&mut method.best);
        all.chain(&mut method.common)
    });
    compared.chain(&mut outcome.sweep).chain(&mut outcome.bump)
}

fn tables(document: &Document) -> Vec<&Table> {
    let blocks = document.sections.iter().flat_map(|section| &section.blocks);
    let tables = blocks.filter_map(|block| match block {
        Block::Table(table) => Some(table),
        _ => None,
    });
    tables.collect()
}

/// Checks that tags are closed in the order in which they were opened.
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = |tag: &str| tag.split_whitespace().next().unwrap_or("").to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name(closed)));
        } else if !tag.ends_with('/') && !tag.starts_with(['!', '?']) {
            open.push(name(tag));
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
}

#[test]
fn all_files_are_written() {
    let outcome = outcome("default");
    let out = tempfile::tempdir().expect("a temporary folder");
    write(&outcome, out.path()).expect("the folder takes files");
    for file in ["results.csv", "report.md", "cost.md", "report.html"] {
        assert!(out.path().join(file).is_file(), "{file}");
    }
    let read = |file: &str| std::fs::read_to_string(out.path().join(file)).expect("written");
    let documents = [content::results(&outcome), cost(&outcome)];
    for figure in documents.iter().flat_map(Document::figures) {
        let svg = read(&figure.file);
        assert!(
            svg.starts_with("<svg ") && svg.len() > 2000,
            "{}",
            figure.file
        );
        assert!(
            !svg.contains("NaN") && !svg.contains("inf"),
            "{}",
            figure.file
        );
        assert_well_formed(&svg);
    }
}

#[test]
fn both_forms_hold_the_same_numbers() {
    let outcome = outcome("default");
    let (results, cost) = (content::results(&outcome), cost(&outcome));
    let pages = markdown::render(&results) + &markdown::render(&cost);
    let cells: Vec<String> = [&results, &cost]
        .into_iter()
        .flat_map(tables)
        .flat_map(|table| table.rows.iter().flatten().cloned())
        .collect();
    let page = html::render(&whole(results, Some(cost)));
    assert!(cells.len() > 300);
    for cell in cells
        .iter()
        .filter(|cell| !cell.contains(['_', '[', '\'', '"']))
    {
        assert!(pages.contains(cell.as_str()), "Markdown: {cell}");
        assert!(page.contains(cell.as_str()), "HTML: {cell}");
    }
}

#[test]
fn the_report_does_not_depend_on_the_cost() {
    let mut outcome = outcome("quick");
    let before = markdown::render(&content::results(&outcome));
    for method in &mut outcome.cost.as_mut().expect("measured").methods {
        method.step_ms.reverse();
        method.peak_mib = None;
    }
    assert_eq!(markdown::render(&content::results(&outcome)), before);
    assert!(markdown::render(&cost(&outcome)).contains(format::ABSENT));
}

#[test]
fn the_table_of_runs_reads_back() {
    let outcome = outcome("default");
    let bytes = table::results(&outcome).expect("written to memory");
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let head = reader.headers().expect("a head").clone();
    let column = |name: &str| head.iter().position(|head| head == name).expect("a column");
    let (experiment, loss) = (column("experiment"), column("test_loss"));
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let best = || {
        rows.iter()
            .filter(|row| &row[experiment] == "comparison-best")
    };
    let expected: Vec<f64> = outcome
        .tasks
        .iter()
        .flat_map(|task| &task.methods)
        .flat_map(|method| &method.best)
        .map(|run| run.test().loss)
        .collect();
    let found: Vec<f64> = best()
        .map(|row| row[loss].parse().expect("a number"))
        .collect();
    assert_eq!(found, expected);
    let accuracy = column("test_accuracy");
    let missing = best().filter(|row| row[accuracy].is_empty()).count();
    let language = outcome
        .tasks
        .iter()
        .filter(|task| task.task.judged_by() == Score::Perplexity);
    let methods = outcome.config.methods.len() * outcome.config.levels["default"].seeds.len();
    assert_eq!(missing, language.count() * methods);
}

#[test]
fn one_seed_without_spread_prints_no_nonsense() {
    let mut outcome = outcome("quick");
    for task in &mut outcome.tasks {
        for method in &mut task.methods {
            method.best.truncate(1);
            method.common.truncate(1);
        }
    }
    assert_sensible(&outcome);
    for run in runs_mut(&mut outcome) {
        run.result.losses.fill(1.0);
        run.result.evaluations.clear();
        run.result.noise.clear();
        run.result.audit.clear();
    }
    assert_sensible(&outcome);
}

#[test]
fn equal_scores_print_no_nonsense() {
    let mut outcome = outcome("default");
    let mut first: Option<Scores> = None;
    for run in runs_mut(&mut outcome) {
        let scores = first.get_or_insert_with(|| run.test().clone());
        run.result.test = Some(scores.clone());
        run.result.last_test = Some(scores.clone());
        run.result.last_train.clone_from(scores);
        for (_, layers) in &mut run.result.noise {
            layers
                .iter_mut()
                .for_each(|layer| layer.gradient_share = 0.0);
        }
    }
    assert_sensible(&outcome);
}

#[test]
fn lost_runs_print_no_nonsense() {
    let mut outcome = outcome("default");
    for run in runs_mut(&mut outcome) {
        run.result.losses.clear();
        run.result.diverged_at = Some(0);
        let lost = |loss, scores: &Scores| {
            Some(Scores {
                loss,
                ..scores.clone()
            })
        };
        run.result.test = lost(f64::NAN, run.test());
        run.result.last_test = lost(f64::INFINITY, run.last_test());
    }
    outcome.sweep.clear();
    let cost = outcome.cost.as_mut().expect("measured");
    cost.methods
        .iter_mut()
        .for_each(|method| method.step_ms.clear());
    assert_sensible(&outcome);
}

fn assert_sensible(outcome: &Outcome) {
    let (results, cost) = (content::results(outcome), content::cost(outcome));
    let page = html::render(&whole(results, cost));
    let body = page.find("<body").expect("a body")..page.find("</html").expect("an end");
    assert_well_formed(&page[body]);
    for nonsense in ["NaN", ">inf", "Some(", "None("] {
        let at = page.find(nonsense);
        let around = at.map(|at| page[..at].chars().rev().take(200).collect::<Vec<_>>());
        let around = around.map(|letters| letters.into_iter().rev().collect::<String>());
        assert!(at.is_none(), "{nonsense} after {around:?}");
    }
}
