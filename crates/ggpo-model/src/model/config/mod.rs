//! `config.json` of a model folder, read strictly: what this project would
//! calculate differently, and what it does not know, is refused by name.
//!
//! Every field is either read by its family, or on the list of those that
//! cannot change the calculation (common to all families in `fields`, the
//! family's own in its file), or an error.

mod head;

use std::path::{Path, PathBuf};

use ggpo_files::json;
use ggpo_files::read::DESCRIPTION;
use serde_json::{Map, Value, json};

use super::families::{FAMILIES, Family, of_family};
use super::fields::Fields;
use super::{Body, Head, Model, Precision};
use crate::{Error, Result};

/// `config.json` of a model folder: all its fields as they stand, whether the
/// calculation needs them or not.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigJson {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigJson {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// If the file cannot be read or is not a JSON object.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let bytes = ggpo_files::read(&path, DESCRIPTION);
        let bytes = bytes.map_err(|source| Error::io(&path, source))?;
        match json::object(&bytes) {
            Ok(fields) => Ok(ConfigJson { path, fields }),
            Err(found) => {
                let problem = format!("expected a JSON object, found {found}");
                Err(Error::file(path, problem))
            }
        }
    }

    /// The fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The body that is described; `lm_head` as in [`model`](Self::model).
    ///
    /// # Errors
    /// If a field is missing or not known, or describes something this project
    /// does not calculate.
    fn body(&self, lm_head: bool) -> Result<Body> {
        let fields = Fields::new(&self.path, &self.fields);
        fields.only("is_decoder", &json!(false))?;
        fields.only("add_cross_attention", &json!(false))?;
        fields.only("tie_encoder_decoder", &json!(false))?;
        fields.only("pruned_heads", &json!({}))?;
        let model_type = fields.text("model_type")?;
        let mut families = FAMILIES.iter();
        match families.find(|(about, _)| about.model_type == model_type) {
            Some((_, read)) => read(&fields, lm_head),
            None => Err(fields.wrong("model_type", &model_types())),
        }
    }

    /// Whether the model may have an `lm_head` of its own that only the weights
    /// show, as T5 may.
    pub fn leaves_lm_head_open(&self) -> bool {
        let model_type = self.fields.get("model_type").and_then(Value::as_str);
        let mut families = FAMILIES.iter();
        families.any(|(about, _)| about.leaves_lm_head_open && model_type == Some(about.model_type))
    }

    /// The model of this description with a head. `lm_head` says whether the
    /// weights hold a tensor `lm_head.weight`, which some descriptions leave open.
    ///
    /// # Errors
    /// If a field is not known, describes something this project does not
    /// calculate, or a family without such a head.
    pub fn model(&self, head: Head, lm_head: bool) -> Result<Model> {
        let body = self.body(lm_head)?;
        if !body.knows(head) {
            let expected = format!("a family that can have the head {head:?}");
            let fields = Fields::new(&self.path, &self.fields);
            return Err(fields.wrong("model_type", &expected));
        }
        Ok(Model { body, head })
    }

    /// The text of a `config.json` for a model that was made from this one:
    /// the fields as they stand, with the model's head, its `labels`
    /// (`LABEL_0` and so on if there are none) and the precision of its file.
    ///
    /// # Panics
    /// If the number of labels is neither 0 nor that of the head's classes.
    pub fn text_for(&self, model: &Model, labels: &[String], precision: Precision) -> String {
        let mut fields = self.fields.clone();
        head::describe(&mut fields, model, labels);
        for name in ["dtype", "torch_dtype"] {
            if let Some(dtype) = fields.get_mut(name) {
                *dtype = json!(precision.name());
            }
        }
        text(fields)
    }
}

/// `config.json` of a new model, in the form that published folders have.
pub(super) fn new_text(model: &Model) -> String {
    let value = of_family!(&model.body, family => family.to_json());
    let Value::Object(mut fields) = value else {
        unreachable!("a family writes an object");
    };
    head::describe(&mut fields, model, &[]);
    text(fields)
}

/// The model types that are known, for an error message.
fn model_types() -> String {
    let mut names: Vec<String> = FAMILIES
        .iter()
        .map(|(about, _)| format!("{:?}", about.model_type))
        .collect();
    let last = names.pop().unwrap_or_default();
    format!("{} or {last}", names.join(", "))
}

fn text(fields: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(fields))
}
