//! JSON of others: every key stands once, and reading it takes memory in
//! proportion to the file.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads JSON as `V`.
///
/// # Errors
/// What was found instead: no JSON, another shape than `V`'s, a key that stands twice
/// in an object, or more values than a file of that length should have.
pub fn from_slice<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, String> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Reads a JSON object.
///
/// # Errors
/// As [`from_slice`].
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    from_slice(bytes)
}

/// Checks that a text is JSON, that no object has a key twice, and that its values
/// can be held in memory of about ten times its length.
///
/// # Errors
/// As [`from_slice`].
pub fn check(bytes: &[u8]) -> Result<(), String> {
    check_memory(bytes)?;
    let state = RandomState::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Once(&state)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| error.to_string())
}

/// [`check`]s the header of a safetensors file, as far as there is one: a length in
/// eight bytes, and as many bytes of JSON. Everything else is for the format's own
/// library to check.
///
/// # Errors
/// As [`check`].
pub fn check_safetensors(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Ok(());
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).ok();
    match length.and_then(|length| rest.get(..length)) {
        Some(header) => check(header),
        None => Ok(()),
    }
}

/// Memory that is granted whatever the length of the text.
const GRANTED: usize = 48 << 20;

/// Objects and lists take memory however little is in them: up to 11 entries are
/// allotted at once.
fn check_memory(bytes: &[u8]) -> Result<(), String> {
    const OBJECT: usize = 700;
    const LIST: usize = 160;
    const VALUE: usize = 64;
    let (mut needed, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => needed += OBJECT,
            b'[' => needed += LIST,
            b',' => needed += VALUE,
            _ => {}
        }
    }
    match needed > 8 * bytes.len() + GRANTED {
        true => Err(format!(
            "{} bytes of values that take {needed} bytes of memory",
            bytes.len()
        )),
        false => Ok(()),
    }
}

/// Walks over a value and keeps only marks of the keys of the objects that are open.
#[derive(Clone, Copy)]
struct Once<'a>(&'a RandomState);

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if !seen.insert(self.0.hash_one(&*key)) {
                let problem = format!("the key {key:?} twice in one object");
                return Err(serde::de::Error::custom(problem));
            }
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_in_an_object() {
        for text in [r#"{"a": 1, "b": {"a": 1}}"#, r#"[{"a": 1}, {"a": 2}]"#, "3"] {
            check(text.as_bytes()).unwrap();
        }
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"[{"b": {"a": 1, "\u0061": 2}}]"#,
            r#"{"a": 1, "b": 2, "a": {}}"#,
        ] {
            let error = check(text.as_bytes()).unwrap_err();
            assert!(error.contains("the key \"a\" twice"), "{error}");
            assert!(from_slice::<Value>(text.as_bytes()).is_err());
        }
        for text in ["", "{", "[1, 2", "{} {}", "\"\x01\""] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_and_memory_are_bounded() {
        assert!(check("[".repeat(100_000).as_bytes()).is_err());
        let empty = format!("[{}0]", "{},".repeat(500_000));
        let error = check(empty.as_bytes()).unwrap_err();
        assert!(error.contains("bytes of memory"), "{error}");
        // A text may hold anything.
        check(format!("{:?}", "{[,".repeat(500_000)).as_bytes()).unwrap();
        check(format!("[{}0]", "0,".repeat(100_000)).as_bytes()).unwrap();
    }
}
