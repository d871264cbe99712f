//! Which modules get an adapter.

use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LoraError;

/// Names of available modules that an error message shows.
const NAMES_SHOWN: usize = 8;

/// A choice of modules by name, by the rule of the PEFT library.
///
/// In a file, a list of strings or one string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a list of module names or one pattern")]
pub enum Targets {
    /// Modules whose name equals an entry or ends with "." and an entry.
    Names(Vec<String>),
    /// Modules whose whole name matches this regular expression. The word
    /// `all-linear` stands for every module that is offered.
    Pattern(String),
}

impl Default for Targets {
    fn default() -> Self {
        Targets::Pattern(Targets::ALL_LINEAR.to_owned())
    }
}

impl Targets {
    /// The pattern that stands for every linear module that a model offers.
    pub const ALL_LINEAR: &'static str = "all-linear";

    /// Whether this is the word for every module that is offered.
    pub fn is_all_linear(&self) -> bool {
        matches!(self, Targets::Pattern(pattern) if pattern == Targets::ALL_LINEAR)
    }

    /// Whether there is neither a name nor a pattern.
    pub fn is_empty(&self) -> bool {
        match self {
            Targets::Names(names) => names.is_empty(),
            Targets::Pattern(pattern) => pattern.is_empty(),
        }
    }

    /// Those of `names` that are targets, in the order given. `names` are the
    /// modules that can have an adapter at all.
    ///
    /// # Errors
    /// [`LoraError::Pattern`] if the pattern is not a regular expression,
    /// [`LoraError::NoTarget`] if nothing matches.
    pub fn select<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<String>, LoraError> {
        let matcher = self.matcher()?;
        let mut available = Vec::new();
        let mut selected = Vec::new();
        for name in names {
            if matcher.matches(name) {
                selected.push(name.to_owned());
            }
            available.push(name);
        }
        if selected.is_empty() {
            return Err(LoraError::NoTarget {
                targets: self.to_string(),
                available: describe(&available),
            });
        }
        Ok(selected)
    }

    fn matcher(&self) -> Result<Matcher<'_>, LoraError> {
        Ok(match self {
            Targets::Names(names) => Matcher::Names(names),
            Targets::Pattern(_) if self.is_all_linear() => Matcher::All,
            Targets::Pattern(pattern) => Matcher::Pattern(whole_name("", pattern)?),
        })
    }
}

enum Matcher<'a> {
    All,
    Names(&'a [String]),
    Pattern(Regex),
}

impl Matcher<'_> {
    fn matches(&self, name: &str) -> bool {
        match self {
            Matcher::All => true,
            Matcher::Names(entries) => entries.iter().any(|entry| ends_with(name, entry)),
            Matcher::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

/// Whether `name` equals `entry` or ends with "." and `entry`.
pub(crate) fn ends_with(name: &str, entry: &str) -> bool {
    name.strip_suffix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Most bytes that a regular expression may take once it is compiled.
const LARGEST: usize = 1 << 20;

/// A regular expression for a whole name: `prefix`, then `pattern`.
pub(crate) fn whole_name(prefix: &str, pattern: &str) -> Result<Regex, LoraError> {
    let whole = format!(r"\A{prefix}(?:{pattern})\z");
    let built = RegexBuilder::new(&whole).size_limit(LARGEST).build();
    built.map_err(|error| {
        // The lines before the last show the place.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim();
        LoraError::Pattern {
            pattern: pattern.to_owned(),
            reason: last.trim_start_matches("error: ").to_owned(),
        }
    })
}

/// A pattern for a name, or for the end of one from a "." on.
pub(crate) enum EndPattern<'a> {
    /// Letters, where "." is any of them: nearly all patterns are names.
    Plain(&'a str),
    /// Anything else.
    Regex(Box<Regex>),
}

impl<'a> EndPattern<'a> {
    pub(crate) fn new(pattern: &'a str) -> Result<Self, LoraError> {
        if Self::is_plain(pattern) {
            return Ok(EndPattern::Plain(pattern));
        }
        let regex = whole_name(r"(?:.*\.)?", pattern)?;
        Ok(EndPattern::Regex(Box::new(regex)))
    }

    /// Whether a pattern takes no compiling.
    pub(crate) fn is_plain(pattern: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        pattern.bytes().all(plain)
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let pattern = match self {
            EndPattern::Regex(regex) => return regex.is_match(name),
            EndPattern::Plain(pattern) => pattern,
        };
        let mut name = name.chars().rev();
        for letter in pattern.chars().rev() {
            match name.next() {
                Some(found) if found == letter || letter == '.' && found != '\n' => {}
                _ => return false,
            }
        }
        let before = name.next();
        before.is_none_or(|before| before == '.' && !name.any(|rest| rest == '\n'))
    }
}

fn describe(available: &[&str]) -> String {
    if available.is_empty() {
        return "there are no modules that can have an adapter".to_owned();
    }
    let shown = available.len().min(NAMES_SHOWN);
    let more = match available.len() - shown {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!("there are {}{more}", available[..shown].join(", "))
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Targets::Names(names) => write!(f, "[{}]", names.join(", ")),
            Targets::Pattern(pattern) => write!(f, "`{pattern}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compiled or not, a pattern means the same.
        #[test]
        fn plain_patterns_match_as_regular_expressions(
            pattern in "[ab._-]{0,6}",
            name in "[ab._\\-\n]{0,8}",
        ) {
            prop_assert!(EndPattern::is_plain(&pattern));
            let regex = whole_name(r"(?:.*\.)?", &pattern).unwrap();
            let plain = EndPattern::new(&pattern).unwrap().matches(&name);
            prop_assert_eq!(plain, regex.is_match(&name));
        }
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_one_line() {
        let error = whole_name("", "a(((").unwrap_err().to_string();
        assert!(
            error.contains("unclosed group") && !error.contains('\n'),
            "{error}"
        );
        assert!(whole_name("", "(?:a{1000}){1000}").is_err());
    }
}
