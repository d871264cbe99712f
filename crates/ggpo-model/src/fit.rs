//! Whether the parts of a model belong together.

use std::path::Path;

use crate::base::is_gguf;
use crate::model::{Head, Model};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Checks that a model can read every id that its tokenizer makes, and that its classes
/// have names. `base` is what an error names.
///
/// # Errors
/// If an id of a token, a special token or padding has no row in the embedding, or
/// there is another number of names than of classes, or one stands twice.
pub fn check(model: &Model, tokenizer: &Tokenizer, labels: &[String], base: &Path) -> Result<()> {
    let file = |name: &str| match is_gguf(base) {
        true => base.to_owned(),
        false => base.join(name),
    };
    let (tokens, rows) = (tokenizer.vocabulary(), model.vocabulary());
    if tokens > rows {
        let problem = format!(
            "the tokenizer's vocabulary exceeds the embedding: \
             expected at most {rows} tokens, found {tokens}"
        );
        return Err(Error::file(file("tokenizer.json"), problem));
    }
    let largest = tokenizer.largest_id();
    if largest >= rows {
        let problem = format!(
            "expected ids of special tokens below {rows}, the rows of the embedding, found {largest}"
        );
        return Err(Error::file(file("config.json"), problem));
    }
    let Head::Classes(classes) = model.head else {
        return Ok(());
    };
    check_labels(labels, classes).map_err(|problem| Error::file(base, problem))
}

/// Checks the names of classes.
///
/// # Errors
/// What was expected and what was found.
pub fn check_labels(labels: &[String], classes: usize) -> std::result::Result<(), String> {
    if labels.len() != classes {
        let found = labels.len();
        return Err(format!(
            "expected names of {classes} classes, found {found}"
        ));
    }
    let mut sorted: Vec<&String> = labels.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!(
            "expected different names of classes, found {:?} twice",
            pair[0]
        )),
    }
}
