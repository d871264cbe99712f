//! Rows, files and descriptions that are refused, and how files are known.

use ggpo_train::data::layout::{Columns, Format};
use ggpo_train::data::{Answer, Dataset, TaskConfig, TaskKind};

use super::{Place, classes};

#[test]
fn bad_rows_are_refused_or_counted() {
    let place = Place::new();
    let bad = |rows: usize| {
        let rows: String = (0..rows).map(|row| format!("b\t{row}\tmore\n")).collect();
        format!("label\ttext\na\tx\n{rows}b\ty\n")
    };
    let mut task = place.task(TaskKind::Classification, "train.tsv", bad(1));
    assert_eq!(place.refusal(&task), "line 3: expected 2 columns, found 3");
    place.write("train.tsv", bad(7));
    let reason = |line: usize| format!("line {line}: expected 2 columns, found 3");
    let named: Vec<String> = (3..8).map(reason).collect();
    assert_eq!(
        place.refusal(&task),
        format!("7 bad rows: {}; and 2 more", named.join("; "))
    );
    task.skip_bad_rows = true;
    let dataset = place.open(&task);
    assert_eq!((dataset.rows.len(), dataset.notes.bad.len()), (2, 7));
    let notes = dataset.notes.to_string();
    assert!(notes.ends_with("bad rows left out: 7, first line 3: expected 2 columns, found 3"));
    place.write("train.tsv", "label\ttext\nb\n");
    assert_eq!(
        place.refusal(&task),
        "expected rows that can be used, found none"
    );
}

#[test]
fn classes_must_be_two_and_the_same_in_all_files() {
    let place = Place::new();
    let mut task = place.task(
        TaskKind::Classification,
        "train.tsv",
        "label\ttext\na\tx\na\ty\n",
    );
    assert_eq!(
        place.refusal(&task),
        "expected rows of two classes or more, found only one class"
    );
    place.write("train.tsv", "label\ttext\n10\tx\n9\ty\n");
    assert_eq!(place.open(&task).labels, ["9", "10"]);
    task.labels = Some(vec!["10".to_owned(), "9".to_owned()]);
    let dataset = place.open(&task);
    assert_eq!(dataset.labels, ["10", "9"]);
    assert_eq!(classes(&dataset), ["10", "9"]);

    let labels = ["b", "a"].map(str::to_owned);
    let other = place.write("other.tsv", "label\ttext\na\tx\n");
    let open = || Dataset::open(&other, &task, &place.tokenizer, Some(&labels));
    assert_eq!(
        open().expect("one class is enough").examples[0].answer,
        Answer::Class(1)
    );
    place.write("other.tsv", "label\ttext\na\tx\nc\ty\n");
    let error = open().expect_err("refused").to_string();
    let expected = "line 3: expected one of the labels \"b\", \"a\", found \"c\"";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn files_are_known_by_their_ending_or_by_name() {
    let place = Place::new();
    let mut task = place.task(
        TaskKind::Classification,
        "train.data",
        "text,label\nx,a\ny,b\n",
    );
    assert!(
        place
            .refusal(&task)
            .starts_with("expected a name that ends in .tsv")
    );
    task.format = Some(Format::Csv);
    assert_eq!(classes(&place.open(&task)), ["a", "b"]);
    task.header = Some(false);
    assert_eq!(
        place.refusal(&task),
        "task.columns: expected numbers of columns where header = false, found \"text\""
    );
    task.columns = Some(Columns {
        text: Some(1.into()),
        pair: None,
        label: Some(2.into()),
    });
    assert_eq!(place.open(&task).labels, ["a", "b", "label"]);
    task.format = Some(Format::Jsonl);
    assert_eq!(
        place.refusal(&task),
        "task.columns: expected names of fields in JSONL, found 1"
    );
}

#[test]
fn tasks_that_contradict_themselves_are_refused() {
    let classes = TaskConfig::new(TaskKind::Classification, "train.tsv", 64);
    let completion = TaskConfig::new(TaskKind::Completion, "train.tsv", 64);
    let refused = |task: TaskConfig| task.validate().expect_err("refused").to_string();
    let change = |change: &str| {
        let toml = format!("kind = \"classification\"\ntrain = \"t\"\nmax_length = 8\n{change}");
        toml::from_str::<TaskConfig>(&toml).expect("a task")
    };
    for (toml, sentence) in [
        (
            "columns = { text = 0 }",
            "task.columns: expected numbers from 1, found 0",
        ),
        (
            "layout = \"cola\"\nheader = true",
            "task.header: expected none beside task.layout, found one",
        ),
        (
            "layout = \"sts-b\"",
            "task.kind: expected regression with this layout, found classification",
        ),
        (
            "labels = [\"a\"]",
            "task.labels: expected at least 2, found 1",
        ),
        (
            "labels = [\"a\", \"a\"]",
            "task.labels: expected different names without white space around them, found \"a\"",
        ),
        (
            "validation_share = 1.0",
            "task.validation_share: expected a share between 0 and 1, found 1",
        ),
        (
            "metric = \"correlation\"",
            "task.metric: expected accuracy, matthews, f1 or loss with the kind classification, found correlation",
        ),
        (
            "template = \"{text}\"",
            "task.template: expected none with the kind classification, found one",
        ),
    ] {
        assert_eq!(refused(change(toml)), sentence);
    }
    let short = TaskConfig {
        max_length: 0,
        ..classes
    };
    assert_eq!(
        refused(short),
        "task.max_length: expected at least 1, found 0"
    );
    let template = |template: &str| TaskConfig {
        template: Some(template.to_owned()),
        ..completion.clone()
    };
    assert_eq!(
        refused(template("Q:")),
        "task.template: expected {text} in it once, found \"Q:\""
    );
    assert_eq!(
        refused(template("{text} {pair}")),
        "task.template: expected no {pair} without a column for it, found \"{text} {pair}\""
    );
    let noise = TaskConfig {
        label_noise: 0.1,
        ..completion.clone()
    };
    assert_eq!(
        refused(noise),
        "task.label_noise: expected none with the kind completion, found 0.1"
    );
}

#[test]
fn a_description_has_short_names_and_is_read_back() {
    let toml = "kind = \"completion\"\ntrain = \"t.jsonl\"\nmax_length = 8\n\
                [columns]\nprompt = \"question\"\ncompletion = \"answer\"\n";
    let task: TaskConfig = toml::from_str(toml).expect("a task");
    let columns = task.columns.clone().expect("columns");
    assert_eq!(columns.text, Some("question".into()));
    assert_eq!(columns.label, Some("answer".into()));
    let written = toml::to_string(&task).expect("has a form");
    assert_eq!(
        toml::from_str::<TaskConfig>(&written).expect("a task"),
        task
    );
    let bare = TaskConfig::new(TaskKind::Classification, "t.tsv", 8);
    let written = toml::to_string(&bare).expect("has a form");
    assert_eq!(
        written,
        "kind = \"classification\"\ntrain = \"t.tsv\"\nmax_length = 8\n"
    );
    assert!(toml::from_str::<TaskConfig>(&(written + "colour = 1\n")).is_err());
}
