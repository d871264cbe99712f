//! The tensors of one safetensors file, or of several with an index.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ggpo_files::json;
use ggpo_files::read::DESCRIPTION;
use ggpo_tensor::{Scalar, Tensor, tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
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

/// A safetensors file, of which tensors are read when they are asked for. It is not
/// mapped into memory: whoever cut it off meanwhile would end the process.
struct StoredFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes begin.
    start: u64,
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
        let bytes = ggpo_files::read(&path, DESCRIPTION);
        let bytes = bytes.map_err(|source| Error::io(&path, source))?;
        let index: Index = json::from_slice(&bytes).map_err(|error| {
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

    /// All files, an index included.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let files = self.files.iter().map(|file| file.path.clone());
        let index = Some(self.path.clone()).filter(|path| files.clone().all(|it| it != *path));
        files.chain(index).collect()
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
        let bytes = file
            .read(info)
            .map_err(|source| Error::io(&file.path, source))?;
        let problem = |text: String| Error::file(&file.path, format!("{name}: {text}"));
        let numbers: Vec<T> = decode(info.dtype, &bytes).ok_or_else(|| {
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

/// Most bytes of a header, as the format's own library has it.
const LONGEST_HEADER: u64 = 100_000_000;

impl StoredFile {
    fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let mut file = ggpo_files::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let wrong = |found: &str| {
            let problem = format!("expected a safetensors file, found {found}");
            Error::file(path, problem)
        };
        let within = "one that ends within its header, or another format";
        if length == 0 {
            return Err(wrong("an empty file"));
        }
        let mut header_length = [0; 8];
        if length < 8 {
            return Err(wrong(within));
        }
        file.read_exact(&mut header_length).map_err(io)?;
        let header_length = u64::from_le_bytes(header_length);
        let start = header_length.saturating_add(8);
        if header_length > LONGEST_HEADER || start > length {
            return Err(wrong(within));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: Metadata = json::from_slice(&header).map_err(|found| wrong(&found))?;
        let end = end_of(&header).map_err(|found| wrong(&found))?;
        if start.checked_add(end) != Some(length) {
            let found = "one of another length than its header says, so it is cut off or damaged";
            return Err(wrong(found));
        }
        Ok(StoredFile {
            path: path.to_owned(),
            file,
            start,
            header,
        })
    }

    /// The bytes of a tensor.
    fn read(&self, info: &TensorInfo) -> std::io::Result<Vec<u8>> {
        let (first, end) = info.data_offsets;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(end - first)
            .map_err(std::io::Error::other)?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + first as u64))?;
        file.take((end - first) as u64).read_to_end(&mut bytes)?;
        match bytes.len() == end - first {
            true => Ok(bytes),
            false => Err(std::io::Error::other(
                "expected the file as it was opened, found it cut off meanwhile",
            )),
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.header.tensors().into_keys()
    }
}

/// Checks that the tensors stand one after the other, each with as many bytes as its
/// shape and type need; returns where the last one ends.
fn end_of(header: &Metadata) -> std::result::Result<u64, String> {
    let mut tensors: Vec<_> = header.tensors().into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in tensors {
        let (first, last) = info.data_offsets;
        let count = info
            .shape
            .iter()
            .try_fold(1, |n: usize, &m| n.checked_mul(m));
        let bits = count.and_then(|count| count.checked_mul(info.dtype.bitsize()));
        let bytes = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        if first != end || bytes.is_none() || last.checked_sub(first) != bytes {
            return Err(format!(
                "the tensor {name} at bytes {first} to {last}, which is not its size or place"
            ));
        }
        end = last;
    }
    Ok(end as u64)
}
