//! Special tokens: which there are, and how they stand around texts.

use std::path::Path;

use serde_json::Value;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding, PostProcessor};

use super::Tokenizer;
use super::fence::{beginning, fenced};
use crate::{Error, Result};

/// Ids of special tokens that a model's description names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// What short sequences are padded with.
    pub padding: Option<usize>,
    /// What comes after the last token of a text.
    pub end_of_text: Option<usize>,
    /// What the decoder of an encoder-decoder reads first.
    pub decoder_start: Option<usize>,
}

impl SpecialIds {
    /// Reads `pad_token_id`, `eos_token_id` (the first, if there are several)
    /// and `decoder_start_token_id` of a `config.json`; none of a file that is
    /// not there. Numbers that are no ids, such as -1, count as none.
    ///
    /// # Errors
    /// If the file cannot be read or is not JSON.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = match ggpo_files::read(path, ggpo_files::read::DESCRIPTION) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(SpecialIds::default());
            }
            read => read.map_err(|source| Error::io(path, source))?,
        };
        let config: Value = ggpo_files::json::from_slice(&bytes)
            .map_err(|error| Error::file(path, format!("expected JSON, found {error}")))?;
        let id = |field: &str| {
            let value = &config[field];
            let value = value.get(0).unwrap_or(value);
            value.as_u64().map(|id| id as usize)
        };
        Ok(SpecialIds {
            padding: id("pad_token_id"),
            end_of_text: id("eos_token_id"),
            decoder_start: id("decoder_start_token_id"),
        })
    }
}

/// How special tokens stand around texts.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// `[CLS]` and `[SEP]`, where the tokenizer has no post-processor.
    by_name: Option<[Option<usize>; 2]>,
    /// Special tokens around one text, and around two.
    lengths: [usize; 2],
    /// Whether one of them stands between two texts.
    separated: bool,
    /// Those that a post-processor sets before a text.
    prefix: Vec<usize>,
    /// The largest id around a text or between two.
    largest: Option<usize>,
}

impl Frame {
    /// Finds out by framing a text and a pair of texts.
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        let probe = || inner.encode_fast("a", false);
        let Some(processor) = inner.get_post_processor() else {
            let id = |token| inner.token_to_id(token).map(|id| id as usize);
            let [start, end] = [id("[CLS]"), id("[SEP]")];
            let count = |ids: &[Option<usize>]| ids.iter().flatten().count();
            return Ok(Frame {
                by_name: Some([start, end]),
                lengths: [count(&[start, end]), count(&[start, end, end])],
                separated: end.is_some(),
                prefix: Vec::new(),
                largest: start.max(end),
            });
        };
        let one = inner.post_process(probe()?, None, true)?;
        let two = inner.post_process(probe()?, Some(probe()?), true)?;
        let special = |encoding: &Encoding| -> Vec<bool> {
            let mask = encoding.get_special_tokens_mask().iter();
            mask.map(|&special| special == 1).collect()
        };
        let ids = one.get_ids().iter().chain(two.get_ids());
        let largest = ids.max().map(|&id| id as usize);
        let before = special(&one).iter().take_while(|special| **special).count();
        // From the first token of the first text to the last of the second.
        let two = special(&two);
        let texts = two.iter().position(|special| !special).unwrap_or(0)
            ..two
                .iter()
                .rposition(|special| !special)
                .map_or(0, |last| last + 1);
        Ok(Frame {
            by_name: None,
            lengths: [processor.added_tokens(false), processor.added_tokens(true)],
            separated: two.get(texts).is_some_and(|texts| texts.contains(&true)),
            prefix: one.get_ids()[..before]
                .iter()
                .map(|&id| id as usize)
                .collect(),
            largest,
        })
    }

    /// The largest id around a text or between two.
    pub(super) fn largest_id(&self) -> Option<usize> {
        self.largest
    }
}

/// A tokenised text or pair of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, special tokens included.
    pub ids: Vec<usize>,
    /// Segment of every token; empty if all are of the first.
    pub token_types: Vec<usize>,
    /// Whether a text had to be cut.
    pub truncated: bool,
}

impl Tokenizer {
    /// Special tokens around a text, or around a pair of texts.
    pub fn frame_length(&self, pair: bool) -> usize {
        self.frame.lengths[usize::from(pair)]
    }

    /// Special tokens before a text that is to be continued: those of the
    /// post-processor, as language models are trained with; none without one.
    pub fn prefix(&self) -> &[usize] {
        &self.frame.prefix
    }

    /// Ids of a text or a pair of texts between special tokens, cut to
    /// `max_length` ids in all by [`longest_first`]. The special tokens are kept
    /// even if `max_length` has no room for them.
    ///
    /// The two texts of a pair have a line break between them where the
    /// tokenizer has no special token to put there.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_framed(
        &self,
        text: &str,
        pair: Option<&str>,
        max_length: usize,
    ) -> Result<Encoded> {
        let encode = |text: &str| self.encoding(beginning(text, max_length));
        let first = encode(text)?;
        let second = pair.map(|pair| match self.frame.separated {
            true => encode(pair),
            false => encode(&format!("\n{pair}")),
        });
        let second = second.transpose()?;
        let room = max_length.saturating_sub(self.frame_length(pair.is_some()));
        let lengths = [first.len(), second.as_ref().map_or(0, Encoding::len)];
        let kept = longest_first(lengths, room);
        let first = cut(first, kept[0]);
        let second = second.map(|second| cut(second, kept[1]));
        let (ids, token_types) = match self.frame.by_name {
            Some(frame) => framed_by_name(frame, &first, second.as_ref()),
            None => {
                let framed = fenced(|| self.inner.post_process(first, second, true));
                let framed = framed.map_err(|problem| {
                    Error::config("text", "one that the post-processor can frame", problem)
                })?;
                (numbers(framed.get_ids()), numbers(framed.get_type_ids()))
            }
        };
        Ok(Encoded {
            ids,
            token_types: match token_types.iter().all(|&segment| segment == 0) {
                true => Vec::new(),
                false => token_types,
            },
            truncated: kept != lengths,
        })
    }
}

/// BERT's frame, and its segments: the first is of 0, the second of 1.
fn framed_by_name(
    [start, end]: [Option<usize>; 2],
    first: &Encoding,
    second: Option<&Encoding>,
) -> (Vec<usize>, Vec<usize>) {
    let mut ids: Vec<usize> = start.into_iter().collect();
    ids.extend(numbers(first.get_ids()));
    ids.extend(end);
    let mut token_types = vec![0; ids.len()];
    if let Some(second) = second {
        ids.extend(numbers(second.get_ids()));
        ids.extend(end);
        token_types.resize(ids.len(), 1);
    }
    (ids, token_types)
}

fn numbers(ids: &[u32]) -> Vec<usize> {
    ids.iter().map(|&id| id as usize).collect()
}

/// The first tokens; what is cut off is forgotten.
fn cut(mut encoding: Encoding, length: usize) -> Encoding {
    encoding.truncate(length, 0, TruncationDirection::Right);
    encoding.take_overflowing();
    encoding
}

/// How much of two sequences is kept so that they fit into `room` together:
/// tokens are taken off the longer one, and of two equally long off the second,
/// until they do, as BERT's authors have it.
pub fn longest_first([first, second]: [usize; 2], room: usize) -> [usize; 2] {
    if first + second <= room {
        return [first, second];
    }
    let second = second.min((room / 2).max(room.saturating_sub(first)));
    [first.min(room - second), second]
}

#[cfg(test)]
mod tests;
