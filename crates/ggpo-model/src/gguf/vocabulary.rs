//! A tokenizer as a GGUF file has it: the reverse of [`tokenizer`](super::tokenizer).
//!
//! The format has no regular expressions but names of ways to cut a text, and for
//! SentencePiece scores instead of merges. What is said is read back and must give the
//! same ids for a text of many kinds of words.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Reading;
use super::pieces;
use super::tokenizer::{self, BYTE_LEVEL, CUTS, SENTENCE_PIECE};
use super::tokenizer::{ignores_merges, normalizer_of, words_of};
use super::writer::Writer;
use crate::tokenizer::Tokenizer;

/// Types of tokens in the format.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const ADDED: i32 = 4;
const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// What to do about a tokenizer that the format has no counterpart of.
const INSTEAD: &str = "write a folder instead: ggpo merge --out";

/// What both the tokenizer and the one that is read back are asked for.
const PROBE: &str = "Call me Ishmael. It's 1851, they'LL  see\u{a0}\t12345 whales!!\n\n \nnaïve \
    cafe\u{301} Ångström — 鯨は大きい 🐋 x=y+1;\r\n    def f(a, b): return a_b\n";

/// A token and its type.
pub(super) type Token = (String, i32);

/// Says the tokenizer, for an embedding of `rows` tokens.
///
/// # Errors
/// If the format has no counterpart of it.
pub(super) fn say(writer: &mut Writer, tokenizer: &Tokenizer, rows: usize) -> Reading<()> {
    let json = tokenizer.to_json("tokenizer.json".as_ref());
    let json = json.map_err(|error| error.to_string())?;
    let json: Json = serde_json::from_str(&json).expect("a tokenizer is written as JSON");
    let tokens = tokens(&json, rows)?;
    match json["model"]["type"].as_str() {
        Some("BPE") if json["model"]["byte_fallback"] == true => {
            writer.text("tokenizer.ggml.model", SENTENCE_PIECE);
            pieces::say(writer, &json, tokens)?;
        }
        Some("BPE") => {
            writer.text("tokenizer.ggml.model", BYTE_LEVEL);
            byte_level(writer, &json, &tokens)?;
        }
        kind => {
            let found = kind.unwrap_or("none");
            return Err(refusal("a byte-level or a SentencePiece BPE", found));
        }
    }
    let chats = tokenizer.said_of_chats();
    let id = |token: &Option<String>| token.as_deref().and_then(|token| tokenizer.id(token));
    let prefix = tokenizer.prefix();
    let bos = prefix.first().copied().or_else(|| id(&chats.bos));
    let eos = id(&chats.eos).or_else(|| tokenizer.end_of_text());
    for (name, id) in [("bos", bos), ("eos", eos)] {
        if let Some(id) = id {
            writer.number(&format!("tokenizer.ggml.{name}_token_id"), id)?;
        }
    }
    writer.flag("tokenizer.ggml.add_bos_token", !prefix.is_empty());
    writer.flag("tokenizer.ggml.add_eos_token", false);
    if let Some(template) = &chats.template {
        writer.text("tokenizer.chat_template", template);
    }
    check(writer, tokenizer, rows)
}

pub(super) fn refusal(expected: &str, found: &str) -> String {
    format!(
        "tokenizer.json: expected {expected}, which a GGUF file can hold, found {found}; {INSTEAD}"
    )
}

/// Reads what was said, and refuses a tokenizer that is another.
fn check(writer: &Writer, tokenizer: &Tokenizer, rows: usize) -> Reading<()> {
    let (read, _) = tokenizer::read(&writer.said()?, rows)?;
    let ids = |tokenizer: &Tokenizer| tokenizer.encode(PROBE).map_err(|error| error.to_string());
    let frame = |tokenizer: &Tokenizer| {
        let length = tokenizer.frame_length(false);
        (tokenizer.prefix().to_vec(), length)
    };
    if ids(tokenizer)? != ids(&read)? {
        return Err(refusal(
            "a tokenizer",
            "one of which the file gives other ids",
        ));
    }
    if frame(tokenizer) != frame(&read) {
        return Err(refusal(
            "at most one special token before a text",
            "others around it",
        ));
    }
    Ok(())
}

/// All tokens by their ids; rows of the embedding that no token has get names.
fn tokens(json: &Json, rows: usize) -> Reading<Vec<Token>> {
    let mut tokens: Vec<Token> = (0..rows).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let mut set = |id: &Json, token: &str, kind: i32| {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        match id.and_then(|id| tokens.get_mut(id)) {
            Some(place) => {
                *place = (token.to_owned(), kind);
                Ok(())
            }
            None => Err(refusal(
                &format!("ids below {rows}"),
                &format!("another of {token:?}"),
            )),
        }
    };
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        set(id, token, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true {
            CONTROL
        } else {
            ADDED
        };
        set(
            &added["id"],
            added["content"].as_str().unwrap_or_default(),
            kind,
        )?;
    }
    Ok(tokens)
}

/// Says tokens and their types.
pub(super) fn say_tokens(writer: &mut Writer, tokens: &[Token]) {
    let texts: Vec<&String> = tokens.iter().map(|(token, _)| token).collect();
    let kinds: Vec<i32> = tokens.iter().map(|(_, kind)| *kind).collect();
    writer.texts("tokenizer.ggml.tokens", &texts);
    writer.signed("tokenizer.ggml.token_type", &kinds);
}

/// The merges of a BPE.
pub(super) fn merges(json: &Json) -> Reading<Vec<[&str; 2]>> {
    let merges = json["model"]["merges"].as_array().into_iter().flatten();
    fn pair(merge: &Json) -> Option<[&str; 2]> {
        match merge {
            Json::String(text) => text.split_once(' ').map(<[&str; 2]>::from),
            merge => Some([merge[0].as_str()?, merge[1].as_str()?]),
        }
    }
    merges
        .map(|merge| pair(merge).ok_or_else(|| refusal("merges of two tokens", &merge.to_string())))
        .collect()
}

fn byte_level(writer: &mut Writer, json: &Json, tokens: &[Token]) -> Reading<()> {
    let fits = |name: &&&str| {
        let words = words_of(name).expect("the way of a name");
        canonical(&json["pre_tokenizer"]) == canonical(&words)
            && canonical(&json["normalizer"]) == canonical(&normalizer_of(name))
            && (json["model"]["ignore_merges"] == true) == ignores_merges(name)
    };
    let Some(name) = CUTS.iter().find(fits) else {
        let expected = format!("texts cut into words as one of {}", CUTS.join(", "));
        return Err(refusal(&expected, "another normalizer or pre_tokenizer"));
    };
    writer.text("tokenizer.ggml.pre", name);
    say_tokens(writer, tokens);
    let merges = merges(json)?;
    if let Some([left, right]) = merges.iter().find(|pair| pair.concat().contains(' ')) {
        let found = format!("one of {left:?} and {right:?}");
        return Err(refusal("merges without blanks", &found));
    }
    let merges: Vec<String> = merges.iter().map(|pair| pair.join(" ")).collect();
    writer.texts("tokenizer.ggml.merges", &merges);
    Ok(())
}

/// The steps of a normaliser or of a cut into words, without what has no effect on ids.
pub(super) fn canonical(json: &Json) -> Vec<BTreeMap<&str, Json>> {
    let steps = ["pretokenizers", "normalizers"].into_iter();
    let steps = steps.filter_map(|name| json[name].as_array()).next();
    if let Some(steps) = steps {
        return steps.iter().flat_map(canonical).collect();
    }
    let Some(fields) = json.as_object() else {
        return Vec::new();
    };
    let mut step: BTreeMap<&str, Json> = BTreeMap::new();
    if fields.get("type") == Some(&json!("ByteLevel")) {
        step.insert("use_regex", true.into());
        step.insert("add_prefix_space", true.into());
    }
    let fields = fields.iter().filter(|(name, _)| *name != "trim_offsets");
    step.extend(fields.map(|(name, value)| (name.as_str(), value.clone())));
    vec![step]
}
