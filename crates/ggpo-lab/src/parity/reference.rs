//! A file of reference values, each of which must be asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_lora::adapter::lora;
use ggpo_lora::parameter_name;
use ggpo_model::weights::read_safetensors;
use ggpo_tensor::{Scalar, Tensor};
use ggpo_train::{Error, Result};
use safetensors::{Dtype, SafeTensors};

use super::names::{module_of_a, parameter_key};

/// Whole numbers and their shape: ids, masks, labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integers {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<i64>,
}

/// The values of a file that nobody has taken yet. They are kept in `f64`,
/// which holds every stored precision exactly.
#[derive(Debug)]
pub(super) struct Reference {
    path: PathBuf,
    numbers: BTreeMap<String, Tensor<f64>>,
    integers: BTreeMap<String, Integers>,
    metadata: BTreeMap<String, String>,
}

impl Reference {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let numbers: BTreeMap<String, Tensor<f64>> = read_safetensors(path)?;
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let wrong =
            |error| Error::file(path, format!("expected a safetensors file, found {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
        let file = SafeTensors::deserialize(&bytes).map_err(wrong)?;
        let mut integers = BTreeMap::new();
        for (key, view) in file.tensors() {
            if numbers.contains_key(&key) {
                continue;
            }
            if view.dtype() != Dtype::I64 {
                let found = view.dtype();
                let problem = format!("{key}: expected floating point or I64, found {found}");
                return Err(Error::file(path, problem));
            }
            let (words, _) = view.data().as_chunks::<8>();
            let values = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
            let shape = view.shape().to_vec();
            integers.insert(key, Integers { shape, values });
        }
        Ok(Reference {
            path: path.to_path_buf(),
            numbers,
            integers,
            metadata: header.metadata().clone().into_iter().flatten().collect(),
        })
    }

    /// What is wrong with this file.
    pub(super) fn error(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.numbers.contains_key(key) || self.integers.contains_key(key)
    }

    pub(super) fn shape(&self, key: &str) -> Option<&[usize]> {
        self.numbers.get(key).map(|value| value.shape())
    }

    /// The modules with an adapter among the values left, and the shapes of
    /// their A and B.
    pub(super) fn adapted_modules(&self) -> BTreeMap<String, [&[usize]; 2]> {
        let shape = |name: &str| {
            self.shape(&parameter_key(self, "", name))
                .unwrap_or_default()
        };
        let modules = self.numbers.keys().filter_map(|key| module_of_a(key));
        modules
            .map(|module| {
                (
                    module.to_owned(),
                    [lora::A, lora::B].map(|factor| shape(&parameter_name(module, factor))),
                )
            })
            .collect()
    }

    pub(super) fn take(&mut self, key: &str) -> Result<Tensor<f64>> {
        let value = self.numbers.remove(key);
        value.ok_or_else(|| self.missing(key, "floating point numbers"))
    }

    /// A value to calculate with.
    pub(super) fn take_as<T: Scalar>(&mut self, key: &str) -> Result<Tensor<T>> {
        Ok(self.take(key)?.mapv(T::from_f64).into_shared())
    }

    pub(super) fn take_integers(&mut self, key: &str) -> Result<Integers> {
        let value = self.integers.remove(key);
        value.ok_or_else(|| self.missing(key, "whole numbers (I64)"))
    }

    fn missing(&self, key: &str, expected: &str) -> Error {
        let found = match self.has(key) {
            true => "another kind",
            false => "nothing",
        };
        self.error(format!("{key}: expected {expected}, found {found}"))
    }

    /// A number of the file's metadata.
    pub(super) fn setting(&self, name: &str) -> Result<f64> {
        let text = self.metadata.get(name);
        let number = text.and_then(|text| text.parse::<f64>().ok());
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            let found = text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
            self.error(format!(
                "metadata {name}: expected a finite number, found {found}"
            ))
        })
    }

    /// A whole number of the file's metadata.
    pub(super) fn count(&self, name: &str) -> Result<u32> {
        let number = self.setting(name)?;
        let count = number as u32;
        if f64::from(count) == number {
            return Ok(count);
        }
        let problem = format!("metadata {name}: expected a whole number, found {number}");
        Err(self.error(problem))
    }

    /// Makes sure that every value has been taken.
    ///
    /// # Errors
    /// Naming those that nobody has taken.
    pub(super) fn finish(self) -> Result<()> {
        const NAMED: usize = 3;
        let left: Vec<&str> = self
            .numbers
            .keys()
            .chain(self.integers.keys())
            .map(String::as_str)
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let more = match left.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = left[..left.len().min(NAMED)].join(", ");
        Err(self.error(format!(
            "expected only values that are checked, found also {named}{more}"
        )))
    }
}
