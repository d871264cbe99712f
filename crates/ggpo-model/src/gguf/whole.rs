//! A whole model as a GGUF file, as llama.cpp reads it.
//!
//! Everything that [`parameters`](super::parameters) undoes when a file is read is done
//! here: the order of rows of queries and keys, and the 1 that Gemma's norms are stored
//! with.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ggpo_files::read::ANY;
use ggpo_files::write_atomically_with;
use ggpo_tensor::{BlockFormat, QuantizedMatrix, Tensor, flat, view2};
use ndarray::Axis;

use super::description::{Architecture, architecture_of};
use super::file::Elements;
use super::parameters::{half_split_order, heads, stored_name};
use super::writer::Writer;
use super::{Reading, carried, described, rope_factors, vocabulary};
use crate::model::{Head, Model, ParameterSpec, RotaryDecoder};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A parameter of a model that is written.
#[derive(Debug, Clone)]
pub enum Weight {
    /// Numbers.
    Dense(Tensor<f32>),
    /// A matrix in its blocks.
    Blocks(QuantizedMatrix),
}

/// The parameters of a model that is written, by their names.
pub trait Weights {
    /// The format of the blocks that a matrix is in, if it is.
    fn format(&self, name: &str) -> Option<BlockFormat>;

    /// A parameter. It is asked for once, when its turn comes.
    fn weight(&self, name: &str) -> Weight;
}

/// What a file says of itself beside the model's shape: its tokenizer above all.
pub enum Origin<'a> {
    /// What another GGUF file says.
    File(&'a Path),
    /// A name, and a tokenizer with what it says of chats.
    New {
        /// What the model is called.
        name: &'a str,
        /// Its tokenizer.
        tokenizer: &'a Tokenizer,
    },
}

/// Tensors of a file by how they are stored.
pub type Kinds = BTreeMap<String, usize>;

/// Writes a model to a GGUF file, whole or not at all.
///
/// Matrices are stored as `elements`, but for some: rows that are no whole blocks become
/// F16; with Q4_0 the tables of tokens become Q8_0, since what they lose is lost in every
/// token; and what comes in smaller blocks stays in them. Vectors are F32.
///
/// # Errors
/// If the file cannot be written, there is nothing in the format for the model or its
/// tokenizer, or a number is too large for `elements`.
pub fn write_model(
    out: &Path,
    model: &Model,
    origin: Origin<'_>,
    elements: Elements,
    weights: &dyn Weights,
) -> Result<Kinds> {
    let prepared = prepare(model, origin, elements, weights);
    let prepared = prepared.map_err(|problem| Error::file(out, problem))?;
    let Prepared {
        writer,
        factors,
        tensors,
    } = prepared;
    let mut kinds = Kinds::new();
    for tensor in &tensors {
        *kinds.entry(tensor.elements.to_string()).or_default() += 1;
    }
    let written = write_atomically_with(out, |file| {
        writer.write(file, |index| {
            let Some(index) = index.checked_sub(usize::from(factors.is_some())) else {
                return Ok(in_bytes(factors.iter().flatten()));
            };
            let tensor = &tensors[index];
            let weight = weights.weight(&tensor.spec.name);
            tensor.bytes(weight).map_err(Stop::Problem)
        })
    });
    match written {
        Ok(()) => Ok(kinds),
        Err(Stop::Io(cause)) => Err(Error::io(out, cause)),
        Err(Stop::Problem(problem)) => Err(Error::file(out, problem)),
    }
}

/// Why writing stopped.
enum Stop {
    Io(io::Error),
    Problem(String),
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Stop::Io(cause)
    }
}

/// A file before its tensors are written.
struct Prepared {
    writer: Writer,
    /// The divisors of rotary frequencies, which come first if there are some.
    factors: Option<Vec<f32>>,
    tensors: Vec<Stored>,
}

/// A parameter in the file.
struct Stored {
    spec: ParameterSpec,
    elements: Elements,
    /// The rows of the model's weight in the order of the file, if it has another.
    order: Option<Vec<usize>>,
    /// What is added to every number.
    shift: f32,
}

fn prepare(
    model: &Model,
    origin: Origin<'_>,
    elements: Elements,
    weights: &dyn Weights,
) -> Reading<Prepared> {
    let (architecture, decoder) = architecture_of(model)?;
    if model.head != Head::Tokens {
        return Err(
            "model: expected one that predicts tokens, which a GGUF file can hold, found one \
             that classifies; write a folder instead: ggpo merge --out"
                .to_owned(),
        );
    }
    let mut writer = Writer::default();
    match origin {
        Origin::File(path) => {
            let bytes = ggpo_files::read(path, ANY);
            let bytes = bytes.map_err(|cause| format!("{}: {cause}", path.display()))?;
            for entry in carried::entries(&bytes)? {
                writer.carry(entry);
            }
        }
        Origin::New { name, tokenizer } => {
            described::describe(&mut writer, architecture, model, &decoder)?;
            writer.text("general.type", "model");
            writer.text("general.name", name);
            vocabulary::say(&mut writer, tokenizer, decoder.vocab_size)?;
        }
    }
    writer.number("general.file_type", file_type(elements))?;
    writer.number("general.quantization_version", 2)?;
    let tensors = model.specification().into_iter();
    let tensors: Vec<Stored> = tensors
        .map(|spec| {
            let own = weights.format(&spec.name);
            Stored::new(spec, own, architecture, &decoder, elements)
        })
        .collect();
    let factors = rope_factors::of(&decoder.rope, decoder.head_dim);
    if let Some(factors) = &factors {
        writer.tensor(rope_factors::NAME, &[factors.len()], Elements::F32);
    }
    for tensor in &tensors {
        let name = stored_name(&tensor.spec.name, decoder.gemma.is_some());
        writer.tensor(&name, &tensor.spec.shape, tensor.elements);
    }
    Ok(Prepared {
        writer,
        factors,
        tensors,
    })
}

impl Stored {
    fn new(
        spec: ParameterSpec,
        own: Option<BlockFormat>,
        architecture: &Architecture,
        decoder: &RotaryDecoder,
        elements: Elements,
    ) -> Self {
        let heads = heads(&spec.name, decoder).filter(|_| architecture.turns_neighbours);
        let order = heads.map(|heads| {
            let mut order = vec![0; spec.shape[0]];
            let places = half_split_order(heads, decoder.head_dim);
            for (row, place) in places.into_iter().enumerate() {
                order[place] = row;
            }
            order
        });
        let is_norm = decoder.gemma.is_some() && spec.name.ends_with("norm.weight");
        Stored {
            elements: chosen(&spec, own, elements),
            order,
            shift: if is_norm { 1.0 } else { 0.0 },
            spec,
        }
    }

    /// The tensor's bytes in the file.
    fn bytes(&self, weight: Weight) -> Reading<Vec<u8>> {
        let named = |problem: String| format!("{}: {problem}", self.spec.name);
        let dense = match weight {
            Weight::Blocks(matrix) if self.elements == Elements::Blocks(matrix.format()) => {
                let matrix = match &self.order {
                    None => matrix,
                    Some(order) => matrix.select_rows(order),
                };
                return Ok(matrix.blocks().to_vec());
            }
            Weight::Blocks(matrix) => matrix.dequantize::<f32>().into_dyn().into_shared(),
            Weight::Dense(dense) => dense,
        };
        let mut dense = match &self.order {
            None => dense,
            Some(order) => dense.select(Axis(0), order).into_shared(),
        };
        if self.shift != 0.0 {
            dense.mapv_inplace(|x| x + self.shift);
        }
        match self.elements {
            Elements::F32 => match flat(&dense).iter().find(|x| !x.is_finite()) {
                Some(bad) => Err(named(format!("expected finite numbers, found {bad}"))),
                None => Ok(in_bytes(flat(&dense))),
            },
            Elements::Blocks(format) => {
                let matrix = QuantizedMatrix::quantize(format, view2(&dense));
                let matrix = matrix.map_err(|problem| named(problem.to_string()))?;
                Ok(matrix.blocks().to_vec())
            }
        }
    }
}

fn in_bytes<'a>(numbers: impl IntoIterator<Item = &'a f32>) -> Vec<u8> {
    let numbers = numbers.into_iter();
    numbers.flat_map(|x| x.to_le_bytes()).collect()
}

/// How a parameter is stored that is in blocks of the format `own`, or in none.
fn chosen(spec: &ParameterSpec, own: Option<BlockFormat>, elements: Elements) -> Elements {
    let [_, columns] = *spec.shape else {
        return Elements::F32;
    };
    let is_table = !spec.name.starts_with("model.layers.");
    let elements = match elements {
        Elements::Blocks(BlockFormat::Q4_0) if is_table => Elements::Blocks(BlockFormat::Q8_0),
        elements => elements,
    };
    let elements = match elements.row_bytes(columns) {
        Some(_) => elements,
        None => Elements::Blocks(BlockFormat::F16),
    };
    let own = own.map(Elements::Blocks);
    let smaller = own.filter(|own| own.row_bytes(columns) < elements.row_bytes(columns));
    smaller.unwrap_or(elements)
}

/// The format's number for files whose matrices are mostly of a kind.
fn file_type(elements: Elements) -> usize {
    match elements {
        Elements::Blocks(BlockFormat::F16) => 1,
        Elements::Blocks(BlockFormat::Q4_0) => 2,
        Elements::Blocks(BlockFormat::Q8_0) => 7,
        Elements::Blocks(BlockFormat::BF16) => 32,
        // What it is of others tells nobody how a file is read.
        _ => 0,
    }
}
