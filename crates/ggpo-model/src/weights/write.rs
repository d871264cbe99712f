//! Weights as a safetensors file.

use std::collections::BTreeMap;

use ggpo_tensor::layout::swap_axes;
use ggpo_tensor::{Scalar, Tensor, flat};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use crate::model::{Model, Precision};
use crate::parameters::Parameters;

/// The parameters of a model, fully trained or merged, under the names and in
/// the layouts that Transformers expects in `model.safetensors`: the names are
/// the model's own, and a weight that the family stores in x out (GPT-2) is
/// transposed.
pub fn stored_tensors<T: Scalar>(
    model: &Model,
    parameters: &Parameters<T>,
) -> BTreeMap<String, Tensor<T>> {
    let stored = |(name, tensor): (&String, &Tensor<T>)| {
        let tensor = if model.stores_transposed(name) {
            swap_axes(tensor, 0, 1)
        } else {
            tensor.clone()
        };
        (name.clone(), tensor)
    };
    parameters.iter().map(stored).collect()
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
        .map(|(name, tensor)| (name, encode(tensor, precision), tensor.shape()))
        .collect();
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::BF16 => Dtype::BF16,
    };
    let views = encoded.iter().map(|(name, bytes, shape)| {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).expect("sizes agree");
        (name.as_str(), view)
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).expect("sizes agree")
}

fn encode<T: Scalar>(tensor: &Tensor<T>, precision: Precision) -> Vec<u8> {
    let numbers = flat(tensor).iter().map(|x| x.value() as f32);
    match precision {
        Precision::F32 => numbers.flat_map(f32::to_le_bytes).collect(),
        Precision::F16 => numbers
            .flat_map(|x| f16::from_f32(x).to_le_bytes())
            .collect(),
        Precision::BF16 => numbers
            .flat_map(|x| bf16::from_f32(x).to_le_bytes())
            .collect(),
    }
}
