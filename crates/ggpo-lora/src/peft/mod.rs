//! Adapters in the files of the PEFT library.
//!
//! A folder holds `adapter_config.json` and `adapter_model.safetensors`. What
//! is written here loads in PEFT; what PEFT wrote is read, or refused with the
//! option that cannot be honoured: nothing is ignored that would change the
//! model.

mod budget;
mod config;
mod fields;
mod form;
mod start;
mod weights;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ggpo_files::read::ANY;
use ggpo_files::write_folder_atomically;
use ggpo_tensor::{Scalar, Tensor};

pub use budget::Budget;
pub use config::PeftConfig;
pub(crate) use form::make;
pub use form::{PeftForm, Side};
pub use start::Start;

use crate::{Adapters, LoraError, MethodConfig};

/// Scalings that differ by less, relatively, are the same: one may have been rounded to
/// single precision, or divided by a rank and multiplied with it.
const SAME: f64 = 1e-6;
const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// All adapters of a model, with the modules that were trained as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftAdapter<T: Scalar> {
    /// The configuration.
    pub config: PeftConfig,
    /// The adapters by the name of their module in the base model.
    pub adapters: Adapters<T>,
    /// Parameters of `modules_to_save`, by their full name in the base model,
    /// for example `classifier.weight`.
    pub saved_modules: BTreeMap<String, Tensor<T>>,
}

/// What stands around the adapters in a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrapped<T> {
    /// Parameters that were trained as a whole, by their full name.
    pub saved_modules: BTreeMap<String, Tensor<T>>,
    /// The modules that they belong to.
    pub modules_to_save: Vec<String>,
    /// The kind of task, for example `SEQ_CLS` or `CAUSAL_LM`.
    pub task_type: String,
    /// Name or folder of the base model.
    pub base_model: String,
    /// The base model stores its weights in x out.
    pub fan_in_fan_out: bool,
    /// Steps of the training.
    pub steps: u32,
}

impl<T: Scalar> PeftAdapter<T> {
    /// The adapters of a method, as they are to be written. Those on another base than
    /// W, from a start such as PiSSA, are made into adapters of W, of rank 2r.
    pub fn new(method: &MethodConfig, adapters: &Adapters<T>, around: Wrapped<T>) -> Self {
        let adapters: Adapters<T> = adapters
            .iter()
            .map(|(module, adapter)| (module.clone(), adapter.on_weight_alone()))
            .collect();
        let mut config = PeftConfig::new(
            method.lora.rank,
            method.lora.alpha,
            method.lora.scaling,
            adapters.keys().cloned().collect(),
            around.modules_to_save,
            Some(around.task_type),
            around.base_model,
        );
        config.fan_in_fan_out = around.fan_in_fan_out;
        if let Some(adapter) = adapters.values().next() {
            config.form = adapter.peft();
        }
        if config.form.budget {
            config.budget = Some(Budget::new(method.adalora, config.r, around.steps));
            // What PEFT writes there, since it means nothing.
            config.r = 8;
        } else if let Some(adapter) = adapters.values().next()
            && adapter.rank() != config.r
        {
            // The same scaling at another rank.
            config.r = adapter.rank();
            config.use_rslora = false;
            config.lora_alpha = method.lora.factor() * adapter.rank() as f64;
        }
        PeftAdapter {
            config,
            adapters,
            saved_modules: around.saved_modules,
        }
    }

    /// Reads a folder. Numbers may be stored as F32, F16 or BF16.
    ///
    /// Adapters of a start that changes the base need the base to be complete: see
    /// [`on_bases`](Self::on_bases).
    ///
    /// If `target_modules` is a list, every adapter must be of a module in it.
    ///
    /// # Errors
    /// [`LoraError`], naming the file and the field or tensor: files that are
    /// missing or malformed; options that cannot be honoured; tensors that are
    /// missing, left over, of the wrong shape or type, or not finite.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, LoraError> {
        let config = PeftConfig::read(folder.as_ref())?;
        let path = folder.as_ref().join(WEIGHTS_FILE);
        let bytes = ggpo_files::read(&path, ANY).map_err(|error| io_error(&path, error))?;
        weights::parse(&path, &bytes, config)
    }

    /// Writes a folder, whole or not at all, with all numbers as F32.
    ///
    /// # Errors
    /// [`LoraError::Exists`] if there is something under that name;
    /// [`LoraError::Contradiction`] if rank, scaling or dropout of an adapter
    /// is not what the configuration gives its module, or its form or base;
    /// [`LoraError::NotListed`] if a module is missing in `target_modules` or
    /// `modules_to_save`; [`LoraError::NotFinite`] and [`LoraError::Io`].
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), LoraError> {
        self.write_with(folder, &[])
    }

    /// [`write`](Self::write), with other files beside those of the adapter: their names
    /// and what is in them.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with(
        &self,
        folder: impl AsRef<Path>,
        others: &[(&str, &[u8])],
    ) -> Result<(), LoraError> {
        let folder = folder.as_ref();
        let mut config = self.config.clone();
        if let Some(adapter) = self.adapters.values().next() {
            config.lora_dropout = adapter.dropout;
        }
        if let Some(budget) = &mut config.budget {
            budget.note_kept(&self.adapters);
        }
        self.check(&config)?;
        let weights = weights::to_bytes(&folder.join(WEIGHTS_FILE), self, &config)?;
        let text = config.to_text();
        let own = [
            (CONFIG_FILE, text.as_bytes()),
            (WEIGHTS_FILE, weights.as_slice()),
        ];
        let files = [&own, others].concat();
        write_folder_atomically(folder, &files).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => LoraError::Exists {
                path: folder.to_owned(),
            },
            _ => io_error(folder, error),
        })
    }

    /// Whether the configuration says of every part what it is.
    fn check(&self, config: &PeftConfig) -> Result<(), LoraError> {
        let ranks = config.ranks()?;
        for (module, adapter) in &self.adapters {
            let (rank, scaling) = ranks.of(module);
            let contradiction = |property, expected: String, found: String| {
                Err(LoraError::Contradiction {
                    module: module.clone(),
                    property,
                    expected,
                    found,
                })
            };
            if let Some(names) = config.unmatched_targets(module) {
                return Err(LoraError::NotListed {
                    field: "target_modules",
                    name: module.clone(),
                    entries: names,
                });
            }
            if adapter.peft() != config.form {
                let (expected, found) = (config.form.title, adapter.peft().title);
                return contradiction("the form", expected.to_owned(), found.to_owned());
            }
            if adapter.constant().is_some() && config.start().is_none() {
                let (expected, found) = ("W", "W + U V");
                return contradiction("the base", expected.to_owned(), found.to_owned());
            }
            let found = adapter.rank();
            if found != rank {
                return contradiction("the rank", rank.to_string(), found.to_string());
            }
            if (adapter.scaling().value() - scaling).abs() > SAME * scaling {
                let found = adapter.scaling().value().to_string();
                return contradiction("the scaling", scaling.to_string(), found);
            }
            if adapter.dropout != config.lora_dropout {
                let (expected, found) = (config.lora_dropout, adapter.dropout);
                return contradiction("the dropout", expected.to_string(), found.to_string());
            }
        }
        match self
            .saved_modules
            .keys()
            .find(|name| !config.is_saved(name))
        {
            Some(name) => Err(LoraError::NotListed {
                field: "modules_to_save",
                name: name.clone(),
                entries: format!(
                    "{:?}",
                    config.modules_to_save.as_deref().unwrap_or_default()
                ),
            }),
            None => Ok(()),
        }
    }
}

fn io_error(path: &Path, cause: io::Error) -> LoraError {
    LoraError::Io {
        path: path.to_owned(),
        cause,
    }
}
