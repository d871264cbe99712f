//! SentencePiece tokenizers in the making of a file: the reverse of
//! [`sentencepiece`](super::sentencepiece).
//!
//! A `tokenizer.json` has merges in the order of the scores that their pieces once had. So
//! the score of a piece is the place of its first merge, counted downwards from 0.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Reading;
use super::sentencepiece::BLANK;
use super::vocabulary::{BYTE, NORMAL, Token, UNKNOWN, canonical, merges, refusal, say_tokens};
use super::writer::Writer;

/// Says pieces, their scores, and whether a text begins with a blank.
///
/// # Errors
/// If the merges are not those of scores, or texts are normalised in another way.
pub(super) fn say(writer: &mut Writer, json: &Json, mut tokens: Vec<Token>) -> Reading<()> {
    let model = &json["model"];
    let unknown = model["unk_token"].as_str();
    for (token, kind) in &mut tokens {
        if Some(token.as_str()) == unknown {
            *kind = UNKNOWN;
        } else if is_byte(token) {
            *kind = BYTE;
        }
    }
    let merges = merges(json)?;
    let scores = scores(&tokens, &merges)?;
    writer.text("tokenizer.ggml.pre", "default");
    say_tokens(writer, &tokens);
    writer.floats("tokenizer.ggml.scores", &scores);
    if let Some(id) = tokens.iter().position(|(_, kind)| *kind == UNKNOWN) {
        writer.number("tokenizer.ggml.unknown_token_id", id)?;
    }
    writer.flag("tokenizer.ggml.add_space_prefix", begins_with_blank(json)?);
    Ok(())
}

/// Whether a token is that of a byte, `<0x00>` to `<0xFF>`.
fn is_byte(token: &str) -> bool {
    let hex = token
        .strip_prefix("<0x")
        .and_then(|it| it.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|it| it.is_ascii_hexdigit()))
}

fn scores(tokens: &[Token], merges: &[[&str; 2]]) -> Reading<Vec<f32>> {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for pair in merges {
        let next = first.len();
        first.entry(pair.concat()).or_insert(next);
    }
    // Of two neighbours that are a piece together a file makes that piece, so every such
    // pair must be a merge.
    let known: BTreeSet<&str> = tokens.iter().map(|(token, _)| token.as_str()).collect();
    let listed: BTreeSet<&[&str; 2]> = merges.iter().collect();
    for (piece, _) in tokens.iter().filter(|(_, kind)| *kind == NORMAL) {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            let is_pair = known.contains(left) && known.contains(right);
            if is_pair && !listed.contains(&[left, right]) {
                let found = format!("{piece:?} without the merge of {left:?} and {right:?}");
                return Err(refusal("the merges of a SentencePiece model", &found));
            }
        }
    }
    let score = |(token, kind): &Token| match (kind, first.get(token)) {
        (&NORMAL, Some(place)) => -(*place as f32),
        (&NORMAL, None) => -(first.len() as f32),
        _ => 0.0,
    };
    Ok(tokens.iter().map(score).collect())
}

/// Whether a blank is set before a text; blanks must become the letter of pieces.
fn begins_with_blank(json: &Json) -> Reading<bool> {
    let (mut prefixed, mut replaced) = (false, false);
    let steps = ["normalizer", "pre_tokenizer"].map(|part| canonical(&json[part]));
    for step in steps.iter().flatten() {
        let text = |field: &str| step.get(field).and_then(Json::as_str).unwrap_or_default();
        match text("type") {
            "Prepend" if text("prepend") == BLANK => prefixed = true,
            "Replace"
                if step.get("pattern").is_some_and(|it| it["String"] == " ")
                    && text("content") == BLANK =>
            {
                replaced = true;
            }
            // There is no blank any more.
            "Split" if step.get("pattern").is_some_and(|it| it["String"] == " ") && replaced => {}
            "Metaspace"
                if text("replacement") == BLANK
                    && step.get("split") == Some(&Json::Bool(false)) =>
            {
                replaced = true;
                prefixed |= text("prepend_scheme") != "never";
            }
            found => {
                let expected = "texts whose blanks become the letter of pieces";
                return Err(refusal(expected, &format!("also {found}")));
            }
        }
    }
    match replaced {
        true => Ok(prefixed),
        false => Err(refusal("blanks as the letter of pieces", "none")),
    }
}
