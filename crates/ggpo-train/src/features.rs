//! The states of a model on a data set, as a model of their own: one layer on cached
//! features, small enough for hundreds of runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ggpo_autograd::Tape;
use ggpo_files::write_atomically;
use ggpo_model::base::{self, Base};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::{
    Adapters, Body, FeatureLayerConfig, Graph, Head, Model, Precision, weights::to_safetensors,
};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{flat, tensor};
use serde::{Deserialize, Serialize};

use crate::data::bucket::scored_batches;
use crate::data::{Answer, Dataset, Example, TaskConfig};
use crate::{Error, Result};

/// What features are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Folder of the model.
    pub model: PathBuf,
    /// The classification whose texts it reads, with validation and test split.
    pub task: TaskConfig,
    /// Rows drawn from each split; all if it has fewer.
    pub rows: SplitRows,
    /// Seed of the rows that are drawn, and of the layer.
    #[serde(default)]
    pub seed: u64,
}

/// Numbers of rows of the splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRows {
    /// Of the training split.
    pub train: usize,
    /// Of the validation split.
    pub validation: usize,
    /// Of the test split.
    pub test: usize,
}

/// Names of the tables of data in the folder.
pub const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Rows of each split.
    pub rows: [usize; 3],
    /// Features of a row.
    pub width: usize,
}

/// Writes a folder with one layer on the features of the rows of a classification:
/// `config.json`, `model.safetensors`, `tokenizer.json`, and the data, `train.tsv`,
/// `validation.tsv` and `test.tsv`, whose texts are numbers of rows.
///
/// The features of a row are the mean of the model's final states over its tokens, less
/// their mean over the training rows and over their deviation there. The layer is random,
/// normal with the variance `1 / width`.
///
/// # Errors
/// If an input cannot be used, a split is missing, or a file cannot be written.
pub fn write_features(config: &FeaturesConfig, folder: &Path) -> Result<Features> {
    let task = &config.task;
    task.validate()?;
    let tokenizer = base::tokenizer(&config.model)?;
    let train = Dataset::open(&task.train, task, &tokenizer, None)?;
    let labels = train.labels.clone();
    if labels.is_empty() {
        return Err(Error::config(
            "task.kind",
            "classification",
            task.kind.name(),
        ));
    }
    let open = |name, path: &Option<PathBuf>| -> Result<Dataset> {
        let path = path.as_ref();
        let path = path.ok_or_else(|| Error::config(name, "a file", "none"))?;
        Dataset::open(path, task, &tokenizer, Some(&labels))
    };
    let splits = [
        train,
        open("task.validation", &task.validation)?,
        open("task.test", &task.test)?,
    ];
    let wanted = [config.rows.train, config.rows.validation, config.rows.test];
    let drawn: Vec<Vec<Example>> = splits
        .into_iter()
        .zip(wanted)
        .enumerate()
        .map(|(split, (dataset, rows))| draw(dataset.examples, rows, config.seed, split as u32))
        .collect();
    let base = Base::open(&config.model, Some(Head::Classes(labels.len())))?;
    let length = task.max_length;
    if length > base.model.positions() {
        let expected = format!("at most {}, the model's positions", base.model.positions());
        return Err(Error::config("task.max_length", expected, length));
    }
    let states: Vec<Vec<Vec<f64>>> = drawn
        .iter()
        .map(|examples| mean_states(&base, examples, task, &tokenizer))
        .collect();
    let width = states[0][0].len();
    let mut table: Vec<f32> = Vec::new();
    let standard = Standard::of(&states[0]);
    for row in states.iter().flatten() {
        table.extend(standard.apply(row));
    }
    // The row that stands for a number that there is not.
    table.extend(std::iter::repeat_n(0.0, width));
    let model = Model {
        body: Body::FeatureLayer(FeatureLayerConfig {
            rows: table.len() / width,
            width,
        }),
        head: Head::Classes(labels.len()),
    };
    ggpo_files::create_folder(folder).map_err(|source| Error::io(folder, source))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_atomically(&path, bytes).map_err(|source| Error::io(path, source))
    };
    let layer = &model.specification()[1];
    let deviation = (1.0 / width as f32).sqrt();
    let tensors = [
        (
            model.word_table().to_owned(),
            tensor(&[table.len() / width, width], table),
        ),
        (
            layer.name.clone(),
            model.new_parameter(layer, deviation, config.seed),
        ),
    ];
    write(
        "model.safetensors",
        &to_safetensors(&tensors.into(), Precision::F32),
    )?;
    write("config.json", model.config_json().as_bytes())?;
    let count: usize = drawn.iter().map(Vec::len).sum();
    let path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::of_numbers(count).to_json(&path)?;
    write("tokenizer.json", tokenizer.as_bytes())?;
    let mut row = 0;
    for (name, examples) in SPLITS.iter().zip(&drawn) {
        let mut text = "text\tlabel\n".to_owned();
        for example in examples {
            let Answer::Class(class) = example.answer else {
                unreachable!("rows of a classification have classes");
            };
            _ = writeln!(text, "{row}\t{}", labels[class]);
            row += 1;
        }
        write(&format!("{name}.tsv"), text.as_bytes())?;
    }
    Ok(Features {
        rows: [drawn[0].len(), drawn[1].len(), drawn[2].len()],
        width,
    })
}

/// The first `rows` of the examples, in the order in which the seed draws them.
fn draw(mut examples: Vec<Example>, rows: usize, seed: u64, split: u32) -> Vec<Example> {
    Stream::new(seed, Purpose::Data, 2, split).shuffle(&mut examples);
    examples.truncate(rows);
    examples
}

/// The mean of the final states over the tokens of every example, in their order.
fn mean_states(
    base: &Base,
    examples: &[Example],
    task: &TaskConfig,
    tokenizer: &Tokenizer,
) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); examples.len()];
    let none = Adapters::new();
    for (rows, batch) in scored_batches(examples, task, tokenizer, 0) {
        let states = in_pool(|| {
            let graph = Graph::for_evaluation(Tape::new(), &base.parameters, &none);
            base.model.hidden_states(&graph, &batch).value().clone()
        });
        let [time, width] = [states.shape()[1], states.shape()[2]];
        for (index, row) in rows.into_iter().enumerate() {
            let tokens: Vec<usize> = (0..time).filter(|&t| batch.attention[[index, t]]).collect();
            let mut mean = vec![0.0; width];
            for &t in &tokens {
                let state = &flat(&states)[(index * time + t) * width..][..width];
                for (sum, &x) in mean.iter_mut().zip(state) {
                    *sum += f64::from(x) / tokens.len() as f64;
                }
            }
            all[row] = mean;
        }
    }
    all
}

/// Means and deviations of the columns of a table.
struct Standard(Vec<(f64, f64)>);

impl Standard {
    fn of(rows: &[Vec<f64>]) -> Self {
        let count = rows.len() as f64;
        let column = |j: usize| {
            let mean = rows.iter().map(|row| row[j]).sum::<f64>() / count;
            let squares = rows.iter().map(|row| (row[j] - mean).powi(2)).sum::<f64>();
            (mean, (squares / (count - 1.0).max(1.0)).sqrt())
        };
        Standard((0..rows[0].len()).map(column).collect())
    }

    fn apply(&self, row: &[f64]) -> impl Iterator<Item = f32> {
        let pairs = row.iter().zip(&self.0);
        pairs.map(|(x, (mean, deviation))| match *deviation == 0.0 {
            true => 0.0,
            false => ((x - mean) / deviation) as f32,
        })
    }
}
