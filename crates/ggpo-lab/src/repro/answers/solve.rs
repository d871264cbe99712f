//! Problems put to one model: what it writes, whether that is right, and its
//! loss on the reference solutions.

use std::path::{Path, PathBuf};

use ggpo_files::write_atomically;
use ggpo_model::assembled::Assembled;
use ggpo_train::data::{Dataset, Fill, TaskConfig, collate};
use ggpo_train::evaluation::evaluate;
use ggpo_train::metrics::exact_match::same_answer;
use ggpo_train::prediction::write_answers;
use ggpo_train::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::progress;

/// A problem, put to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Solved {
    /// Line of the problem in its file, from 1.
    pub line: u64,
    /// Mean cross entropy per token of the reference solution, in nats.
    pub loss: f64,
    /// Tokens of the reference solution that it is the mean of.
    pub targets: usize,
    /// Whether the answer is right.
    pub right: bool,
    /// Whether the model ended its answer.
    pub ended: bool,
    /// Tokens of the answer.
    pub tokens: usize,
    /// The answer.
    pub text: String,
}

/// What answers depend on: the first line of their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The base model.
    pub(super) model: PathBuf,
    /// Folder of the run that trained its adapter; none for the base model.
    pub(super) run: Option<String>,
    /// Where problems are, and how they are asked.
    pub(super) task: TaskConfig,
    /// Most tokens of an answer.
    pub(super) max_new_tokens: usize,
}

/// Problems between two times the file is written: enough that the last long
/// answers, which few others are written beside, weigh little.
const CHUNK: usize = 50;

/// Puts the first `problems` problems to a model; continues where `path` ends,
/// which holds one JSON object per problem.
///
/// # Errors
/// If a file cannot be read or written, or `path` holds other answers.
pub(super) fn solve(
    open: impl FnOnce() -> Result<Assembled>,
    asked: &Asked,
    problems: usize,
    path: &Path,
) -> Result<Vec<Solved>> {
    let mut solved = read(asked, path)?;
    if solved.len() >= problems {
        solved.truncate(problems);
        return Ok(solved);
    }
    let Asked {
        task,
        max_new_tokens,
        ..
    } = asked;
    let assembled = open()?;
    let file = task.test.as_ref().expect("checked with the description");
    let dataset = Dataset::open(file, task, &assembled.tokenizer, None)?;
    let prompts = dataset.prompts(task, &assembled.tokenizer)?;
    let found = prompts.len();
    if found < problems {
        let problem = format!("expected {problems} problems or more, found {found}");
        return Err(Error::file(file, problem));
    }
    let fill = Fill::of(task, &assembled.tokenizer, 0);
    let label = path.file_stem().unwrap_or_default().to_string_lossy();
    let bar = progress::bar(problems as u64, &label, "problems");
    while solved.len() < problems {
        let chunk = solved.len()..problems.min(solved.len() + CHUNK);
        bar.set_position(chunk.start as u64);
        let written = write_answers(&assembled, &prompts[chunk.clone()], *max_new_tokens, || {
            bar.tick();
        })?;
        for (index, written) in chunk.zip(written) {
            let row = &dataset.rows[index];
            let batch = collate(&[&dataset.examples[index]], fill);
            let (parameters, adapters) = (&assembled.parameters, &assembled.adapters);
            let targets = batch.target_count();
            let scores = evaluate(&assembled.model, parameters, adapters, &[batch]);
            let reference = row.label.as_deref().unwrap_or_default();
            solved.push(Solved {
                line: row.line,
                loss: scores.loss,
                targets,
                right: same_answer(reference, &written.text),
                ended: written.ended,
                tokens: written.tokens,
                text: written.text,
            });
        }
        write(asked, &solved, path)?;
    }
    bar.finish_and_clear();
    Ok(solved)
}

/// The answers that are there; none of a file that is not.
fn read(asked: &Asked, path: &Path) -> Result<Vec<Solved>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| Error::io(path, source))?,
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if serde_json::from_str::<Asked>(first).ok().as_ref() != Some(asked) {
        let problem = "expected answers of this study, found others; use another folder";
        return Err(Error::file(path, problem));
    }
    let answer = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            let line = index + 2;
            Error::file(
                path,
                format!("line {line}: expected an answer, found {error}"),
            )
        })
    };
    lines.enumerate().map(answer).collect()
}

fn write(asked: &Asked, solved: &[Solved], path: &Path) -> Result<()> {
    let json = |value: serde_json::Result<String>| value.expect("answers have a JSON form") + "\n";
    let mut text = json(serde_json::to_string(asked));
    for solved in solved {
        text += &json(serde_json::to_string(solved));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    }
    write_atomically(path, text.as_bytes()).map_err(|source| Error::io(path, source))
}
