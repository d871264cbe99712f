//! Conversations, as a model reads them.
//!
//! A model's chat template, in the language Jinja, makes one text of the turns of a
//! conversation. The text's token ids are what the model reads, in training as in use.

mod source;
mod template;
mod turns;

use serde_json::{Map, Value};

pub use source::BUILT_IN;
pub(crate) use source::{FILE, Said, of_folder};
pub use template::ChatTemplate;
pub use turns::EncodedChat;

use crate::tokenizer::Tokenizer;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What is said beforehand.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name in data and templates.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Message { role, content }
    }
}

/// The turns of a JSON value: a list of objects with `role` and `content`.
///
/// # Errors
/// What was expected and what was found, if there is no turn, or one has another role
/// than system, user and assistant, a content that is not a text, or another field.
pub fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        return Err("expected a list of messages, found none".to_owned());
    };
    let turn = |(index, value): (usize, &Value)| {
        message(value).map_err(|problem| format!("message {}: {problem}", index + 1))
    };
    list.iter().enumerate().map(turn).collect()
}

fn message(value: &Value) -> Result<Message, String> {
    let Value::Object(fields) = value else {
        return Err("expected an object with role and content".to_owned());
    };
    let role = match text(fields, "role")? {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => {
            return Err("role: expected no turn of a tool, which is not supported".to_owned());
        }
        other => {
            let expected = "system, user or assistant";
            return Err(format!("role: expected {expected}, found {other:?}"));
        }
    };
    let said = |value: &Value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty));
    let mut others = fields
        .iter()
        .filter(|(name, value)| !["role", "content"].contains(&name.as_str()) && said(value));
    if let Some((name, _)) = others.next() {
        return Err(format!(
            "{name}: expected role and content alone, found this too"
        ));
    }
    Ok(Message::new(role, text(fields, "content")?))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    let value = fields.get(name).and_then(Value::as_str);
    value.ok_or_else(|| {
        let found = fields.get(name).map_or("nothing", |value| match value {
            Value::Array(_) => "a list, as of texts and images",
            Value::Null => "null",
            _ => "another value",
        });
        format!("{name}: expected a text, found {found}")
    })
}

impl ChatTemplate {
    /// The template that is named, by a built-in name or the path of a file, or else the
    /// one of the model that the tokenizer belongs to.
    ///
    /// # Errors
    /// If a file cannot be read or is no template; or if neither is there, with a
    /// sentence that says how to name one.
    pub fn choose(tokenizer: &Tokenizer, named: Option<&str>) -> crate::Result<Self> {
        source::choose(tokenizer.said_of_chats(), named)
    }
}
