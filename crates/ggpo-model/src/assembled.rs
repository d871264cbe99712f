//! A model as people have it, put together: base, adapter, tokenizer, names of
//! the classes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_lora::peft::{PeftAdapter, PeftConfig};
use ggpo_tensor::Tensor;

use crate::base::{self, Base};
use crate::merge::Merged;
use crate::model::{Adapters, ConfigJson, Head, InitialValue, Model};
use crate::parameters::Parameters;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, fit};

/// A model that is ready to be used.
pub struct Assembled {
    /// Shape and head.
    pub model: Model,
    /// The parameters, those that were trained whole included.
    pub parameters: Parameters<f32>,
    /// The adapters; none for a plain model.
    pub adapters: Adapters<f32>,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Names of the classes in their order; empty if there are no classes.
    pub labels: Vec<String>,
}

impl Assembled {
    /// A base model alone, or with the PEFT adapter in a folder.
    ///
    /// # Errors
    /// If a file cannot be read, or the adapter is of another model.
    pub fn open(base: &Path, adapter: Option<&Path>) -> Result<Self> {
        let Some(folder) = adapter else {
            let (assembled, missing) = Self::without_adapter(base, None)?;
            refuse_missing(base, &missing)?;
            assembled.check(base)?;
            return Ok(assembled);
        };
        let adapter = PeftAdapter::<f32>::read(folder)?;
        let path = folder.join("adapter_model.safetensors");
        let head = head_of(&adapter).map_err(|problem| Error::file(&path, problem))?;
        let (mut assembled, mut missing) = Self::without_adapter(base, head)?;
        missing.retain(|name| !adapter.saved_modules.contains_key(name));
        assembled.put_on(&path, adapter)?;
        refuse_missing(&path, &missing)?;
        assembled.check(base)?;
        Ok(assembled)
    }

    /// A base model without an adapter, and those in several folders, to be
    /// [merged](Merged) into it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if an adapter has modules that were trained whole, such
    /// as a head: there is one of each in a model.
    pub fn open_several(base: &Path, folders: &[PathBuf]) -> Result<(Self, Vec<Adapters<f32>>)> {
        let mut read = Vec::new();
        for folder in folders {
            let adapter = PeftAdapter::<f32>::read(folder)?;
            let path = folder.join("adapter_model.safetensors");
            if let Some(name) = adapter.saved_modules.keys().next() {
                let problem = format!(
                    "expected adapters alone to be put together with weights, found {name}, which \
                     was trained whole; merge this adapter by itself"
                );
                return Err(Error::file(path, problem));
            }
            read.push((path, adapter));
        }
        let head = match read.first() {
            Some((path, first)) => head_of(first).map_err(|it| Error::file(path, it))?,
            None => None,
        };
        let (mut assembled, missing) = Self::without_adapter(base, head)?;
        refuse_missing(base, &missing)?;
        let mut adapters = Vec::new();
        for (path, adapter) in read {
            assembled.put_on(&path, adapter)?;
            adapters.push(std::mem::take(&mut assembled.adapters));
        }
        assembled.check(base)?;
        Ok((assembled, adapters))
    }

    /// Checks that all parts belong together, after any of them has changed; `base` is
    /// what an error names.
    ///
    /// # Errors
    /// As [`fit::check`].
    pub fn check(&self, base: &Path) -> Result<()> {
        fit::check(&self.model, &self.tokenizer, &self.labels, base)
    }

    /// The base, and the names of the parameters that it lacks.
    fn without_adapter(base: &Path, head: Option<Head>) -> Result<(Self, Vec<String>)> {
        let Base {
            model,
            mut parameters,
            missing,
        } = Base::open(base, head)?;
        let lacking = missing.iter().map(|spec| spec.name.clone()).collect();
        // What the adapter brings replaces these.
        for spec in missing {
            let count = spec.shape.iter().product();
            let blank = match spec.start {
                InitialValue::Ones => 1.0,
                _ => 0.0,
            };
            parameters.insert(
                spec.name,
                ggpo_tensor::tensor(&spec.shape, vec![blank; count]),
            );
        }
        let labels = match model.head {
            Head::Classes(classes) => {
                let named = ConfigJson::read(base)?.labels()?;
                let numbered = || (0..classes).map(|class| format!("LABEL_{class}")).collect();
                if named.len() == classes {
                    named
                } else {
                    numbered()
                }
            }
            Head::Value | Head::Tokens => Vec::new(),
        };
        let assembled = Assembled {
            tokenizer: base::tokenizer(base)?,
            model,
            parameters,
            adapters: Adapters::new(),
            labels,
        };
        Ok((assembled, lacking))
    }

    /// Puts an adapter on, if it is one of this model.
    fn put_on(&mut self, path: &Path, adapter: PeftAdapter<f32>) -> Result<()> {
        for (module, adapter) in &adapter.adapters {
            let name = format!("{module}.weight");
            let matrix = self
                .parameters
                .get(&name)
                .filter(|tensor| tensor.ndim() == 2);
            let is_there = matrix.is_some() || self.parameters.quantized.contains_key(&name);
            // Of a table of embeddings no pass would ask for an adapter.
            let is_layer = is_there && self.model.takes_adapter(module);
            if !is_layer {
                let problem = format!(
                    "expected adapters of the base model's linear layers, found one of {module}, \
                     which is none of them; is it an adapter of another model?"
                );
                return Err(Error::file(path, problem));
            }
            let expected = self.parameters.weight(&name).dim();
            let found = adapter.dim();
            if expected != found {
                let problem = format!(
                    "{module}: expected an adapter of a layer of {} x {}, found one of {} x {}; \
                     is it an adapter of another model?",
                    expected.0, expected.1, found.0, found.1
                );
                return Err(Error::file(path, problem));
            }
        }
        let weight = |module: &str| self.parameters.weight(&format!("{module}.weight"));
        let adapter = adapter.on_bases(weight)?;
        self.replace(path, adapter.saved_modules)?;
        self.adapters = adapter.adapters;
        Ok(())
    }

    fn replace(&mut self, path: &Path, saved: BTreeMap<String, Tensor<f32>>) -> Result<()> {
        for (name, value) in saved {
            match self.parameters.get_mut(&name) {
                Some(slot) if slot.shape() == value.shape() => *slot = value,
                Some(slot) => {
                    let (expected, found) = (slot.shape(), value.shape());
                    let problem = format!("{name}: expected shape {expected:?}, found {found:?}");
                    return Err(Error::file(path, problem));
                }
                None => {
                    let problem = format!("found {name}, which the base model does not have");
                    return Err(Error::file(path, problem));
                }
            }
        }
        Ok(())
    }

    /// Ids of the tokens that end a text: what the model says, which is what
    /// training puts after a completion, and the usual names.
    pub fn end_ids(&self) -> Vec<usize> {
        let named = END_TOKENS
            .iter()
            .filter_map(|token| self.tokenizer.id(token));
        self.tokenizer
            .end_of_text()
            .into_iter()
            .chain(named)
            .collect()
    }

    /// The parameters with the adapters merged into their weights, all dense.
    pub fn merged(&self) -> Parameters<f32> {
        Merged::new(&self.parameters, [(1.0, &self.adapters)]).all()
    }
}

/// Tokens that end a text in published tokenizers.
const END_TOKENS: [&str; 7] = [
    "</s>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "[EOS]",
];

/// The head that an adapter was trained with; none if it is the model's own.
fn head_of(adapter: &PeftAdapter<f32>) -> std::result::Result<Option<Head>, String> {
    let PeftConfig { task_type, .. } = &adapter.config;
    if let Some("CAUSAL_LM" | "SEQ_2_SEQ_LM") = task_type.as_deref() {
        return Ok(Some(Head::Tokens));
    }
    let head = [
        "classifier.weight",
        "classifier.out_proj.weight",
        "score.weight",
    ]
    .into_iter();
    let mut head = head.filter_map(|name| Some((name, adapter.saved_modules.get(name)?)));
    let Some((name, weight)) = head.next() else {
        return Ok(None);
    };
    match *weight.shape() {
        [1, _] => Ok(Some(Head::Value)),
        [classes, _] if classes > 1 => Ok(Some(Head::Classes(classes))),
        _ => Err(format!(
            "{name}: expected a matrix with a row for every class, found shape {:?}",
            weight.shape()
        )),
    }
}

/// Refuses a model whose head nobody has trained.
fn refuse_missing(path: &Path, missing: &[String]) -> Result<()> {
    match missing.first() {
        None => Ok(()),
        Some(name) => {
            let problem =
                format!("expected {name} of a trained head in the base or the adapter, found none");
            Err(Error::file(path, problem))
        }
    }
}
