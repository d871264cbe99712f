//! Numbers and strings from the bytes of a file, never beyond their end.

use super::Reading;

/// A place in the bytes of a file. All numbers are little-endian.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `count` bytes, for `what`.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Reading<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| rest.get(..count));
        let taken = taken.ok_or_else(|| {
            format!(
                "{what}: expected {count} bytes from byte {} on, found the end of the file after {}",
                self.position,
                rest.len()
            )
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Reading<[u8; N]> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().expect("as many bytes as asked for"))
    }

    pub(super) fn u8(&mut self, what: &str) -> Reading<u8> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, what: &str) -> Reading<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Reading<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Reading<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length of 64 bits and as many bytes of UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Reading<String> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|error| format!("{what}: expected UTF-8, found {error}"))
    }
}
