//! The fields of `adapter_config.json`, and which of them can be honoured.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::LoraError;

/// The fields that are read, apart from those with one allowed value.
const READ: [&str; 12] = [
    "alpha_pattern",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Options that only say where adapters were put, or nothing that matters once
/// the weights are there; kept as they are.
const KEPT: [&str; 8] = [
    "auto_mapping",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
];
/// Ways to start A and B that leave the base weight alone.
const HARMLESS_INITS: [&str; 2] = ["gaussian", "orthogonal"];

/// The fields of a file that have not been read yet.
pub(super) struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields in the text of the file at `path`, after refusing every
    /// option that cannot be honoured.
    pub(super) fn parse(path: &'a Path, text: &str) -> Result<Self, LoraError> {
        let fields = serde_json::from_str(text).map_err(|error| LoraError::Format {
            path: path.to_owned(),
            format: "JSON",
            reason: error.to_string(),
        })?;
        let mut fields = Fields { path, fields };
        fields.take_fixed()?;
        for (field, value) in &fields.fields {
            fields.check_option(field, value)?;
        }
        Ok(fields)
    }

    /// The fields that nobody has taken.
    pub(super) fn rest(self) -> BTreeMap<String, Value> {
        self.fields.into_iter().collect()
    }

    /// Takes a field out; a missing or null one is `default`.
    pub(super) fn take<V: DeserializeOwned>(
        &mut self,
        field: &str,
        expected: &str,
        default: V,
        allowed: impl Fn(&V) -> bool,
    ) -> Result<V, LoraError> {
        match self.fields.remove(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(read) if allowed(&read) => Ok(read),
                _ => Err(self.refusal(field, &value, expected)),
            },
        }
    }

    fn refusal(&self, field: &str, value: &Value, expected: &str) -> LoraError {
        LoraError::Option {
            path: self.path.to_owned(),
            field: field.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// Takes the fields out that have one allowed value.
    fn take_fixed(&mut self) -> Result<(), LoraError> {
        match self.fields.remove("peft_type") {
            Some(value) if value == "LORA" => {}
            Some(value) => return Err(self.refusal("peft_type", &value, "\"LORA\"")),
            None => {
                return Err(LoraError::MissingField {
                    path: self.path.to_owned(),
                    field: "peft_type".to_owned(),
                });
            }
        }
        self.take("use_dora", "false", false, |dora| !dora)?;
        self.take("bias", "\"none\"", "none".to_owned(), |bias| bias == "none")?;
        Ok(())
    }

    fn check_option(&self, field: &str, value: &Value) -> Result<(), LoraError> {
        if READ.contains(&field) || KEPT.contains(&field) || says_nothing(value) {
            return Ok(());
        }
        if field != "init_lora_weights" {
            return Err(self.refusal(field, value, "a value that switches it off"));
        }
        match value {
            Value::Bool(_) => Ok(()),
            Value::String(init) if HARMLESS_INITS.contains(&init.as_str()) => Ok(()),
            _ => {
                let expected = "a way to start that leaves the base weights as they are";
                Err(self.refusal(field, value, expected))
            }
        }
    }
}

/// Null, false and whatever is empty.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) => false,
    }
}
