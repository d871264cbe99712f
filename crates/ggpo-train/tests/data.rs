//! From a table to batches, as a training run goes.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::data::bucket::epoch_batches;
use ggpo_train::data::tokenizer::Tokenizer;
use ggpo_train::data::{
    Batch, Example, collate_causal, collate_classification, collate_masked, table, text,
};

const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const MAX_LENGTH: usize = 12;

/// 60 rows of two classes, of 2 to 11 words.
fn file() -> String {
    let row = |i: usize| {
        let (label, word) = if i.is_multiple_of(3) {
            ("spam", "prize")
        } else {
            ("ham", "dinner")
        };
        let words = vec![word; 1 + i % 10].join(" ");
        format!("{label}\tmessage {words}\n")
    };
    "label\ttext\n".to_owned() + &(0..60).map(row).collect::<String>()
}

fn read() -> (table::LabelledText, Tokenizer) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("train.tsv");
    std::fs::write(&path, file()).expect("writes");
    let table = table::read(&path).expect("a table");
    let texts: Vec<&str> = table.rows.iter().map(|(_, text)| text.as_str()).collect();
    let tokenizer = Tokenizer::train_byte_level_bpe(&texts, 300, &SPECIALS).expect("trains");
    (table, tokenizer)
}

#[test]
fn an_epoch_of_classification_holds_every_row_once() {
    let (table, tokenizer) = read();
    let example = |(label, text): &(usize, String)| {
        let (ids, _) = tokenizer.encode_classification(text, MAX_LENGTH);
        Example { ids, label: *label }
    };
    let examples: Vec<Example> = table.rows.iter().map(example).collect();
    let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    let collate = |rows: Vec<usize>| {
        let rows: Vec<&Example> = rows.iter().map(|&row| &examples[row]).collect();
        collate_classification(&rows, 0)
    };
    let batches: Vec<Batch> = epoch_batches(&lengths, 8, 1, 0)
        .into_iter()
        .map(collate)
        .collect();

    let tokens: usize = batches.iter().map(Batch::tokens).sum();
    assert_eq!(tokens, lengths.iter().sum::<usize>());
    let targets = batches
        .iter()
        .flat_map(|batch| batch.targets.iter().flatten());
    assert_eq!(
        targets
            .filter(|class| table.labels[**class] == "spam")
            .count(),
        20
    );
    for batch in &batches {
        let [rows, time] = batch.shape;
        assert!(rows <= 8 && time <= MAX_LENGTH);
        assert_eq!(
            (batch.ids.len(), batch.token_types.len()),
            (rows * time, rows * time)
        );
        assert_eq!(batch.attention.dim(), (rows, time));
        for (&token, &id) in batch.attention.iter().zip(&batch.ids) {
            assert_eq!(token, id != 0);
        }
        assert!(
            batch
                .ids
                .chunks(time)
                .all(|row| row[0] == 2 && row.contains(&3))
        );
    }
}

#[test]
fn a_text_in_blocks_is_predicted_token_by_token() {
    let (_, tokenizer) = read();
    let ids = tokenizer.encode(&file());
    let blocks = text::blocks(&ids, 16);
    let rows: Vec<&[usize]> = blocks.iter().map(Vec::as_slice).collect();
    let batches: Vec<Batch> = rows.chunks(4).map(|rows| collate_causal(rows, 0)).collect();
    let predicted = batches.iter().flat_map(|batch| &batch.targets).flatten();
    assert!(predicted.copied().eq(ids[1..].iter().copied()));
}

#[test]
fn masked_tokens_come_back_from_the_targets() {
    let (_, tokenizer) = read();
    let ids = tokenizer.encode(&file());
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
