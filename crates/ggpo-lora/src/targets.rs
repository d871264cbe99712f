//! Which modules get an adapter.

use std::fmt;

use regex::Regex;
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

/// A regular expression for a whole name: `prefix`, then `pattern`.
pub(crate) fn whole_name(prefix: &str, pattern: &str) -> Result<Regex, LoraError> {
    Regex::new(&format!(r"\A{prefix}(?:{pattern})\z")).map_err(|error| LoraError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })
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
