//! What a GGUF file says of itself: values by their keys.

use std::collections::BTreeMap;
use std::fmt;

use super::Reading;
use super::reader::Reader;

/// Arrays in arrays beyond this depth are refused.
const DEEPEST_ARRAY: usize = 4;
/// Characters of a text that an error message shows.
const TEXT_SHOWN: usize = 60;

/// A value of the metadata. The format's sizes of numbers are not kept apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number of at least 0.
    Unsigned(u64),
    /// A whole number of a type with a sign.
    Signed(i64),
    /// A floating point number.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// Values of one type.
    Array(Vec<Value>),
}

impl Value {
    /// Reads the type of a value and the value.
    pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Reading<Self> {
        let kind = reader.u32(key)?;
        Self::read_kind(reader, key, kind, DEEPEST_ARRAY)
    }

    fn read_kind(reader: &mut Reader<'_>, key: &str, kind: u32, depth: usize) -> Reading<Self> {
        Ok(match kind {
            0 => Value::Unsigned(reader.u8(key)?.into()),
            1 => Value::Signed((reader.u8(key)? as i8).into()),
            2 => Value::Unsigned(reader.u16(key)?.into()),
            3 => Value::Signed((reader.u16(key)? as i16).into()),
            4 => Value::Unsigned(reader.u32(key)?.into()),
            5 => Value::Signed((reader.u32(key)? as i32).into()),
            6 => Value::Float(f32::from_bits(reader.u32(key)?).into()),
            7 => match reader.u8(key)? {
                0 => Value::Flag(false),
                1 => Value::Flag(true),
                other => return Err(format!("{key}: expected 0 or 1, found {other}")),
            },
            8 => Value::Text(reader.string(key)?),
            9 if depth > 0 => {
                let kind = reader.u32(key)?;
                let count = reader.u64(key)?;
                let mut elements = Vec::with_capacity(elements(reader, key, kind, count)?);
                for _ in 0..count {
                    elements.push(Self::read_kind(reader, key, kind, depth - 1)?);
                }
                Value::Array(elements)
            }
            9 => {
                return Err(format!(
                    "{key}: expected at most {DEEPEST_ARRAY} arrays in each other"
                ));
            }
            10 => Value::Unsigned(reader.u64(key)?),
            11 => Value::Signed(reader.u64(key)? as i64),
            12 => Value::Float(f64::from_bits(reader.u64(key)?)),
            other => {
                return Err(format!(
                    "{key}: expected a type from 0 to 12, found {other}"
                ));
            }
        })
    }
}

/// Most elements of an array whose elements take less than four bytes in the file: in
/// memory each takes eight times that.
const MOST_SMALL: u64 = 1 << 20;

/// Elements of an array for which memory may be taken: its count, if the rest of the
/// file can hold them.
fn elements(reader: &mut Reader<'_>, key: &str, kind: u32, count: u64) -> Reading<usize> {
    // The shortest text is a length, the shortest array a type and a length.
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        9 => 12,
        _ => 8,
    };
    let room = reader.left() as u64 / least;
    let most = if least < 4 {
        room.min(MOST_SMALL)
    } else {
        room
    };
    if count > most {
        return Err(format!(
            "{key}: expected at most {most} elements, found {count}"
        ));
    }
    Ok(count as usize)
}

/// A value as an error message shows it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(number) => write!(f, "{number}"),
            Value::Signed(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Text(text) => {
                let shown: String = text.chars().take(TEXT_SHOWN).collect();
                write!(f, "{shown:?}")
            }
            Value::Array(values) => write!(f, "an array of {}", values.len()),
        }
    }
}

/// The metadata of a GGUF file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// All keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn read(reader: &mut Reader<'_>, count: u64) -> Reading<Self> {
        let mut metadata = Metadata::default();
        for index in 0..count {
            let key = reader.string(&format!("key {index} of the metadata"))?;
            let value = Value::read(reader, &key)?;
            if metadata.0.contains_key(&key) {
                return Err(format!("{key}: expected one value, found two"));
            }
            metadata.0.insert(key, value);
        }
        Ok(metadata)
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, key: &str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(key.to_owned(), value),
            None => self.0.remove(key),
        };
    }

    /// That `key` should have been `expected`.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> String {
        let found = self.get(key).map_or("nothing".to_owned(), Value::to_string);
        format!("{key}: expected {expected}, found {found}")
    }

    pub(super) fn optional_text(&self, key: &str) -> Reading<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Reading<&str> {
        let text = self.optional_text(key)?;
        text.ok_or_else(|| self.wrong(key, "a text"))
    }

    /// A whole number from 0 to 2^32 - 1.
    pub(super) fn optional_number(&self, key: &str) -> Reading<Option<usize>> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(number)) => u32::try_from(*number).ok(),
            Some(Value::Signed(number)) => u32::try_from(*number).ok(),
            Some(_) => None,
        };
        let number = number.ok_or_else(|| self.wrong(key, "a whole number below 2^32"))?;
        Ok(Some(number as usize))
    }

    /// A whole number from 1 to 2^32 - 1.
    pub(super) fn optional_count(&self, key: &str) -> Reading<Option<usize>> {
        match self.optional_number(key)? {
            Some(0) => Err(self.wrong(key, "a whole number above 0")),
            count => Ok(count),
        }
    }

    pub(super) fn count(&self, key: &str) -> Reading<usize> {
        let count = self.optional_count(key)?;
        count.ok_or_else(|| self.wrong(key, "a whole number above 0"))
    }

    /// A finite number above 0.
    pub(super) fn optional_positive(&self, key: &str) -> Reading<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) if number.is_finite() && *number > 0.0 => Ok(Some(*number)),
            Some(_) => Err(self.wrong(key, "a number above 0")),
        }
    }

    pub(super) fn positive(&self, key: &str) -> Reading<f64> {
        let number = self.optional_positive(key)?;
        number.ok_or_else(|| self.wrong(key, "a number above 0"))
    }

    pub(super) fn optional_flag(&self, key: &str) -> Reading<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(super) fn optional_array(&self, key: &str) -> Reading<Option<&[Value]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong(key, "an array")),
        }
    }

    /// An array of texts.
    pub(super) fn texts(&self, key: &str) -> Reading<Vec<&str>> {
        let wrong = || self.wrong(key, "an array of texts");
        let values = self.optional_array(key)?.ok_or_else(wrong)?;
        let values = values.iter().map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            _ => Err(wrong()),
        });
        values.collect()
    }
}
