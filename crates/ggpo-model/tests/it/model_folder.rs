//! A copy of a family's fixture that a test may change.
#![allow(dead_code, reason = "not every test file uses everything")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_model::weights::load;
use ggpo_model::{Head, Model, Parameters};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// A tensor as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raw {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors of a file, by name.
pub(crate) type RawTensors = BTreeMap<String, Raw>;

/// A model folder, gone when dropped.
pub(crate) struct ModelFolder {
    folder: tempfile::TempDir,
}

impl ModelFolder {
    /// A copy of `fixtures/reference/FAMILY/model`.
    pub(crate) fn of(family: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture(family).join(name), folder.path().join(name)).unwrap();
        }
        ModelFolder { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn weights(&self) -> PathBuf {
        self.file("model.safetensors")
    }

    /// Changes fields of `config.json`.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Map<String, Value>)) -> &Self {
        let path = self.file("config.json");
        let mut fields = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut fields);
        std::fs::write(&path, serde_json::to_vec(&fields).unwrap()).unwrap();
        self
    }

    /// Sets a field of `config.json`.
    pub(crate) fn set(&self, name: &str, value: Value) -> &Self {
        self.configure(|fields| _ = fields.insert(name.to_owned(), value))
    }

    /// Changes the tensors of `model.safetensors`.
    pub(crate) fn rewrite(&self, change: impl FnOnce(&mut RawTensors)) -> &Self {
        let mut tensors = read_raw(&self.weights());
        change(&mut tensors);
        write_raw(&self.weights(), &tensors);
        self
    }

    pub(crate) fn open(&self) -> Model {
        Model::open(self.path()).unwrap()
    }

    /// The parameters, for the head that the folder names.
    pub(crate) fn parameters(&self) -> Parameters<f64> {
        load(self.path(), &self.open()).unwrap().parameters
    }

    /// What is wrong with the description.
    pub(crate) fn config_error(&self) -> String {
        let error = Model::open(self.path()).unwrap_err().to_string();
        one_sentence(&error);
        error
    }

    /// What is wrong with the weights.
    pub(crate) fn weights_error(&self, head: Head) -> String {
        let model = Model::read(self.path(), head).unwrap();
        let error = load::<f32>(self.path(), &model).unwrap_err().to_string();
        one_sentence(&error);
        error
    }
}

fn one_sentence(error: &str) {
    assert!(!error.contains('\n'), "{error}");
}

pub(crate) fn fixture(family: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/reference");
    fixtures.join(family).join("model")
}

pub(crate) fn read_raw(path: &Path) -> RawTensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let raw = |view: TensorView<'_>| Raw {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let tensors = file.tensors().into_iter();
    tensors.map(|(name, view)| (name, raw(view))).collect()
}

pub(crate) fn write_raw(path: &Path, tensors: &RawTensors) {
    let views = tensors.iter().map(|(name, raw)| {
        let view = TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap();
        (name, view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Numbers as they stand in a file.
pub(crate) fn raw_f32(shape: &[usize], numbers: &[f32]) -> Raw {
    Raw {
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// Whole numbers as they stand in a file.
pub(crate) fn raw_i64(shape: &[usize], numbers: &[i64]) -> Raw {
    Raw {
        dtype: Dtype::I64,
        shape: shape.to_vec(),
        bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}
