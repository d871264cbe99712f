//! From users' files to batches, as a training run goes.

use std::path::PathBuf;

use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::data::bucket::epoch_batches;
use ggpo_train::data::encode::Encoder;
use ggpo_train::data::layout::{Columns, Format, Layout};
use ggpo_train::data::{
    Answer, Dataset, Example, Fill, TaskConfig, TaskKind, collate, collate_masked, text,
};
use ggpo_train::metrics::Metric;
use proptest::prelude::*;

const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const MAX_LENGTH: usize = 12;

/// A folder for files, and a tokenizer for any text.
struct Place {
    folder: tempfile::TempDir,
    tokenizer: Tokenizer,
}

impl Place {
    fn new() -> Self {
        let texts = [spam()];
        Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
            tokenizer: Tokenizer::train_byte_level_bpe(&texts, 300, &SPECIALS).expect("trains"),
        }
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).expect("writes");
        path
    }

    /// A task whose training file holds `contents`.
    fn task(&self, kind: TaskKind, name: &str, contents: impl AsRef<[u8]>) -> TaskConfig {
        TaskConfig::new(kind, self.write(name, contents), 64)
    }

    fn open(&self, task: &TaskConfig) -> Dataset {
        task.validate().expect("a task");
        Dataset::open(&task.train, task, &self.tokenizer, None).expect("a data set")
    }

    /// What is wrong with the task or its training file, in one sentence without
    /// the file's name.
    fn refusal(&self, task: &TaskConfig) -> String {
        let open = || Dataset::open(&task.train, task, &self.tokenizer, None);
        let error = task.validate().and_then(|()| open().map(drop));
        let sentence = error.expect_err("refused").to_string();
        assert!(!sentence.contains('\n'), "one sentence: {sentence}");
        let name = format!("{}: ", task.train.display());
        sentence.strip_prefix(&name).unwrap_or(&sentence).to_owned()
    }

    fn text(&self, ids: &[usize]) -> String {
        self.tokenizer.decode(ids).expect("decodes")
    }
}

/// 60 rows of two classes, of 2 to 11 words.
fn spam() -> String {
    let row = |i: usize| {
        let (label, word) = match i.is_multiple_of(3) {
            true => ("spam", "prize"),
            false => ("ham", "dinner"),
        };
        let words = vec![word; 1 + i % 10].join(" ");
        format!("{label}\tmessage {words}\n")
    };
    "label\ttext\n".to_owned() + &(0..60).map(row).collect::<String>()
}

/// The names of the rows' classes.
fn classes(dataset: &Dataset) -> Vec<&str> {
    let name = |example: &Example| match example.answer {
        Answer::Class(class) => class,
        _ => panic!("no class"),
    };
    let indices = dataset.examples.iter().map(name);
    indices
        .map(|class| dataset.labels[class].as_str())
        .collect()
}

#[test]
fn an_epoch_of_classification_holds_every_row_once() {
    let place = Place::new();
    let mut task = place.task(TaskKind::Classification, "train.tsv", spam());
    task.max_length = MAX_LENGTH;
    let dataset = place.open(&task);
    assert_eq!(dataset.labels, ["ham", "spam"]);
    let lengths: Vec<usize> = dataset.examples.iter().map(Example::length).collect();
    let fill = Fill::of(&task, &place.tokenizer);
    let collate = |rows: Vec<usize>| {
        let rows: Vec<&Example> = rows.iter().map(|&row| &dataset.examples[row]).collect();
        collate(&rows, fill)
    };
    let batches: Vec<Batch> = epoch_batches(&lengths, 8, 1, 0)
        .into_iter()
        .map(collate)
        .collect();

    let tokens: usize = batches.iter().map(Batch::tokens).sum();
    assert_eq!(tokens, lengths.iter().sum::<usize>());
    let targets = batches.iter().flat_map(|batch| batch.targets.iter());
    assert_eq!(targets.filter(|class| **class == Some(1)).count(), 20);
    for batch in &batches {
        let [rows, time] = batch.shape;
        assert!(rows <= 8 && time <= MAX_LENGTH);
        assert_eq!(batch.ids.len(), rows * time);
        assert_eq!(batch.token_types, vec![0; rows * time]);
        assert_eq!(batch.attention.dim(), (rows, time));
        for (&token, &id) in batch.attention.iter().zip(&batch.ids) {
            assert_eq!(token, id != 0);
        }
        let framed = |row: &[usize]| row[0] == 2 && row.contains(&3);
        assert!(batch.ids.chunks(time).all(framed));
    }
}

#[test]
fn a_text_in_blocks_is_predicted_token_by_token() {
    let place = Place::new();
    let mut task = place.task(TaskKind::LanguageModelling, "train.txt", spam());
    task.max_length = 16;
    let dataset = place.open(&task);
    let ids = place.tokenizer.encode(&spam());
    let blocks = text::blocks(&ids, 16);
    let found: Vec<_> = dataset.examples.iter().map(|it| it.ids.clone()).collect();
    assert_eq!(found, blocks);
    let rows: Vec<&[usize]> = blocks.iter().map(Vec::as_slice).collect();
    let batches: Vec<Batch> = rows.chunks(4).map(|rows| collate_causal(rows, 0)).collect();
    let predicted = batches.iter().flat_map(|batch| &batch.targets).flatten();
    assert!(predicted.copied().eq(ids[1..].iter().copied()));
}

#[test]
fn masked_tokens_come_back_from_the_targets() {
    let tokenizer = Place::new().tokenizer;
    let ids = tokenizer.encode(&spam());
    let rows: Vec<&[usize]> = ids.chunks(32).collect();
    let ordinary = SPECIALS.len()..tokenizer.vocabulary();
    let stream = Stream::new(1, Purpose::Masking, 0, 0);
    let batch = collate_masked(&rows, 0, 4, ordinary, 0.15, stream);
    let restored = batch
        .ids
        .iter()
        .zip(&batch.targets)
        .map(|(&id, target)| target.unwrap_or(id));
    let restored: Vec<usize> = restored.filter(|&id| id != 0).collect();
    assert_eq!(restored, ids);
    assert!(batch.ids.contains(&4));
}

#[test]
fn a_pair_has_two_segments() {
    let place = Place::new();
    let file = "first,second,same\na rose,the rose,yes\nthe sea,a stone,no\n";
    let mut task = place.task(TaskKind::Classification, "train.csv", file);
    task.columns = Some(Columns {
        text: Some("first".into()),
        pair: Some("second".into()),
        label: Some("same".into()),
    });
    let dataset = place.open(&task);
    assert_eq!(classes(&dataset), ["yes", "no"]);
    let [rose, _] = dataset.examples.as_slice() else {
        panic!("two rows");
    };
    let [a, b] = ["a rose", "the rose"].map(|text| place.tokenizer.encode(text));
    assert_eq!(rose.ids, [&[2], a.as_slice(), &[3], &b, &[3]].concat());
    let segments = [vec![0; a.len() + 2], vec![1; b.len() + 1]].concat();
    assert_eq!(rose.token_types, segments);

    task.max_length = 9;
    let cut = place.open(&task);
    assert_eq!(cut.notes.truncated, 2);
    for example in &cut.examples {
        assert_eq!(example.ids.len(), 9);
        let ends: Vec<usize> = (0..9).filter(|&t| example.ids[t] == 3).collect();
        assert_eq!(ends, [4, 8]);
        assert_eq!(example.token_types, [0, 0, 0, 0, 0, 1, 1, 1, 1]);
    }
    task.max_length = 4;
    assert_eq!(
        place.refusal(&task),
        "task.max_length: expected at least 5, the special tokens and one of each text, found 4"
    );
}

#[test]
fn numbers_are_the_answers_of_a_regression() {
    let place = Place::new();
    let file = "{\"text\": \"warm\", \"label\": 21.5}\n{\"text\": \"cold\", \"label\": \"-3e1\"}\n";
    let task = place.task(TaskKind::Regression, "train.jsonl", file);
    let dataset = place.open(&task);
    assert!(dataset.labels.is_empty());
    let rows: Vec<&Example> = dataset.examples.iter().collect();
    let batch = collate(&rows, Fill::of(&task, &place.tokenizer));
    assert_eq!(batch.values, [21.5, -30.0]);
    assert!(batch.targets.is_empty());
    let file = "label\ttext\nhot\tx\nNaN\tx\n1\tx\n";
    let task = place.task(TaskKind::Regression, "bad.tsv", file);
    assert_eq!(
        place.refusal(&task),
        "2 bad rows: line 2: expected a number, found \"hot\"; \
         line 3: expected a number, found \"NaN\""
    );
}

#[test]
fn a_completion_is_predicted_after_its_prompt() {
    let place = Place::new();
    let file = "{\"question\": \"message?\", \"answer\": \" dinner\"}\n";
    let mut task = place.task(TaskKind::Completion, "train.jsonl", file);
    task.columns = Some(Columns {
        text: Some("question".into()),
        pair: None,
        label: Some("answer".into()),
    });
    let dataset = place.open(&task);
    let example = &dataset.examples[0];
    // Of the special tokens only the end of the text is there, here [SEP].
    assert_eq!(place.text(&example.ids), "message?\n dinner");
    let Answer::Tokens { from } = example.answer else {
        panic!("tokens");
    };
    assert_eq!(place.text(&example.ids[..from]), "message?\n");
    assert_eq!(
        example.ids[from..],
        [place.tokenizer.encode(" dinner"), vec![3]].concat()
    );
    let batch = collate(&[example], Fill::of(&task, &place.tokenizer));
    let targets: Vec<usize> = batch.targets.iter().flatten().copied().collect();
    assert_eq!(targets, example.ids[from..]);

    let unlabelled = Dataset::open_unlabelled(&task.train, &task, &place.tokenizer);
    let prompts = unlabelled.expect("prompts").examples;
    assert_eq!(prompts[0].ids, example.ids[..from]);
    assert_eq!(prompts[0].answer, Answer::Unknown);
    let encoder = Encoder::new(&task, &place.tokenizer).expect("an encoder");
    let asked = encoder.prompt("message?", None, 64);
    assert_eq!(asked, (prompts[0].ids.clone(), false));
}

#[test]
fn a_source_goes_to_the_encoder_and_a_target_to_the_decoder() {
    let place = Place::new();
    let file = "source\ttarget\nthe sea\tla mer\na rose\tune rose rouge\n";
    let mut task = place.task(TaskKind::TextToText, "train.tsv", file);
    task.template = Some("French: {text}".to_owned());
    let dataset = place.open(&task);
    let rows: Vec<&Example> = dataset.examples.iter().collect();
    let batch = collate(&rows, Fill::of(&task, &place.tokenizer));
    assert_eq!(place.text(&rows[0].ids), "French: the sea");
    let decoder = batch.decoder.expect("a decoder's input");
    let target = [place.tokenizer.encode("une rose rouge"), vec![3]].concat();
    assert_eq!(decoder.shape, [2, target.len()]);
    let second = &decoder.ids[target.len()..];
    // The padding is what the decoder starts with.
    assert_eq!(second[0], 0);
    assert_eq!(second[1..], target[..target.len() - 1]);
    let targets = &batch.targets[target.len()..];
    assert!(targets.iter().flatten().eq(&target));

    task.max_length = 6;
    let cut = place.open(&task);
    assert_eq!(cut.notes.truncated, 2);
    let Answer::Sequence(target) = &cut.examples[1].answer else {
        panic!("a sequence");
    };
    assert_eq!((target.len(), target[5]), (6, 3));
}

/// A file in each layout, written for this test, with a row or two.
const LAYOUTS: [(Layout, &str); 8] = [
    (
        Layout::Sst2,
        "sentence\tlabel\na film like a warm bath \t1\nhe \"acts\" with his hat \t0\n",
    ),
    (
        Layout::Cola,
        "ab12\t1\t\tThe goat ate my hat.\nab12\t0\t*\tGoat the my ate hat.\n",
    ),
    (
        Layout::Mrpc,
        "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n\
         1\t11\t12\tThe mill closed.\tThe mill shut.\n\
         0\t13\t14\tThe mill closed.\tA mill \"opened\".\n",
    ),
    (
        Layout::Qnli,
        "index\tquestion\tsentence\tlabel\n\
         0\tWho baked it?\tIda baked it.\tentailment\n\
         1\tWho ate it?\tIda baked it.\tnot_entailment\n",
    ),
    (
        Layout::Mnli,
        "index\tpromptID\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
         0\t7\t(S)\tIt rains.\tIt is wet.\tneutral\tentailment\n\
         1\t8\t(S)\tIt rains.\tIt is Monday.\tneutral\t-\n\
         2\t9\t(S)\tIt rains.\tIt is dry.\tneutral\tcontradiction\n",
    ),
    (
        Layout::Rte,
        "index\tsentence1\tsentence2\tlabel\n\
         0\tAll goats climb.\tThis goat climbs.\tentailment\n\
         1\tThis goat climbs.\tAll goats climb.\tnot_entailment\n",
    ),
    (
        Layout::Qqp,
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n\
         0\t1\t2\tHow old is a goat?\tWhat age has a goat?\t1\n\
         1\t3\t4\tHow old is a goat?\tHow tall is a goat?\t0\n",
    ),
    (
        Layout::StsB,
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
         0\tg\tf\t2020\t1\ta\tb\tA goat climbs.\tA goat is climbing.\t4.750\n\
         1\tg\tf\t2020\t2\ta\tb\tA goat climbs.\tA man sings.\t0\n",
    ),
];

#[test]
fn the_published_layouts_are_known() {
    let place = Place::new();
    for (layout, file) in LAYOUTS {
        let mut task = place.task(layout.kind(), "train.tsv", file);
        task.layout = Some(layout);
        let dataset = place.open(&task);
        assert_eq!(dataset.rows.len(), 2, "{layout:?}");
        assert_eq!(dataset.labels, layout.labels());
        let rows = dataset.rows.iter();
        assert!(
            rows.clone()
                .all(|row| row.pair.is_some() == layout.is_pair())
        );
        let segments = |it: &Example| it.token_types.contains(&1) == layout.is_pair();
        assert!(dataset.examples.iter().all(segments));
        match layout {
            Layout::StsB => {
                let values = [4.75, 0.0].map(Answer::Value);
                assert!(dataset.examples.iter().map(|it| &it.answer).eq(&values));
            }
            Layout::Qnli | Layout::Rte => {
                assert_eq!(classes(&dataset), ["entailment", "not_entailment"]);
            }
            Layout::Mnli => {
                assert_eq!(classes(&dataset), ["entailment", "contradiction"]);
                assert_eq!(dataset.notes.without_label, 1);
                assert!(
                    dataset
                        .notes
                        .to_string()
                        .ends_with("left out without gold label: 1")
                );
            }
            _ => assert_eq!(classes(&dataset), ["1", "0"]),
        }
    }
}

#[test]
fn layouts_bring_their_labels_ranges_and_metrics() {
    let place = Place::new();
    let layout = |layout: Layout, file: &str| TaskConfig {
        layout: Some(layout),
        ..place.task(layout.kind(), "train.tsv", file)
    };
    let file = "sentence\tlabel\nx\t1\ny\t2\n";
    assert_eq!(
        place.refusal(&layout(Layout::Sst2, file)),
        "line 3: expected one of the labels \"0\", \"1\", found \"2\""
    );
    let file = "sentence1\tsentence2\tscore\nx\ty\t5.1\n";
    assert_eq!(
        place.refusal(&layout(Layout::StsB, file)),
        "line 2: expected a number from 0 to 5, found \"5.1\""
    );
    let file = "sentence1\tsentence2\tlabel\nx\ty\tentailment\n";
    assert_eq!(
        place.refusal(&layout(Layout::StsB, file)),
        "line 1: expected a column \"score\", found \"sentence1\", \"sentence2\", \"label\" \
         (the first line names the columns unless header = false)"
    );
    let metric = |it| layout(it, "").chosen_metric();
    assert_eq!(metric(Layout::Cola), Metric::Matthews);
    assert_eq!(metric(Layout::Sst2), Metric::Accuracy);
    assert_eq!(metric(Layout::StsB), Metric::Correlation);
}

#[test]
fn files_without_answers_can_be_predicted() {
    let place = Place::new();
    let cola = TaskConfig {
        layout: Some(Layout::Cola),
        ..TaskConfig::new(TaskKind::Classification, "train.tsv", 64)
    };
    let test = place.write(
        "test.tsv",
        "index\tsentence\n0\tGoats climb.\n1\tClimb goats.\n",
    );
    let dataset = Dataset::open_unlabelled(&test, &cola, &place.tokenizer).expect("texts");
    assert_eq!(dataset.rows[0].text, "Goats climb.");
    assert!(dataset.labels.is_empty());
    let unknown = |it: &Example| it.answer == Answer::Unknown;
    assert!(dataset.examples.iter().all(unknown));
    // A file with answers is as good.
    let dev = place.write("dev.tsv", LAYOUTS[1].1);
    let dataset = Dataset::open_unlabelled(&dev, &cola, &place.tokenizer).expect("texts");
    assert_eq!(dataset.rows[1].text, "Goat the my ate hat.");
    assert_eq!(dataset.rows[1].label, None);

    let plain = TaskConfig::new(TaskKind::LanguageModelling, "train.txt", 64);
    assert!(Dataset::open_unlabelled(&test, &plain, &place.tokenizer).is_err());
}

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
        max_length: 1,
        ..classes
    };
    assert_eq!(
        refused(short),
        "task.max_length: expected at least 2, found 1"
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The prompt's ids do not depend on the completion, nor the other way
    /// round, and what is cut is cut off the outer ends.
    #[test]
    fn the_boundary_of_a_completion_is_stable(
        prompt in "[a-z ]{0,30}[a-z]",
        completion in "[a-z ]{0,30}[a-z]",
        max_length in 4usize..50,
    ) {
        let place = Place::new();
        let row = serde_json::json!({"prompt": prompt, "completion": completion});
        let mut task = place.task(TaskKind::Completion, "train.jsonl", row.to_string());
        task.max_length = max_length;
        let dataset = place.open(&task);
        let example = &dataset.examples[0];
        let Answer::Tokens { from } = example.answer else {
            panic!("tokens");
        };
        let prompt = place.tokenizer.encode(&format!("{prompt}\n"));
        let completion = [place.tokenizer.encode(&completion), vec![3]].concat();
        let (before, after) = example.ids.split_at(from);
        prop_assert!(example.ids.len() <= max_length);
        prop_assert!(!before.is_empty() && prompt.ends_with(before));
        prop_assert!(!after.is_empty() && completion.starts_with(after));
        let whole = before.len() + after.len() == prompt.len() + completion.len();
        prop_assert_eq!(dataset.notes.truncated, usize::from(!whole));
        prop_assert!(whole || example.ids.len() == max_length);
    }
}
