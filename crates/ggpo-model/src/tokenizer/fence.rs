//! The library that tokenizes, behind a fence.
//!
//! It panics on files that contradict themselves, and takes as much memory as a number
//! in a file says. `docs/decisions/0010-hostile-files.md` says why it is fenced rather
//! than replaced. Here is all of the fence: what is checked before a file is handed
//! over, and the one place that catches what the library throws.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use serde_json::{Map, Value};

thread_local! {
    /// Whether this thread is behind the fence, where panics say nothing.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Lets the library do something; a panic in it becomes a sentence.
pub(super) fn fenced<R>(work: impl FnOnce() -> tokenizers::Result<R>) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !FENCED.get() {
                usual(panic);
            }
        }));
    });
    let before = FENCED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    FENCED.set(before);
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or(panic.downcast_ref::<&str>().copied());
            Err(format!(
                "one that the library cannot use ({})",
                said.unwrap_or("no reason given")
            ))
        }
    }
}

/// Most bytes of text between two changes from white space to other characters or
/// back. What has none is handed to the library as one word.
const LONGEST_WORD: usize = 1 << 18;

/// Refuses a text with a word for which the library would take memory or time out of
/// all proportion.
pub(super) fn check_words(text: &str) -> Result<(), String> {
    if text.len() <= LONGEST_WORD {
        return Ok(());
    }
    let mut start = 0;
    let mut space = None;
    for (at, character) in text.char_indices() {
        let now = Some(character.is_whitespace());
        if now != space {
            (space, start) = (now, at);
        } else if at - start > LONGEST_WORD {
            return Err(format!(
                "expected words of at most {LONGEST_WORD} bytes, found a longer one"
            ));
        }
    }
    Ok(())
}

/// The beginning of a text that is longer than a model could read: enough for `tokens`
/// tokens, as every word is at least one.
pub(super) fn beginning(text: &str, tokens: usize) -> &str {
    const SHORT: usize = 1 << 14;
    if text.len() <= SHORT {
        return text;
    }
    let mut left = tokens.saturating_mul(4).saturating_add(64);
    let mut space = true;
    for (at, character) in text.char_indices() {
        let now = character.is_whitespace();
        if space && !now {
            if left == 0 && at > SHORT {
                return &text[..at];
            }
            left = left.saturating_sub(1);
        }
        space = now;
    }
    text
}

/// Bytes of a piece of a long text.
const PIECE: usize = 1 << 18;

/// A text in pieces that end with a line, where nothing but that line's end is white
/// space.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let ends = rest.as_bytes().windows(3).enumerate().skip(PIECE);
        let plain = |byte: u8| byte.is_ascii_graphic();
        let end = ends
            .map(|(at, window)| (at + 2, window))
            .find(|(_, window)| window[1] == b'\n' && plain(window[0]) && plain(window[2]));
        let Some((end, _)) = end else { break };
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Whether words are cut as in GPT-2, which never go on over such an end of a line.
pub(super) fn cuts_at_lines(tokenizer: &tokenizers::Tokenizer) -> bool {
    let form = |step: &Map<String, Value>| match text(step, "type") {
        "ByteLevel" => {
            ["add_prefix_space", "use_regex"].map(|name| step.get(name).and_then(Value::as_bool))
                == [Some(false), Some(true)]
        }
        "Digits" | "Sequence" => true,
        _ => false,
    };
    let Ok(json) = serde_json::to_value(tokenizer.get_pre_tokenizer()) else {
        return false;
    };
    let mut steps = Vec::new();
    steps_of(&json, &mut steps);
    let added = tokenizer.get_added_tokens_decoder();
    tokenizer.get_normalizer().is_none()
        && !steps.is_empty()
        && steps.into_iter().all(form)
        && added.values().all(|token| !token.content.contains('\n'))
}

/// Times that a text may grow before its tokens are found, and after.
const GROWTH: usize = 64;
/// Most special tokens around texts.
const MOST_SPECIAL: usize = 1024;
/// Longest word, in characters, that WordPiece takes apart: each takes time with the
/// square of its length.
const WORD_PIECES: u64 = 10_000;

/// Checks a `tokenizer.json` before the library reads it.
///
/// # Errors
/// What was found in it.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let file = ggpo_files::json::object(bytes)?;
    let get = |name: &str| file.get(name).unwrap_or(&Value::Null);
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let mut steps = Vec::new();
        steps_of(get(part), &mut steps);
        let mut growth = 1_usize;
        for step in steps {
            let problem = |found: &str| format!("in {part} {found}");
            growth = growth.saturating_mul(growth_of(step));
            check_step(step).map_err(|found| problem(&found))?;
        }
        if growth > GROWTH {
            return Err(format!(
                "in {part} steps that make a text {growth} times as long"
            ));
        }
    }
    check_frame(get("post_processor"))?;
    let model = get("model");
    if let Some(longest) = model
        .get("max_input_chars_per_word")
        .and_then(Value::as_u64)
        && longest > WORD_PIECES
    {
        return Err(format!(
            "max_input_chars_per_word {longest}, more than {WORD_PIECES}"
        ));
    }
    match model.get("dropout").and_then(Value::as_f64) {
        Some(dropout) if dropout != 0.0 => Err(format!(
            "dropout {dropout}, by which tokens would be random"
        )),
        _ => Ok(()),
    }
}

/// All objects with a type in a part of the file, those of sequences included.
fn steps_of<'a>(value: &'a Value, steps: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("type") {
                steps.push(fields);
            }
            fields.values().for_each(|value| steps_of(value, steps));
        }
        Value::Array(values) => values.iter().for_each(|value| steps_of(value, steps)),
        _ => {}
    }
}

fn text<'a>(step: &'a Map<String, Value>, name: &str) -> &'a str {
    step.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// How many times as long a step makes a text, at most.
fn growth_of(step: &Map<String, Value>) -> usize {
    match text(step, "type") {
        "Replace" => {
            let content = text(step, "content").len();
            let pattern = step
                .get("pattern")
                .and_then(|pattern| pattern.get("String"));
            match pattern.and_then(Value::as_str).map(str::len) {
                Some(length) if length > 0 => content.div_ceil(length).max(1),
                // A regular expression may match between any two letters.
                _ => content + 1,
            }
        }
        "Prepend" => 1 + text(step, "prepend").len() / 16,
        _ => 1,
    }
}

fn check_step(step: &Map<String, Value>) -> Result<(), String> {
    match text(step, "type") {
        "FixedLength" if step.get("length").and_then(Value::as_u64) == Some(0) => {
            Err("pieces of the length 0".to_owned())
        }
        "Precompiled" => {
            let map = text(step, "precompiled_charsmap");
            let bytes = map.trim_end_matches('=').len() * 3 / 4;
            let size = first_number(map).map(|size| size as usize);
            match size {
                Some(size) if size.is_multiple_of(4) && size + 4 <= bytes => Ok(()),
                _ => Err("a map of characters that is not as long as it says".to_owned()),
            }
        }
        _ => Ok(()),
    }
}

/// The first four bytes, little-endian, of a text in base 64.
fn first_number(text: &str) -> Option<u32> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0_u64;
    for letter in text.as_bytes().get(..6)? {
        let value = LETTERS.iter().position(|known| known == letter)?;
        bits = bits << 6 | value as u64;
    }
    // 36 bits, the first 32 of which are the bytes.
    Some(((bits >> 4) as u32).swap_bytes())
}

/// A template may set the same long list of tokens many times.
fn check_frame(post_processor: &Value) -> Result<(), String> {
    let mut steps = Vec::new();
    steps_of(post_processor, &mut steps);
    for step in steps {
        let special = step.get("special_tokens");
        for form in ["single", "pair"] {
            let pieces = step.get(form).and_then(Value::as_array);
            let length = |piece: &Value| {
                let id = piece.get("SpecialToken")?.get("id")?.as_str()?;
                Some(special?.get(id)?.get("ids")?.as_array()?.len())
            };
            let pieces = pieces.into_iter().flatten();
            let tokens = pieces.fold(0_usize, |sum, piece| {
                sum.saturating_add(length(piece).unwrap_or(1))
            });
            if tokens > MOST_SPECIAL {
                return Err(format!("{tokens} special tokens around a text"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_sentences() {
        let sentence = fenced::<()>(|| panic!("lost")).expect_err("panics");
        assert!(sentence.contains("(lost)"), "{sentence}");
        assert_eq!(fenced(|| Ok(3)), Ok(3));
        assert!(fenced::<()>(|| Err("no".into())).is_err());
    }

    #[test]
    fn long_words_are_refused_and_long_texts_cut() {
        let word = "x".repeat(LONGEST_WORD);
        check_words(&word).expect("just short enough");
        check_words(&format!("{word} {word}")).expect("two");
        assert!(check_words(&format!("a {word}xx")).is_err());
        assert!(check_words(&" ".repeat(LONGEST_WORD + 2)).is_err());
        let text = "word ".repeat(100_000);
        let cut = beginning(&text, 100);
        assert!(cut.len() < 1 << 15 && cut.ends_with(' '));
        assert!(cut.split_whitespace().count() > 400);
        assert_eq!(beginning("a b", 0), "a b");
    }

    #[test]
    fn numbers_in_base_64_are_read() {
        // The bytes 1, 2, 3, 4, 5, 6.
        assert_eq!(first_number("AQIDBAUG"), Some(0x0403_0201));
        assert_eq!(first_number("AQ"), None);
        assert_eq!(first_number("????????"), None);
    }

    #[test]
    fn files_that_would_take_all_memory_are_refused() {
        let replace = |content: &str| {
            format!(
                r#"{{"type": "Replace", "pattern": {{"String": "a"}}, "content": "{content}"}}"#
            )
        };
        let many = vec![replace("aaaaaaaaaa"); 10].join(", ");
        let special = format!(r#"{{"x": {{"id": "x", "ids": [{}0]}}}}"#, "0, ".repeat(100));
        let piece = r#"{"SpecialToken": {"id": "x", "type_id": 0}}"#;
        for (part, found) in [
            (
                r#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAAAAAAAAAAAAAA="}"#.to_owned(),
                "map of characters",
            ),
            (format!(r#""normalizer": {{"type": "Sequence", "normalizers": [{many}]}}"#), "times as long"),
            (format!(r#""decoder": {}"#, replace(&"b".repeat(100))), "in decoder steps"),
            (r#""pre_tokenizer": {"type": "FixedLength", "length": 0}"#.to_owned(), "length 0"),
            (
                format!(
                    r#""post_processor": {{"type": "TemplateProcessing", "single": [{}], "special_tokens": {special}}}"#,
                    vec![piece; 20].join(", ")
                ),
                "2020 special tokens",
            ),
            (r#""model": {"max_input_chars_per_word": 1000000000}"#.to_owned(), "max_input"),
            (r#""model": {"dropout": 0.5}"#.to_owned(), "random"),
            (r#""model": {}, "model": {}"#.to_owned(), "twice"),
        ] {
            let error = check(format!("{{{part}}}").as_bytes()).expect_err(&part);
            assert!(error.contains(found), "{error}");
        }
        let usual = format!(
            r#"{{"normalizer": {}, "model": {{"dropout": null}}}}"#,
            replace("aaa")
        );
        check(usual.as_bytes()).expect("as published files have it");
    }
}
