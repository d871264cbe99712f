//! The fields of a JSON object, each of which somebody must know.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Fields of any family that cannot change the calculation: where the files
/// come from, ids of special tokens, what a call returns, how to generate, how
/// the labels are called, how the model was trained, how numbers are stored
/// and which of several equal implementations is used.
const COMMON: &[&str] = &[
    // Origin.
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "tokenizer_class",
    "transformers.js_config",
    "transformers_version",
    // Ids of special tokens.
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
    "sep_token_id",
    // What a call returns.
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "return_dict",
    "return_dict_in_generate",
    "use_cache",
    // How to generate.
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    // The task; `ConfigJson` reads what it needs of these.
    "_num_labels",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    // Training.
    "classifier_dropout",
    "gradient_checkpointing",
    "initializer_range",
    "tf_legacy_loss",
    // Storage and implementation.
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
];

/// Most layers of a model; the deepest that are published have a twentieth of it.
const MOST_LAYERS: usize = 4096;

/// The fields of an object of `config.json`. A field that is null is as good
/// as absent.
pub(super) struct Fields<'a> {
    path: &'a Path,
    /// Name of the object with a dot, empty for the outermost.
    place: String,
    fields: &'a Map<String, Value>,
    /// Fields that were asked for.
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &'a Path, fields: &'a Map<String, Value>) -> Self {
        Fields {
            path,
            place: String::new(),
            fields,
            known: RefCell::default(),
        }
    }

    /// The object that stands in a field, if the field is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields {
                path: self.path,
                place: format!("{}{name}.", self.place),
                fields,
                known: RefCell::default(),
            })),
            Some(_) => Err(self.wrong(name, "a JSON object")),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(name.to_owned());
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The error of a field that is not as expected.
    pub(super) fn wrong(&self, name: &str, expected: &str) -> Error {
        let found = match self.get(name) {
            None => "nothing".to_owned(),
            Some(value) => value.to_string(),
        };
        let place = &self.place;
        let problem = format!("{place}{name}: expected {expected}, found {found}");
        Error::file(self.path, problem)
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        let value = self.get(name).and_then(Value::as_str);
        value.ok_or_else(|| self.wrong(name, "a string"))
    }

    /// Yes or no, or `default` where nothing is said.
    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(name, "true or false")),
        }
    }

    /// A whole number of at least 1, small enough that the product of two has no
    /// overflow.
    pub(super) fn count(&self, name: &str) -> Result<usize> {
        self.count_up_to(name, i32::MAX as usize)
    }

    /// A number of layers. Names are made for all of them before weights are looked at.
    pub(super) fn layers(&self, name: &str) -> Result<usize> {
        self.count_up_to(name, MOST_LAYERS)
    }

    /// A whole number from 1 to `most`.
    pub(super) fn count_up_to(&self, name: &str, most: usize) -> Result<usize> {
        let count = self.get(name).and_then(Value::as_u64);
        let count = count.and_then(|count| usize::try_from(count).ok());
        count
            .filter(|count| (1..=most).contains(count))
            .ok_or_else(|| self.wrong(name, &format!("a whole number above 0, at most {most}")))
    }

    pub(super) fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name) {
            None => Ok(default),
            Some(_) => self.count(name),
        }
    }

    /// A number above 0.
    pub(super) fn positive(&self, name: &str) -> Result<f64> {
        let number = self.get(name).and_then(Value::as_f64);
        number
            .filter(|number| *number > 0.0 && number.is_finite())
            .ok_or_else(|| self.wrong(name, "a number above 0"))
    }

    pub(super) fn positive_or(&self, name: &str, default: f64) -> Result<f64> {
        match self.get(name) {
            None => Ok(default),
            Some(_) => self.positive(name),
        }
    }

    /// Refuses a field whose value is another than what is calculated.
    pub(super) fn only(&self, name: &str, supported: &Value) -> Result<()> {
        match self.get(name) {
            Some(found) if found != supported => Err(self.wrong(name, &supported.to_string())),
            _ => Ok(()),
        }
    }

    pub(super) fn divides(&self, part: &str, whole: &str) -> Result<()> {
        let (divisor, dividend) = (self.count(part)?, self.count(whole)?);
        if dividend.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(self.wrong(part, &format!("a divisor of {whole}, which is {dividend}")))
    }

    /// Refuses fields that nobody knows: neither asked for so far, nor common
    /// to all families, nor among those that the family passes over.
    pub(super) fn finish(&self, passed_over: &[&str]) -> Result<()> {
        let common = if self.place.is_empty() { COMMON } else { &[] };
        let known = self.known.borrow();
        let unknown = self.fields.iter().find(|(name, value)| {
            let listed = |list: &[&str]| list.contains(&name.as_str());
            !value.is_null() && !known.contains(*name) && !listed(common) && !listed(passed_over)
        });
        match unknown {
            None => Ok(()),
            Some((name, value)) => {
                let place = &self.place;
                let problem = format!(
                    "{place}{name}: expected only fields that are known for this model type, found this one with the value {value}"
                );
                Err(Error::file(self.path, problem))
            }
        }
    }
}
