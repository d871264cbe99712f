//! A method as a person writes it: by name, by parts, or by a name and the parts in
//! which it differs.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{METHODS, MethodConfig, method};

/// The fields of a method in a file, of which any may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// A method of the table; without it, LoRA.
    name: Option<String>,
    /// Files of before have another name for it.
    #[serde(alias = "adaptation")]
    adapter: Option<Value>,
    lora: Option<Value>,
    adalora: Option<Value>,
    init: Option<Value>,
    perturbation: Option<Value>,
    lora_plus: Option<Value>,
    product_decay: Option<Value>,
}

/// The word for no perturbation.
const NONE: &str = "none";
/// The field that names a kind.
const KIND: &str = "kind";

impl TryFrom<Written> for MethodConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mut config = match &written.name {
            None => MethodConfig::default(),
            Some(name) => match method(name) {
                Some(method) => method.config(),
                None => {
                    let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
                    let names = names.join(", ");
                    return Err(format!("name: expected one of {names}, found `{name}`"));
                }
            },
        };
        if let Some(adapter) = written.adapter {
            if !adapter.is_str() {
                return Err(format!("adapter: expected a name, found `{adapter}`"));
            }
            config.adapter = read("adapter", adapter)?;
        }
        if let Some(fields) = written.lora {
            config.lora = with("lora", &config.lora, fields)?;
        }
        if let Some(fields) = written.adalora {
            config.adalora = with("adalora", &config.adalora, fields)?;
        }
        if let Some(fields) = written.lora_plus {
            let known = config.lora_plus.unwrap_or_default();
            config.lora_plus = Some(with("lora_plus", &known, fields)?);
        }
        if let Some(fields) = written.product_decay {
            let known = config.product_decay.unwrap_or_default();
            config.product_decay = Some(with("product_decay", &known, fields)?);
        }
        if let Some(init) = written.init {
            config.init = of_kind("init", Some(config.init), init, "kaiming")?;
        }
        config.perturbation = match written.perturbation {
            None => config.perturbation,
            Some(Value::String(kind)) if kind == NONE => None,
            // Files of before have no kind: they know one only.
            Some(written) => Some(of_kind(
                "perturbation",
                config.perturbation,
                written,
                "ggpo",
            )?),
        };
        Ok(config)
    }
}

/// Settings with some fields replaced.
fn with<C: Serialize + DeserializeOwned>(
    name: &str,
    config: &C,
    fields: Value,
) -> Result<C, String> {
    let Value::Table(fields) = fields else {
        return Err(format!("{name}: expected a table, found `{fields}`"));
    };
    let mut table = to_table(config);
    table.extend(fields);
    read(name, Value::Table(table))
}

/// Settings of one of several kinds: those known, with some fields replaced, if the
/// kind is the same or none is named, otherwise the defaults of the kind.
fn of_kind<C: Serialize + DeserializeOwned>(
    name: &str,
    known: Option<C>,
    written: Value,
    default: &str,
) -> Result<C, String> {
    let mut fields = match written {
        Value::String(kind) => Table::from_iter([(KIND.to_owned(), Value::String(kind))]),
        Value::Table(fields) => fields,
        other => {
            return Err(format!(
                "{name}: expected a name or a table, found `{other}`"
            ));
        }
    };
    let known = known.map(|known| to_table(&known)).unwrap_or_default();
    let fallback = known.get(KIND).cloned().unwrap_or(Value::from(default));
    let kind = fields.entry(KIND).or_insert(fallback).clone();
    let mut table = match known.get(KIND) == Some(&kind) {
        true => known,
        false => Table::new(),
    };
    let names: Vec<String> = fields.keys().cloned().collect();
    table.extend(fields);
    let config: C = read(name, Value::Table(table))?;
    // A kind without settings does not look at the fields that it is given.
    let is_bare = to_table(&config).len() == 1;
    match names.iter().find(|field| *field != KIND) {
        Some(field) if is_bare => Err(format!("{name}: {kind} has no field `{field}`")),
        _ => Ok(config),
    }
}

fn read<C: DeserializeOwned>(name: &str, value: Value) -> Result<C, String> {
    C::deserialize(value).map_err(|error| format!("{name}: {}", error.message()))
}

fn to_table<C: Serialize>(config: &C) -> Table {
    Table::try_from(config).expect("settings have a TOML form")
}
