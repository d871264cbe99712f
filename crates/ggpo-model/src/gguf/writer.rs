//! Writing a GGUF file, in version 3 of the format.

use std::io::{self, Write};

use super::Reading;
use super::file::{ALIGNMENT, Elements, VERSION};
use super::metadata::Metadata;
use super::reader::Reader;

/// Numbers of the format for the types of values.
const NUMBER: u32 = 4;
const SIGNED: u32 = 5;
const FLOAT: u32 = 6;
const FLAG: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// A file in the making: what it says of itself, and which tensors it holds. Their
/// numbers are asked for when it is written.
#[derive(Default)]
pub(super) struct Writer {
    keys: u64,
    metadata: Vec<u8>,
    tensors: Vec<Place>,
}

/// A tensor of the file.
struct Place {
    name: String,
    /// Lengths of the axes, the slowest first.
    shape: Vec<usize>,
    elements: Elements,
    bytes: usize,
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        self.keys += 1;
        put_text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
    }

    /// Says a text under a key.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key, TEXT);
        put_text(&mut self.metadata, value);
    }

    /// Says a floating point number under a key.
    pub(super) fn float(&mut self, key: &str, value: f32) {
        self.key(key, FLOAT);
        self.metadata.extend(value.to_le_bytes());
    }

    /// Says a whole number under a key.
    pub(super) fn number(&mut self, key: &str, value: usize) -> Reading<()> {
        let value = u32::try_from(value);
        let value = value.map_err(|_| format!("{key}: expected a number below 2^32"))?;
        self.key(key, NUMBER);
        self.metadata.extend(value.to_le_bytes());
        Ok(())
    }

    /// Says yes or no under a key.
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key, FLAG);
        self.metadata.push(value.into());
    }

    fn array(&mut self, key: &str, kind: u32, length: usize) {
        self.key(key, ARRAY);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend((length as u64).to_le_bytes());
    }

    /// Says texts under a key.
    pub(super) fn texts<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        self.array(key, TEXT, values.len());
        for value in values {
            put_text(&mut self.metadata, value.as_ref());
        }
    }

    /// Says floating point numbers under a key.
    pub(super) fn floats(&mut self, key: &str, values: &[f32]) {
        self.array(key, FLOAT, values.len());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.metadata.extend(bytes);
    }

    /// Says whole numbers with a sign under a key.
    pub(super) fn signed(&mut self, key: &str, values: &[i32]) {
        self.array(key, SIGNED, values.len());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.metadata.extend(bytes);
    }

    /// Says what another file says: key, type and value as they stand there.
    pub(super) fn carry(&mut self, entry: &[u8]) {
        self.keys += 1;
        self.metadata.extend(entry);
    }

    /// Adds a tensor, whose shape has the slowest axis first.
    ///
    /// # Panics
    /// If its rows are not whole blocks.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], elements: Elements) {
        let (columns, rows) = shape.split_last().expect("at least one axis");
        let row = elements.row_bytes(*columns).expect("rows of whole blocks");
        self.tensors.push(Place {
            name: name.to_owned(),
            shape: shape.to_vec(),
            elements,
            bytes: row * rows.iter().product::<usize>(),
        });
    }

    /// What the file will say of itself.
    pub(super) fn said(&self) -> Reading<Metadata> {
        Metadata::read(&mut Reader::new(&self.metadata), self.keys)
    }

    /// Writes the file. `bytes` gives those of a tensor, by its place in the order in
    /// which they were added.
    pub(super) fn write<E: From<io::Error>>(
        &self,
        out: &mut dyn Write,
        mut bytes: impl FnMut(usize) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let mut head = b"GGUF".to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend(self.keys.to_le_bytes());
        head.extend(&self.metadata);
        let mut offset = 0_usize;
        for tensor in &self.tensors {
            put_text(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            // The fastest axis first.
            for length in tensor.shape.iter().rev() {
                head.extend((*length as u64).to_le_bytes());
            }
            head.extend(tensor.elements.number().to_le_bytes());
            head.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.next_multiple_of(ALIGNMENT);
        }
        pad(&mut head);
        out.write_all(&head)?;
        for (index, tensor) in self.tensors.iter().enumerate() {
            let mut bytes = bytes(index)?;
            assert_eq!(bytes.len(), tensor.bytes, "{}: its bytes", tensor.name);
            pad(&mut bytes);
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
