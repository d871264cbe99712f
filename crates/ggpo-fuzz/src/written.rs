//! What a generator makes of token ids: text that grows, is cut at strings, and is shown.

use std::ops::ControlFlow;

use ggpo_files::sentence::shown;
use ggpo_model::generate::Continuation;
use ggpo_model::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::World;
use crate::world::{joined, split};

/// Most tokens of a text.
const LONGEST: usize = 48;

/// The first byte chooses the tokenizer, the second the length of the prompt; then a stop
/// string, and token ids of one byte each.
pub(crate) fn written(world: &World, bytes: &[u8]) {
    thread_local! {
        static OTHERS: std::cell::OnceCell<[Tokenizer; 2]> = const { std::cell::OnceCell::new() };
    }
    let Some(([how, prompt], rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (stop, ids) = split(rest);
    let stop = String::from_utf8_lossy(stop).into_owned();
    let stops = match stop.is_empty() {
        true => Vec::new(),
        false => vec![stop],
    };
    OTHERS.with(|others| {
        let others = others.get_or_init(|| {
            [byte_fallback(), word_piece()].map(|file| {
                let path = world.write("written.json", file.to_string().as_bytes());
                Tokenizer::load(&path).expect("it encodes every text")
            })
        });
        let tokenizer = match how % 3 {
            0 => &world.tokenizer,
            other => &others[usize::from(other) - 1],
        };
        let ids = ids.iter().take(LONGEST).map(|&id| usize::from(id));
        let ids: Vec<usize> = ids.map(|id| id % tokenizer.vocabulary()).collect();
        let (prompt, new) = ids.split_at(usize::from(*prompt).min(ids.len()));
        // Bytes that are written once stay as they are.
        grown(tokenizer, (prompt, new), &stops, how % 3 == 0);
    });
}

/// Lets a text grow; with `is_kept`, what was given out must add up to it.
fn grown(
    tokenizer: &Tokenizer,
    (prompt, new): (&[usize], &[usize]),
    stops: &[String],
    is_kept: bool,
) {
    let Ok(mut text) = Continuation::new(prompt, tokenizer, stops) else {
        return;
    };
    let mut given = String::new();
    for &id in new {
        match text.push(id) {
            Err(_) => return,
            Ok(flow) => {
                given += text.news(false);
                if flow == ControlFlow::Break(()) {
                    break;
                }
            }
        }
    }
    given += text.news(true);
    for stop in stops {
        assert!(!text.text().contains(stop), "{stop:?} in {:?}", text.text());
    }
    // A prompt may end within a character.
    if is_kept && prompt.is_empty() {
        assert_eq!(given, text.text(), "the pieces add up to the text");
    }
    let is_safe = |c: char| !c.is_control() || ['\n', '\t'].contains(&c);
    assert!(shown(&given).chars().all(is_safe), "{given:?}");
}

/// A tokenizer with a token for every byte that no other token has, as Llama's.
fn byte_fallback() -> Value {
    let tokens = [
        "<unk>",
        "\u{2581}",
        "the",
        "\u{2581}the",
        "\u{e9}",
        "\u{1b}",
        "\r",
        "\u{fffd}",
    ];
    let tokens = tokens.map(str::to_owned).into_iter();
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let vocab: Map<String, Value> = tokens
        .chain(bytes)
        .zip(0..)
        .map(|(t, id)| (t, json!(id)))
        .collect();
    json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>",
            "fuse_unk": true, "byte_fallback": true},
    })
}

/// A tokenizer whose decoder writes anew what it has written: `do n't` becomes `don't`.
fn word_piece() -> Value {
    let tokens = [
        "[UNK]",
        "the",
        "##n",
        "s",
        ".",
        "?",
        "do",
        "n't",
        "'",
        "##'",
        "'s",
        "\u{e9}",
        "##\u{301}",
        "\u{1b}",
        "\u{2028}",
    ];
    let vocab: Map<String, Value> = tokens
        .iter()
        .zip(0..)
        .map(|(t, id)| ((*t).to_owned(), json!(id)))
        .collect();
    json!({
        "version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

pub(crate) fn written_seeds(world: &World) -> Vec<Vec<u8>> {
    let own = world
        .tokenizer
        .encode("the sea: caf\u{e9} \u{1f600}")
        .expect("encodes");
    let own: Vec<u8> = own.into_iter().map(|id| id as u8).collect();
    // The bytes of three characters, of which the second is cut, among tokens.
    let fallback = [
        1,
        2,
        8 + 0xc3,
        8 + 0xa9,
        3,
        8 + 0xe2,
        8 + 0x82,
        4,
        8 + 0xf0,
        8 + 0x9f,
        8 + 0x98,
        8 + 0x80,
        5,
    ];
    let seed = |how: u8, prompt: u8, stop: &[u8], ids: &[u8]| {
        [vec![how, prompt], joined(stop, ids)].concat()
    };
    vec![
        seed(0, 0, b"", &own),
        seed(0, 2, b"caf", &own),
        seed(1, 1, "\u{e9}t".as_bytes(), &fallback),
        seed(2, 1, b"n't ", &[6, 7, 1, 4, 6, 8, 9, 2, 10, 11, 12, 13, 5]),
    ]
}
