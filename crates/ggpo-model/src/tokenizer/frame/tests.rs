use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A tokenizer of words, the special ones first, with a post-processor as it
/// stands in `tokenizer.json`.
fn words(specials: &[&str], post_processor: Value) -> Tokenizer {
    let plain = ["a", "b", "c", "d", " ", "\n"];
    let tokens = specials.iter().chain(&plain).enumerate();
    let vocabulary: serde_json::Map<String, Value> = tokens
        .map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect();
    let added = |(id, token): (usize, &&str)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let added: Vec<Value> = specials.iter().enumerate().map(added).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": " |\n"}, "behavior": "Isolated", "invert": false},
        "post_processor": post_processor, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": specials[0]},
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).expect("writes");
    Tokenizer::load(&path).expect("a tokenizer")
}

/// A post-processor that follows templates such as `<s> A </s>` and
/// `<s> A </s> B:1 </s>:1`.
fn template(single: &str, pair: &str, specials: &[(&str, usize)]) -> Value {
    let piece = |piece: &str| {
        let (piece, segment) = piece.split_once(':').unwrap_or((piece, "0"));
        let segment: u32 = segment.parse().expect("a segment");
        match piece {
            "A" | "B" => json!({"Sequence": {"id": piece, "type_id": segment}}),
            _ => json!({"SpecialToken": {"id": piece, "type_id": segment}}),
        }
    };
    let pieces = |text: &str| text.split(' ').map(piece).collect::<Vec<_>>();
    let special = |(token, id): &(&str, usize)| {
        let value = json!({"id": token, "ids": [id], "tokens": [token]});
        ((*token).to_owned(), value)
    };
    let specials: serde_json::Map<String, Value> = specials.iter().map(special).collect();
    json!({"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair),
        "special_tokens": specials})
}

const BERT: [&str; 4] = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"];

static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer)>> = LazyLock::new(|| {
    let bert = template(
        "[CLS] A [SEP]",
        "[CLS] A [SEP] B:1 [SEP]:1",
        &[("[CLS]", 2), ("[SEP]", 3)],
    );
    let llama = template("<s> A", "<s> A <s>:1 B:1", &[("<s>", 1)]);
    let t5 = template("A </s>", "A </s> B </s>", &[("</s>", 1)]);
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
        "use_regex": true});
    vec![
        ("bert", words(&BERT, bert)),
        ("named", words(&BERT, Value::Null)),
        ("llama", words(&["<unk>", "<s>", "</s>"], llama)),
        ("t5", words(&["<unk>", "</s>", "<pad>"], t5)),
        ("gpt2", words(&["<|endoftext|>"], gpt2)),
    ]
});

fn tokenizer(name: &str) -> &'static Tokenizer {
    let mut all = TOKENIZERS.iter();
    let found = all.find(|(known, _)| *known == name);
    &found.expect("one of the list").1
}

fn tokens(name: &str, text: &str, pair: Option<&str>) -> Vec<String> {
    let tokenizer = tokenizer(name);
    let encoded = tokenizer.encode_framed(text, pair, 100).expect("encodes");
    let token = |id: &usize| tokenizer.inner.id_to_token(*id as u32).expect("a token");
    encoded
        .ids
        .iter()
        .map(token)
        .filter(|token| token != " ")
        .collect()
}

#[test]
fn post_processors_set_their_own_special_tokens() {
    for name in ["bert", "named"] {
        assert_eq!(tokens(name, "a", None), ["[CLS]", "a", "[SEP]"]);
        assert_eq!(
            tokens(name, "a", Some("b")),
            ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
        );
        let pair = tokenizer(name)
            .encode_framed("a", Some("b"), 100)
            .expect("encodes");
        assert_eq!(pair.token_types, [0, 0, 0, 1, 1]);
        let one = tokenizer(name)
            .encode_framed("a", None, 100)
            .expect("encodes");
        assert!(one.token_types.is_empty());
        let lengths = [false, true].map(|pair| tokenizer(name).frame_length(pair));
        assert_eq!(lengths, [2, 3]);
    }
    assert_eq!(tokens("llama", "a", None), ["<s>", "a"]);
    assert_eq!(tokens("llama", "a", Some("b")), ["<s>", "a", "<s>", "b"]);
    assert_eq!(tokens("t5", "a", Some("b")), ["a", "</s>", "b", "</s>"]);
    let prefix = |name| tokenizer(name).prefix().to_vec();
    assert_eq!(prefix("bert"), [2]);
    assert_eq!(prefix("llama"), [1]);
    assert!(["named", "t5", "gpt2"].map(prefix).concat().is_empty());
}

#[test]
fn a_line_break_stands_between_texts_where_no_token_does() {
    assert_eq!(tokens("gpt2", "a", None), ["a"]);
    assert_eq!(tokens("gpt2", "a", Some("b")), ["a", "\n", "b"]);
}

#[test]
fn special_ids_are_those_of_the_model_or_known_names() {
    let ids = |tokenizer: &Tokenizer| {
        (
            tokenizer.padding(),
            tokenizer.end_of_text(),
            tokenizer.decoder_start(),
        )
    };
    assert_eq!(ids(tokenizer("bert")), (1, Some(3), 1));
    assert_eq!(ids(tokenizer("llama")), (2, Some(2), 2));
    assert_eq!(ids(tokenizer("t5")), (2, Some(1), 2));
    assert_eq!(ids(tokenizer("gpt2")), (0, Some(0), 0));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    assert_eq!(
        SpecialIds::read(&path).expect("none"),
        SpecialIds::default()
    );
    let config = r#"{"pad_token_id": -1, "eos_token_id": [2, 7], "decoder_start_token_id": 1}"#;
    std::fs::write(&path, config).expect("writes");
    let said = SpecialIds::read(&path).expect("ids");
    let expected = SpecialIds {
        padding: None,
        end_of_text: Some(2),
        decoder_start: Some(1),
    };
    assert_eq!(said, expected);
    let gpt2 = tokenizer("gpt2").clone().with_special_ids(said);
    assert_eq!(ids(&gpt2), (2, Some(2), 1));
    std::fs::write(&path, "{").expect("writes");
    assert!(SpecialIds::read(&path).is_err());
}

proptest! {
    /// The rule as it is told: one token after the other.
    #[test]
    fn longest_first_is_one_token_after_the_other(
        first in 0usize..40,
        second in 0usize..40,
        room in 0usize..60,
    ) {
        let (mut a, mut b) = (first, second);
        while a + b > room {
            if a > b { a -= 1 } else { b -= 1 }
        }
        prop_assert_eq!(longest_first([first, second], room), [a, b]);
    }

    /// Whatever is cut, the frame stays, around the beginnings of the texts.
    #[test]
    fn truncation_keeps_special_tokens(
        which in 0usize..5,
        first in prop::collection::vec("[a-d]", 1..20),
        second in prop::option::of(prop::collection::vec("[a-d]", 1..20)),
        max_length in 5usize..50,
    ) {
        let (name, tokenizer) = &TOKENIZERS[which];
        let (first, second) = (first.join(" "), second.map(|words| words.join(" ")));
        let second = second.as_deref();
        let whole = tokenizer.encode_framed(&first, second, usize::MAX).expect("encodes");
        let cut = tokenizer.encode_framed(&first, second, max_length).expect("encodes");
        prop_assert!(!whole.truncated);
        prop_assert_eq!(cut.truncated, whole.ids.len() > max_length);
        prop_assert_eq!(cut.ids.len(), whole.ids.len().min(max_length));
        prop_assert!(cut.token_types.is_empty() || cut.token_types.len() == cut.ids.len());
        if *name != "gpt2" {
            let special = |id: &&usize| {
                let token = tokenizer.inner.id_to_token(**id as u32).expect("a token");
                token.starts_with(['<', '['])
            };
            let specials = |ids: &[usize]| -> Vec<usize> {
                ids.iter().filter(special).copied().collect()
            };
            prop_assert_eq!(specials(&cut.ids), specials(&whole.ids));
        }
        if second.is_none() {
            let text = tokenizer.encode(&first).expect("encodes");
            let room = max_length.saturating_sub(tokenizer.frame_length(false));
            let kept = &text[..text.len().min(room)];
            prop_assert!(cut.ids.windows(kept.len().max(1)).any(|ids| ids == kept));
        }
    }
}
