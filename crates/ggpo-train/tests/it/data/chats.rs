//! Conversations as examples.

use ggpo_train::data::Fill;
use ggpo_train::data::{Answer, Dataset, TaskConfig, TaskKind, TrainOn, collate, holds_chats};
use serde_json::{Value, json};

use super::Place;

fn chat(turns: &[(&str, &str)]) -> Value {
    let turns = turns.iter();
    let messages: Vec<Value> = turns
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect();
    json!({"messages": messages})
}

fn task(place: &Place, rows: &[Value]) -> TaskConfig {
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let task = place.task(TaskKind::Chat, "chats.jsonl", rows);
    TaskConfig {
        chat_template: Some("chatml".to_owned()),
        max_length: 200,
        ..task
    }
}

/// The texts of the tokens that are learnt of every example.
fn learnt(place: &Place, task: &TaskConfig) -> Vec<String> {
    let texts = place.open(task).examples.into_iter().map(|example| {
        let batch = collate(&[&example], Fill::of(task, &place.tokenizer, 0));
        let targets: Vec<usize> = batch.targets.iter().flatten().copied().collect();
        place.text(&targets)
    });
    texts.collect()
}

#[test]
fn the_turns_of_the_assistant_are_predicted() {
    let place = Place::new();
    let rows = [
        chat(&[("user", "dinner?"), ("assistant", " yes\n")]),
        chat(&[
            ("system", "be brief"),
            ("user", "one"),
            ("assistant", "two"),
            ("user", "three"),
            ("assistant", "four"),
        ]),
    ];
    let mut task = task(&place, &rows);
    assert!(holds_chats(&task.train));
    let expected = [" yes\n<|im_end|>", "two<|im_end|>four<|im_end|>"];
    assert_eq!(learnt(&place, &task), expected);

    task.train_on = TrainOn::All;
    let all = learnt(&place, &task);
    assert!(all[1].contains("be brief") && all[1].ends_with("four<|im_end|>\n"));

    task.train_on = TrainOn::Assistant;
    let prompts = Dataset::open_unlabelled(&task.train, &task, &place.tokenizer).expect("opens");
    let asked = place.text(&prompts.examples[0].ids);
    let expected = "<|im_start|>user\ndinner?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(asked, expected);
    assert_eq!(prompts.examples[0].answer, Answer::Unknown);
    let labelled = place.open(&task);
    let answers: Vec<_> = labelled
        .rows
        .iter()
        .map(|row| row.label.as_deref())
        .collect();
    assert_eq!(answers, [Some(" yes\n"), Some("four")]);
    let again = labelled.prompts(&task, &place.tokenizer).expect("prompts");
    assert_eq!(again[0], prompts.examples[0].ids);
}

#[test]
fn a_long_conversation_loses_its_end() {
    let place = Place::new();
    let rows = [chat(&[
        ("user", "one"),
        ("assistant", "a long answer, and longer"),
    ])];
    let mut task = task(&place, &rows);
    let whole = place.open(&task).examples[0].clone();
    task.max_length = whole.ids.len() - 4;
    let cut = place.open(&task);
    assert_eq!(cut.examples[0].ids, whole.ids[..task.max_length]);
    assert_eq!(cut.notes.truncated, 1);
    task.max_length = 5;
    assert_eq!(
        place.refusal(&task),
        "line 1: expected tokens to learn among the first 5, found none"
    );
}

#[test]
fn conversations_that_cannot_be_used_are_refused_by_line() {
    let place = Place::new();
    let refusal = |row: Value| {
        let good = chat(&[("user", "a"), ("assistant", "b")]);
        place.refusal(&task(&place, &[good, row]))
    };
    assert_eq!(
        refusal(chat(&[("user", "a")])),
        "line 2: messages: expected a conversation that the assistant ends, found another"
    );
    assert_eq!(
        refusal(chat(&[("tool", "a"), ("assistant", "b")])),
        "line 2: messages: message 1: role: expected no turn of a tool, which is not supported"
    );
    assert_eq!(
        refusal(json!({"messages": "a"})),
        "line 2: messages: expected a list of messages, found none"
    );
    assert_eq!(
        refusal(chat(&[("user", "a [SEP] b"), ("assistant", "c")])),
        "line 2: message 1: expected text, found the special token \"[SEP]\" in it"
    );
    let mut other = task(&place, &[chat(&[("user", "a"), ("assistant", "b")])]);
    other.chat_template = None;
    assert!(place.refusal(&other).contains("--chat-template"));
    other.kind = TaskKind::Completion;
    other.train_on = TrainOn::All;
    assert_eq!(
        place.refusal(&other),
        "task.train_on: expected none with the kind completion, found all"
    );
    let table = place.task(TaskKind::Chat, "chats.csv", "messages\na\n");
    assert_eq!(
        place.refusal(&TaskConfig {
            chat_template: Some("chatml".to_owned()),
            ..table
        }),
        "expected conversations in .jsonl"
    );
}
