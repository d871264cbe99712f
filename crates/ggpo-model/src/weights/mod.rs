//! The weights of a model folder: read against what the model needs, and
//! written.
//!
//! They stand in `model.safetensors`, or in several files that
//! `model.safetensors.index.json` lists. A tensor is read only when it is converted.

mod decode;
mod stored;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_tensor::layout::swap_axes;
use ggpo_tensor::{Scalar, Tensor};

use crate::model::{Extra, Model, ParameterSpec, is_in};
use crate::parameters::Parameters;
use crate::{Error, Result};
use stored::Stored;

pub use write::{stored_tensors, to_safetensors};

/// Parameters of a model folder, and those that it lacks.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What the files and the model have in common.
    pub parameters: Parameters<T>,
    /// Parameters that belong to a new head and are not in the files.
    pub missing: Vec<ParameterSpec>,
}

/// Reads the weights in `folder` for `model`.
///
/// Every parameter of the body must be there with its shape; those of the
/// head's own modules may be missing. Names may lack the prefix of the body
/// (`bert.`, `model.`), as they do where a body was stored without head. What belongs
/// to another head, and buffers known of the family, are passed over; a copy of
/// a tied parameter must be equal to it; anything else that is left over is
/// refused.
///
/// # Errors
/// If a file cannot be read, a tensor is missing, left over, of another
/// shape or kind, or holds NaN or infinity.
pub fn load<T: Scalar>(folder: &Path, model: &Model) -> Result<Loaded<T>> {
    let stored = Stored::open(folder)?;
    let mut names = names_by_parameter(&stored, model)?;
    let heads = model.head_modules();
    let (mut parameters, mut missing) = (Parameters::new(), Vec::new());
    for spec in model.specification() {
        match names.remove(&spec.name) {
            Some(name) => {
                let tensor = read_parameter(&stored, name, &spec, model)?;
                parameters.insert(spec.name, tensor);
            }
            None if is_in(&spec.name, &heads) => missing.push(spec),
            None => {
                let problem = format!("expected a tensor named {}, found none", spec.name);
                return Err(Error::file(stored.path(), problem));
            }
        }
    }
    for (known_as, name) in names {
        check_extra(&stored, name, model.extra(&known_as), &parameters)?;
    }
    Ok(Loaded {
        parameters,
        missing,
    })
}

/// The stored names by the model's names of the same tensors.
fn names_by_parameter<'s>(stored: &'s Stored, model: &Model) -> Result<BTreeMap<String, &'s str>> {
    let specification = model.specification();
    let prefix = model.prefix();
    let table = model.word_table();
    let bare = !stored.contains(table)
        && table
            .strip_prefix(prefix)
            .is_some_and(|table| stored.contains(table));
    let known = |name: &str| {
        specification.iter().any(|spec| spec.name == name) || model.extra(name).is_some()
    };
    let mut names = BTreeMap::new();
    for name in stored.names() {
        let mut ours = current_name(name);
        if bare && !known(&ours) {
            ours.insert_str(0, prefix);
        }
        if let Some(other) = names.insert(ours, name) {
            let problem = format!("found {name}, which is the same parameter as {other}");
            return Err(Error::file(stored.file_of(name), problem));
        }
    }
    Ok(names)
}

/// The name of today for a parameter of layer norm as TensorFlow called it.
fn current_name(name: &str) -> String {
    let renamed = [(".LayerNorm.gamma", "weight"), (".LayerNorm.beta", "bias")];
    for (old, new) in renamed {
        if let Some(module) = name.strip_suffix(old) {
            return format!("{module}.LayerNorm.{new}");
        }
    }
    name.to_owned()
}

/// Reads a tensor as a parameter of the model, transposed where the family
/// stores a weight in x out.
fn read_parameter<T: Scalar>(
    stored: &Stored,
    name: &str,
    spec: &ParameterSpec,
    model: &Model,
) -> Result<Tensor<T>> {
    let transposed = model.stores_transposed(&spec.name);
    let mut expected = spec.shape.clone();
    if transposed {
        expected.reverse();
    }
    let found = stored.shape(name);
    if found != expected {
        let problem = format!("{name}: expected shape {expected:?}, found {found:?}");
        return Err(Error::file(stored.file_of(name), problem));
    }
    let tensor = stored.read(name)?;
    Ok(if transposed {
        swap_axes(&tensor, 0, 1)
    } else {
        tensor
    })
}

/// Passes over a tensor that is not a parameter, or refuses it.
fn check_extra<T: Scalar>(
    stored: &Stored,
    name: &str,
    extra: Option<Extra>,
    parameters: &Parameters<T>,
) -> Result<()> {
    let problem = match extra {
        Some(Extra::Unused) => return Ok(()),
        Some(Extra::CopyOf(original)) => {
            if stored.read::<T>(name)? == parameters[original] {
                return Ok(());
            }
            format!(
                "{name}: expected a copy of {original}, to which the model ties it, found other numbers"
            )
        }
        None => format!("found a tensor named {name}, which this model does not have"),
    };
    Err(Error::file(stored.file_of(name), problem))
}

/// The files that hold the weights in `folder`, an index included; none if there are no
/// weights.
///
/// # Errors
/// If there are weights that cannot be read.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    match stored::is_there(folder) {
        true => Ok(Stored::open(folder)?.paths()),
        false => Ok(Vec::new()),
    }
}

/// Whether the weights in `folder` hold a tensor of this name; not if there
/// are no weights.
///
/// # Errors
/// If there are weights that cannot be read.
pub(crate) fn holds(folder: &Path, name: &str) -> Result<bool> {
    if stored::is_there(folder) {
        Ok(Stored::open(folder)?.contains(name))
    } else {
        Ok(false)
    }
}

/// Reads every floating point tensor of a safetensors file, passing over
/// whole numbers.
///
/// # Errors
/// If the file cannot be read, a tensor is of another kind, or holds NaN or
/// infinity.
pub fn read_safetensors<T: Scalar>(path: &Path) -> Result<BTreeMap<String, Tensor<T>>> {
    let stored = Stored::one_file(path)?;
    let names = stored.names().filter(|name| !stored.is_whole_numbers(name));
    names
        .map(|name| Ok((name.to_owned(), stored.read(name)?)))
        .collect()
}
