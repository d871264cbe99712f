//! From texts to texts, with strings that stop.

use std::ops::ControlFlow;

use super::{GenerateConfig, generate};
use crate::Number;
use crate::model::{Adapters, Model};
use crate::parameters::Parameters;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Settings of [`generate_texts`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextConfig {
    /// How token ids are continued.
    pub tokens: GenerateConfig,
    /// Strings that end a text; they do not become part of it.
    pub stop_strings: Vec<String>,
}

/// Continues every prompt and returns what was added to each; of a model with an
/// encoder, which reads the prompt and its end token `</s>` there, the answers.
///
/// `on_text` is called with the number of the prompt and the next piece of its
/// continuation as soon as it is certain: not in the middle of a character, and
/// not what may become a stop string. The pieces add up to what is returned.
///
/// # Errors
/// As [`generate`]; also if a stop string is empty, or the tokenizer cannot make
/// text of the tokens.
pub fn generate_texts<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    tokenizer: &Tokenizer,
    prompts: &[impl AsRef<str>],
    config: &TextConfig,
    on_text: &mut dyn FnMut(usize, &str),
) -> Result<Vec<String>> {
    let has_encoder = model.start_token().is_some();
    let end = tokenizer.id("</s>").filter(|_| has_encoder);
    let encode = |prompt: &_| {
        let ids = tokenizer.encode(AsRef::<str>::as_ref(prompt))?;
        Ok(ids.into_iter().chain(end).collect())
    };
    let prompts: Vec<Vec<usize>> = prompts.iter().map(encode).collect::<Result<_>>()?;
    continue_ids(
        model, parameters, adapters, tokenizer, &prompts, config, on_text,
    )
}

/// [`generate_texts`] of prompts that are token ids already, as of a conversation.
///
/// # Errors
/// As [`generate_texts`].
pub fn continue_ids<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    tokenizer: &Tokenizer,
    prompts: &[Vec<usize>],
    config: &TextConfig,
    on_text: &mut dyn FnMut(usize, &str),
) -> Result<Vec<String>> {
    if config.stop_strings.iter().any(String::is_empty) {
        return Err(Error::config("stop_strings", "texts", "an empty one"));
    }
    let has_encoder = model.start_token().is_some();
    let new = |ids: &Vec<usize>| {
        let before = if has_encoder { &[][..] } else { ids };
        Continuation::new(before, tokenizer, &config.stop_strings)
    };
    let mut texts: Vec<Continuation<'_>> = prompts.iter().map(new).collect::<Result<_>>()?;
    let mut give = |prompt: usize, news: &str| {
        if !news.is_empty() {
            on_text(prompt, news);
        }
    };
    let mut failed = None;
    let mut on_token = |prompt: usize, token: usize| match texts[prompt].push(token) {
        Ok(flow) => {
            give(prompt, texts[prompt].news(false));
            flow
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    let tokens = &config.tokens;
    generate(model, parameters, adapters, prompts, tokens, &mut on_token)?;
    if let Some(error) = failed {
        return Err(error);
    }
    for (prompt, text) in texts.iter_mut().enumerate() {
        give(prompt, text.news(true));
    }
    Ok(texts.into_iter().map(|continued| continued.text).collect())
}

/// The text that follows a prompt, token by token.
///
/// What is given out adds up to the text, unless the tokenizer's decoder writes anew
/// what it has written, as some do with bytes that are no character: that is given out
/// as it was, and the text is as it is in the end.
pub struct Continuation<'a> {
    tokenizer: &'a Tokenizer,
    stop_strings: &'a [String],
    /// Those of the prompt and all that follow: some tokenizers make another
    /// text of a token that has none before it.
    ids: Vec<usize>,
    /// Length of the prompt's text, in bytes.
    prompt: usize,
    text: String,
    /// How much of the text was given out, in bytes.
    given: usize,
}

impl<'a> Continuation<'a> {
    /// Nothing, after a prompt of these ids.
    ///
    /// # Errors
    /// If the tokenizer cannot make text of them.
    pub fn new(
        ids: &[usize],
        tokenizer: &'a Tokenizer,
        stop_strings: &'a [String],
    ) -> Result<Self> {
        Ok(Continuation {
            tokenizer,
            stop_strings,
            ids: ids.to_vec(),
            prompt: tokenizer.decode(ids)?.len(),
            text: String::new(),
            given: 0,
        })
    }

    /// Adds a token; breaks, and cuts the text, at a stop string.
    ///
    /// # Errors
    /// If the tokenizer cannot make text of the tokens.
    pub fn push(&mut self, id: usize) -> Result<ControlFlow<()>> {
        self.ids.push(id);
        let whole = self.tokenizer.decode(&self.ids)?;
        // A decoder may write the prompt's own text another way now.
        self.text = whole[boundary(&whole, self.prompt)..].to_owned();
        let stops = self.stop_strings.iter();
        let Some(stop) = stops.filter_map(|stop| self.text.find(stop)).min() else {
            return Ok(ControlFlow::Continue(()));
        };
        self.text.truncate(stop);
        Ok(ControlFlow::Break(()))
    }

    /// The part of the text that is certain and was not given out yet; at the
    /// end all of it.
    pub fn news(&mut self, ended: bool) -> &str {
        let certain = if ended {
            self.text.len()
        } else {
            self.text.len() - self.uncertain()
        };
        let from = boundary(&self.text, self.given.min(certain));
        self.given = self.given.max(certain);
        self.text.get(from..certain).unwrap_or_default()
    }

    /// All of the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes at the end that are an unfinished character or may be the
    /// beginning of a stop string.
    fn uncertain(&self) -> usize {
        let finished = self.text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let begins = |from: &usize| {
            let end = &finished[*from..];
            self.stop_strings.iter().any(|stop| stop.starts_with(end))
        };
        let mut starts = finished.char_indices().map(|(from, _)| from);
        let certain = starts.find(begins).unwrap_or(finished.len());
        self.text.len() - certain
    }
}

/// The first place from `at` on that is not within a character, or the end.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(text.len())
}
