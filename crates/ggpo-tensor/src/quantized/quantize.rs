//! Numbers to blocks.

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, Axis};
use rayon::slice::ParallelSliceMut;

use super::{BlockFormat, QuantizedError, QuantizedMatrix, half, q4_0, q8_0};

impl BlockFormat {
    /// The formats that numbers are made into.
    pub const WRITTEN: [Self; 4] = [Self::F16, Self::BF16, Self::Q4_0, Self::Q8_0];
}

impl QuantizedMatrix {
    /// The blocks for a matrix of numbers, in a format of [`BlockFormat::WRITTEN`]; every
    /// block by itself.
    ///
    /// # Errors
    /// If the format is another, a row is not whole blocks, or a number is not finite or
    /// too large for the format.
    pub fn quantize(
        format: BlockFormat,
        numbers: ArrayView2<'_, f32>,
    ) -> Result<Self, QuantizedError> {
        let (rows, columns) = numbers.dim();
        let row_bytes = format.row_bytes(columns);
        let row_bytes = row_bytes.ok_or_else(|| QuantizedError::Columns {
            format,
            multiple: format.block_elements(),
            columns,
        })?;
        let quantize = match format {
            BlockFormat::F16 => |x: &[f32], out: &mut [u8]| each_block(x, out, f16),
            BlockFormat::BF16 => |x: &[f32], out: &mut [u8]| each_block(x, out, bf16),
            BlockFormat::Q4_0 => |x: &[f32], out: &mut [u8]| each_block(x, out, q4_0::quantize),
            BlockFormat::Q8_0 => |x: &[f32], out: &mut [u8]| each_block(x, out, q8_0::quantize),
            _ => return Err(QuantizedError::Format { format }),
        };
        let mut blocks = vec![0; rows * row_bytes];
        if !blocks.is_empty() {
            numbers
                .axis_iter(Axis(0))
                .into_par_iter()
                .zip(blocks.par_chunks_mut(row_bytes))
                .try_for_each(|(row, out)| {
                    let row = row.as_standard_layout();
                    let row = row.as_slice().expect("a row in standard layout");
                    let bad = quantize(row, out);
                    match bad.map(|bad| bad.to_string()) {
                        None => Ok(()),
                        Some(found) => Err(QuantizedError::Number { format, found }),
                    }
                })?;
        }
        QuantizedMatrix::new(format, rows, columns, blocks)
    }
}

fn f16([x]: &[f32; 1]) -> Option<[u8; half::BYTES]> {
    half::to_f16(*x)
}

fn bf16([x]: &[f32; 1]) -> Option<[u8; half::BYTES]> {
    half::to_bf16(*x)
}

/// Makes blocks of a row; returns a number that none can hold, if there is one.
fn each_block<const BYTES: usize, const ELEMENTS: usize>(
    numbers: &[f32],
    out: &mut [u8],
    quantize: impl Fn(&[f32; ELEMENTS]) -> Option<[u8; BYTES]>,
) -> Option<f32> {
    let (numbers, _) = numbers.as_chunks::<ELEMENTS>();
    let (out, _) = out.as_chunks_mut::<BYTES>();
    for (numbers, out) in numbers.iter().zip(out) {
        match quantize(numbers) {
            Some(block) => *out = block,
            None => return half::largest(numbers).or_else(|| first_that_is_not_finite(numbers)),
        }
    }
    None
}

fn first_that_is_not_finite(numbers: &[f32]) -> Option<f32> {
    numbers.iter().copied().find(|x| !x.is_finite())
}

/// Formats as a list for a sentence.
pub(super) fn listed(formats: &[BlockFormat]) -> String {
    let names: Vec<String> = formats.iter().map(ToString::to_string).collect();
    names.join(", ")
}
