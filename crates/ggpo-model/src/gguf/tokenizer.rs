//! The tokenizer of a GGUF file, as the `tokenizer.json` it was made from.
//!
//! Supported are byte-level BPE, the model `gpt2` of the format, with the ways of
//! cutting a text into words that [`pre_tokenizer`] lists, and
//! [`sentencepiece`](super::sentencepiece), its model `llama`.

use serde_json::{Map, Value as Json, json};

use super::metadata::{Metadata, Value};
use super::{Reading, SpecialTokens, sentencepiece};
use crate::chat::Said;
use crate::tokenizer::SpecialIds;
use crate::tokenizer::Tokenizer;

/// Types of tokens that texts do not give: unknown and control tokens.
const SPECIAL_TYPES: [u64; 2] = [2, 3];
/// The type of tokens that were added to those of BPE and that texts give.
const ADDED_TYPE: u64 = 4;

/// The tokenizer, whose ids are below `rows`, and its special tokens.
pub(super) fn read(metadata: &Metadata, rows: usize) -> Reading<(Tokenizer, SpecialTokens)> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    if tokens.is_empty() || tokens.len() > rows {
        let expected = format!("1 to {rows} tokens, the rows of the embedding");
        return Err(metadata.wrong("tokenizer.ggml.tokens", &expected));
    }
    let kind = metadata.text("tokenizer.ggml.model")?;
    let types = types(metadata, tokens.len())?;
    let special = special_tokens(metadata, tokens.len())?;
    let [normalizer, decoder, model] = match kind {
        BYTE_LEVEL => byte_level_bpe(metadata, &tokens)?,
        SENTENCE_PIECE => sentencepiece::parts(metadata, &tokens, &types)?,
        _ => {
            let expected =
                format!("\"{BYTE_LEVEL}\", which is byte-level BPE, or \"{SENTENCE_PIECE}\"");
            return Err(metadata.wrong("tokenizer.ggml.model", &expected));
        }
    };
    let words = match kind {
        BYTE_LEVEL => pre_tokenizer(metadata)?,
        _ => Json::Null,
    };
    let json = json!({
        "version": "1.0",
        "added_tokens": added_tokens(metadata, &tokens, &types, kind == SENTENCE_PIECE)?,
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "post_processor": post_processor(&special, &tokens),
        "decoder": decoder,
        "model": model,
    });
    let tokenizer = Tokenizer::parse(json.to_string()).map_err(|error| {
        format!("tokenizer.ggml: expected a tokenizer for any text, found {error}")
    })?;
    let said = SpecialIds {
        end_of_text: special.eos,
        ..SpecialIds::default()
    };
    let token = |id: Option<usize>| id.map(|id| tokens[id].to_owned());
    let template = metadata.optional_text("tokenizer.chat_template")?;
    let chats = Said {
        template: template.map(str::to_owned),
        bos: token(special.bos),
        eos: token(special.eos),
    };
    let tokenizer = tokenizer.with_special_ids(said).with_chats(chats);
    Ok((tokenizer, special))
}

fn vocabulary(tokens: &[&str]) -> Reading<Map<String, Json>> {
    let mut ids = Map::new();
    for (id, &token) in tokens.iter().enumerate() {
        if ids.insert(token.to_owned(), id.into()).is_some() {
            return Err(format!(
                "tokenizer.ggml.tokens: expected every token once, found {token:?} twice"
            ));
        }
    }
    Ok(ids)
}

fn merges(metadata: &Metadata) -> Reading<Vec<[&str; 2]>> {
    let key = "tokenizer.ggml.merges";
    let pair = |merge: &'_ str| format!("{key}: expected two tokens, found {merge:?}");
    let merges = metadata.texts(key)?.into_iter();
    merges
        .map(|merge| {
            let (left, right) = merge.split_once(' ').ok_or_else(|| pair(merge))?;
            Ok([left, right])
        })
        .collect()
}

/// Normaliser, decoder and model of a byte-level BPE.
fn byte_level_bpe(metadata: &Metadata, tokens: &[&str]) -> Reading<[Json; 3]> {
    let normalizer = pre(metadata)?.map_or(Json::Null, normalizer_of);
    let model = json!({
        "type": "BPE",
        "vocab": vocabulary(tokens)?,
        "merges": merges(metadata)?,
        "ignore_merges": pre(metadata)?.is_some_and(ignores_merges),
    });
    Ok([normalizer, byte_level(true), model])
}

/// The types of the tokens; ordinary ones if the file has none.
fn types(metadata: &Metadata, tokens: usize) -> Reading<Vec<u64>> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = metadata.optional_array(key)? else {
        return Ok(vec![1; tokens]);
    };
    if types.len() != tokens {
        let expected = format!("a type for each of {tokens} tokens");
        return Err(metadata.wrong(key, &expected));
    }
    let kind = |kind: &Value| match *kind {
        Value::Unsigned(kind) => Ok(kind),
        Value::Signed(kind) if kind >= 0 => Ok(kind as u64),
        _ => Err(metadata.wrong(key, "whole numbers of at least 0")),
    };
    types.iter().map(kind).collect()
}

/// The tokens that are not made by merging, by their types. Where blanks are letters,
/// those that texts give are looked for in the normalised text.
fn added_tokens(
    metadata: &Metadata,
    tokens: &[&str],
    types: &[u64],
    normalized: bool,
) -> Reading<Vec<Json>> {
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        let special = SPECIAL_TYPES.contains(kind);
        if special || *kind == ADDED_TYPE {
            if added.len() == MOST_ADDED {
                let key = "tokenizer.ggml.token_type";
                let expected = format!("at most {MOST_ADDED} special and added tokens");
                return Err(metadata.wrong(key, &expected));
            }
            added.push(json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": normalized && !special,
                "special": special,
            }));
        }
    }
    Ok(added)
}

/// Most tokens that are not made by merging. Each is described by itself.
const MOST_ADDED: usize = 1 << 16;
/// Models of the format.
pub(super) const BYTE_LEVEL: &str = "gpt2";
pub(super) const SENTENCE_PIECE: &str = "llama";

const LLAMA_BPE: &str = "llama-bpe";
const QWEN2: &str = "qwen2";

/// Words of the Llama 3 and Qwen models: letters with one sign before them, up to as many
/// digits as said, signs with the line breaks after them, spaces.
fn words(digits: &str) -> String {
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
        digits,
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ]
    .concat()
}

fn pre(metadata: &Metadata) -> Reading<Option<&str>> {
    metadata.optional_text("tokenizer.ggml.pre")
}

/// Names of the ways in which a text is cut into words.
pub(super) const CUTS: [&str; 4] = ["gpt-2", LLAMA_BPE, QWEN2, "smollm"];

/// How a text is cut into words before merging.
fn pre_tokenizer(metadata: &Metadata) -> Reading<Json> {
    let name = metadata.text("tokenizer.ggml.pre")?;
    words_of(name).ok_or_else(|| {
        let expected = format!("\"gpt-2\", \"{LLAMA_BPE}\", \"{QWEN2}\" or \"smollm\"");
        metadata.wrong("tokenizer.ggml.pre", &expected)
    })
}

/// The normaliser that belongs to a way of cutting: Qwen reads composed letters.
pub(super) fn normalizer_of(name: &str) -> Json {
    match name == QWEN2 {
        true => json!({"type": "NFC"}),
        false => Json::Null,
    }
}

/// Whether a word that is a token is that token, however it would be merged.
pub(super) fn ignores_merges(name: &str) -> bool {
    name == LLAMA_BPE
}

/// How a text is cut into words before merging, by its name in the format.
pub(super) fn words_of(name: &str) -> Option<Json> {
    let parts = match name {
        // GPT-2's words.
        "gpt-2" => vec![byte_level(true)],
        // Every digit a word of its own, then GPT-2's words.
        "smollm" => vec![
            json!({"type": "Digits", "individual_digits": true}),
            byte_level(true),
        ],
        LLAMA_BPE | QWEN2 => vec![
            json!({
                "type": "Split",
                "pattern": {"Regex": words(if name == QWEN2 { r"\p{N}" } else { r"\p{N}{1,3}" })},
                "behavior": "Isolated",
                "invert": false,
            }),
            byte_level(false),
        ],
        _ => return None,
    };
    Some(json!({"type": "Sequence", "pretokenizers": parts}))
}

/// Bytes as letters, after cutting into GPT-2's words if `words`.
fn byte_level(words: bool) -> Json {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": words,
    })
}

/// Sets the beginning of a text before it, if the file says so.
fn post_processor(special: &SpecialTokens, tokens: &[&str]) -> Json {
    let Some(bos) = special.bos.filter(|_| special.add_bos) else {
        return Json::Null;
    };
    let token = tokens[bos];
    let start = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [start, text("A")],
        "pair": [start, text("A"), text("B")],
        "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}},
    })
}

fn special_tokens(metadata: &Metadata, tokens: usize) -> Reading<SpecialTokens> {
    let id = |key: &str| {
        let id = metadata.optional_number(key)?;
        match id.filter(|id| *id >= tokens) {
            None => Ok(id),
            Some(_) => Err(metadata.wrong(key, &format!("an id below {tokens}"))),
        }
    };
    let key = "tokenizer.ggml.add_bos_token";
    // The Llama 3 models begin every text with it, and their files may not say so, nor
    // those with SentencePiece.
    let usual = pre(metadata)? == Some(LLAMA_BPE)
        || metadata.optional_text("tokenizer.ggml.model")? == Some(SENTENCE_PIECE);
    let add_bos = metadata.optional_flag(key)?.unwrap_or(usual);
    let special = SpecialTokens {
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        add_bos,
    };
    if add_bos && special.bos.is_none() {
        return Err(metadata.wrong("tokenizer.ggml.bos_token_id", "an id"));
    }
    Ok(special)
}
