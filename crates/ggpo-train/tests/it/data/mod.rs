//! From users' files to batches, as a training run goes.

mod batches;
mod chats;
mod files;
mod layouts;

use std::path::PathBuf;

use ggpo_model::tokenizer::Tokenizer;
use ggpo_train::data::{Answer, Dataset, Example, TaskConfig, TaskKind};

const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const MAX_LENGTH: usize = 12;

/// A folder for files, and a tokenizer for any text.
struct Place {
    folder: tempfile::TempDir,
    tokenizer: Tokenizer,
}

impl Place {
    fn new() -> Self {
        let texts = [spam()];
        Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
            tokenizer: Tokenizer::train_byte_level_bpe(&texts, 300, &SPECIALS).expect("trains"),
        }
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).expect("writes");
        path
    }

    /// A task whose training file holds `contents`.
    fn task(&self, kind: TaskKind, name: &str, contents: impl AsRef<[u8]>) -> TaskConfig {
        TaskConfig::new(kind, self.write(name, contents), 64)
    }

    fn open(&self, task: &TaskConfig) -> Dataset {
        task.validate().expect("a task");
        Dataset::open(&task.train, task, &self.tokenizer, None).expect("a data set")
    }

    /// What is wrong with the task or its training file, in one sentence without
    /// the file's name.
    fn refusal(&self, task: &TaskConfig) -> String {
        let open = || Dataset::open(&task.train, task, &self.tokenizer, None);
        let error = task.validate().and_then(|()| open().map(drop));
        let sentence = error.expect_err("refused").to_string();
        assert!(!sentence.contains('\n'), "one sentence: {sentence}");
        let name = format!("{}: ", task.train.display());
        sentence.strip_prefix(&name).unwrap_or(&sentence).to_owned()
    }

    fn text(&self, ids: &[usize]) -> String {
        self.tokenizer.decode(ids).expect("decodes")
    }
}

/// 60 rows of two classes, of 2 to 11 words.
fn spam() -> String {
    let row = |i: usize| {
        let (label, word) = match i.is_multiple_of(3) {
            true => ("spam", "prize"),
            false => ("ham", "dinner"),
        };
        let words = vec![word; 1 + i % 10].join(" ");
        format!("{label}\tmessage {words}\n")
    };
    "label\ttext\n".to_owned() + &(0..60).map(row).collect::<String>()
}

/// The names of the rows' classes.
fn classes(dataset: &Dataset) -> Vec<&str> {
    let name = |example: &Example| match example.answer {
        Answer::Class(class) => class,
        _ => panic!("no class"),
    };
    let indices = dataset.examples.iter().map(name);
    indices
        .map(|class| dataset.labels[class].as_str())
        .collect()
}
