//! The tokenizer of a GGUF file, as the `tokenizer.json` it was made from.
//!
//! Supported is byte-level BPE, the model `gpt2` of the format, with the ways of
//! cutting a text into words that [`pre_tokenizer`] lists.

use serde_json::{Map, Value as Json, json};

use super::metadata::{Metadata, Value};
use super::{Reading, SpecialTokens};
use crate::chat::Said;
use crate::tokenizer::SpecialIds;
use crate::tokenizer::Tokenizer;

/// Types of tokens that texts do not give: unknown and control tokens.
const SPECIAL_TYPES: [u64; 2] = [2, 3];
/// The type of tokens that were added to those of BPE and that texts give.
const ADDED_TYPE: u64 = 4;

/// The tokenizer, whose ids are below `rows`, and its special tokens.
pub(super) fn read(metadata: &Metadata, rows: usize) -> Reading<(Tokenizer, SpecialTokens)> {
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(metadata.wrong("tokenizer.ggml.model", "\"gpt2\", which is byte-level BPE"));
    }
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    if tokens.is_empty() || tokens.len() > rows {
        let expected = format!("1 to {rows} tokens, the rows of the embedding");
        return Err(metadata.wrong("tokenizer.ggml.tokens", &expected));
    }
    let special = special_tokens(metadata, tokens.len())?;
    let json = json!({
        "version": "1.0",
        // Qwen reads composed letters.
        "normalizer": (pre(metadata)? == QWEN2).then(|| json!({"type": "NFC"})),
        "added_tokens": added_tokens(metadata, &tokens)?,
        "pre_tokenizer": pre_tokenizer(metadata)?,
        "post_processor": post_processor(&special, &tokens),
        "decoder": byte_level(true),
        "model": {
            "type": "BPE",
            "vocab": vocabulary(&tokens)?,
            "merges": merges(metadata)?,
            "ignore_merges": pre(metadata)? == LLAMA_BPE,
        },
    });
    let tokenizer = Tokenizer::parse(json.to_string())
        .map_err(|error| format!("tokenizer.ggml: expected a byte-level BPE, found {error}"))?;
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

/// The tokens that are not made by merging, by their types.
fn added_tokens(metadata: &Metadata, tokens: &[&str]) -> Reading<Vec<Json>> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = metadata.optional_array(key)? else {
        return Ok(Vec::new());
    };
    if types.len() != tokens.len() {
        let expected = format!("a type for each of {} tokens", tokens.len());
        return Err(metadata.wrong(key, &expected));
    }
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        let kind = match *kind {
            Value::Unsigned(kind) => kind,
            Value::Signed(kind) if kind >= 0 => kind as u64,
            _ => return Err(metadata.wrong(key, "whole numbers of at least 0")),
        };
        let special = SPECIAL_TYPES.contains(&kind);
        if special || kind == ADDED_TYPE {
            if added.len() == MOST_ADDED {
                let expected = format!("at most {MOST_ADDED} special and added tokens");
                return Err(metadata.wrong(key, &expected));
            }
            added.push(json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": special,
            }));
        }
    }
    Ok(added)
}

/// Most tokens that are not made by merging. Each is described by itself.
const MOST_ADDED: usize = 1 << 16;

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

fn pre(metadata: &Metadata) -> Reading<&str> {
    metadata.text("tokenizer.ggml.pre")
}

/// How a text is cut into words before merging, by its name in the format.
fn pre_tokenizer(metadata: &Metadata) -> Reading<Json> {
    let parts = match pre(metadata)? {
        // GPT-2's words.
        "gpt-2" => vec![byte_level(true)],
        // Every digit a word of its own, then GPT-2's words.
        "smollm" => vec![
            json!({"type": "Digits", "individual_digits": true}),
            byte_level(true),
        ],
        pre @ (LLAMA_BPE | QWEN2) => vec![
            json!({
                "type": "Split",
                "pattern": {"Regex": words(if pre == QWEN2 { r"\p{N}" } else { r"\p{N}{1,3}" })},
                "behavior": "Isolated",
                "invert": false,
            }),
            byte_level(false),
        ],
        _ => {
            let expected = format!("\"gpt-2\", \"{LLAMA_BPE}\", \"{QWEN2}\" or \"smollm\"");
            return Err(metadata.wrong("tokenizer.ggml.pre", &expected));
        }
    };
    Ok(json!({"type": "Sequence", "pretokenizers": parts}))
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
    // The Llama 3 models begin every text with it, and their files may not say so.
    let add_bos = metadata
        .optional_flag(key)?
        .unwrap_or(pre(metadata)? == LLAMA_BPE);
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
