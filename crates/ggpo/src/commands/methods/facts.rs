//! What there is to say of a method.

use std::fmt::Write;

use ggpo_lora::method::{AdapterKind, Method, MethodConfig, acting_weight};
use ggpo_lora::perturbation::{MsamConfig, PerturbationConfig};
use serde::Serialize;
use toml::{Table, Value};

use crate::options::settings::{Form, Setting, settings};
use crate::options::{about, sentence, written};

/// A method in a few words.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) formula: &'static str,
    /// Forward and backward passes of a step.
    pub(super) passes: &'static str,
    /// Memory beside that of LoRA.
    pub(super) memory: &'static str,
    /// Empty if it needs none.
    pub(super) source: &'static str,
}

impl Summary {
    pub(super) fn of(method: &Method) -> Self {
        Summary {
            name: method.name,
            title: method.title,
            about: method.about,
            formula: method.formula,
            passes: method.passes,
            memory: method.memory,
            source: method.source,
        }
    }
}

/// All of a method.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// What is trained, in words.
    pub(super) trains: String,
    /// How A and B start, if there are any.
    pub(super) start: Option<&'static str>,
    /// At which point gradients are taken, in words; none without a perturbation.
    pub(super) perturbation: Option<String>,
    /// What the perturbation acts on.
    pub(super) acting_weight: Option<&'static str>,
    pub(super) settings: Vec<Standard>,
    /// The settings as a file has them.
    pub(super) toml: String,
    pub(super) example: String,
}

/// A setting and what it is without being set.
#[derive(Debug, Serialize)]
pub(super) struct Standard {
    pub(super) path: &'static str,
    pub(super) option: String,
    pub(super) default: Value,
    pub(super) about: &'static str,
    #[serde(skip)]
    pub(super) form: &'static Form,
}

impl Details {
    pub(super) fn of(method: &Method) -> Self {
        let config = method.config();
        let settings = own_settings(&config);
        let name = method.name;
        let perturbation = config.perturbation.as_ref();
        // AdaLoRA has a start of its own.
        let starts = matches!(config.adapter, AdapterKind::Lora | AdapterKind::Dora);
        Details {
            summary: Summary::of(method),
            trains: trained(&config),
            start: starts.then(|| config.init.title()),
            perturbation: perturbation.map(|_| config.perturbation_in_words()),
            acting_weight: perturbation.map(|acts| acting_weight(config.adapter, acts)),
            toml: toml(name, &settings, &to_table(&config)),
            settings,
            example: format!(
                "ggpo train --model models/fetched/minilm --train train.tsv --method {name} --out runs/first"
            ),
        }
    }
}

/// What is trained; a perturbation of the factors names them all.
fn trained(config: &MethodConfig) -> String {
    if !config.has_adapters() {
        return config.trained().to_owned();
    }
    let factors = PerturbationConfig::Msam(MsamConfig::default());
    format!(
        "{}: {} of every adapted layer",
        config.trained(),
        acting_weight(config.adapter, &factors)
    )
}

/// The settings of the parts of a method, with its defaults.
fn own_settings(config: &MethodConfig) -> Vec<Standard> {
    let table = to_table(config);
    let of_method = settings().iter().filter(|setting| has(&table, setting));
    let own = of_method.map(|setting| {
        let field = setting.path.strip_prefix("method.").expect("of a method");
        let (part, name) = field.split_once('.').expect("of a part");
        let part = table.get(part).and_then(Value::as_table);
        let kind = part.and_then(|part| part.get("kind")?.as_str());
        let mut meanings = setting.meanings.iter();
        let meaning = meanings.find(|meaning| meaning.kind.as_deref() == kind);
        let meaning = meaning.unwrap_or(&setting.meanings[0]);
        let value = part.and_then(|part| part.get(name)).cloned();
        let value = value.or_else(|| meaning.default.clone());
        Standard {
            path: &setting.path,
            option: format!("--{}", setting.option),
            default: value.expect("settings of a method have defaults"),
            about: sentence(about(setting, meaning)),
            form: &setting.form,
        }
    });
    own.collect()
}

/// Whether one of the parts of a method has a setting.
fn has(method: &Table, setting: &Setting) -> bool {
    let adapter = method.get("adapter").and_then(Value::as_str);
    let part = |name: &str| method.get(name).and_then(Value::as_table);
    match setting.part() {
        "method.lora" => adapter != Some("full"),
        "method.adalora" => adapter == Some("adalora"),
        "method.lora_plus" => part("lora_plus").is_some(),
        "method.product_decay" => part("product_decay").is_some(),
        kinds @ ("method.init" | "method.perturbation") => {
            let part = part(kinds.trim_start_matches("method."));
            let kind = part.and_then(|part| part.get("kind")?.as_str());
            kind.is_some_and(|kind| setting.is_of(kind))
        }
        _ => false,
    }
}

fn to_table(config: &MethodConfig) -> Table {
    Table::try_from(config).expect("settings have a TOML form")
}

/// The name of a method, and all that it says.
fn toml(name: &str, settings: &[Standard], method: &Table) -> String {
    let mut text = format!("[method]\nname = \"{name}\"\n");
    let mut table = "";
    for setting in settings {
        let (part, field) = setting.path.rsplit_once('.').expect("of a part");
        if part != table {
            table = part;
            let _ = writeln!(text, "\n[{part}]");
            let part = method.get(part.trim_start_matches("method."));
            if let Some(kind) = part.and_then(|part| part.get("kind")) {
                let _ = writeln!(text, "kind = {kind}");
            }
        }
        let _ = writeln!(text, "{field} = {}", setting.default);
    }
    text
}

impl Standard {
    /// The option with its default, as it is typed; a switch has none.
    pub(super) fn typed(&self) -> String {
        match self.form {
            Form::Switch => self.option.clone(),
            Form::Field(..) => format!("{} X", self.option),
            _ => format!("{} {}", self.option, written(&self.default)),
        }
    }
}
