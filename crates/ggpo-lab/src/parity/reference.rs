//! A file of reference values, each of which must be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ggpo_model::weights::read_safetensors;
use ggpo_tensor::{Scalar, Tensor};
use ggpo_train::{Error, Result};
use safetensors::{Dtype, SafeTensors};

use super::names::module_of_a;

/// Whole numbers and their shape: ids, masks, labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Integers {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<i64>,
}

/// The values of a file that nobody has taken yet. They are kept in `f64`,
/// which holds every stored arithmetic exactly.
#[derive(Debug)]
pub(super) struct Reference {
    path: PathBuf,
    numbers: BTreeMap<String, Tensor<f64>>,
    integers: BTreeMap<String, Integers>,
    metadata: BTreeMap<String, String>,
    /// The metadata that somebody has asked for.
    asked: BTreeSet<String>,
}

/// Metadata for people: what is said in words, and where random numbers came from.
const FOR_PEOPLE: [&str; 3] = ["format", "note", "seed"];

/// Outputs and inputs of modules, by their names.
pub(super) type Modules = BTreeMap<String, (usize, usize)>;

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
            asked: BTreeSet::new(),
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

    /// Whether there is a value whose key begins so.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.numbers.keys().any(|key| key.starts_with(prefix))
    }

    /// The modules with an adapter among the values left.
    pub(super) fn adapted_modules(&self) -> Result<Modules> {
        let mut modules = Modules::new();
        for (key, a) in &self.numbers {
            let Some((module, b)) = module_of_a(key) else {
                continue;
            };
            let b_shape = self.shape(&b);
            let b_shape = b_shape.ok_or_else(|| self.missing(&b, "floating point numbers"))?;
            let ([_, n], [m, _]) = (a.shape(), b_shape) else {
                return Err(self.error(format!("{key}: expected factors of two axes")));
            };
            modules.insert(module.to_owned(), (*m, *n));
        }
        Ok(modules)
    }

    /// The modules that have a matrix of their size under `prefix`, module, `suffix`.
    pub(super) fn modules_of(&self, prefix: &str, suffix: &str) -> Modules {
        let matrices = self.numbers.iter().filter_map(|(key, value)| {
            let module = key.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let &[m, n] = value.shape() else {
                return None;
            };
            Some((module.to_owned(), (m, n)))
        });
        matrices.collect()
    }

    pub(super) fn take(&mut self, key: &str) -> Result<Tensor<f64>> {
        let value = self.numbers.remove(key);
        value.ok_or_else(|| self.missing(key, "floating point numbers"))
    }

    /// A value to calculate with.
    pub(super) fn take_as<T: Scalar>(&mut self, key: &str) -> Result<Tensor<T>> {
        Ok(self.take(key)?.mapv(T::from_f64).into_shared())
    }

    /// A value to calculate with that must have a shape.
    pub(super) fn take_shaped<T: Scalar>(
        &mut self,
        key: &str,
        shape: &[usize],
    ) -> Result<Tensor<T>> {
        let value = self.take_as(key)?;
        if value.shape() == shape {
            return Ok(value);
        }
        let found = value.shape();
        Err(self.error(format!("{key}: expected shape {shape:?}, found {found:?}")))
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

    /// Whether the metadata say something of that name.
    pub(super) fn says(&self, name: &str) -> bool {
        self.metadata.contains_key(name)
    }

    /// What the metadata say under a name, if they say anything.
    pub(super) fn said(&mut self, name: &str) -> Option<String> {
        self.asked.insert(name.to_owned());
        self.metadata.get(name).cloned()
    }

    /// A number of the file's metadata.
    pub(super) fn setting(&mut self, name: &str) -> Result<f64> {
        let text = self.said(name);
        let number = text.as_ref().and_then(|text| text.parse::<f64>().ok());
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            let found = text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
            self.error(format!(
                "metadata {name}: expected a finite number, found {found}"
            ))
        })
    }

    /// A whole number of the file's metadata.
    pub(super) fn count(&mut self, name: &str) -> Result<u32> {
        let number = self.setting(name)?;
        let count = number as u32;
        if f64::from(count) == number {
            return Ok(count);
        }
        let problem = format!("metadata {name}: expected a whole number, found {number}");
        Err(self.error(problem))
    }

    /// Makes sure that every value has been taken, and every setting asked for.
    ///
    /// # Errors
    /// Naming those that nobody has taken.
    pub(super) fn finish(self) -> Result<()> {
        const NAMED: usize = 3;
        let asked =
            |name: &&String| self.asked.contains(*name) || FOR_PEOPLE.contains(&name.as_str());
        if let Some(name) = self.metadata.keys().find(|name| !asked(name)) {
            return Err(self.error(format!(
                "expected only metadata that are used, found also {name}"
            )));
        }
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
