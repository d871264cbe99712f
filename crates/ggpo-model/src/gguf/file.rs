//! The parts of a GGUF file: its header, its metadata, and where its tensors are.
//!
//! ```text
//! "GGUF", version (u32), number of tensors (u64), number of keys (u64)
//! keys and values of the metadata
//! name, shape, type and place of every tensor
//! padding, then the tensors, each at a multiple of the alignment
//! ```

use std::collections::BTreeMap;
use std::fmt;

use ggpo_tensor::BlockFormat;

use super::Reading;
use super::metadata::Metadata;
use super::reader::Reader;

/// The version that is read.
pub(super) const VERSION: u32 = 3;
/// Alignment of the tensors in a file that does not say.
pub(super) const ALIGNMENT: usize = 32;
/// Most axes of a tensor.
const MOST_AXES: u32 = 4;

/// A GGUF file taken apart.
pub(super) struct File<'a> {
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, StoredTensor<'a>>,
}

/// A tensor in a GGUF file.
pub(super) struct StoredTensor<'a> {
    pub(super) elements: Elements,
    /// Lengths of the axes, the slowest first, at least one.
    pub(super) shape: Vec<usize>,
    pub(super) bytes: &'a [u8],
}

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Numbers in single precision.
    F32,
    /// Blocks.
    Blocks(BlockFormat),
}

/// Numbers of the types in files.
const TYPES: [(u32, Elements); 13] = [
    (0, Elements::F32),
    (1, Elements::Blocks(BlockFormat::F16)),
    (2, Elements::Blocks(BlockFormat::Q4_0)),
    (3, Elements::Blocks(BlockFormat::Q4_1)),
    (6, Elements::Blocks(BlockFormat::Q5_0)),
    (7, Elements::Blocks(BlockFormat::Q5_1)),
    (8, Elements::Blocks(BlockFormat::Q8_0)),
    (10, Elements::Blocks(BlockFormat::Q2K)),
    (11, Elements::Blocks(BlockFormat::Q3K)),
    (12, Elements::Blocks(BlockFormat::Q4K)),
    (13, Elements::Blocks(BlockFormat::Q5K)),
    (14, Elements::Blocks(BlockFormat::Q6K)),
    (30, Elements::Blocks(BlockFormat::BF16)),
];

impl Elements {
    /// By the number of the type in the file.
    fn of_type(number: u32) -> Option<Self> {
        let known = TYPES.iter().find(|(known, _)| *known == number);
        known.map(|(_, elements)| *elements)
    }

    /// The number of the type in the file.
    pub(super) fn number(self) -> u32 {
        let known = TYPES.iter().find(|(_, elements)| *elements == self);
        known.expect("every type has a number").0
    }

    /// Bytes of a row of `columns` elements, if they are whole blocks.
    pub(super) fn row_bytes(self, columns: usize) -> Option<usize> {
        match self {
            Elements::F32 => columns.checked_mul(4),
            Elements::Blocks(format) => format.row_bytes(columns),
        }
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elements::F32 => f.write_str("F32"),
            Elements::Blocks(format) => format.fmt(f),
        }
    }
}

/// A type that is not read, by its name where it has been seen.
fn type_name(number: u32) -> String {
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16..=23 | 29 => "a type of the IQ family",
        24..=27 => "whole numbers",
        28 => "F64",
        _ => return format!("type {number}"),
    };
    format!("{name} (type {number})")
}

impl<'a> File<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Reading<Self> {
        let mut reader = Reader::new(bytes);
        if reader.take(4, "the header")? != b"GGUF" {
            return Err("expected a GGUF file, found another beginning".to_owned());
        }
        let version = reader.u32("version")?;
        if version != VERSION {
            return Err(format!("version: expected {VERSION}, found {version}"));
        }
        let tensors = reader.u64("number of tensors")?;
        let keys = reader.u64("number of keys")?;
        let metadata = Metadata::read(&mut reader, keys)?;
        let key = "general.alignment";
        let alignment = metadata.optional_count(key)?.unwrap_or(ALIGNMENT);
        if !alignment.is_multiple_of(8) {
            return Err(metadata.wrong(key, "a multiple of 8"));
        }
        let places: Vec<(String, Place)> = (0..tensors)
            .map(|index| Place::read(&mut reader, index))
            .collect::<Reading<_>>()?;
        let start = reader.position().next_multiple_of(alignment);
        let data = bytes.get(start..).unwrap_or_default();
        let mut tensors = BTreeMap::new();
        for (name, place) in places {
            let tensor = place
                .tensor(data, alignment)
                .map_err(|problem| format!("{name}: {problem}"))?;
            if tensors.contains_key(&name) {
                return Err(format!("{name}: expected one tensor, found two"));
            }
            tensors.insert(name, tensor);
        }
        refuse_shared(&tensors)?;
        Ok(File { metadata, tensors })
    }
}

/// Refuses tensors that share a place: each of them takes memory of its own.
fn refuse_shared(tensors: &BTreeMap<String, StoredTensor<'_>>) -> Reading<()> {
    let mut places: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (tensor.bytes.as_ptr_range(), name))
        .filter(|(place, _)| !place.is_empty())
        .collect();
    places.sort_by_key(|(place, _)| place.start);
    for pair in places.windows(2) {
        let [(first, one), (second, other)] = pair else {
            continue;
        };
        if second.start < first.end {
            return Err(format!(
                "{other}: expected a place of its own, found one within that of {one}"
            ));
        }
    }
    Ok(())
}

/// What the file says of a tensor.
struct Place {
    /// Lengths of the axes, the fastest first.
    lengths: Vec<u64>,
    kind: u32,
    /// From the beginning of the tensors on, in bytes.
    offset: u64,
}

impl Place {
    fn read(reader: &mut Reader<'_>, index: u64) -> Reading<(String, Self)> {
        let name = reader.string(&format!("name of tensor {index}"))?;
        let axes = reader.u32(&name)?;
        if axes == 0 || axes > MOST_AXES {
            return Err(format!(
                "{name}: expected 1 to {MOST_AXES} axes, found {axes}"
            ));
        }
        let lengths = (0..axes)
            .map(|_| reader.u64(&name))
            .collect::<Reading<_>>()?;
        let place = Place {
            lengths,
            kind: reader.u32(&name)?,
            offset: reader.u64(&name)?,
        };
        Ok((name, place))
    }

    fn tensor<'a>(&self, data: &'a [u8], alignment: usize) -> Reading<StoredTensor<'a>> {
        let elements = Elements::of_type(self.kind).ok_or_else(|| {
            let found = type_name(self.kind);
            let known = BlockFormat::ALL.map(|format| format.to_string()).join(", ");
            format!("expected F32, {known}, found {found}")
        })?;
        let lengths = self.lengths.iter().rev();
        let shape = lengths.map(|&length| usize::try_from(length).ok());
        let shape: Option<Vec<usize>> = shape.collect();
        let shape = shape.ok_or("expected axes that fit in memory")?;
        let (columns, rows) = shape.split_last().expect("at least one axis");
        let size = elements.row_bytes(*columns).and_then(|row_bytes| {
            let mut rows = rows.iter();
            rows.try_fold(row_bytes, |size, &rows| size.checked_mul(rows))
        });
        let size = size.ok_or_else(|| {
            format!("expected rows of whole blocks of {elements}, found the shape {shape:?}")
        })?;
        let offset = usize::try_from(self.offset).ok();
        let offset = offset.filter(|offset| offset.is_multiple_of(alignment));
        let offset = offset.ok_or_else(|| {
            format!(
                "expected a place at a multiple of {alignment}, found {}",
                self.offset
            )
        })?;
        let bytes = data.get(offset..).and_then(|rest| rest.get(..size));
        let bytes = bytes.ok_or_else(|| {
            format!(
                "expected {size} bytes from byte {offset} of the tensors on, found {} bytes in all",
                data.len()
            )
        })?;
        Ok(StoredTensor {
            elements,
            shape,
            bytes,
        })
    }
}
