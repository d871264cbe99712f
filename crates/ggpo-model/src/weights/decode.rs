//! Stored numbers as numbers to calculate with.

use ggpo_tensor::Scalar;
use half::{bf16, f16};
use safetensors::Dtype;

/// The numbers in `bytes`, or none if their kind is not floating point.
pub(super) fn decode<T: Scalar>(dtype: Dtype, bytes: &[u8]) -> Option<Vec<T>> {
    fn words<T: Scalar, const N: usize>(bytes: &[u8], number: fn([u8; N]) -> f64) -> Vec<T> {
        let (words, _) = bytes.as_chunks::<N>();
        words
            .iter()
            .map(|word| T::from_f64(number(*word)))
            .collect()
    }
    match dtype {
        Dtype::F64 => Some(words(bytes, f64::from_le_bytes)),
        Dtype::F32 => Some(words(bytes, |word| f32::from_le_bytes(word).into())),
        Dtype::F16 => Some(words(bytes, |word| f16::from_le_bytes(word).into())),
        Dtype::BF16 => Some(words(bytes, |word| bf16::from_le_bytes(word).into())),
        _ => None,
    }
}
