//! The tensors of one safetensors file, or of several with an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_tensor::mapped::MappedFile;
use ggpo_tensor::{Scalar, Tensor, tensor};
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use safetensors::{Dtype, SafeTensorError};
use serde::Deserialize;

use super::decode::decode;
use crate::{Error, Result};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Whether there are weights in `folder`.
pub(super) fn is_there(folder: &Path) -> bool {
    folder.join(ONE_FILE).exists() || folder.join(INDEX).exists()
}

/// The tensors of a folder's weights, by name.
pub(super) struct Stored {
    /// The one file, or the index of several.
    path: PathBuf,
    files: Vec<StoredFile>,
    /// Number of the file by the name of the tensor.
    places: BTreeMap<String, usize>,
}

/// A mapped safetensors file.
struct StoredFile {
    path: PathBuf,
    bytes: MappedFile,
    /// Where the tensors' bytes begin.
    start: usize,
    header: Metadata,
}

#[derive(Deserialize)]
struct Index {
    /// File by tensor.
    weight_map: BTreeMap<String, String>,
}

impl Stored {
    /// Opens `model.safetensors` or what `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// If a file cannot be read or is not a whole safetensors file, or the
    /// index and the files it lists do not agree.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let (one, index) = (folder.join(ONE_FILE), folder.join(INDEX));
        if one.exists() {
            Self::one_file(&one)
        } else if index.exists() {
            Self::sharded(folder, index)
        } else {
            let problem = format!("expected {ONE_FILE} or {INDEX} in this folder, found neither");
            Err(Error::file(folder, problem))
        }
    }

    pub(super) fn one_file(path: &Path) -> Result<Self> {
        let file = StoredFile::open(path)?;
        let names = file.names();
        Ok(Stored {
            path: path.to_owned(),
            places: names.map(|name| (name, 0)).collect(),
            files: vec![file],
        })
    }

    fn sharded(folder: &Path, path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
        let index: Index = serde_json::from_str(&text).map_err(|error| {
            let problem = format!("expected JSON with a weight_map of file names, found {error}");
            Error::file(&path, problem)
        })?;
        let mut numbers = BTreeMap::new();
        let mut files = Vec::new();
        for (name, shard) in &index.weight_map {
            if numbers.contains_key(shard) {
                continue;
            }
            if Path::new(shard).file_name() != Some(shard.as_ref()) {
                let problem =
                    format!("{name}: expected a file name without a folder, found {shard:?}");
                return Err(Error::file(&path, problem));
            }
            numbers.insert(shard, files.len());
            files.push(StoredFile::open(&folder.join(shard))?);
        }
        let places = index.weight_map.iter();
        let stored = Stored {
            path,
            files,
            places: places
                .map(|(name, shard)| (name.clone(), numbers[shard]))
                .collect(),
        };
        stored.check_shards()?;
        Ok(stored)
    }

    /// Every tensor must stand in the file that the index names, and nowhere
    /// else.
    fn check_shards(&self) -> Result<()> {
        for (name, &place) in &self.places {
            let file = &self.files[place];
            if file.header.info(name).is_none() {
                let problem = format!("expected a tensor named {name} as {INDEX} says, found none");
                return Err(Error::file(&file.path, problem));
            }
        }
        for (place, file) in self.files.iter().enumerate() {
            let surplus = file
                .names()
                .find(|name| self.places.get(name) != Some(&place));
            if let Some(name) = surplus {
                let problem = format!(
                    "found a tensor named {name}, which {INDEX} does not place in this file"
                );
                return Err(Error::file(&file.path, problem));
            }
        }
        Ok(())
    }

    /// The one file, or the index of several.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The file that holds a tensor.
    pub(super) fn file_of(&self, name: &str) -> &Path {
        &self.file(name).path
    }

    /// Shape of a tensor.
    pub(super) fn shape(&self, name: &str) -> &[usize] {
        &self.info(name).shape
    }

    pub(super) fn is_whole_numbers(&self, name: &str) -> bool {
        use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
        let dtype = self.info(name).dtype;
        [BOOL, I8, I16, I32, I64, U8, U16, U32, U64].contains(&dtype)
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// If they are not floating point, or one is NaN or infinity.
    pub(super) fn read<T: Scalar>(&self, name: &str) -> Result<Tensor<T>> {
        let (file, info) = (self.file(name), self.info(name));
        let (first, end) = info.data_offsets;
        let bytes = &file.bytes[file.start + first..file.start + end];
        let problem = |text: String| Error::file(&file.path, format!("{name}: {text}"));
        let numbers: Vec<T> = decode(info.dtype, bytes).ok_or_else(|| {
            let found = info.dtype;
            problem(format!("expected F64, F32, F16 or BF16, found {found}"))
        })?;
        if let Some(bad) = numbers.iter().find(|x| !x.value().is_finite()) {
            return Err(problem(format!("expected finite numbers, found {bad}")));
        }
        Ok(tensor(&info.shape, numbers))
    }

    fn file(&self, name: &str) -> &StoredFile {
        &self.files[self.places[name]]
    }

    fn info(&self, name: &str) -> &TensorInfo {
        let info = self.file(name).header.info(name);
        info.expect("every name has a tensor in its file")
    }
}

impl StoredFile {
    fn open(path: &Path) -> Result<Self> {
        let bytes = MappedFile::open(path).map_err(|source| Error::io(path, source))?;
        let (header_length, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| Error::file(path, problem(bytes.len(), &error)))?;
        Ok(StoredFile {
            path: path.to_owned(),
            bytes,
            // The length of the header stands before it.
            start: size_of::<u64>() + header_length,
            header,
        })
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.header.tensors().into_keys()
    }
}

/// What is wrong with a file of this length in bytes.
fn problem(length: usize, error: &SafeTensorError) -> String {
    let found = match error {
        _ if length == 0 => "an empty file".to_owned(),
        SafeTensorError::MetadataIncompleteBuffer => {
            "one of another length than its header says, so it is cut off or damaged".to_owned()
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => {
            "one that ends within its header, or another format".to_owned()
        }
        other => other.to_string(),
    };
    format!("expected a safetensors file, found {found}")
}
