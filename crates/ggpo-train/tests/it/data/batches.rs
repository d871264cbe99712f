//! What the batches of each kind of task hold.

use ggpo_model::batch::{Batch, collate_causal};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::data::bucket::epoch_batches;
use ggpo_train::data::encode::Encoder;
use ggpo_train::data::layout::Columns;
use ggpo_train::data::{Answer, Dataset, Example, Fill, TaskKind, collate, collate_masked, text};
use proptest::prelude::*;

use super::{MAX_LENGTH, Place, SPECIALS, classes, spam};

#[test]
fn an_epoch_of_classification_holds_every_row_once() {
    let place = Place::new();
    let mut task = place.task(TaskKind::Classification, "train.tsv", spam());
    task.max_length = MAX_LENGTH;
    let dataset = place.open(&task);
    assert_eq!(dataset.labels, ["ham", "spam"]);
    let lengths: Vec<usize> = dataset.examples.iter().map(Example::length).collect();
    let fill = Fill::of(&task, &place.tokenizer, 0);
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
    let ids = place.tokenizer.encode(&spam()).unwrap();
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
    let ids = tokenizer.encode(&spam()).unwrap();
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
    let [a, b] = ["a rose", "the rose"].map(|text| place.tokenizer.encode(text).unwrap());
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
    let batch = collate(&rows, Fill::of(&task, &place.tokenizer, 0));
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
        [place.tokenizer.encode(" dinner").unwrap(), vec![3]].concat()
    );
    let batch = collate(&[example], Fill::of(&task, &place.tokenizer, 0));
    let targets: Vec<usize> = batch.targets.iter().flatten().copied().collect();
    assert_eq!(targets, example.ids[from..]);

    let unlabelled = Dataset::open_unlabelled(&task.train, &task, &place.tokenizer);
    let prompts = unlabelled.expect("prompts").examples;
    assert_eq!(prompts[0].ids, example.ids[..from]);
    assert_eq!(prompts[0].answer, Answer::Unknown);
    let encoder = Encoder::new(&task, &place.tokenizer).expect("an encoder");
    let asked = encoder.prompt("message?", None, 64);
    assert_eq!(asked.unwrap(), (prompts[0].ids.clone(), false));
}

#[test]
fn a_source_goes_to_the_encoder_and_a_target_to_the_decoder() {
    let place = Place::new();
    let file = "source\ttarget\nthe sea\tla mer\na rose\tune rose rouge\n";
    let mut task = place.task(TaskKind::TextToText, "train.tsv", file);
    task.template = Some("French: {text}".to_owned());
    let dataset = place.open(&task);
    let rows: Vec<&Example> = dataset.examples.iter().collect();
    let batch = collate(&rows, Fill::of(&task, &place.tokenizer, 0));
    assert_eq!(place.text(&rows[0].ids), "French: the sea");
    let decoder = batch.decoder.expect("a decoder's input");
    let target = [place.tokenizer.encode("une rose rouge").unwrap(), vec![3]].concat();
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
        let prompt = place.tokenizer.encode(&format!("{prompt}\n")).unwrap();
        let completion = [place.tokenizer.encode(&completion).unwrap(), vec![3]].concat();
        let (before, after) = example.ids.split_at(from);
        prop_assert!(example.ids.len() <= max_length);
        prop_assert!(!before.is_empty() && prompt.ends_with(before));
        prop_assert!(!after.is_empty() && completion.starts_with(after));
        let whole = before.len() + after.len() == prompt.len() + completion.len();
        prop_assert_eq!(dataset.notes.truncated, usize::from(!whole));
        prop_assert!(whole || example.ids.len() == max_length);
    }
}
