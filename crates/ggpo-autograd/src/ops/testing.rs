//! What the gradient checks of the operations share.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{BlockFormat, QuantizedMatrix, Tensor, tensor};

/// Standard normal elements that depend on `seed` alone.
pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor<f64> {
    let stream = Stream::new(seed, Purpose::Probe, 0, 0);
    let mut values = vec![0.0_f32; shape.iter().product()];
    stream.fill_normal(0, &mut values);
    tensor(shape, values.into_iter().map(f64::from).collect())
}

/// Random blocks of the format Q4_0, with elements in -1..1.
pub(crate) fn quantized(seed: u64, rows: usize, columns: usize) -> QuantizedMatrix {
    let stream = Stream::new(seed, Purpose::Data, 0, 0);
    let mut bytes = Vec::new();
    for block in 0..rows * columns / 32 {
        // The scale 2^-3 as a half, then 32 numbers of four bits.
        bytes.extend(0x3000_u16.to_le_bytes());
        bytes.extend((0..16).map(|i| stream.bits(16 * block as u64 + i) as u8));
    }
    QuantizedMatrix::new(BlockFormat::Q4_0, rows, columns, bytes).expect("whole blocks")
}
