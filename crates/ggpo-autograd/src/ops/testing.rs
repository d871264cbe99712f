//! What the gradient checks of the operations share.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Tensor, tensor};

/// Standard normal elements that depend on `seed` alone.
pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor<f64> {
    let stream = Stream::new(seed, Purpose::Probe, 0, 0);
    let mut values = vec![0.0_f32; shape.iter().product()];
    stream.fill_normal(0, &mut values);
    tensor(shape, values.into_iter().map(f64::from).collect())
}
