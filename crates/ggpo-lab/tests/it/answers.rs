//! Written answers: the prompts of a file with solutions, and a study of them.

use std::path::Path;

use ggpo_lab::repro::answers::{AnswersConfig, study_answers};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_train::data::Dataset;
use ggpo_train::data::layout::Columns;
use ggpo_train::metrics::exact_match::{final_number, same_answer};
use ggpo_train::run::{TaskConfig, TaskKind};

use crate::common::{World, read};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gsm8k/sample.jsonl");

#[test]
fn the_solutions_of_gsm8k_are_read_with_their_final_numbers() {
    let world = World::new();
    let tokenizer = Tokenizer::open(&world.path("decoder")).unwrap();
    let task = TaskConfig {
        columns: Some(Columns {
            text: Some("question".into()),
            pair: None,
            label: Some("answer".into()),
        }),
        template: Some("Question: {text}\nAnswer:\n".to_owned()),
        ..TaskConfig::new(TaskKind::Completion, SAMPLE, 4096)
    };
    let dataset = Dataset::open(Path::new(SAMPLE), &task, &tokenizer, None).unwrap();
    let solutions = dataset.rows.iter().map(|row| row.label.as_deref().unwrap());
    let numbers: Vec<_> = solutions.clone().map(final_number).collect();
    let expected = [18.0, 3.0, 70_000.0, 540.0, 20.0, 64.0];
    assert_eq!(numbers, expected.map(Some));
    assert!(same_answer(
        solutions.clone().next().unwrap(),
        "So: #### 18"
    ));

    let prompts = dataset.prompts(&task, &tokenizer).unwrap();
    let unlabelled = Dataset::open_unlabelled(Path::new(SAMPLE), &task, &tokenizer).unwrap();
    for ((prompt, labelled), alone) in prompts
        .iter()
        .zip(&dataset.examples)
        .zip(&unlabelled.examples)
    {
        assert_eq!(prompt, &alone.ids);
        assert!(labelled.ids.starts_with(prompt) && labelled.ids.len() > prompt.len());
    }
    let text = tokenizer.decode(&prompts[1]).unwrap();
    assert!(text.starts_with("Question: A robe takes") && text.ends_with("take?\nAnswer:\n"));
}

#[test]
fn only_tasks_with_texts_as_answers_have_prompts() {
    let world = World::new();
    let tokenizer = Tokenizer::open(&world.path("encoder")).unwrap();
    let file = world.path("test.tsv");
    let task = TaskConfig::new(TaskKind::Classification, &file, 24);
    let dataset = Dataset::open(&file, &task, &tokenizer, None).unwrap();
    let error = dataset.prompts(&task, &tokenizer).unwrap_err().to_string();
    assert_eq!(
        error,
        "task.kind: expected completion or text-to-text, found classification"
    );
}

/// A study of a tiny decoder; FOLDER is replaced by the world's.
const STUDY: &str = r#"
title = "Sums"
about = "Small sums."
base_model = "A tiny model of random numbers."
preparation = ["make the model"]
limits = ["It is tiny."]
reference = "lora"
seeds = [1, 2]
problems = 20
max_new_tokens = 5
[tuning]
seeds = [9]
learning_rates = [1e-3, 1e-2]
steps = 2
[[methods]]
id = "lora"
title = "LoRA"
config = { adaptation = "lora", lora = { rank = 2, alpha = 4.0 } }
[[methods]]
id = "ggpo"
title = "LoRA-GGPO"
[methods.config]
adaptation = "lora"
lora = { rank = 2, alpha = 4.0 }
perturbation = { sigma = 0.03, beta = 0.01 }
[task]
id = "sums"
title = "Sums"
about = "One number and another."
model = "FOLDER/decoder"
batch_size = 4
steps = 4
evaluations = 2
schedule = { kind = "constant" }
[task.data]
kind = "completion"
train = "FOLDER/sums.jsonl"
validation = "FOLDER/sums.jsonl"
test = "FOLDER/sums.jsonl"
max_length = 24
template = "{text} ="
"#;

fn sums() -> World {
    let world = World::new();
    let row = |n: usize| {
        let sum = n + 2;
        format!("{{\"prompt\": \"{n}+2\", \"completion\": \" {sum}\\n#### {sum}\"}}\n")
    };
    let rows: String = (0..24).map(row).collect();
    std::fs::write(world.path("sums.jsonl"), rows).unwrap();
    world
}

fn study(world: &World, change: impl Fn(String) -> String) -> AnswersConfig {
    let folder = world.folder.path().display().to_string();
    let text = change(STUDY.replace("FOLDER", &folder));
    AnswersConfig::parse(&text, Path::new("sums.toml")).unwrap()
}

#[test]
fn a_study_goes_on_where_it_stopped_and_reports_every_model() {
    let world = sums();
    let whole = world.path("whole");
    let outcome = study_answers(study(&world, |text| text), &whole).unwrap();
    assert_eq!(outcome.base.len(), 20);
    assert_eq!(outcome.methods.len(), 2);
    for method in &outcome.methods {
        assert_eq!((method.tuning.len(), method.runs.len()), (2, 2));
        let rates = [1e-3, 1e-2];
        assert!(rates.contains(&method.learning_rate));
        for (run, solved) in &method.runs {
            assert_eq!(run.plan.learning_rate, method.learning_rate);
            assert_eq!(run.result.losses.len(), 4);
            assert_eq!(solved.len(), 20);
            assert!(solved.iter().all(|it| it.tokens <= 5 && it.targets > 2));
        }
    }
    let report = String::from_utf8(read(&whole.join("report.md"))).unwrap();
    for words in [
        "# Sums\n",
        "| Base model ",
        "LoRA-GGPO less LoRA",
        "LoRA less Base model",
        "`\"{text} =\"`",
        "cargo xtask answers sums.toml",
        "2 seeds, 4 steps per run and 20 problems",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }

    // What an interrupted study leaves: fewer answers, and a missing run.
    let answers = whole.join("answers/ggpo-seed-2.jsonl");
    let all = String::from_utf8(read(&answers)).unwrap();
    let first: String = all
        .lines()
        .take(1 + 16)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(first, all);
    std::fs::write(&answers, first).unwrap();
    std::fs::remove_file(whole.join("report.md")).unwrap();
    std::fs::remove_file(whole.join("answers/lora-seed-1.jsonl")).unwrap();
    let again = study_answers(study(&world, |text| text), &whole).unwrap();
    assert_eq!(again.methods[0].runs[0].1, outcome.methods[0].runs[0].1);
    assert_eq!(String::from_utf8(read(&answers)).unwrap(), all);
    assert_eq!(
        String::from_utf8(read(&whole.join("report.md"))).unwrap(),
        report
    );

    // more problems continue as well; other questions do not.
    let more = study(&world, |text| {
        text.replace("problems = 20", "problems = 22")
    });
    let more = study_answers(more, &whole).unwrap();
    assert_eq!(more.base[..20], outcome.base);
    let longer = study(&world, |text| text.replace("tokens = 5", "tokens = 6"));
    let error = study_answers(longer, &whole).unwrap_err().to_string();
    assert!(
        error.contains("base.jsonl") && error.contains("use another folder"),
        "{error}"
    );
    let many = study(&world, |text| {
        text.replace("problems = 20", "problems = 99")
    });
    let error = study_answers(many, &whole).unwrap_err().to_string();
    assert!(
        error.contains("expected 99 problems or more, found 24"),
        "{error}"
    );
}

#[test]
fn the_study_of_gsm8k_is_well_formed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/gsm8k.toml");
    let config = AnswersConfig::read(Path::new(path)).unwrap();
    // Both methods with the same adapters.
    let [lora, ggpo] = config.methods.as_slice() else {
        panic!("two methods")
    };
    assert_eq!(lora.config.lora, ggpo.config.lora);
    assert!(lora.config.perturbation.is_none() && ggpo.config.perturbation.is_some());
}

#[test]
fn descriptions_that_cannot_be_used_are_refused() {
    for (from, to, expected) in [
        (
            "\"completion\"\ntrain",
            "\"classification\"\ntrain",
            "task.data.kind: expected completion or text-to-text, found classification",
        ),
        (
            "test = \"FOLDER/sums.jsonl\"",
            "",
            "task.data.test: expected a file, found none",
        ),
        ("[1, 2]", "[]", "seeds: expected at least one, found none"),
        (
            "problems = 20",
            "problems = 0",
            "problems: expected at least one, found none",
        ),
        (
            "reference = \"lora\"",
            "reference = \"dora\"",
            "reference: expected the id of a method, found \"dora\"",
        ),
        (
            "seeds = [9]",
            "seeds = [2]",
            "tuning.seeds: expected none of the compared seeds, found 2",
        ),
        (
            "config = { adaptation = \"lora\"",
            "config = { adaptation = \"full\"",
            "methods: expected adaptation = \"lora\", found \"full\" of lora",
        ),
        (
            "title = \"Sums\"",
            "titel = \"Sums\"",
            "unknown field `titel`",
        ),
    ] {
        assert!(STUDY.contains(from), "{from}");
        let text = STUDY.replacen(from, to, 1);
        let error = AnswersConfig::parse(&text, Path::new("sums.toml")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("sums.toml: ") && error.contains(expected),
            "{error}"
        );
    }
}
