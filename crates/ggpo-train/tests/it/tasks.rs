//! A task that a run opens: its splits, its labels, and whether it fits the model.

use ggpo_model::batch::Batch;
use ggpo_model::{Head, Model};
use ggpo_train::data::layout::Columns;
use ggpo_train::data::{TaskConfig, TaskKind};
use ggpo_train::run::{Corpora, Keep, RunConfig, Task, run};

use crate::common::{World, lora};

fn open(config: &RunConfig) -> Task {
    Task::open(config, &Corpora::default()).expect("a task")
}

/// The rows of batches without their order, told apart by ids and target.
fn rows_of(batches: &[Batch]) -> Vec<(Vec<usize>, Option<usize>)> {
    let row = |(ids, target): (&[usize], &Option<usize>)| {
        (ids.iter().copied().filter(|&id| id != 0).collect(), *target)
    };
    let rows = |batch: &Batch| -> Vec<_> {
        let ids = batch.ids.chunks(batch.shape[1]);
        ids.zip(&batch.targets).map(row).collect()
    };
    let mut rows: Vec<_> = batches.iter().flat_map(rows).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn validation_rows_are_set_aside_by_the_seed() {
    let world = World::new();
    let mut config = world.classification(lora(None));
    let whole = rows_of(&open(&config).train_as_seen);
    (config.task.validation, config.task.test) = (None, None);
    config.task.validation_share = 0.25;
    let task = open(&config);
    let [validation, train] = [&task.validation, &task.train_as_seen].map(|it| rows_of(it));
    assert_eq!((validation.len(), train.len()), (12, 36));
    let mut both = [train, validation.clone()].concat();
    both.sort_unstable();
    assert_eq!(both, whole, "every row is in one of the two");
    assert!(task.test.is_none());
    assert_eq!(task.notes().len(), 1);
    assert_eq!(rows_of(&open(&config).validation), validation);
    config.seed += 1;
    assert_ne!(rows_of(&open(&config).validation), validation);
    config.task.validation_share = 1e-9;
    assert_eq!(rows_of(&open(&config).validation).len(), 1);
}

#[test]
fn a_task_knows_its_labels_and_what_was_found() {
    let world = World::new();
    let config = world.classification(lora(None));
    let task = open(&config);
    assert_eq!(task.labels(), ["cold", "warm"]);
    assert_eq!(task.head(), Head::Classes(2));
    let splits: Vec<_> = task.notes().iter().map(|(split, _)| *split).collect();
    assert_eq!(splits, ["train", "validation", "test"]);
    let (_, notes) = &task.notes()[0];
    assert_eq!((notes.examples, notes.truncated), (48, 0));
    assert!(notes.to_string().contains("train.tsv: 48 examples of "));
}

#[test]
fn a_vocabulary_that_exceeds_the_embedding_is_refused() {
    let world = World::new();
    let config = world.classification(lora(None));
    let path = config.model.join("config.json");
    let text = std::fs::read_to_string(&path).expect("reads");
    let task = open(&config);
    let tokens = task.tokenizer().vocabulary();
    let [whole, less] = [tokens, tokens - 1].map(|size| format!("\"vocab_size\": {size}"));
    assert!(text.contains(&whole), "{text}");
    std::fs::write(&path, text.replace(&whole, &less)).expect("writes");
    let model = Model::read(&config.model, task.head()).expect("a model");
    let error = task
        .check(&config, &model)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("the tokenizer's vocabulary exceeds the embedding"),
        "{error}"
    );
}

#[test]
fn every_kind_of_task_can_be_trained() {
    let world = World::new();
    let write = |name: &str, file: String| {
        std::fs::write(world.path(name), file).expect("writes");
        world.path(name)
    };
    let numbers = (0..24).map(|i| format!("sea{},stone,{}\n", " rose".repeat(i % 5), i % 5));
    let numbers = "text,pair,label\n".to_owned() + &numbers.collect::<String>();
    let mut regression = world.classification(lora(None));
    regression.task = TaskConfig {
        columns: Some(Columns {
            pair: Some("pair".into()),
            ..Columns::default()
        }),
        ..TaskConfig::new(TaskKind::Regression, write("numbers.csv", numbers), 24)
    };
    let result = run(
        &regression,
        &world.path("regression"),
        Keep::Weights,
        &mut |_| {},
    );
    let result = result.expect("a result");
    assert!(result.validation.regression.is_some() && result.test.is_none());
    assert!(result.losses.iter().all(|loss| loss.is_finite()));

    let row = |i: usize| format!("{{\"prompt\": \"sun {i}\", \"completion\": \"rose {i}\"}}\n");
    let texts = write("texts.jsonl", (0..24).map(row).collect());
    let mut completion = world.language_modelling(lora(None));
    completion.task = TaskConfig::new(TaskKind::Completion, texts, 24);
    let result = run(
        &completion,
        &world.path("completion"),
        Keep::Weights,
        &mut |_| {},
    );
    let result = result.expect("a result");
    assert!(result.validation.classes.is_none() && result.validation.regression.is_none());
    assert!(
        result.last_train.loss < result.evaluations[0].1.loss,
        "it learns"
    );
}
