//! `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ggpo_files::json;
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use half::{bf16, f16};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};

use super::budget::{expand, shrink};
use super::config::Ranks;
use super::form::{Side, make};
use super::{PeftAdapter, PeftConfig};
use crate::{Adapter, LoraError, parameter_name};

const PREFIX: &str = "base_model.model.";

/// Tensors by the name they have in the file.
type Tensors<T> = BTreeMap<String, Tensor<T>>;

/// Reads the contents of the file at `path`.
pub(super) fn parse<T: Scalar>(
    path: &Path,
    bytes: &[u8],
    config: PeftConfig,
) -> Result<PeftAdapter<T>, LoraError> {
    let mut tensors = read_tensors::<T>(path, bytes)?;
    let names = tensors.keys().filter_map(|key| {
        let name = key.strip_prefix(PREFIX)?;
        let mut factors = config.form.factors.iter();
        let module = factors.find_map(|(factor, _)| name.strip_suffix(factor))?;
        Some(module.strip_suffix('.')?.to_owned())
    });
    let modules: std::collections::BTreeSet<String> = names.collect();
    let mut adapters = BTreeMap::new();
    let ranks = config.ranks()?;
    for module in modules {
        let adapter = take_adapter(path, &config, &ranks, &mut tensors, &module)?;
        adapters.insert(module, adapter);
    }
    drop(ranks);
    let mut saved_modules = BTreeMap::new();
    for (key, tensor) in tensors {
        match key.strip_prefix(PREFIX) {
            Some(name) if config.is_saved(name) => {
                saved_modules.insert(name.to_owned(), tensor);
            }
            _ => {
                return Err(LoraError::UnexpectedTensor {
                    path: path.to_owned(),
                    tensor: key,
                    reason: "it is neither part of an adapter nor of `modules_to_save`".to_owned(),
                });
            }
        }
    }
    let missing = |tensor: String| LoraError::MissingTensor {
        path: path.to_owned(),
        tensor,
    };
    if adapters.is_empty() {
        let (first, _) = config.form.factors[0];
        return Err(missing(format!("{PREFIX}*.{first}")));
    }
    match config.modules_to_save.as_deref() {
        Some([first, ..]) if saved_modules.is_empty() => {
            return Err(missing(format!("{PREFIX}{first}.weight")));
        }
        _ => {}
    }
    Ok(PeftAdapter {
        config,
        adapters,
        saved_modules,
    })
}

fn take_adapter<T: Scalar>(
    path: &Path,
    config: &PeftConfig,
    ranks: &Ranks<'_>,
    tensors: &mut Tensors<T>,
    module: &str,
) -> Result<Adapter<T>, LoraError> {
    let key = |factor| format!("{PREFIX}{}", parameter_name(module, factor));
    if let Some(names) = config.unmatched_targets(module) {
        return Err(LoraError::UnexpectedTensor {
            path: path.to_owned(),
            tensor: key(config.form.factors[0].0),
            reason: format!("its module is not among the targets {names}"),
        });
    }
    let (rank, scaling) = ranks.of(module);
    config.check_scaling(path.parent().unwrap_or(path), scaling)?;
    let kept = config.kept(module);
    let mut layer = Layer {
        rank: kept.map_or(rank, |kept| kept.iter().filter(|&&kept| kept).count()),
        outputs: None,
        inputs: None,
    };
    let mut factors = Vec::new();
    for (factor, sides) in config.form.factors {
        let key = key(factor);
        let Some(tensor) = tensors.remove(&key) else {
            let path = path.to_owned();
            return Err(LoraError::MissingTensor { path, tensor: key });
        };
        if !layer.fits(tensor.shape(), sides) {
            return Err(LoraError::Shape {
                path: path.to_owned(),
                tensor: key,
                expected: layer.in_words(sides),
                found: tensor.shape().to_vec(),
            });
        }
        factors.push(match kept {
            None => tensor,
            Some(kept) => expand(&tensor, sides, kept),
        });
    }
    let adapter = make(config.form)(factors, T::from_f64(scaling));
    Ok(adapter.with_dropout(config.lora_dropout))
}

/// What is known of the size of a layer: its factors tell by and by.
struct Layer {
    rank: usize,
    outputs: Option<usize>,
    inputs: Option<usize>,
}

impl Layer {
    /// Whether a shape agrees with what is known; what it tells is known afterwards.
    fn fits(&mut self, shape: &[usize], sides: &[Side]) -> bool {
        shape.len() == sides.len()
            && shape.iter().zip(sides).all(|(&length, side)| match side {
                Side::Rank => length == self.rank,
                Side::One => length == 1,
                Side::Outputs => length > 0 && *self.outputs.get_or_insert(length) == length,
                Side::Inputs => length > 0 && *self.inputs.get_or_insert(length) == length,
            })
    }

    fn in_words(&self, sides: &[Side]) -> String {
        let known = |length: Option<usize>, name: &str| {
            length.map_or(name.to_owned(), |length| length.to_string())
        };
        let words: Vec<String> = sides
            .iter()
            .map(|side| match side {
                Side::Rank => self.rank.to_string(),
                Side::One => "1".to_owned(),
                Side::Outputs => known(self.outputs, "m"),
                Side::Inputs => known(self.inputs, "n"),
            })
            .collect();
        format!("[{}]", words.join(", "))
    }
}

fn read_tensors<T: Scalar>(path: &Path, bytes: &[u8]) -> Result<Tensors<T>, LoraError> {
    let broken = |reason| LoraError::Format {
        path: path.to_owned(),
        format: "safetensors",
        reason,
    };
    json::check_safetensors(bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
    let tensors = file.iter().map(|(key, view)| {
        let tensor = read_tensor(path, key, &view)?;
        Ok((key.to_owned(), tensor))
    });
    tensors.collect()
}

fn read_tensor<T: Scalar>(
    path: &Path,
    key: &str,
    view: &TensorView<'_>,
) -> Result<Tensor<T>, LoraError> {
    let bytes = view.data();
    let numbers: Vec<f32> = match view.dtype() {
        Dtype::F32 => numbers(bytes, f32::from_le_bytes),
        Dtype::F16 => numbers(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        found => {
            return Err(LoraError::ElementType {
                path: path.to_owned(),
                tensor: key.to_owned(),
                found: format!("{found:?}"),
            });
        }
    };
    check_finite(path, key, &numbers)?;
    let numbers = numbers.into_iter().map(|x| T::from_f64(f64::from(x)));
    Ok(tensor(view.shape(), numbers.collect()))
}

fn numbers<const SIZE: usize>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    elements.iter().map(|&element| read(element)).collect()
}

fn check_finite(path: &Path, key: &str, numbers: &[f32]) -> Result<(), LoraError> {
    if numbers.iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    Err(LoraError::NotFinite {
        path: path.to_owned(),
        tensor: key.to_owned(),
    })
}

/// The contents of the file that will be at `path`: all numbers as `f32`.
pub(super) fn to_bytes<T: Scalar>(
    path: &Path,
    adapter: &PeftAdapter<T>,
    config: &PeftConfig,
) -> Result<Vec<u8>, LoraError> {
    let mut entries = Vec::new();
    for (module, adapter) in &adapter.adapters {
        let kept = config.kept(module);
        for ((factor, value), (_, sides)) in adapter.factors().into_iter().zip(config.form.factors)
        {
            let name = format!("{PREFIX}{}", parameter_name(module, factor));
            match kept {
                None => entries.push(entry(path, name, value)?),
                Some(kept) => entries.push(entry(path, name, &shrink(value, sides, kept))?),
            }
        }
    }
    for (name, tensor) in &adapter.saved_modules {
        entries.push(entry(path, format!("{PREFIX}{name}"), tensor)?);
    }
    let format_error = |error: safetensors::SafeTensorError| LoraError::Format {
        path: path.to_owned(),
        format: "safetensors",
        reason: error.to_string(),
    };
    let mut views = Vec::with_capacity(entries.len());
    for (key, shape, bytes) in &entries {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(format_error)?;
        views.push((key.as_str(), view));
    }
    // What PyTorch's loaders look for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize(views, Some(metadata)).map_err(format_error)
}

type Entry = (String, Vec<usize>, Vec<u8>);

fn entry<T: Scalar>(path: &Path, key: String, tensor: &Tensor<T>) -> Result<Entry, LoraError> {
    let numbers: Vec<f32> = flat(tensor).iter().map(|x| x.value() as f32).collect();
    check_finite(path, &key, &numbers)?;
    let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    Ok((key, tensor.shape().to_vec(), bytes))
}
