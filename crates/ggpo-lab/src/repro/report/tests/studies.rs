//! Reports of studies other than the default one.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::repro::choose_learning_rate;
use crate::repro::outcome::TaskOutcome;
use fixture::of_study;

pub(super) const PATH: &str = "experiments/sentences.toml";
pub(super) const SENTENCES: &str = include_str!("../../../../../../experiments/sentences.toml");

/// Sections that every study has before and after those of its tasks.
const FIRST: [&str; 3] = ["summary", "what-was-run", "how-to-read"];
const LAST: [&str; 2] = ["limits", "repeat"];

/// Words of the experiments that a study may do without.
const OPTIONAL: [&str; 7] = [
    "double descent",
    "bump",
    "sweep",
    "time and memory",
    "Time and memory",
    "stands apart",
    "cost",
];

/// The study of sentences without a measurement of time and memory.
fn without_cost() -> String {
    let text = SENTENCES.replace("[cost]\ntask = \"sst2\"\n", "");
    let text = text.replace("cost_steps = 10\n", "");
    assert!(!text.contains("cost"), "{text}");
    text
}

fn sections(document: &Document) -> Vec<&str> {
    let sections = document.sections.iter();
    sections.map(|section| section.id.as_str()).collect()
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        match path.is_dir() {
            true => found.extend(
                files_below(&path)
                    .iter()
                    .map(|file| format!("{name}/{file}")),
            ),
            false => drop(found.insert(name.into_owned())),
        }
    }
    found
}

fn task<'a>(outcome: &'a Outcome, id: &str) -> &'a TaskOutcome {
    let mut tasks = outcome.tasks.iter();
    tasks.find(|task| task.task.id == id).expect("a task")
}

#[test]
fn what_was_not_run_leaves_no_trace() {
    let outcome = of_study(&without_cost(), PATH, "default");
    let out = tempfile::tempdir().expect("a temporary folder");
    write(&outcome, out.path()).expect("the folder takes files");
    let figures = ["gradient-ggpo", "scores", "training"];
    let figures = figures
        .iter()
        .flat_map(|name| ["cola", "sst2"].map(|task| format!("figures/{name}-{task}.svg")));
    let pages = ["report.html", "report.md", "results.csv"];
    let wanted = figures.chain(pages.map(str::to_owned)).collect();
    assert_eq!(files_below(out.path()), wanted);
    for page in pages {
        let text = std::fs::read_to_string(out.path().join(page)).expect("written");
        for word in OPTIONAL {
            assert!(!text.contains(word), "{page}: {word}");
        }
    }
    assert_sensible(&outcome);
}

#[test]
fn every_experiment_brings_its_own_section() {
    let outcome = of_study(SENTENCES, PATH, "default");
    let expected = |between: &[&'static str]| [&FIRST, between, &LAST].concat();
    let tasks = ["task-sst2", "task-cola"];
    let guided = expected(&[&tasks[..], &["gradient-term"]].concat());
    assert_eq!(sections(&content::results(&outcome)), guided);
    let page = whole(content::results(&outcome), content::cost(&outcome));
    let measured = expected(&[&tasks[..], &["gradient-term", content::COST_ID]].concat());
    assert_eq!(sections(&page), measured);

    let start = SENTENCES
        .find("[[methods]]\nid = \"ggpo\"")
        .expect("a method");
    let end = SENTENCES.find("[[tasks]]").expect("a task");
    let text = SENTENCES[..start].to_owned() + &SENTENCES[end..];
    let unguided = of_study(&text, PATH, "default");
    assert_eq!(sections(&content::results(&unguided)), expected(&tasks));
    assert_sensible(&unguided);
}

#[test]
fn one_experiment_does_without_the_other() {
    let mut outcome = outcome("quick");
    outcome.config.loss_bump = None;
    outcome.bump.clear();
    let page = markdown::render(&content::results(&outcome));
    assert!(page.contains("(test error over rank)") && !page.contains("bump"));
    assert!(page.contains("The experiment on double descent looks at one task and one learning"));
    assert_sensible(&outcome);
    let csv = table::results(&outcome).expect("written to memory");
    let csv = String::from_utf8(csv).expect("text");
    assert!(csv.contains("rank-sweep") && !csv.contains("bump"));
}

#[test]
fn title_introduction_and_limits_are_the_studys_own() {
    let outcome = of_study(SENTENCES, PATH, "default");
    let config = &outcome.config;
    let page = markdown::render(&content::results(&outcome));
    assert!(page.starts_with(&format!("# {}\n", config.title)));
    let about = config.about.as_deref().expect("it is there");
    let models = config.base_models.as_deref().expect("it is there");
    for words in [about, models, config.limits[0].as_str()] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("cargo xtask repro --config experiments/sentences.toml\n"));
    assert!(!page.contains("experiments/repro.toml"));

    let plain = of_study(
        &SENTENCES[SENTENCES.find("reference =").expect("a field")..],
        PATH,
        "default",
    );
    let page = markdown::render(&content::results(&plain));
    assert!(page.starts_with("# LoRA-GGPO: what the experiments show\n\nResults of"));
    assert!(page.contains("- 2 tasks and 3 seeds are a sample"));
    assert!(!page.contains("base model is"));
}

#[test]
fn a_task_shows_the_score_that_judges_it_and_its_accuracy() {
    let outcome = of_study(SENTENCES, PATH, "default");
    let results = content::results(&outcome);
    for table in tables(&results) {
        for row in &table.rows {
            assert_eq!(row.len(), table.head.len(), "{}", table.caption);
        }
    }
    let compared = tables(&results).into_iter().filter(|table| {
        table.caption.starts_with("CoLA, each method") || table.caption.starts_with("CoLA, all")
    });
    let compared: Vec<&Table> = compared.collect();
    assert_eq!(compared.len(), 2);
    for table in compared {
        let head = ["Test Matthews correlation (× 100)", "Test accuracy (%)"];
        assert_eq!(table.head[2..4], head);
        for row in &table.rows {
            assert!(row[2].contains(" ± ") && row[3].contains(" ± "), "{row:?}");
        }
    }
    let page = markdown::render(&results);
    assert!(page.contains("in Matthews correlation that 3 seeds can show"));
    assert!(page.contains("\"CoLA\" is judged by Matthews correlation"));
    assert!(!page.contains("\"SST-2 (sentence level)\" is judged by"));
    let svg = figures::scores(
        &outcome,
        &summary::TaskSummary::new(&outcome, task(&outcome, "cola")),
    );
    assert!(svg.contains("Matthews correlation (× 100)") && svg.contains("Points; better"));

    let csv = table::results(&outcome).expect("written to memory");
    let csv = String::from_utf8(csv).expect("text");
    let head = csv.lines().next().expect("a head");
    assert!(head.contains("validation_matthews") && !head.contains("validation_f1"));
}

#[test]
fn a_loss_that_judges_stands_in_one_column() {
    let text = SENTENCES.replace("score = \"matthews\"", "score = \"loss\"");
    let outcome = of_study(&text, PATH, "default");
    let results = content::results(&outcome);
    let caption = "CoLA, each method at its own learning rate";
    let tables = tables(&results);
    let table = tables.iter().find(|table| table.caption == caption);
    let head = &table.expect("a table").head;
    assert_eq!(head[2], "Test loss (nats, lower is better)");
    assert!(!head.contains(&"Test loss (nats)".to_owned()));
    assert_sensible(&outcome);
}

#[test]
fn the_score_chooses_the_learning_rate() {
    let outcome = of_study(SENTENCES, PATH, "default");
    let mut tuning = task(&outcome, "cola").methods[0].tuning.clone();
    let rates: Vec<f64> = tuning.iter().map(|run| run.plan.learning_rate).collect();
    let scores = [
        (0.8, 0.1, 0.9),
        (0.7, 0.3, 0.8),
        (0.6, 0.2, 0.7),
        (0.5, 0.0, 1.0),
    ];
    assert_eq!(rates.len(), scores.len());
    for (run, (accuracy, matthews, loss)) in tuning.iter_mut().zip(scores) {
        let validation = &mut run.result.validation;
        validation.loss = loss;
        let classes = validation.classes.as_mut().expect("a classification");
        (classes.accuracy, classes.matthews) = (accuracy, matthews);
    }
    let chosen = |score| choose_learning_rate(&tuning, &rates, score);
    assert_eq!(chosen(Score::Accuracy), rates[0]);
    assert_eq!(chosen(Score::Matthews), rates[1]);
    assert_eq!(chosen(Score::Loss), rates[2]);
}
