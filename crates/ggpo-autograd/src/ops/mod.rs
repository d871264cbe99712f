//! The operations: one file each, holding the formula, the forward pass, what
//! it saves, the backward pass and its gradient check.
//!
//! A new operation is a new file and one line here.

mod add;
mod attention;
mod concat;
mod cross_entropy;
mod dropout;
mod embedding;
mod gelu_erf;
mod gelu_tanh;
mod layer_norm;
mod linear;
mod linear_cross_entropy;
mod lora_linear;
mod magnitude;
mod matmul;
mod mean;
mod mean_squared_error;
mod mul;
mod relu;
mod reshape;
mod rms_norm;
mod rotary;
mod scale;
mod silu;
mod slice;
mod softmax;
mod sum;
mod swiglu;
mod tanh;
mod transpose;
mod weight;
mod weight_noise;
mod witness;

pub use add::add;
pub use attention::attention;
pub use concat::concat;
pub use cross_entropy::{cross_entropies, cross_entropy};
pub use dropout::dropout;
pub use embedding::{embedding, quantized_embedding};
pub use gelu_erf::gelu_erf;
pub use gelu_tanh::gelu_tanh;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use linear_cross_entropy::{linear_cross_entropies, linear_cross_entropy};
pub use lora_linear::{LoraPath, lora_linear};
pub use magnitude::magnitude;
pub use matmul::matmul;
pub use mean::mean;
pub use mean_squared_error::mean_squared_error;
pub use mul::mul;
pub use relu::relu;
pub use reshape::reshape;
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use scale::scale;
pub use silu::silu;
pub use slice::slice;
pub use softmax::softmax;
pub use sum::sum;
pub use swiglu::swiglu;
pub use tanh::tanh;
pub use transpose::transpose;
pub use weight::Weight;
pub use weight_noise::weight_noise;
pub use witness::{Witnessed, witness};

#[cfg(test)]
mod testing;
