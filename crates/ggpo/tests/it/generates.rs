//! The options of `ggpo generate`.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::common::{World, read};
use crate::runner::{json, program, refused, succeeds};

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

const PROMPT: &str = "generate --model decoder --prompt the --max-new-tokens 12 --json";

/// What follows the prompt.
fn text(world: &World, more: &str) -> String {
    let command = format!("{PROMPT} {more}");
    let said = json(&succeeds(world, &words(command.trim_end())));
    said["text"].as_str().unwrap().to_owned()
}

#[test]
fn draws_depend_on_temperature_share_and_seed() {
    let world = World::new();
    let greedy = text(&world, "");
    let drawn = text(&world, "--temperature 1 --seed 1");
    assert_eq!(text(&world, "--temperature 1 --seed 1"), drawn);
    assert_ne!(text(&world, "--temperature 1 --seed 2"), drawn);
    assert_ne!(drawn, greedy);
    // Towards 0 both leave the most probable token alone.
    assert_eq!(text(&world, "--temperature 1e-6 --seed 1"), greedy);
    assert_eq!(text(&world, "--top-p 1e-9 --seed 1"), greedy);
    assert_eq!(text(&world, "--top-p 1 --seed 1"), drawn);
    for (wrong, expected) in [("--temperature 0", "temperature"), ("--top-p 2", "top_p")] {
        let error = refused(&world, &words(&format!("{PROMPT} {wrong}")));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_text_ends_before_what_stops_it() {
    let world = World::new();
    let whole = text(&world, "--temperature 1 --seed 3");
    let stop: String = whole.chars().skip(2).take(2).collect();
    let cut = whole.split(stop.as_str()).next().unwrap();
    let mut command = words(PROMPT);
    command.extend([
        "--temperature",
        "1",
        "--seed",
        "3",
        "--stop",
        "\u{1}",
        "--stop",
        &stop,
    ]);
    let said = json(&succeeds(&world, &command));
    assert_eq!(said["text"].as_str(), Some(cut));
}

#[test]
fn prompts_of_a_file_are_continued_together_or_one_by_one() {
    let world = World::new();
    std::fs::write(world.path("prompts.txt"), "the sun\n\nthe sea and\n").unwrap();
    let lines = "{\"prompt\": \"the sun\"}\n{\"prompt\": \"the sea and\"}\n";
    std::fs::write(world.path("prompts.jsonl"), lines).unwrap();
    let write = |more: &str, out: &str| {
        let command = format!("generate --model decoder --max-new-tokens 6 {more} --out {out}");
        let said = succeeds(&world, &words(&command));
        assert_eq!(said, format!("2 texts written: {out}\n"));
        String::from_utf8(read(&world.path(out))).unwrap()
    };
    let together = write("--prompts prompts.txt", "together.jsonl");
    assert_eq!(together.lines().count(), 2);
    assert_eq!(json(together.lines().next().unwrap())["prompt"], "the sun");
    assert_eq!(
        write("--prompts prompts.txt --batch-size 1", "alone.jsonl"),
        together
    );
    assert_eq!(write("--prompts prompts.jsonl", "lines.jsonl"), together);
}

/// Answers to a line of input.
fn talk(world: &World, more: &[&str]) -> Output {
    let chat = "generate --model decoder --chat-template chatml --chat --max-new-tokens 4";
    let mut arguments = words(chat);
    arguments.extend(more);
    let mut talk = program(world, &arguments);
    talk.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut talk = talk.spawn().unwrap();
    talk.stdin.take().unwrap().write_all(b"the sun\n").unwrap();
    talk.wait_with_output().unwrap()
}

#[test]
fn what_the_system_says_is_read_before_a_conversation() {
    let world = World::new();
    let path = world.path("decoder/config.json");
    let mut config = json(&String::from_utf8(read(&path)).unwrap());
    config["max_position_embeddings"] = 256.into();
    std::fs::write(path, config.to_string()).unwrap();
    assert!(talk(&world, &[]).status.success());
    assert!(talk(&world, &["--system", "Be kind."]).status.success());
    // There is no room for so long a text.
    let output = talk(&world, &["--system", &"kind ".repeat(300)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("256 positions"), "{said}");
}
