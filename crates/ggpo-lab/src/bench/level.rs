//! Levels of instruction set in options, in files and among processes.

use ggpo_tensor::simd::{Level, LevelError};

/// The level that an option names.
///
/// # Errors
/// A sentence that says what was expected, if there is no level of this name or
/// this processor does not have it.
pub fn parse_level(name: &str) -> Result<Level, String> {
    let found = Level::named(name).and_then(Level::if_available);
    found.map_err(|error| match error {
        LevelError::Unknown(_) => "expected portable, avx2 or avx512".to_owned(),
        LevelError::Missing(_) => {
            let have: Vec<&str> = Level::available().map(Level::name).collect();
            format!("expected one that this processor has: {}", have.join(", "))
        }
    })
}

/// The levels of this processor that are worth a measurement: those above
/// portable, or portable where there is no other.
pub fn measured_levels() -> Vec<Level> {
    let above: Vec<Level> = Level::available()
        .filter(|level| *level > Level::Portable)
        .collect();
    match above.is_empty() {
        true => vec![Level::Portable],
        false => above,
    }
}

/// The level whose multiply-add peak bounds the products of a level: they are those
/// of `matrixmultiply` at the portable one, which uses what the processor has.
pub fn level_of_peak(level: Level) -> Level {
    match level {
        Level::Portable => Level::best(),
        level => level,
    }
}

/// Whether a library that detects the processor by itself must be held back in
/// order to run at a level: at AVX2, on a processor that has more.
pub fn is_held_back(level: Level) -> bool {
    level == Level::Avx2 && Level::best() > level
}

/// The name of a level in headings.
pub fn title(level: Level) -> &'static str {
    match level {
        Level::Portable => "Portable",
        Level::Avx2 => "AVX2",
        Level::Avx512 => "AVX-512",
    }
}

/// A level in a file: its name.
pub(super) mod by_name {
    use ggpo_tensor::simd::Level;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::bench) fn serialize<S: Serializer>(
        level: &Level,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(level.name())
    }

    pub(in crate::bench) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Level, D::Error> {
        let name = String::deserialize(deserializer)?;
        Level::named(&name).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_take_the_levels_of_this_processor() {
        for level in Level::available() {
            assert_eq!(parse_level(level.name()), Ok(level));
        }
        let sentence = parse_level("sse9").unwrap_err();
        assert_eq!(sentence, "expected portable, avx2 or avx512");
        for level in Level::ALL
            .into_iter()
            .filter(|level| *level > Level::best())
        {
            let sentence = parse_level(level.name()).unwrap_err();
            assert!(sentence.ends_with(Level::best().name()), "{sentence}");
        }
    }

    #[test]
    fn the_best_level_is_measured_and_not_held_back() {
        assert_eq!(measured_levels().last(), Some(&Level::best()));
        assert!(!is_held_back(Level::best()) && !is_held_back(Level::Portable));
    }
}
