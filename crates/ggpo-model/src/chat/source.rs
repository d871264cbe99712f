//! Where chat templates come from: models, files, and those that are built in.

use std::path::Path;

use ggpo_files::json;
use ggpo_files::read::DESCRIPTION;
use serde_json::Value;

use super::ChatTemplate;
use super::template::TEMPLATE;
use crate::{Error, Result};

/// Names of the templates that are built in, and the templates.
pub const BUILT_IN: [(&str, &str); 1] = [("chatml", include_str!("chatml.jinja"))];

/// The file of a model's folder that holds nothing but the template.
pub(crate) const FILE: &str = "chat_template.jinja";

/// What a model says of conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The template.
    pub(crate) template: Option<String>,
    /// The token before a text, which templates ask for.
    pub(crate) bos: Option<String>,
    /// The token after a text.
    pub(crate) eos: Option<String>,
}

pub(super) fn choose(said: &Said, named: Option<&str>) -> Result<ChatTemplate> {
    let (source, origin) = match (named, &said.template) {
        (Some(named), _) => match BUILT_IN.iter().find(|(name, _)| *name == named) {
            Some((_, source)) => ((*source).to_owned(), Path::new(named)),
            None => {
                let path = Path::new(named);
                let read = ggpo_files::read_text(path, TEMPLATE);
                (read.map_err(|cause| Error::io(path, cause))?, path)
            }
        },
        (None, Some(own)) => (own.clone(), Path::new("the model's chat template")),
        (None, None) => {
            let names = BUILT_IN.map(|(name, _)| name).join(", ");
            let expected = format!(
                "one in the model, or one named with --chat-template: a file in Jinja, or \
                 one of {names}"
            );
            return Err(Error::config("chat template", expected, "none"));
        }
    };
    ChatTemplate::new(&source, said.bos.as_deref(), said.eos.as_deref())
        .map_err(|problem| Error::file(origin, problem))
}

/// Reads `chat_template.jinja` and `tokenizer_config.json`, as far as they are there.
pub(crate) fn of_folder(folder: &Path) -> Result<Said> {
    let own = read(&folder.join(FILE), TEMPLATE)?;
    let path = folder.join("tokenizer_config.json");
    let config = match read(&path, DESCRIPTION)? {
        None => Value::Null,
        Some(text) => json::from_slice(text.as_bytes())
            .map_err(|error| Error::file(&path, format!("expected JSON, found {error}")))?,
    };
    let token = |name: &str| {
        let value = &config[name];
        let text = value.as_str().or_else(|| value["content"].as_str());
        text.map(str::to_owned)
    };
    // One template, or several with names.
    let template = match &config["chat_template"] {
        Value::Array(list) => list
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str()),
        value => value.as_str(),
    };
    Ok(Said {
        template: own.or(template.map(str::to_owned)),
        bos: token("bos_token"),
        eos: token("eos_token"),
    })
}

/// The text of a file of at most `most` bytes, if it is there.
fn read(path: &Path, most: u64) -> Result<Option<String>> {
    match ggpo_files::read_text(path, most) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::io(path, cause)),
    }
}
