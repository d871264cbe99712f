//! `config.json` of a model folder, read strictly: what this project would
//! calculate differently, and what it does not know, is refused by name.
//!
//! Every field is either read by its family, or on the list of those that
//! cannot change the calculation (common to all families in `fields`, the
//! family's own in its file here), or an error.

mod bert;
mod feature_layer;
mod fields;
mod gpt2;
mod head;
mod llama;
mod t5;

use std::path::{Path, PathBuf};

use ggpo_files::json;
use ggpo_files::read::DESCRIPTION;
use serde_json::{Map, Value, json};

use super::{Body, Head, Model, Precision};
use crate::{Error, Result};
use fields::Fields;

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
        match fields.text("model_type")? {
            "bert" => bert::read(&fields).map(Body::Bert),
            "llama" => llama::read(&fields).map(Body::Llama),
            "gpt2" => gpt2::read(&fields).map(Body::Gpt2),
            "t5" => t5::read(&fields, lm_head).map(Body::T5),
            "feature_layer" => feature_layer::read(&fields).map(Body::FeatureLayer),
            _ => {
                let expected = "\"bert\", \"gpt2\", \"llama\", \"t5\" or \"feature_layer\"";
                Err(fields.wrong("model_type", expected))
            }
        }
    }

    /// Whether the model may have an `lm_head` of its own that only the weights
    /// show, as T5 may.
    pub fn leaves_lm_head_open(&self) -> bool {
        self.fields.get("model_type") == Some(&json!("t5"))
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
    let value = match &model.body {
        Body::Bert(config) => bert::to_json(config),
        Body::Llama(config) => llama::to_json(config),
        Body::Gpt2(config) => gpt2::to_json(config),
        Body::T5(config) => t5::to_json(config),
        Body::FeatureLayer(config) => feature_layer::to_json(config),
    };
    let Value::Object(mut fields) = value else {
        unreachable!("a family writes an object");
    };
    head::describe(&mut fields, model, &[]);
    text(fields)
}

fn text(fields: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(fields))
}
