//! The fields of `adapter_config.json`, and which of them can be honoured.

use std::collections::BTreeMap;
use std::path::Path;

use ggpo_files::json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::form::{PeftForm, forms};
use super::start::{self, Start};
use crate::LoraError;

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
/// The fields of a file that have not been read yet.
pub(super) struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields in the text of the file at `path`.
    pub(super) fn parse(path: &'a Path, text: &str) -> Result<Self, LoraError> {
        let fields = json::object(text.as_bytes()).map_err(|reason| LoraError::Format {
            path: path.to_owned(),
            format: "JSON",
            reason,
        })?;
        Ok(Fields { path, fields })
    }

    /// The fields that nobody has taken.
    ///
    /// # Errors
    /// [`LoraError::Option`] if one of them asks for what cannot be honoured.
    pub(super) fn rest(self) -> Result<BTreeMap<String, Value>, LoraError> {
        if let Err(expected) = Start::of(self.fields.get(start::FIELD)) {
            return Err(self.refusal(start::FIELD, &self.fields[start::FIELD], expected));
        }
        let harmless = |field: &str| KEPT.contains(&field) || field == start::FIELD;
        let mut fields = self.fields.iter();
        match fields.find(|(field, value)| !harmless(field) && !says_nothing(value)) {
            Some((field, value)) => Err(self.refusal(field, value, "a value that switches it off")),
            None => Ok(self.fields.into_iter().collect()),
        }
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

    /// Takes out what says of which form the adapters are, and `bias`.
    pub(super) fn take_form(&mut self) -> Result<&'static PeftForm, LoraError> {
        let forms = forms::<f32>().map(|(form, _)| form);
        let peft_type = self.fields.remove("peft_type");
        let Some(peft_type) = peft_type else {
            return Err(LoraError::MissingField {
                path: self.path.to_owned(),
                field: "peft_type".to_owned(),
            });
        };
        let mut of_type = forms.into_iter().filter(|form| peft_type == form.peft_type);
        let Some(first) = of_type.next() else {
            let mut known: Vec<String> = Vec::new();
            for form in forms {
                let name = format!("{:?}", form.peft_type);
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            return Err(self.refusal("peft_type", &peft_type, &known.join(" or ")));
        };
        let use_dora = self.take("use_dora", "true or false", false, |_| true)?;
        let mut of_type = std::iter::once(first).chain(of_type);
        let Some(form) = of_type.find(|form| form.use_dora == use_dora) else {
            let expected = (!use_dora).to_string();
            let expected = format!("{expected} with {peft_type}");
            return Err(self.refusal("use_dora", &Value::from(use_dora), &expected));
        };
        self.take("bias", "\"none\"", "none".to_owned(), |bias| bias == "none")?;
        Ok(form)
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
