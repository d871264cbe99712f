//! The options against the settings they stand for.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use clap::{Args, Command};
use ggpo_lora::GgpoConfig;
use ggpo_train::data::TaskConfig;
use ggpo_train::data::layout::Columns;
use ggpo_train::method::{LoraSettings, MethodConfig};
use ggpo_train::optimizer::AdamWConfig;
use ggpo_train::run::{Corpora, DEFAULT_EPOCHS, RunConfig};
use ggpo_train::schedule::Schedule;
use ggpo_train::trainer::TrainerConfig;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::*;

/// Reads nothing, but hears which fields a structure asks for.
struct Fields<'a>(&'a mut Vec<&'static str>);

#[derive(Debug)]
struct Heard;

impl Display for Heard {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Heard {}

impl serde::de::Error for Heard {
    fn custom<T: Display>(_: T) -> Self {
        Heard
    }
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Heard;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> std::result::Result<V::Value, Heard> {
        self.0.extend(fields);
        Err(Heard)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Heard> {
        Err(Heard)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf option unit unit_struct newtype_struct seq tuple tuple_struct map
        enum identifier ignored_any
    }
}

/// Paths of the fields of a structure that stands at `path`.
fn fields<T: DeserializeOwned>(path: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let heard = T::deserialize(Fields(&mut fields));
    assert!(heard.is_err() && !fields.is_empty(), "{path}");
    let at = |field: &&str| [path, field].concat();
    fields.iter().map(at).collect()
}

/// Paths of all settings of a run that are no tables of settings themselves.
fn settings() -> Vec<String> {
    let mut all = fields::<RunConfig>("");
    all.extend(fields::<TaskConfig>("task."));
    all.extend(fields::<Columns>("task.columns."));
    all.extend(fields::<MethodConfig>("method."));
    all.extend(fields::<LoraSettings>("method.lora."));
    all.extend(fields::<GgpoConfig>("method.perturbation."));
    all.extend(fields::<TrainerConfig>("training."));
    all.extend(fields::<Schedule>("training.schedule."));
    all.extend(fields::<AdamWConfig>("training.adamw."));
    let tables: Vec<String> = all.iter().map(|path| format!("{path}.")).collect();
    let is_table = |table: &String| all.iter().any(|path| path.starts_with(table.as_str()));
    let tables: Vec<String> = tables.into_iter().filter(is_table).collect();
    all.retain(|path| !tables.contains(&format!("{path}.")));
    // What `--method` sets, and what only experiments have.
    all.retain(|path| path != "method.adaptation" && path != "task.scored_rows");
    // Another name of the same column.
    let aliases = ["prompt", "source", "completion", "target"];
    all.retain(|path| {
        !aliases
            .iter()
            .any(|alias| path.ends_with(&format!("columns.{alias}")))
    });
    all
}

/// Options with another name than the last part of their setting's path, which
/// says too little or is taken.
const RENAMED: [(&str, &str); 10] = [
    ("lora-dropout", "method.lora.dropout"),
    ("sigma-schedule", "method.perturbation.schedule"),
    ("truncate-noise", "method.perturbation.noise"),
    (
        "noise-per-micro-batch",
        "method.perturbation.per_micro_batch",
    ),
    ("schedule", "training.schedule.kind"),
    ("adam-beta1", "training.adamw.beta1"),
    ("adam-beta2", "training.adamw.beta2"),
    ("adam-eps", "training.adamw.eps"),
    ("task", "task.kind"),
    ("no-header", "task.header"),
];

/// What the help of an option says in its last brackets: the path of the setting
/// and, in words or as it is written in TOML, its default.
fn stands_for(help: &str) -> (String, Option<String>) {
    let (_, brackets) = help.rsplit_once('(').expect("a path in brackets");
    let said = brackets.strip_suffix(')').expect("brackets at the end");
    match said.split_once("; ") {
        Some((path, default)) => (path.to_owned(), Some(default.to_owned())),
        None => (said.to_owned(), None),
    }
}

/// Options by the path of their setting, with the default that their help names.
fn options() -> BTreeMap<String, (String, Option<String>)> {
    let command = RunOptions::augment_args(Command::new("train"));
    let options = command.get_arguments().map(|option| {
        let name = option.get_long().expect("a long option").to_owned();
        let help = option.get_help().expect("a help text").to_string();
        let (path, default) = stands_for(&help);
        (path, (name, default))
    });
    options.collect()
}

#[test]
fn every_setting_has_an_option_of_its_name() {
    let (options, settings) = (options(), settings());
    for path in &settings {
        let (name, _) = options
            .get(path)
            .unwrap_or_else(|| panic!("no option for {path}"));
        let last = path.rsplit('.').next().expect("a name").replace('_', "-");
        let renamed = RENAMED.contains(&(name.as_str(), path.as_str()));
        assert!(*name == last || renamed, "--{name} stands for {path}");
    }
    // And no option for what is no setting.
    let known = |path: &String| settings.contains(path) || path == "method" || path == "epochs";
    for (path, (name, _)) in &options {
        assert!(known(path), "--{name} stands for {path}");
    }
}

#[test]
fn the_help_names_the_defaults_of_the_settings() {
    let mut description = Description::default();
    let counted = ["training.steps", "evaluate_every", "checkpoint_every"];
    for path in counted {
        description.set(path, 1).unwrap();
    }
    description.set("model", "base").unwrap();
    description.set("task.train", "train.tsv").unwrap();
    let noise = Value::Table(toml::Table::new());
    description.set("method.perturbation", noise).unwrap();
    let config = description.complete(&Corpora::default()).unwrap();
    let defaults = Description::of(&config);
    // Defaults that are left out where they hold.
    let left_out = [
        (
            "task.validation_share",
            Value::Float(config.task.validation_share),
        ),
        ("task.label_noise", Value::Float(config.task.label_noise)),
        ("epochs", Value::Integer(DEFAULT_EPOCHS.into())),
    ];
    let left_out = BTreeMap::from(left_out);
    for (path, (name, said)) in options() {
        // A method is named, and what it sets is not one value.
        if counted.contains(&path.as_str()) || path == "method" {
            continue;
        }
        let default = defaults.get(&path).or_else(|| left_out.get(path.as_str()));
        let right = match (default, &said) {
            (Some(Value::String(text)), Some(said)) => text == said || path == "model",
            (Some(Value::Integer(number)), Some(said)) => said.parse() == Ok(*number),
            (Some(Value::Float(number)), Some(said)) => {
                // A number in single precision is not that of its digits.
                said.parse()
                    .is_ok_and(|said: f64| said as f32 == *number as f32)
            }
            // A switch is off, and these are required.
            (Some(Value::Boolean(on)), None) => !on,
            (Some(_), None) => path == "model" || path == "task.train",
            (None, Some(said)) => said.parse::<f64>().is_err(),
            (None, None) => true,
            (Some(_), Some(_)) => false,
        };
        assert!(
            right,
            "--{name}: the default of {path} is {default:?}, not {said:?}"
        );
    }
}
