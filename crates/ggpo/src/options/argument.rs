//! A setting as an option of the command line.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use toml::{Table, Value};

use super::names;
use super::settings::{Choice, Form, Meaning, Setting};

/// The option of a setting of which the defaults hold where nothing is said.
pub(super) fn argument(setting: &'static Setting) -> Arg {
    with_help(setting, Help::of(setting, true))
}

/// The option of a setting of which others may hold, those of a run for example.
pub(super) fn replacement(setting: &'static Setting) -> Arg {
    with_help(setting, Help::of(setting, false))
}

fn with_help(setting: &'static Setting, help: Help<'_>) -> Arg {
    let option = Arg::new(setting.path.as_str())
        .long(setting.option.as_str())
        .help_heading(names::heading(&setting.path))
        .help(help.short())
        .long_help(help.long(&setting.path));
    let option = match names::alias(&setting.path) {
        Some(alias) => option.visible_alias(alias),
        None => option,
    };
    if setting.form == Form::Switch {
        return option.action(ArgAction::SetTrue);
    }
    let name = names::value_name(&setting.path);
    let hint = match name {
        Some("PATH") => ValueHint::AnyPath,
        Some("FILE") => ValueHint::FilePath,
        _ => ValueHint::Unknown,
    };
    let option = option
        .value_name(name.unwrap_or_else(|| setting.form.value_name(setting)))
        .value_hint(hint)
        .value_parser(match (setting.path.as_str(), &setting.form) {
            (names::ADAPTER, Form::Choice(kinds)) => WordOrFolder(words(kinds)).into(),
            (_, form) => form.parser(),
        });
    match setting.form {
        Form::List => option.action(ArgAction::Append).value_delimiter(','),
        _ => option,
    }
}

/// What a command line says of a setting, if it speaks of it.
pub(super) fn said(setting: &Setting, matches: &ArgMatches) -> Option<Value> {
    let path = setting.path.as_str();
    match setting.form {
        Form::Switch => {
            let on = !setting.option.starts_with("no-");
            matches.get_flag(path).then_some(Value::Boolean(on))
        }
        Form::List => {
            let values = matches.get_many::<Value>(path)?;
            Some(Value::Array(values.cloned().collect()))
        }
        _ => matches.get_one::<Value>(path).cloned(),
    }
}

impl Form {
    /// What stands for a value in the help.
    fn value_name(&self, setting: &Setting) -> &'static str {
        match self {
            Form::Whole(..) => "N",
            Form::Number | Form::WholeOr(_) => "X",
            Form::Field(_, form) => form.value_name(setting),
            Form::Choice(_) if setting.path.ends_with("schedule") => "COURSE",
            Form::Choice(_) => "KIND",
            Form::Switch | Form::Text | Form::List | Form::ListOrText => "TEXT",
        }
    }

    /// Reads a value from the command line.
    fn parser(&self) -> ValueParser {
        match self {
            Form::Whole(least, most) => value_parser!(i64)
                .range(least..=most)
                .map(Value::Integer)
                .into(),
            Form::Choice(choices) => words(choices).map(Value::String).into(),
            Form::ListOrText => ValueParser::new(|text: &str| Ok::<_, String>(targets(text))),
            Form::Field(name, form) => {
                let (name, number) = (name.clone(), form.reader());
                ValueParser::new(move |text: &str| {
                    let field = [(name.clone(), number(text)?)];
                    Ok::<_, String>(Value::Table(Table::from_iter(field)))
                })
            }
            form => ValueParser::new(form.reader()),
        }
    }

    /// Reads a value of the forms without bounds or words.
    fn reader(&self) -> fn(&str) -> Result<Value, String> {
        fn number(text: &str) -> Result<Value, String> {
            let number = text.parse().map(Value::Float);
            number.map_err(|_| "expected a number".to_owned())
        }
        fn whole_or(text: &str, other: fn(&str) -> Result<Value, String>) -> Result<Value, String> {
            text.parse().map(Value::Integer).or_else(|_| other(text))
        }
        match self {
            Form::Number => number,
            Form::WholeOr(other) if **other == Form::Number => |text| whole_or(text, number),
            Form::WholeOr(_) => |text| whole_or(text, |text| Ok(text.into())),
            _ => |text| Ok(text.into()),
        }
    }
}

/// Accepts some words.
fn words(choices: &[Choice]) -> PossibleValuesParser {
    PossibleValuesParser::new(choices.iter().map(|Choice { name, about }| {
        // Settings live as long as the program.
        let name: &'static str = name.clone().leak();
        match about.is_empty() {
            true => PossibleValue::new(name),
            false => PossibleValue::new(name).help(sentence(about).to_owned()),
        }
    }))
}

/// Accepts some words, and folders: those that exist, and what is written as a path.
#[derive(Clone)]
struct WordOrFolder(PossibleValuesParser);

/// The field that a folder stands in.
pub(super) const FOLDER: &str = "folder";

impl TypedValueParser for WordOrFolder {
    type Value = Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Value, clap::Error> {
        let path = Path::new(value);
        if let Some(text) = value.to_str()
            && (path.is_dir() || path.components().count() > 1)
        {
            return Ok(Table::from_iter([(FOLDER.to_owned(), text.into())]).into());
        }
        let word = self.0.parse_ref(command, argument, value)?;
        Ok(word.into())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// Names separated by commas, or one pattern.
fn targets(text: &str) -> Value {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "._-".contains(c))
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if text != "all-linear" && names.iter().all(|name| is_name(name)) {
        return Value::Array(names.into_iter().map(Value::from).collect());
    }
    Value::from(text)
}

/// What an option does.
pub(crate) fn about<'a>(setting: &Setting, meaning: &'a Meaning) -> &'a str {
    names::about(&setting.path).unwrap_or(&meaning.about)
}

/// The first sentence of a text, without its full stop.
pub(crate) fn sentence(text: &str) -> &str {
    let text = text.split("\n\n").next().unwrap_or(text);
    let mut ends = text.match_indices(". ").map(|(end, _)| end);
    // Not that of an abbreviation before a number.
    let end = ends.find(|end| text[end + 2..].starts_with(char::is_uppercase));
    text[..end.unwrap_or(text.len())].trim_end_matches(['.', ':'])
}

/// A default as a person writes it.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.abs() < 1e-3 => format!("{number:e}"),
        Value::Float(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Meanings of a setting with the same words.
struct Help<'a> {
    meanings: Vec<(&'a str, Vec<&'a Meaning>)>,
    defaults: bool,
}

impl<'a> Help<'a> {
    fn of(setting: &'a Setting, defaults: bool) -> Self {
        let mut meanings: Vec<(&str, Vec<&Meaning>)> = Vec::new();
        for meaning in &setting.meanings {
            let about = about(setting, meaning);
            match meanings.iter_mut().find(|(known, _)| *known == about) {
                Some((_, same)) => same.push(meaning),
                None => meanings.push((about, vec![meaning])),
            }
        }
        Help {
            meanings,
            // That a switch is off needs no word, nor what limits nothing.
            defaults: defaults && !matches!(setting.form, Form::Switch | Form::Field(..)),
        }
    }

    /// One sentence, and the default.
    fn short(&self) -> String {
        let mut text = String::new();
        for (about, meanings) in &self.meanings {
            let sentence = sentence(about);
            let _ = match text.is_empty() {
                true => write!(text, "{sentence}"),
                false => write!(text, "; {}", uncapitalised(sentence)),
            };
            let _ = write!(text, "{}{}", kinds(meanings), self.default(meanings));
        }
        text
    }

    /// All of it, and the field of the file.
    fn long(&self, path: &str) -> String {
        let mut text = String::new();
        for (about, meanings) in &self.meanings {
            let _ = writeln!(text, "{about}\n");
            let kinds = match kinds(meanings) {
                kinds if kinds.is_empty() => kinds,
                kinds => format!("For{}", kinds.replace(['(', ')'], "")),
            };
            let default = self.default(meanings);
            if !(kinds.is_empty() && default.is_empty()) {
                let _ = writeln!(text, "{}\n", format!("{kinds}{default}").trim_start());
            }
        }
        let _ = write!(text, "In a file: {path}");
        text
    }

    fn default(&self, meanings: &[&Meaning]) -> String {
        let of = |meaning: &Meaning| meaning.default.as_ref().map(written);
        let Some(first) = of(meanings[0]).filter(|_| self.defaults) else {
            return String::new();
        };
        let mut text = format!(" [default: {first}");
        for meaning in &meanings[1..] {
            match (of(meaning), &meaning.kind) {
                (Some(other), Some(kind)) if other != first => {
                    let _ = write!(text, ", {kind}: {other}");
                }
                _ => {}
            }
        }
        text + "]"
    }
}

/// The kinds that have a setting, in brackets.
fn kinds(meanings: &[&Meaning]) -> String {
    let kinds = meanings
        .iter()
        .filter_map(|meaning| meaning.kind.as_deref());
    match kinds.collect::<Vec<_>>().join(", ") {
        kinds if kinds.is_empty() => kinds,
        kinds => format!(" ({kinds})"),
    }
}

/// A sentence that goes on after a semicolon.
fn uncapitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
