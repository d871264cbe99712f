//! What a person writes of a run: only what differs from the defaults.

use std::path::{Path, PathBuf};

use ggpo_files::read::TOML;
use ggpo_files::toml_problem;
use serde::Deserialize;
use toml::{Table, Value};

use super::config::{RunConfig, TaskConfig};
use super::going_on;
use super::task::{Corpora, Task};
use crate::data::{TaskKind, holds_chats};
use crate::method::MethodConfig;
use crate::{Error, Result};

/// Passes over the training rows if nothing says how long to train.
pub const DEFAULT_EPOCHS: u32 = 3;

/// A run as a person describes it: the fields of a [`RunConfig`], of which those
/// with a default may be missing, and `epochs` as another way to say how many
/// steps there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    table: Table,
}

impl Description {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// If it cannot be read or is not TOML.
    pub fn read(path: &Path) -> Result<Self> {
        let text = ggpo_files::read_text(path, TOML).map_err(|source| Error::io(path, source))?;
        let table = text.parse().map_err(|error: toml::de::Error| {
            Error::file(path, toml_problem(&text, error.message(), error.span()))
        })?;
        Ok(Description { table })
    }

    /// All fields of a run.
    pub fn of(config: &RunConfig) -> Self {
        let text = config.to_toml();
        let table = text.parse().expect("a run's description is TOML");
        Description { table }
    }

    /// The task alone.
    ///
    /// # Errors
    /// If a field of it is missing or unknown.
    pub fn task(&self) -> Result<TaskConfig> {
        let task = self.table.get("task").cloned();
        TaskConfig::deserialize(task.unwrap_or(Value::Table(Table::new())))
            .map_err(|error| Error::config("the task", "a complete description", error.message()))
    }

    /// The method alone.
    ///
    /// # Errors
    /// If a field of it is missing or unknown.
    pub fn method(&self) -> Result<MethodConfig> {
        let method = self.table.get("method").cloned();
        MethodConfig::deserialize(method.unwrap_or(Value::Table(Table::new())))
            .map_err(|error| Error::config("the method", "a complete description", error.message()))
    }

    /// Sets a field by its path, for example `training.learning_rate`; what was
    /// there is replaced.
    ///
    /// # Errors
    /// If a part of the path is a field, not a table.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> Result<()> {
        let mut table = &mut self.table;
        let mut parts: Vec<&str> = path.split('.').collect();
        let field = parts.pop().unwrap_or_default();
        for part in parts {
            let inner = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            table = match inner {
                Value::Table(inner) => inner,
                other => return Err(Error::config(part, "a table", other)),
            };
        }
        table.insert(field.to_owned(), value.into());
        Ok(())
    }

    /// The field at a path, if it is there.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (tables, field) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &self.table;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            table = table.get(part)?.as_table()?;
        }
        table.get(field)
    }

    /// Takes a field out.
    pub fn remove(&mut self, path: &str) -> Option<Value> {
        let (tables, field) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &mut self.table;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            table = table.get_mut(part)?.as_table_mut()?;
        }
        table.remove(field)
    }

    /// The run with everything said: a file of conversations is one of chats; an adapter to
    /// go on from says its form, rank, scaling and targets; missing steps become `epochs`
    /// passes over the training rows (3 without either), evaluations come once per pass,
    /// and checkpoints with the evaluations.
    ///
    /// # Errors
    /// If the adapter contradicts the rest, a field is missing, unknown or out of range, both `epochs` and
    /// `training.steps` are given, or the data cannot be read.
    pub fn complete(mut self, corpora: &Corpora) -> Result<RunConfig> {
        for path in REQUIRED {
            if self.get(path).is_none() {
                return Err(Error::config(path, "a path", "nothing"));
            }
        }
        if let Some(Value::String(folder)) = self.get("adapter") {
            let folder = PathBuf::from(folder);
            going_on::complete(&mut self, &folder)?;
        }
        let epochs = self.take_epochs()?;
        if self.get("task.kind").is_none()
            && let Some(Value::String(train)) = self.get("task.train")
            && holds_chats(Path::new(train))
        {
            self.set("task.kind", TaskKind::Chat.name())?;
        }
        for (path, default) in DEFAULTS {
            if self.get(path).is_none() {
                self.set(path, default.value())?;
            }
        }
        let missing = |path: &&str| self.get(path).is_none();
        let missing: Vec<&str> = COUNTED.into_iter().filter(missing).collect();
        for path in &missing {
            self.set(path, 1)?;
        }
        let mut config: RunConfig = self.parse()?;
        config.validate()?;
        if missing.is_empty() {
            return Ok(config);
        }
        let per_epoch = Task::open(&config, corpora)?.steps_per_epoch(&config);
        for path in missing {
            match path {
                "training.steps" => config.training.steps = per_epoch.saturating_mul(epochs),
                "evaluate_every" => config.evaluate_every = per_epoch,
                _ => config.checkpoint_every = config.evaluate_every,
            }
        }
        Ok(config)
    }

    fn take_epochs(&mut self) -> Result<u32> {
        let Some(epochs) = self.remove("epochs") else {
            return Ok(DEFAULT_EPOCHS);
        };
        if let Some(steps) = self.get("training.steps") {
            let found = format!("epochs = {epochs} and training.steps = {steps}");
            return Err(Error::config("epochs", "one of epochs and steps", found));
        }
        let number = epochs.as_integer().and_then(|n| u32::try_from(n).ok());
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| Error::config("epochs", "a whole number of at least 1", epochs))
    }

    fn parse(&self) -> Result<RunConfig> {
        RunConfig::deserialize(self.table.clone())
            .map_err(|error| Error::config("the run", "a complete description", error.message()))
    }
}

/// Fields without a default.
const REQUIRED: [&str; 2] = ["model", "task.train"];

/// Fields that depend on the number of training rows, in the order in which
/// they can be filled in.
const COUNTED: [&str; 3] = ["training.steps", "evaluate_every", "checkpoint_every"];

/// A default that stands in the resolved description.
#[derive(Clone, Copy)]
enum Standard {
    Integer(i64),
    Float(f64),
    Text(&'static str),
}

impl Standard {
    fn value(self) -> Value {
        match self {
            Standard::Integer(number) => number.into(),
            Standard::Float(number) => number.into(),
            Standard::Text(text) => text.into(),
        }
    }
}

const DEFAULTS: [(&str, Standard); 5] = [
    ("seed", Standard::Integer(0)),
    ("batch_size", Standard::Integer(16)),
    ("task.kind", Standard::Text("classification")),
    ("task.max_length", Standard::Integer(128)),
    ("training.learning_rate", Standard::Float(2e-4)),
];
