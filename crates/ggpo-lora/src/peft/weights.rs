//! `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use half::{bf16, f16};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};

use super::{PeftAdapter, PeftConfig};
use crate::adapter::lora;
use crate::{Adapter, Lora, LoraError, parameter_name};

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
        let module = name.strip_suffix(lora::A).or(name.strip_suffix(lora::B))?;
        Some(module.strip_suffix('.')?.to_owned())
    });
    let modules: std::collections::BTreeSet<String> = names.collect();
    let mut adapters = BTreeMap::new();
    for module in modules {
        let adapter = take_adapter(path, &config, &mut tensors, &module)?;
        adapters.insert(module, adapter);
    }
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
        return Err(missing(format!("{PREFIX}*.{}", lora::A)));
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
    tensors: &mut Tensors<T>,
    module: &str,
) -> Result<Adapter<T>, LoraError> {
    let (rank, scaling) = config.rank_and_scaling(module)?;
    let key = |factor| format!("{PREFIX}{}", parameter_name(module, factor));
    let (key_a, key_b) = (key(lora::A), key(lora::B));
    if let Some(names) = config.unmatched_targets(module) {
        return Err(LoraError::UnexpectedTensor {
            path: path.to_owned(),
            tensor: key_a,
            reason: format!("its module is not among the targets {names}"),
        });
    }
    let mut take = |key: &str, expected: String, fits: fn(&[usize], usize) -> bool| {
        let tensor = tensors
            .remove(key)
            .ok_or_else(|| LoraError::MissingTensor {
                path: path.to_owned(),
                tensor: key.to_owned(),
            })?;
        if fits(tensor.shape(), rank) {
            return Ok(tensor);
        }
        Err(LoraError::Shape {
            path: path.to_owned(),
            tensor: key.to_owned(),
            expected,
            found: tensor.shape().to_vec(),
        })
    };
    let a = take(
        &key_a,
        format!("[{rank}, n]"),
        |shape, rank| matches!(shape, [r, n] if *r == rank && *n > 0),
    )?;
    let b = take(
        &key_b,
        format!("[m, {rank}]"),
        |shape, rank| matches!(shape, [m, r] if *r == rank && *m > 0),
    )?;
    let form = Lora {
        a,
        b,
        scaling: T::from_f64(scaling),
    };
    Ok(Adapter::new(form).with_dropout(config.lora_dropout))
}

fn read_tensors<T: Scalar>(path: &Path, bytes: &[u8]) -> Result<Tensors<T>, LoraError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| LoraError::Format {
        path: path.to_owned(),
        format: "safetensors",
        reason: error.to_string(),
    })?;
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
) -> Result<Vec<u8>, LoraError> {
    let mut entries = Vec::new();
    for (module, adapter) in &adapter.adapters {
        for (factor, value) in adapter.factors() {
            let name = parameter_name(module, factor);
            entries.push(entry(path, format!("{PREFIX}{name}"), value)?);
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
