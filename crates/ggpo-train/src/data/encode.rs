//! Rows of a table as token ids, as every kind of task wants them.

use ggpo_model::chat::{self, ChatTemplate, EncodedChat, Message, Role};
use ggpo_model::tokenizer::{Tokenizer, longest_first};

use super::collate::{Answer, Example};
use super::config::{TaskConfig, TaskKind, TrainOn};
use super::table::Row;
use crate::Error;

type Result<T, E = Error> = std::result::Result<T, E>;

/// From rows to token ids, as a task wants them.
pub struct Encoder<'a> {
    task: &'a TaskConfig,
    tokenizer: &'a Tokenizer,
    /// The token after the last; only where texts are written.
    end: usize,
    /// What makes text of conversations; only of chats.
    chat: Option<ChatTemplate>,
}

impl<'a> Encoder<'a> {
    /// Looks up what the task needs.
    ///
    /// # Errors
    /// If the longest sequence has no room for the special tokens and one token
    /// of each text, or a text is to be written whose end has no token, or there is no
    /// chat template for chats.
    pub fn new(task: &'a TaskConfig, tokenizer: &'a Tokenizer) -> Result<Self> {
        let least = match task.kind {
            TaskKind::Completion => tokenizer.prefix().len() + 2,
            TaskKind::TextToText => tokenizer.frame_length(false) + 1,
            TaskKind::Chat => 2,
            _ => tokenizer.frame_length(task.is_pair()) + 1 + usize::from(task.is_pair()),
        };
        if task.max_length < least {
            let expected = format!("at least {least}, the special tokens and one of each text");
            return Err(Error::config("task.max_length", expected, task.max_length));
        }
        let end = tokenizer.end_of_text();
        // A chat template ends texts itself.
        let is_chat = task.kind == TaskKind::Chat;
        if task.kind.writes() && !is_chat && end.is_none() {
            let expected = "eos_token_id in the model's config.json, as texts have to end";
            return Err(Error::config("tokenizer", expected, "none"));
        }
        let end = end.unwrap_or(0);
        let named = task.chat_template.as_deref();
        let chat = is_chat.then(|| ChatTemplate::choose(tokenizer, named));
        Ok(Encoder {
            task,
            tokenizer,
            end,
            chat: chat.transpose()?,
        })
    }

    /// A row as an example, and whether it had to be cut.
    ///
    /// # Errors
    /// Why a text cannot be encoded, or a conversation not be used.
    pub(super) fn example(&self, row: &Row, answer: Answer) -> Result<(Example, bool), String> {
        match &self.chat {
            Some(chat) => self.conversation(chat, row, answer),
            None => {
                let example = self.texts(row, answer);
                example.map_err(|error| error.to_string())
            }
        }
    }

    /// The texts of a row as an example.
    fn texts(&self, row: &Row, answer: Answer) -> Result<(Example, bool)> {
        let max_length = self.task.max_length;
        match (self.task.kind, &row.label) {
            (TaskKind::Completion, Some(completion)) => self.completion(row, completion),
            (TaskKind::Completion, None) => {
                let (ids, truncated) = self.prompt(&row.text, row.pair.as_deref(), max_length)?;
                Ok((Example::new(ids, answer), truncated))
            }
            (TaskKind::TextToText, target) => {
                let text = self.task.fill_template(&row.text, row.pair.as_deref());
                let source = self.tokenizer.encode_framed(&text, None, max_length)?;
                let mut example = Example::new(source.ids, answer);
                let mut truncated = source.truncated;
                if let Some(target) = target {
                    let mut ids = self.tokenizer.encode(target)?;
                    truncated |= ids.len() >= max_length;
                    ids.truncate(max_length - 1);
                    ids.push(self.end);
                    example.answer = Answer::Sequence(ids);
                }
                Ok((example, truncated))
            }
            _ => {
                let pair = row.pair.as_deref();
                let encoded = self.tokenizer.encode_framed(&row.text, pair, max_length)?;
                let example = Example {
                    ids: encoded.ids,
                    token_types: encoded.token_types,
                    answer,
                };
                Ok((example, encoded.truncated))
            }
        }
    }

    /// A conversation with its answer, of which the assistant's tokens are to be
    /// predicted, or all; or without, as the question for one. A conversation that is too
    /// long loses its end, a question must not lose any.
    fn conversation(
        &self,
        chat: &ChatTemplate,
        row: &Row,
        answer: Answer,
    ) -> Result<(Example, bool), String> {
        let max_length = self.task.max_length;
        let mut messages = messages_of(row);
        let Some(last) = &row.label else {
            let ids = chat.prompt(self.tokenizer, &messages)?;
            return match ids.len() {
                length if length > max_length => Err(format!(
                    "expected a conversation of at most {max_length} tokens, found {length}"
                )),
                _ => Ok((Example::new(ids, answer), false)),
            };
        };
        messages.push(Message::new(Role::Assistant, last));
        let EncodedChat {
            mut ids,
            mut learnt,
            ..
        } = chat.encode(
            self.tokenizer,
            &messages,
            self.task.train_on == TrainOn::All,
        )?;
        let truncated = ids.len() > max_length;
        ids.truncate(max_length);
        learnt.truncate(max_length);
        if !learnt.iter().skip(1).any(|marked| *marked) {
            return Err(format!(
                "expected tokens to learn among the first {max_length}, found none"
            ));
        }
        Ok((Example::new(ids, Answer::Marked(learnt)), truncated))
    }

    /// Ids of a prompt as a completion is trained after it: the special tokens
    /// that the tokenizer's post-processor sets before a text, then the text in the task's template; and whether its
    /// beginning had to be cut off, for at most `room` ids in all.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn prompt(
        &self,
        text: &str,
        pair: Option<&str>,
        room: usize,
    ) -> Result<(Vec<usize>, bool)> {
        let prefix = self.tokenizer.prefix();
        let ids = self
            .tokenizer
            .encode(&self.task.fill_template(text, pair))?;
        let kept = ids.len().min(room.saturating_sub(prefix.len()));
        let end = &ids[ids.len() - kept..];
        Ok(([prefix, end].concat(), kept < ids.len()))
    }

    /// A prompt, and the completion that is to be predicted after it.
    ///
    /// Both are tokenised apart, so that no token spans the boundary and the
    /// prompt's ids are those that a completion is asked for with. If they are
    /// too long together, tokens go by [`longest_first`]: those of the prompt at
    /// its beginning, those of the completion at its end, which then lacks the
    /// end-of-text token, since the text did not end there.
    fn completion(&self, row: &Row, completion: &str) -> Result<(Example, bool)> {
        let (prompt, _) = self.prompt(&row.text, row.pair.as_deref(), usize::MAX)?;
        let mut completion = self.tokenizer.encode(completion)?;
        completion.push(self.end);
        let prefix = self.tokenizer.prefix();
        let prompt = &prompt[prefix.len()..];
        let lengths = [prompt.len(), completion.len()];
        let kept = longest_first(lengths, self.task.max_length - prefix.len());
        completion.truncate(kept[1]);
        let ids = [prefix, &prompt[prompt.len() - kept[0]..], &completion].concat();
        let from = ids.len() - completion.len();
        Ok((Example::new(ids, Answer::Tokens { from }), kept != lengths))
    }
}

/// The messages of a row, its answer left out.
pub(super) fn messages_of(row: &Row) -> Vec<Message> {
    let list = serde_json::from_str(&row.text).unwrap_or_default();
    // Those of a conversation that is nothing but an answer.
    chat::messages(&list).unwrap_or_default()
}
