//! Conversations from data to answers, on a tiny model.

use std::io::Write;
use std::process::Stdio;

use crate::common::{World, read};
use crate::runner::{json, program, refused, succeeds};

/// Two conversations, of which the second has two turns of the assistant, and a decoder
/// that reads them whole.
fn write_chats(world: &World) {
    let config = world.path("decoder/config.json");
    let mut fields = json(&String::from_utf8(read(&config)).unwrap());
    fields["max_position_embeddings"] = 256.into();
    std::fs::write(config, fields.to_string()).unwrap();
    let say = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let chats = [
        vec![say("user", "the sun"), say("assistant", "rose")],
        vec![
            say("user", "the sea"),
            say("assistant", "and"),
            say("user", "the sun"),
            say("assistant", "rose"),
        ],
    ];
    let rows = chats.map(|messages| format!("{}\n", serde_json::json!({"messages": messages})));
    std::fs::write(world.path("chats.jsonl"), rows.concat()).unwrap();
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

const CHATML: &str = "--model decoder --chat-template chatml";

#[test]
fn a_model_learns_a_conversation_and_has_it() {
    let world = World::new();
    write_chats(&world);
    let data = "--train chats.jsonl --validation chats.jsonl";
    let how = "--method full --steps 300 --batch-size 2 --lr 1e-2 --max-length 128";
    succeeds(
        &world,
        &words(&format!("train {CHATML} {data} {how} --out runs/chat")),
    );

    succeeds(
        &world,
        &words("predict --run runs/chat chats.jsonl --out said.tsv"),
    );
    let said = String::from_utf8(read(&world.path("said.tsv"))).unwrap();
    assert_eq!(said, "text\nrose\nrose\n");

    let mut talk = program(&world, &words("generate --run runs/chat --chat"));
    talk.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut talk = talk.spawn().unwrap();
    let mut input = talk.stdin.take().unwrap();
    input.write_all(b"the sea\n\nthe sun\n").unwrap();
    drop(input);
    let output = talk.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "and\nrose\n");
}

#[test]
fn a_preview_shows_every_token_and_where_loss_counts() {
    let world = World::new();
    write_chats(&world);
    let preview = |more: &str| succeeds(&world, &words(&format!("preview chats.jsonl {more}")));
    let rows = preview(&format!("{CHATML} --json"));
    let rows: Vec<serde_json::Value> = rows.lines().map(json).collect();
    assert_eq!(rows.len(), 2);
    let learnt = |row: &serde_json::Value| -> String {
        let tokens = row["tokens"].as_array().unwrap().iter();
        let learnt = tokens.filter(|token| token["loss"] == true);
        learnt
            .map(|token| token["text"].as_str().unwrap())
            .collect()
    };
    assert_eq!(learnt(&rows[0]), "rose<|im_end|>");
    assert_eq!(learnt(&rows[1]), "and<|im_end|>rose<|im_end|>");
    let all = json(&preview(&format!(
        "{CHATML} --train-on all --rows 1 --json"
    )));
    let whole = "<|im_start|>user\nthe sun<|im_end|>\n<|im_start|>assistant\nrose<|im_end|>\n";
    // All but the first token, which has nothing before it.
    let first = all["tokens"][0]["text"].as_str().unwrap();
    assert_eq!(first.to_owned() + &learnt(&all), whole);

    let text = preview(&format!("{CHATML} --rows 1"));
    assert!(text.starts_with("row 1 (line 1): "), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours but at a terminal");
    preview(&format!("{CHATML} --html page.html"));
    let page = String::from_utf8(read(&world.path("page.html"))).unwrap();
    assert!(page.contains("class=\"token loss\"") && page.ends_with("</html>"));
}

#[test]
fn chats_that_cannot_be_read_are_refused() {
    let world = World::new();
    write_chats(&world);
    let error = refused(&world, &words("preview chats.jsonl --model decoder"));
    assert!(
        error.contains("--chat-template") && error.contains("chatml"),
        "{error}"
    );
    let tool = r#"{"messages": [{"role": "tool", "content": "1"}]}"#;
    std::fs::write(world.path("tool.jsonl"), tool).unwrap();
    let error = refused(&world, &words(&format!("preview tool.jsonl {CHATML}")));
    let expected = "line 1: messages: message 1: role: expected no turn of a tool";
    assert!(
        error.contains("tool.jsonl") && error.contains(expected),
        "{error}"
    );
    let error = refused(
        &world,
        &words("preview train.tsv --model decoder --chat-template chatml"),
    );
    assert!(error.contains("task.chat_template"), "{error}");
}

#[test]
fn an_adapter_becomes_a_gguf_file_or_says_what_to_do() {
    let world = World::new();
    write_chats(&world);
    let train = |more: &str, out: &str| {
        let data = "--train chats.jsonl --validation chats.jsonl --steps 2 --batch-size 2";
        succeeds(
            &world,
            &words(&format!("train {CHATML} {data} {more} --out {out}")),
        );
    };
    train("--rank 4 --scaling rslora", "runs/lora");
    let said = succeeds(&world, &words("export --run runs/lora --gguf adapter.gguf"));
    assert!(said.ends_with("layers written: adapter.gguf\n"), "{said}");
    let file = read(&world.path("adapter.gguf"));
    assert_eq!(&file[..4], b"GGUF");
    assert!(file.windows(6).any(|bytes| bytes == b"lora_b"));

    train("--rank 4 --method dora", "runs/dora");
    let error = refused(&world, &words("export --run runs/dora --gguf dora.gguf"));
    assert!(
        error.contains("DoRA") && error.contains("ggpo merge"),
        "{error}"
    );
    assert!(!world.path("dora.gguf").exists());
    let encoder = "train --model encoder --train train.tsv --steps 2 --max-length 24 --out runs/e";
    succeeds(&world, &words(encoder));
    let error = refused(&world, &words("export --run runs/e --gguf e.gguf"));
    assert!(
        error.contains("trained whole") && error.contains("ggpo merge"),
        "{error}"
    );
}
