//! The settings of a run as options of the command line: each has the name, the help
//! and the default that the structures of the settings give it.

mod argument;
mod names;
pub(crate) mod settings;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use ggpo_lora::LoraConfig;
use ggpo_lora::method::{METHODS, Method, method};
use ggpo_train::run::Description;
use ggpo_train::{Error, Result};
use toml::{Table, Value};

pub(crate) use argument::{about, sentence, written};
use settings::{Setting, settings, settings_of};

/// What a command line says of settings.
#[derive(Debug, Clone, Default)]
struct Said(Vec<(&'static Setting, Value)>);

impl Said {
    fn of(settings: impl IntoIterator<Item = &'static Setting>, matches: &ArgMatches) -> Self {
        let said = settings.into_iter().filter_map(|setting| {
            let value = argument::said(setting, matches)?;
            Some((setting, value))
        });
        Said(said.collect())
    }

    fn speaks_of(&self, path: &str) -> bool {
        self.0.iter().any(|(setting, _)| setting.path == path)
    }
}

/// Settings of a run. Each option stands for a field of the TOML file and goes before
/// it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOptions {
    method: Option<&'static Method>,
    said: Said,
}

/// The id of the option that names a method.
const METHOD: &str = "method.name";

impl Args for RunOptions {
    fn augment_args(command: Command) -> Command {
        let method = Arg::new(METHOD)
            .long("method")
            .value_name("METHOD")
            .value_parser(method_names())
            .help_heading(names::heading(METHOD))
            .help("What is trained, from which start, under which perturbation [default: lora]")
            .long_help(
                "What is trained, from which start, under which perturbation. A method has \
                 defaults of its own for the settings of its parts: ggpo methods NAME shows \
                 them. The options below replace single parts and settings.\n\n\
                 [default: lora]\n\nIn a file: method.name",
            );
        // The method stands before its parts.
        let is_of_method = |setting: &&Setting| setting.path.starts_with("method.");
        let first = settings()
            .iter()
            .take_while(|setting| !is_of_method(setting));
        let rest = settings().iter().skip(first.clone().count());
        let command = command.args(first.map(argument::argument)).arg(method);
        let command = command.args(rest.map(argument::argument));
        command.mut_arg("epochs", |epochs| epochs.conflicts_with("training.steps"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(RunOptions {
            method: matches.get_one(METHOD).copied(),
            said: Said::of(settings(), matches),
        })
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Accepts the names of the methods.
pub(crate) fn method_names() -> impl TypedValueParser<Value = &'static Method> {
    PossibleValuesParser::new(METHODS.iter().map(|method| {
        let help = format!("{}: {}", method.title, method.about);
        PossibleValue::new(method.name).help(help)
    }))
    .map(|name| method(&name).expect("one of the names"))
}

/// The parts of a method that its name says; the shape of the adapters is not one.
const PARTS: [&str; 7] = [
    "adapter",
    "adaptation",
    "adalora",
    "init",
    "perturbation",
    "lora_plus",
    "product_decay",
];

/// Parts of a method that are chosen by a kind.
const OF_KINDS: [&str; 2] = ["method.init", "method.perturbation"];

impl RunOptions {
    /// Puts what was said on the command line into a description.
    ///
    /// # Errors
    /// If a setting does not belong to the kind of the part that it is given for, or
    /// the description has a field where a table belongs.
    pub(crate) fn apply(&self, description: &mut Description) -> Result<()> {
        if let Some(method) = self.method {
            choose(description, method)?;
        }
        if let Some(folder) = self.adapter() {
            description.set("adapter", folder)?;
        }
        // A number of epochs or steps replaces the other in the file.
        for (one, other) in [("epochs", "training.steps"), ("training.steps", "epochs")] {
            if self.said.speaks_of(one) {
                description.remove(other);
            }
        }
        if self.said.speaks_of(names::ADAPTER) && self.adapter().is_none() {
            description.remove("method.adaptation");
        }
        let is_part = |path: &str| path == "method.adapter" || OF_KINDS.contains(&path);
        let (parts, rest): (Vec<_>, Vec<_>) = self
            .said
            .0
            .iter()
            .filter(|(setting, value)| setting.path != names::ADAPTER || value.is_str())
            .partition(|(setting, _)| is_part(&setting.path));
        put(description, parts)?;
        if rest
            .iter()
            .any(|(setting, _)| setting.path.starts_with("method."))
        {
            let chosen = Chosen::of(description)?;
            rest.iter()
                .try_for_each(|(setting, _)| chosen.has(setting))?;
        }
        for part in OF_KINDS {
            // A word alone names a kind.
            if let Some(Value::String(kind)) = description.get(part)
                && rest.iter().any(|(setting, _)| setting.part() == part)
            {
                let table = Table::from_iter([("kind".to_owned(), kind.clone().into())]);
                description.set(part, table)?;
            }
        }
        put(description, rest)
    }
}

impl RunOptions {
    /// The folder of an adapter to go on from, if one was named.
    fn adapter(&self) -> Option<&str> {
        let mut said = self.said.0.iter();
        said.find_map(|(_, value)| value.get(argument::FOLDER)?.as_str())
    }
}

/// Sets a method by its name, which says all of it but the shape of its adapters.
fn choose(description: &mut Description, method: &Method) -> Result<()> {
    for part in PARTS {
        description.remove(&format!("method.{part}"));
    }
    // Unless the method has one of its own.
    let table = |config: &LoraConfig| Table::try_from(config).expect("settings have a TOML form");
    let usual = table(&LoraConfig::default());
    for (field, value) in table(&method.config().lora) {
        if usual.get(&field) != Some(&value) {
            description.remove(&format!("method.lora.{field}"));
        }
    }
    description.set(METHOD, method.name)
}

/// Sets fields of a description.
fn put<'a>(
    description: &mut Description,
    said: impl IntoIterator<Item = &'a (&'static Setting, Value)>,
) -> Result<()> {
    said.into_iter()
        .try_for_each(|(setting, value)| description.set(&setting.path, value.clone()))
}

/// The kinds of a method's parts.
struct Chosen {
    method: Table,
    /// Whether it was said that there is no perturbation.
    unperturbed: bool,
}

impl Chosen {
    fn of(description: &Description) -> Result<Self> {
        let method = Table::try_from(description.method()?);
        let none = Some(&Value::from("none"));
        Ok(Chosen {
            method: method.expect("settings have a TOML form"),
            unperturbed: description.get("method.perturbation") == none,
        })
    }

    /// Refuses a setting that the kind of its part does not have.
    fn has(&self, setting: &Setting) -> Result<()> {
        let refused = |part: &str, kinds: &[&str], found: &str| {
            let kinds = match kinds {
                [kinds @ .., last] if !kinds.is_empty() => {
                    format!("{} or {last}", kinds.join(", "))
                }
                kinds => kinds.join(""),
            };
            let expected = format!("--{part} {kinds}");
            let option = format!("--{}", setting.option);
            Err(Error::config(option, expected, found))
        };
        if setting.part() == "method.adalora" {
            return match self.method.get("adapter").and_then(Value::as_str) {
                Some("adalora") | None => Ok(()),
                Some(other) => refused("adapter", &["adalora"], other),
            };
        }
        let Some(part) = OF_KINDS.into_iter().find(|part| setting.part() == *part) else {
            return Ok(());
        };
        let part = part.trim_start_matches("method.");
        let table = self.method.get(part).and_then(Value::as_table);
        let kind = table.and_then(|table| table.get("kind")?.as_str());
        let found = match (kind, part) {
            (Some(kind), _) => kind,
            (None, "init") => "kaiming",
            // Where nothing names a kind, the settings of one are those of GGPO, the
            // only one there once was.
            (None, _) if !self.unperturbed && setting.is_of("ggpo") => "ggpo",
            (None, _) => "none",
        };
        match setting.is_of(found) {
            true => Ok(()),
            false => refused(part, &setting.kinds(), found),
        }
    }
}

/// How data files are written and what they say.
#[derive(Debug, Clone, Default)]
pub(crate) struct FormOptions(Said);

/// The settings of a task that say how a file is read.
const FORM: [&str; 13] = [
    "task.kind",
    "task.layout",
    "task.format",
    "task.header",
    "task.columns.text",
    "task.columns.pair",
    "task.columns.label",
    "task.labels",
    "task.template",
    "task.chat_template",
    "task.train_on",
    "task.max_length",
    "task.skip_bad_rows",
];

impl Args for FormOptions {
    fn augment_args(command: Command) -> Command {
        command.args(settings_of(&FORM).into_iter().map(argument::replacement))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FormOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(FormOptions(Said::of(settings_of(&FORM), matches)))
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl FormOptions {
    /// Puts what was said into a description.
    ///
    /// # Errors
    /// If the description has a field where a table belongs.
    pub(crate) fn apply(&self, description: &mut Description) -> Result<()> {
        put(description, &self.0.0)
    }
}

#[cfg(test)]
mod tests;
