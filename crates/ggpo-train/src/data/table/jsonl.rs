//! One JSON object per line.

use std::borrow::Cow;
use std::path::Path;

use ggpo_files::json;
use ggpo_model::chat::{self, Role};
use serde_json::{Map, Value};

use super::{Column, Fields, Source, Table, columns, listed, most_rows, refuse_many};
use crate::Error;

/// The rows of a file; fields that are not read may hold anything.
///
/// # Errors
/// If no row has one of the fields.
pub(super) fn table(path: &Path, bytes: &[u8], source: &Source) -> crate::Result<Table> {
    let names = columns(source).map(|column| column.map(name));
    let most = most_rows(bytes.len());
    let mut table = Table::default();
    let mut known: Option<Map<String, Value>> = None;
    let mut seen = [false; 3];
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let object = object(line);
        if let Ok(object) = &object {
            for (seen, name) in seen.iter_mut().zip(&names) {
                *seen |= name
                    .as_ref()
                    .is_none_or(|name| object.contains_key(name.as_ref()));
            }
            known.get_or_insert_with(|| object.clone());
        }
        let fields = object.and_then(|object| match source.is_chat {
            true => conversation(object, &names),
            false => fields(object, &names),
        });
        table.push(number, fields, source);
        refuse_many(path, table.rows.len(), most)?;
    }
    let missing = names.iter().zip(seen).find(|(_, seen)| !seen);
    if let (Some(known), Some((Some(name), _))) = (known, missing) {
        let found = listed(known.keys().map(String::as_str));
        let problem = format!("expected a field \"{name}\", found {found}");
        return Err(Error::file(path, problem));
    }
    Ok(table)
}

/// The field that a column is.
fn name(column: &Column) -> Cow<'_, str> {
    match column {
        Column::Name(name) => Cow::Borrowed(name),
        Column::Number(number) => Cow::Owned(number.to_string()),
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "expected UTF-8 text, found other bytes")?;
    json::check(line.as_bytes()).map_err(|found| {
        // The reader's own place is in this one line.
        match found.split_once(" at line 1 column ") {
            Some((problem, column)) => {
                format!("expected a JSON object, found other text at column {column} ({problem})")
            }
            None => format!("expected a JSON object, found {found}"),
        }
    })?;
    serde_json::from_str(line).map_err(|error| {
        let problem = error.to_string();
        // The reader's own place is "at line 1" of this one line.
        let problem = problem.split(" at line ").next().unwrap_or_default();
        let column = error.column();
        format!("expected a JSON object, found other text at column {column} ({problem})")
    })
}

/// The messages of a conversation but for the answer, as JSON; and the answer, where it is
/// read: what the assistant says last.
fn conversation<'a>(
    mut object: Map<String, Value>,
    names: &[Option<Cow<'_, str>>; 3],
) -> Result<Fields<'a>, String> {
    let name = names[0].as_deref().unwrap_or_default();
    let mut list = object.remove(name).unwrap_or_default();
    let messages = chat::messages(&list).map_err(|problem| format!("{name}: {problem}"))?;
    let answer = messages.last().filter(|last| last.role == Role::Assistant);
    let answer = answer.map(|answer| answer.content.clone());
    if let (Some(_), Value::Array(list)) = (&answer, &mut list) {
        list.pop();
    }
    let answer = match (&names[2], answer) {
        (None, _) => None,
        (Some(_), Some(answer)) => Some(Cow::Owned(answer)),
        (Some(_), None) => {
            let problem = "expected a conversation that the assistant ends, found another";
            return Err(format!("{name}: {problem}"));
        }
    };
    Ok([Some(Cow::Owned(list.to_string())), None, answer])
}

/// Texts are strings; an answer may be a number or a truth value as well.
fn fields<'a>(
    mut object: Map<String, Value>,
    names: &[Option<Cow<'_, str>>; 3],
) -> Result<Fields<'a>, String> {
    let mut fields = [None, None, None];
    for (role, name) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        let found = match object.remove(name.as_ref()) {
            Some(Value::String(text)) => {
                fields[role] = Some(Cow::Owned(text));
                continue;
            }
            Some(number @ (Value::Number(_) | Value::Bool(_))) if role == 2 => {
                fields[role] = Some(Cow::Owned(number.to_string()));
                continue;
            }
            None => "none",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a truth value",
            Some(Value::Number(_)) => "a number",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        let expected = if role == 2 {
            "text or a number"
        } else {
            "text"
        };
        return Err(format!("expected {expected} in \"{name}\", found {found}"));
    }
    Ok(fields)
}
