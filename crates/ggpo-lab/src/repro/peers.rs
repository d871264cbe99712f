//! Runs of another implementation, for comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_train::method::MethodConfig;
use ggpo_train::metrics::Scores;
use ggpo_train::run::RunConfig;
use ggpo_train::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::outcome::{Outcome, TaskOutcome};

/// A run of another implementation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PeerRun {
    /// Id of the task.
    pub(super) task: String,
    /// Id of the method.
    pub(super) method: String,
    /// Highest learning rate.
    pub(super) learning_rate: f64,
    /// Seed; its random numbers are not ours.
    pub(super) seed: u64,
    /// Whether it diverged.
    pub(super) diverged: bool,
    /// Test scores of the best step.
    pub(super) test: Scores,
    /// Versions of the libraries by name.
    pub(super) versions: BTreeMap<String, String>,
}

/// What is needed of a file.
#[derive(Deserialize)]
struct PeerFile {
    diverged_at: Option<u32>,
    test: Scores,
    losses: Vec<IgnoredAny>,
    #[serde(default)]
    versions: BTreeMap<String, String>,
    description: Value,
}

/// Fields of a description that do not change what is learnt, or differ on
/// purpose.
const FREE: [&str; 3] = ["seed", "checkpoint_every", "task.scored_rows.train"];

/// Fields that hold a path.
const PATHS: [&str; 4] = ["model", "task.train", "task.validation", "task.test"];

/// Reads all runs below `folder`, one folder per task, in the order of their
/// names.
///
/// # Errors
/// If a file cannot be read, is of no task or method of the study, or of a run
/// with other settings than ours.
pub(super) fn read(outcome: &Outcome, folder: &Path) -> Result<Vec<PeerRun>> {
    let mut runs: Vec<PeerRun> = Vec::new();
    for path in entries(folder)? {
        if !path.is_dir() {
            if is_json(&path) {
                let problem = "expected it in a folder with the id of its task";
                return Err(Error::file(path, problem));
            }
            continue;
        }
        let task = known_task(outcome, &path)?;
        for file in entries(&path)?.into_iter().filter(|file| is_json(file)) {
            let run = read_run(outcome, task, &file)?;
            let key = |run: &PeerRun| {
                let method = run.method.clone();
                (
                    run.task.clone(),
                    method,
                    run.learning_rate.to_bits(),
                    run.seed,
                )
            };
            if runs.iter().any(|other| key(other) == key(&run)) {
                let problem = format!(
                    "expected one run per method, learning rate and seed, found another of seed {}",
                    run.seed
                );
                return Err(Error::file(file, problem));
            }
            runs.push(run);
        }
    }
    if !runs.iter().any(|run| run.is_comparable(outcome)) {
        let problem = format!(
            "expected runs at learning rates that were compared here, found {} at other rates",
            runs.len()
        );
        return Err(Error::file(folder, problem));
    }
    Ok(runs)
}

impl PeerRun {
    /// Whether there are runs of ours at its learning rate.
    pub(super) fn is_comparable(&self, outcome: &Outcome) -> bool {
        let tasks = outcome.tasks.iter();
        let mut tasks = tasks.filter(|task| task.task.id == self.task);
        tasks.any(|task| task.compared(&self.method, self.learning_rate).is_some())
    }
}

/// What a folder holds, hidden files apart, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = |source| Error::io(folder, source);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_json(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn known_task<'a>(outcome: &'a Outcome, folder: &Path) -> Result<&'a TaskOutcome> {
    let id = name(folder);
    let mut tasks = outcome.tasks.iter();
    tasks.find(|task| task.task.id == id).ok_or_else(|| {
        let ids: Vec<&str> = outcome
            .tasks
            .iter()
            .map(|task| task.task.id.as_str())
            .collect();
        let problem = format!(
            "expected the id of a task ({}), found \"{id}\"",
            ids.join(", ")
        );
        Error::file(folder, problem)
    })
}

fn read_run(outcome: &Outcome, task: &TaskOutcome, path: &Path) -> Result<PeerRun> {
    let name = name(path);
    let method = name.rsplit_once("-lr").map_or("", |(method, _)| method);
    if !outcome
        .config
        .methods
        .iter()
        .any(|entry| entry.id == method)
    {
        let problem = "expected METHOD-lrRATE-seedSEED.json with the id of a method of the study";
        return Err(Error::file(path, problem));
    }
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let file: PeerFile = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("expected a peer's result, found {error}")))?;
    let learning_rate = setting(&file, path, "training.learning_rate", Value::as_f64)?;
    let steps = setting(&file, path, "training.steps", Value::as_u64)?;
    if file.diverged_at.is_none() && file.losses.len() as u64 != steps {
        let found = file.losses.len();
        let problem = format!("losses: expected {steps} as described, found {found}: not finished");
        return Err(Error::file(path, problem));
    }
    let ours = task.compared(method, learning_rate).and_then(<[_]>::first);
    let problem = ours.and_then(|ours| difference(&ours.plan.config, &file.description));
    if let Some(problem) = problem {
        return Err(Error::file(path, problem));
    }
    Ok(PeerRun {
        task: task.task.id.clone(),
        method: method.to_owned(),
        learning_rate,
        seed: setting(&file, path, "seed", Value::as_u64)?,
        diverged: file.diverged_at.is_some(),
        test: file.test,
        versions: file.versions,
    })
}

/// A number of the description.
fn setting<T>(
    file: &PeerFile,
    path: &Path,
    field: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<T> {
    let found = at(&file.description, field).unwrap_or(&Value::Null);
    read(found).ok_or_else(|| {
        let problem = format!("description.{field}: expected a number, found {found}");
        Error::file(path, problem)
    })
}

/// The value at a path of names.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, name| value.get(name))
}

/// The first setting in which a peer's description differs from ours.
fn difference(config: &RunConfig, theirs: &Value) -> Option<String> {
    let ours = serde_json::to_value(config).expect("every field has a JSON form");
    let defaults = defaults(config);
    let mut theirs = theirs.clone();
    if let Some(method) = theirs.get_mut("method") {
        // The same method can be written in several ways.
        match MethodConfig::deserialize(&*method) {
            Ok(read) => {
                let nothing = read.perturbation.is_none();
                *method = serde_json::to_value(read).expect("a method has a JSON form");
                if nothing {
                    method["perturbation"] = Value::Null;
                }
            }
            Err(error) => return Some(format!("description.method: {error}")),
        }
    }
    let theirs = &theirs;
    let is_full = !config.method.has_adapters();
    let mut fields = Vec::new();
    for description in [theirs, &ours, &defaults] {
        collect_fields(description, String::new(), &mut fields);
    }
    let is_free = |field: &str| {
        let is_table = at(&defaults, field).is_some_and(Value::is_object);
        FREE.contains(&field) || is_table || is_full && field.starts_with("method.lora.")
    };
    fields.retain(|field| !is_free(field));
    fields.into_iter().find_map(|field| {
        let of = |description| {
            let written = at(description, &field).filter(|value| !value.is_null());
            written.or(at(&defaults, &field)).unwrap_or(&Value::Null)
        };
        let (our, their) = (of(&ours), of(theirs));
        (!same(&field, our, their))
            .then(|| format!("description.{field}: expected {our} as in our run, found {their}"))
    })
}

/// What a description means by the settings of its table that it leaves out.
fn defaults(config: &RunConfig) -> Value {
    let [text, label] = config.task.kind.columns();
    let columns = serde_json::json!({ "text": text, "label": label });
    let share = config.task.validation_share;
    serde_json::json!({
        "task": { "header": true, "columns": columns, "validation_share": share }
    })
}

/// The paths of all values that hold no further ones.
fn collect_fields(value: &Value, path: String, fields: &mut Vec<String>) {
    let Value::Object(inner) = value else {
        fields.push(path);
        return;
    };
    for (name, value) in inner {
        let path = match path.as_str() {
            "" => name.clone(),
            parent => format!("{parent}.{name}"),
        };
        collect_fields(value, path, fields);
    }
}

/// Whether two settings say the same; one that is missing says as much as 0 or
/// no.
fn same(field: &str, ours: &Value, theirs: &Value) -> bool {
    let is_nothing =
        |value: &Value| value.as_f64() == Some(0.0) || [Value::Null, false.into()].contains(value);
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ if is_nothing(ours) && is_nothing(theirs) => true,
        _ if PATHS.contains(&field) => tail(ours).is_some() && tail(ours) == tail(theirs),
        _ => ours == theirs,
    }
}

/// The last two parts of a path: where it begins depends on the machine.
fn tail(path: &Value) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.as_str()?.split(['/', '\\']).collect();
    Some(parts[parts.len().saturating_sub(2)..].to_vec())
}
