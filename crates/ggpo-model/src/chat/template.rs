//! A chat template: from turns to one text.
//!
//! What a template may ask for is what Transformers gives it: `messages`,
//! `add_generation_prompt`, `bos_token`, `eos_token`, `tools` and `documents` (none),
//! `raise_exception`, the methods of Python's texts, lists and dictionaries, and the
//! blocks `generation` and `endgeneration` around what the assistant says. The day is not
//! among them: the text of a conversation depends on the conversation alone. Published
//! templates have a fixed day where there is none.
//!
//! A template is a small program that somebody else has written, so it is stopped after
//! some number of instructions, calls and characters. What it asks for in between, as by
//! doubling a text again and again, is not bounded.

use std::io::Write;
use std::sync::LazyLock;

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;

use super::{Message, Role};

/// Noncharacters that stand, while a text is made, where the assistant begins and ends.
pub(super) const MARKS: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];

/// Most bytes of a template; published ones have a tenth.
pub(super) const TEMPLATE: u64 = 1 << 16;
/// Instructions for a conversation, and for each of its messages, up to a most; published
/// templates take some hundred for a message.
const INSTRUCTIONS: [u64; 3] = [1 << 18, 1 << 12, 1 << 20];
/// Bytes of the stack that templates are read and carried out on: they may nest signs as
/// deep as they are long, and values as deep as there are instructions.
const STACK: usize = 1 << 28;
/// Calls within calls.
const CALLS: usize = 100;
/// Bytes of a text beside what is in the messages, and times that.
const LONGEST: [usize; 2] = [1 << 24, 16];

/// The name under which the environment knows the template.
const NAME: &str = "chat template";

/// The tags of the block `generation`, with the signs that take white space away.
static TAGS: LazyLock<Regex> = LazyLock::new(|| {
    let tag = r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}";
    Regex::new(tag).expect("a regular expression")
});

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Whether the template itself says what the assistant says.
    marks_turns: bool,
}

/// What marks are made around.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marked {
    /// Nothing.
    None,
    /// The blocks `generation` of the template.
    Blocks,
    /// This part of the contents of the assistant's messages.
    Contents(fn(&str) -> &str),
}

impl ChatTemplate {
    /// A template from its source; `bos` and `eos` are the model's tokens before and
    /// after a text.
    ///
    /// # Errors
    /// What was expected and what was found, if it is no template.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, String> {
        if source.len() as u64 > TEMPLATE {
            let most = TEMPLATE;
            return Err(format!(
                "expected a chat template of at most {most} bytes, found a longer one"
            ));
        }
        on_large_stack(|| Self::read(source, bos, eos))?
    }

    fn read(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_recursion_limit(CALLS);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function("generation", generation);
        let marks_turns = TAGS.is_match(source);
        // A block that is called with what stands in it, which Jinja has.
        let source = TAGS.replace_all(source, |tag: &regex::Captures<'_>| match tag.get(2) {
            None => format!("{{%{} call generation() {}%}}", &tag[1], &tag[3]),
            Some(_) => format!("{{%{} endcall {}%}}", &tag[1], &tag[3]),
        });
        environment
            .add_template_owned(NAME, source.into_owned())
            .map_err(|error| format!("expected a chat template, found {}", said(&error)))?;
        Ok(ChatTemplate {
            environment,
            bos: bos.unwrap_or_default().to_owned(),
            eos: eos.unwrap_or_default().to_owned(),
            marks_turns,
        })
    }

    /// Whether the template says by its blocks `generation` what the assistant says.
    pub fn marks_turns(&self) -> bool {
        self.marks_turns
    }

    /// The text of a conversation; with `ask`, up to where the assistant is to speak.
    ///
    /// # Errors
    /// What the template says against the conversation.
    pub fn render(&self, messages: &[Message], ask: bool) -> Result<String, String> {
        let marked = self.render_marked(messages, ask, Marked::None)?;
        Ok(marked.replace(MARKS, ""))
    }

    /// The text with marks around what is marked. The blocks of a template that has them
    /// are marked in any case.
    pub(super) fn render_marked(
        &self,
        messages: &[Message],
        ask: bool,
        marked: Marked,
    ) -> Result<String, String> {
        if let Some(turn) = messages.iter().position(|it| it.content.contains(MARKS)) {
            let turn = turn + 1;
            return Err(format!(
                "message {turn}: expected text, found the noncharacter U+FDD0 or U+FDD1"
            ));
        }
        on_large_stack(|| self.carry_out(messages, ask, marked))?
    }

    fn carry_out(&self, messages: &[Message], ask: bool, marked: Marked) -> Result<String, String> {
        let length: usize = messages.iter().map(|message| message.content.len()).sum();
        let [least, each, most] = INSTRUCTIONS;
        let instructions = (least + each * messages.len() as u64).min(most);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(instructions));
        let template = environment.get_template(NAME).expect("just added");
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                let content = &message.content;
                let content = match (marked, message.role) {
                    (Marked::Contents(part), Role::Assistant) => with_marks(content, part(content)),
                    _ => content.clone(),
                };
                context! { role => message.role.name(), content }
            })
            .collect();
        let none = Value::from(());
        let context = context! {
            messages,
            add_generation_prompt => ask,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => none,
            documents => none,
        };
        let mut text = Bounded {
            bytes: Vec::new(),
            most: LONGEST[0].saturating_add(LONGEST[1].saturating_mul(length)),
        };
        let rendered = template.render_captured_to(context, &mut text).map(drop);
        rendered.map_err(|error| match (error.kind(), text.most) {
            (ErrorKind::OutOfFuel, _) => {
                format!("the chat template does not end within {instructions} instructions")
            }
            (ErrorKind::WriteFailure, most) => {
                format!("the chat template makes a text of more than {most} bytes")
            }
            _ => format!("the chat template says: {}", said(&error)),
        })?;
        String::from_utf8(text.bytes).map_err(|error| format!("the chat template: {error}"))
    }
}

/// Does what recurses as deep as a template says.
fn on_large_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, String> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work).map_err(|cause| {
            format!("a chat template needs a thread with a stack of {STACK} bytes: {cause}")
        })?;
        let done = thread.join();
        done.map_err(|_| "expected a chat template, found one that cannot be used".to_owned())
    })
}

/// A text that becomes no longer than it may.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What stands in a block `generation`, between marks.
fn generation(state: &State<'_, '_>, options: Kwargs) -> Result<Value, Error> {
    let caller: Value = options.get("caller")?;
    let inner = caller.call(state, &[])?;
    let [start, end] = MARKS;
    Ok(Value::from_safe_string(format!("{start}{inner}{end}")))
}

/// A content with marks around `inner`, a part of it.
fn with_marks(content: &str, inner: &str) -> String {
    let (before, after) = content.split_once(inner).unwrap_or((content, ""));
    let [start, end] = MARKS;
    format!("{before}{start}{inner}{end}{after}")
}

/// An error of the template's language, as a part of a sentence.
fn said(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), error.line()) {
        (ErrorKind::InvalidOperation, _) if !detail.is_empty() => detail.to_owned(),
        (kind, Some(line)) => format!("{kind}: {detail} (line {line})"),
        (kind, None) => format!("{kind}: {detail}"),
    }
}
