//! Writing a GGUF file, in version 3 of the format.

/// Alignment of the tensors.
const ALIGNMENT: usize = 32;
/// Numbers of the format for the types of values and tensors.
const TEXT: u32 = 8;
const FLOAT: u32 = 6;
const F32: u32 = 0;

/// A file in the making.
#[derive(Default)]
pub(super) struct Writer {
    keys: u64,
    metadata: Vec<u8>,
    tensors: u64,
    places: Vec<u8>,
    data: Vec<u8>,
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

    /// Says a number under a key.
    pub(super) fn float(&mut self, key: &str, value: f32) {
        self.key(key, FLOAT);
        self.metadata.extend(value.to_le_bytes());
    }

    /// Adds a matrix of rows x columns.
    pub(super) fn matrix(&mut self, name: &str, [rows, columns]: [usize; 2], numbers: &[f32]) {
        assert_eq!(
            numbers.len(),
            rows * columns,
            "{name}: numbers of the matrix"
        );
        self.tensors += 1;
        put_text(&mut self.places, name);
        self.places.extend(2_u32.to_le_bytes());
        // The fastest axis first.
        for length in [columns, rows] {
            self.places.extend((length as u64).to_le_bytes());
        }
        self.places.extend(F32.to_le_bytes());
        self.places.extend((self.data.len() as u64).to_le_bytes());
        self.data
            .extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        pad(&mut self.data);
    }

    /// The bytes of the file.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(self.metadata);
        bytes.extend(self.places);
        pad(&mut bytes);
        bytes.extend(self.data);
        bytes
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
