//! A batch and our logits, as a file for the other side.

use std::path::Path;

use anyhow::{Context, Result};
use ggpo_model::Model;
use ggpo_model::batch::{Batch, DecoderInput};
use ggpo_tensor::{Tensor, flat};
use ndarray::Array2;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Tokens of the longest row, if the model reads as many.
const LENGTH: usize = 16;

/// A batch for any model: rows of different lengths, padded with the id 0,
/// which stands nowhere else.
pub(super) struct Inputs {
    pub(super) batch: Batch,
    has_token_types: bool,
}

impl Inputs {
    pub(super) fn new(model: &Model, task: Option<&str>) -> Self {
        let time = LENGTH.min(model.positions());
        let lengths = [time, time / 2 + 1, 3.min(time)];
        let shape = [lengths.len(), time];
        let vocabulary = model.vocabulary();
        let id = |row: usize, t: usize| 1 + (17 + 31 * row + 13 * t + 7 * t * t) % (vocabulary - 1);
        let place = |index: usize| (index / time, index % time);
        let attention = Array2::from_shape_fn(shape, |(row, t)| t < lengths[row]);
        let ids = (0..lengths.len() * time).map(|index| match place(index) {
            (row, t) if t < lengths[row] => id(row, t),
            _ => 0,
        });
        let has_token_types = model.segments().is_some_and(|segments| segments > 1);
        let kinds = (0..lengths.len() * time).map(|index| {
            let (row, t) = place(index);
            usize::from(has_token_types && 2 * t > lengths[row])
        });
        let decoder = (task == Some("SEQ_2_SEQ_LM")).then(|| DecoderInput {
            shape: [lengths.len(), 5],
            ids: (0..lengths.len() * 5)
                .map(|index| match index % 5 {
                    0 => 0,
                    t => id(index / 5 + 3, t),
                })
                .collect(),
        });
        Inputs {
            batch: Batch {
                shape,
                ids: ids.collect(),
                token_types: kinds.collect(),
                attention,
                targets: Vec::new(),
                values: Vec::new(),
                decoder,
            },
            has_token_types,
        }
    }
}

/// A batch, and our logits if they are known.
pub(super) struct Case {
    pub(super) inputs: Inputs,
    pub(super) logits: Option<Tensor<f32>>,
}

impl Case {
    /// A batch alone.
    pub(super) fn of(inputs: Inputs) -> Self {
        let logits = None;
        Case { inputs, logits }
    }

    /// Writes a safetensors file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let batch = &self.inputs.batch;
        let shape = batch.shape.to_vec();
        let kept: Vec<usize> = batch.attention.iter().map(|&k| usize::from(k)).collect();
        let mut tensors = vec![
            ("input_ids", Dtype::I64, shape.clone(), integers(&batch.ids)),
            ("attention_mask", Dtype::I64, shape.clone(), integers(&kept)),
        ];
        if self.inputs.has_token_types {
            let kinds = integers(&batch.token_types);
            tensors.push(("token_type_ids", Dtype::I64, shape, kinds));
        }
        if let Some(decoder) = &batch.decoder {
            let ids = integers(&decoder.ids);
            tensors.push(("decoder_input_ids", Dtype::I64, decoder.shape.to_vec(), ids));
        }
        if let Some(logits) = &self.logits {
            let bytes = flat(logits).iter().flat_map(|x| x.to_le_bytes()).collect();
            tensors.push(("logits", Dtype::F32, logits.shape().to_vec(), bytes));
        }
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<_>>()?;
        let bytes = safetensors::serialize(views, None)?;
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }
}

fn integers(values: &[usize]) -> Vec<u8> {
    let words = values.iter().map(|&value| value as i64);
    words.flat_map(i64::to_le_bytes).collect()
}
