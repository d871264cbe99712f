//! SentencePiece tokenizers, the model `llama` of the format, as BPE with bytes for what
//! is no piece.
//!
//! A file holds pieces with scores and no merges. Of two neighbours SentencePiece joins
//! those first whose piece has the highest score, so a merge is every pair of pieces whose
//! text together is a piece, in the order of the scores. Blanks are the letter `▁`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Reading;
use super::metadata::{Metadata, Value};

/// What a blank is in pieces.
pub(super) const BLANK: &str = "\u{2581}";
/// The type of pieces that merging makes.
const NORMAL: u64 = 1;
/// The type of the piece for what is unknown.
const UNKNOWN: u64 = 2;

/// Normaliser, decoder and model of a `tokenizer.json`.
pub(super) fn parts(metadata: &Metadata, tokens: &[&str], types: &[u64]) -> Reading<[Json; 3]> {
    let prefixed = metadata
        .optional_flag("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let blank = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![blank(" ", BLANK)];
    let mut decoders = vec![
        blank(BLANK, " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefixed {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": BLANK}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let ids: BTreeMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
    let unknown = types.iter().position(|kind| *kind == UNKNOWN);
    let model = json!({
        "type": "BPE",
        "vocab": ids,
        "merges": merges(&scores(metadata, tokens.len())?, tokens, types, &ids),
        "unk_token": unknown.map(|id| tokens[id]),
        "fuse_unk": true,
        "byte_fallback": true,
    });
    Ok([
        json!({"type": "Sequence", "normalizers": normalizers}),
        json!({"type": "Sequence", "decoders": decoders}),
        model,
    ])
}

fn scores(metadata: &Metadata, tokens: usize) -> Reading<Vec<f64>> {
    let key = "tokenizer.ggml.scores";
    let expected = format!("a score for each of {tokens} tokens");
    let values = metadata.optional_array(key)?.unwrap_or_default();
    if values.len() != tokens {
        return Err(metadata.wrong(key, &expected));
    }
    let scores = values.iter().map(|value| match value {
        Value::Float(score) if score.is_finite() => Ok(*score),
        _ => Err(metadata.wrong(key, "finite numbers")),
    });
    scores.collect()
}

/// Pairs of pieces whose text together is a piece, the highest score first.
fn merges<'a>(
    scores: &[f64],
    tokens: &[&'a str],
    types: &[u64],
    ids: &BTreeMap<&str, usize>,
) -> Vec<[&'a str; 2]> {
    let mut order: Vec<usize> = (0..tokens.len())
        .filter(|&id| types[id] == NORMAL)
        .collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut merges = Vec::new();
    for id in order {
        let piece = tokens[id];
        let cuts = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at));
        let mut pairs: Vec<(&str, &str)> = cuts
            .filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right))
            .collect();
        pairs.sort_by_key(|(left, _)| Reverse(left.chars().count()));
        merges.extend(pairs.into_iter().map(|(left, right)| [left, right]));
    }
    merges
}
