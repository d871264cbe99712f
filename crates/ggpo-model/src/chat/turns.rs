//! What the assistant says in a conversation: which bytes of the text, which tokens.
//!
//! A template that has the blocks `generation` says it itself. With another, the text is
//! made a second time with marks around the contents of the assistant's messages; both
//! texts must be equal but for the marks. A turn begins where the assistant was asked to
//! speak, that is, after what `add_generation_prompt` adds to a text, so that what the
//! template sets before a content, as an empty thought, belongs to the turn. It ends with
//! the special token after the content, which a model has to learn to say.

use std::ops::Range;

use super::template::{MARKS, Marked};
use super::{ChatTemplate, Message, Role};
use crate::tokenizer::Tokenizer;

/// A conversation as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChat {
    /// The text that the template makes.
    pub text: String,
    /// Its token ids.
    pub ids: Vec<usize>,
    /// The bytes of the text that each token stands for.
    pub bytes: Vec<Range<usize>>,
    /// Which tokens are learnt: those that the assistant says, or all.
    pub learnt: Vec<bool>,
}

impl ChatTemplate {
    /// The token ids of a conversation that the assistant is to go on with.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<Vec<usize>, String> {
        refuse_special(tokenizer, messages)?;
        let text = self.render(messages, true)?;
        Ok(tokenizer.encode_with_special(&text).0)
    }

    /// A whole conversation as token ids, with what the assistant says in it marked, or
    /// with `all` everything.
    ///
    /// # Errors
    /// What the template says against the conversation; or that a message holds a special
    /// token; or that the template does not show where the assistant speaks.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        all: bool,
    ) -> Result<EncodedChat, String> {
        refuse_special(tokenizer, messages)?;
        let (text, turns) = match all {
            true => (self.render(messages, false)?, Vec::new()),
            false => self.turns(messages)?,
        };
        let (ids, bytes) = tokenizer.encode_with_special(&text);
        let mut learnt = vec![all; ids.len()];
        for turn in turns {
            let tokens = tokens_of(&bytes, &turn);
            let end = tokens.end;
            learnt[tokens].fill(true);
            // A template that marks turns marks their end, too.
            if !self.marks_turns() && ids.get(end).is_some_and(|id| tokenizer.is_special(*id)) {
                learnt[end] = true;
            }
        }
        Ok(EncodedChat {
            text,
            ids,
            bytes,
            learnt,
        })
    }

    /// What the template sets after what the assistant says, without white space around
    /// it; none if there is nothing, or the template refuses a question and an answer.
    pub fn end_of_turn(&self) -> Option<String> {
        let turns = [
            Message::new(Role::User, "a"),
            Message::new(Role::Assistant, "b"),
        ];
        let text = self
            .render_marked(&turns, false, Marked::Contents(|content| content))
            .ok()?;
        let (_, after) = text.split_once(MARKS[1])?;
        let end = after.replace(MARKS, "").trim().to_owned();
        (!end.is_empty()).then_some(end)
    }

    /// The text of a conversation, and the bytes in it that the assistant says.
    fn turns(&self, messages: &[Message]) -> Result<(String, Vec<Range<usize>>), String> {
        if self.marks_turns() {
            let (text, [starts, ends]) =
                taken_out(&self.render_marked(messages, false, Marked::Blocks)?);
            let turns = starts.into_iter().zip(ends).map(|(start, end)| start..end);
            return Ok((text, turns.collect()));
        }
        let text = self.render(messages, false)?;
        if messages
            .iter()
            .all(|message| message.role != Role::Assistant)
        {
            return Ok((text, Vec::new()));
        }
        let marked = PARTS.iter().find_map(|part| {
            let marked = self.render_marked(messages, false, Marked::Contents(*part));
            let (same, turns) = taken_out(&marked.ok()?);
            (same == text).then_some(turns)
        });
        let [starts, ends] = marked.ok_or(NO_TURNS)?;
        let asked = self.question(messages);
        let mut turns: Vec<Range<usize>> = Vec::new();
        for (turn, &end) in ends.iter().enumerate() {
            let last = turns.last().map_or(0, |turn| turn.end);
            let question = text.get(last..end).filter(|_| !asked.is_empty());
            let start = match question.and_then(|before| before.rfind(&asked)) {
                Some(at) => last + at + asked.len(),
                None if starts.len() == ends.len() => starts[turn],
                None => return Err(NO_TURNS.to_owned()),
            };
            turns.push(start..end);
        }
        match turns.is_empty() {
            false => Ok((text, turns)),
            true => Err(NO_TURNS.to_owned()),
        }
    }

    /// What `add_generation_prompt` adds to the text of the first messages; nothing if
    /// that cannot be told.
    fn question(&self, messages: &[Message]) -> String {
        let before = messages
            .iter()
            .take_while(|message| message.role != Role::Assistant)
            .cloned()
            .collect::<Vec<Message>>();
        let [without, with] = [false, true].map(|ask| self.render(&before, ask));
        match (without, with) {
            (Ok(without), Ok(with)) => with.strip_prefix(&without).unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }
}

/// What can be marked of a content: a template may take white space away at its beginning,
/// its end or both, and would leave it between marks.
const PARTS: [fn(&str) -> &str; 4] = [|content| content, str::trim_start, str::trim_end, str::trim];

/// Where a template does not show who speaks.
const NO_TURNS: &str = "expected a chat template that shows where the assistant speaks, found \
                        another; set {% generation %} and {% endgeneration %} around it, or train \
                        on all tokens with --train-on all";

/// A text without its marks, and where these stood.
fn taken_out(marked: &str) -> (String, [Vec<usize>; 2]) {
    let mut text = String::with_capacity(marked.len());
    let mut places = [Vec::new(), Vec::new()];
    for letter in marked.chars() {
        match MARKS.iter().position(|mark| *mark == letter) {
            Some(mark) => places[mark].push(text.len()),
            None => text.push(letter),
        }
    }
    (text, places)
}

/// The tokens, each of some bytes, that share bytes with `turn`; of an empty turn, the
/// empty place.
fn tokens_of(bytes: &[Range<usize>], turn: &Range<usize>) -> Range<usize> {
    let start = bytes.partition_point(|token| token.end <= turn.start);
    let end = bytes.partition_point(|token| token.start < turn.end);
    start..end.max(start)
}

/// Refuses messages with the text of a special token in them: it would become the token.
fn refuse_special(tokenizer: &Tokenizer, messages: &[Message]) -> Result<(), String> {
    for (index, message) in messages.iter().enumerate() {
        if let Some(token) = tokenizer.special_in(&message.content) {
            let turn = index + 1;
            return Err(format!(
                "message {turn}: expected text, found the special token {token:?} in it"
            ));
        }
    }
    Ok(())
}
