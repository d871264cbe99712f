//! `model.safetensors` of a model folder: read against what the model needs,
//! and written.

use std::collections::BTreeMap;
use std::path::Path;

use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::model::{Model, ParameterSpec};
use crate::parameters::Parameters;
use crate::{Error, Result};

/// Parameters of a model folder, and those that it lacks.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What the file and the model have in common.
    pub parameters: Parameters<T>,
    /// Parameters that belong to a new head and are not in the file.
    pub missing: Vec<ParameterSpec>,
}

/// The precision of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE half).
    F16,
}

/// Reads `model.safetensors` in `folder` for `model`.
///
/// Every parameter of the body must be there with its shape; those of the
/// head's own modules may be missing. What belongs to another head is passed
/// over; anything else that is left over is refused.
///
/// # Errors
/// If the file cannot be read, a tensor is missing, left over, of another
/// shape or kind, or holds NaN or infinity.
pub fn load<T: Scalar>(folder: &Path, model: &Model) -> Result<Loaded<T>> {
    let path = folder.join("model.safetensors");
    let bytes = read_file(&path)?;
    let mut tensors = read_tensors::<T>(&path, &bytes)?;
    let heads = model.head_modules();
    let (mut parameters, mut missing) = (Parameters::new(), Vec::new());
    for spec in model.specification() {
        match tensors.remove(&spec.name) {
            Some(tensor) if tensor.shape() != spec.shape => {
                let (expected, found) = (&spec.shape, tensor.shape());
                let problem = format!(
                    "{}: expected shape {expected:?}, found {found:?}",
                    spec.name
                );
                return Err(Error::file(path, problem));
            }
            Some(tensor) => {
                parameters.insert(spec.name, tensor);
            }
            None if heads.iter().any(|head| belongs(&spec.name, head)) => missing.push(spec),
            None => {
                let problem = format!("expected a tensor named {}, found none", spec.name);
                return Err(Error::file(path, problem));
            }
        }
    }
    let other_head = |name: &str| OTHER_HEADS.iter().any(|head| belongs(name, head));
    if let Some(name) = tensors.keys().find(|name| !other_head(name)) {
        let problem = format!("found a tensor named {name}, which this model does not have");
        return Err(Error::file(path, problem));
    }
    Ok(Loaded {
        parameters,
        missing,
    })
}

/// Modules of heads, and a buffer, that a file may hold besides the model.
const OTHER_HEADS: [&str; 6] = [
    "cls",
    "bert.pooler",
    "classifier",
    "score",
    "lm_head",
    "bert.embeddings.position_ids",
];

fn belongs(name: &str, module: &str) -> bool {
    name == module
        || name
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with('.'))
}

/// Reads every floating point tensor of a safetensors file.
///
/// # Errors
/// If the file cannot be read, a tensor is not floating point, or holds NaN or
/// infinity.
pub fn read_safetensors<T: Scalar>(path: &Path) -> Result<BTreeMap<String, Tensor<T>>> {
    let bytes = read_file(path)?;
    read_tensors(path, &bytes)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::io(path, source))
}

fn read_tensors<T: Scalar>(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor<T>>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        Error::file(path, format!("expected a safetensors file, found {error}"))
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() == Dtype::I64 {
            continue;
        }
        let elements = decode(&view).ok_or_else(|| {
            let found = view.dtype();
            Error::file(
                path,
                format!("{name}: expected F32, F16 or BF16, found {found}"),
            )
        })?;
        if let Some(bad) = elements.iter().find(|x: &&T| !x.value().is_finite()) {
            return Err(Error::file(
                path,
                format!("{name}: expected finite numbers, found {bad}"),
            ));
        }
        tensors.insert(name, tensor(view.shape(), elements));
    }
    Ok(tensors)
}

fn decode<T: Scalar>(view: &TensorView<'_>) -> Option<Vec<T>> {
    fn words<T: Scalar, const N: usize>(bytes: &[u8], number: fn([u8; N]) -> f64) -> Vec<T> {
        let (words, _) = bytes.as_chunks::<N>();
        words
            .iter()
            .map(|word| T::from_f64(number(*word)))
            .collect()
    }
    let bytes = view.data();
    match view.dtype() {
        Dtype::F64 => Some(words(bytes, f64::from_le_bytes)),
        Dtype::F32 => Some(words(bytes, |word| f32::from_le_bytes(word).into())),
        Dtype::F16 => Some(words(bytes, |word| f16::from_le_bytes(word).into())),
        Dtype::BF16 => Some(words(bytes, |word| bf16::from_le_bytes(word).into())),
        _ => None,
    }
}

/// The bytes of a safetensors file with these tensors, in the order of names.
///
/// # Panics
/// Never: the tensors' sizes agree with their shapes.
pub fn to_safetensors<T: Scalar>(
    tensors: &BTreeMap<String, Tensor<T>>,
    precision: Precision,
) -> Vec<u8> {
    let encoded: Vec<(&String, Vec<u8>, &[usize])> = tensors
        .iter()
        .map(|(name, tensor)| {
            let numbers = flat(tensor).iter().map(|x| x.value() as f32);
            let bytes = match precision {
                Precision::F32 => numbers.flat_map(f32::to_le_bytes).collect(),
                Precision::F16 => numbers
                    .flat_map(|x| f16::from_f32(x).to_le_bytes())
                    .collect(),
            };
            (name, bytes, tensor.shape())
        })
        .collect();
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
    };
    let views = encoded.iter().map(|(name, bytes, shape)| {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).expect("sizes agree");
        (name.as_str(), view)
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).expect("sizes agree")
}
