//! Dense kernels on `ndarray` views, and random numbers indexed by position.
//!
//! This crate is the ground floor: it knows no tape, no model and no file. Where a
//! gradient is best calculated together with what it is of, or from what only the
//! kernel knows, both are here: [`attention`], the [`cross_entropy`] of a head, and
//! the slopes of [`activation`] functions.
//!
//! * [`Scalar`] is everything a kernel may assume of a number: that it calculates
//!   like a [`Real`], and has matrix [`Products`]. `f32` and `f64` are such numbers,
//!   and [`Dual`] numbers, which carry a derivative along.
//! * [`matmul`](mod@matmul) holds the products A B, A Bᵀ and Aᵀ B, [`perturb`] the
//!   products with a weight to which a low-rank part and noise are added on the way.
//! * [`quantized`] holds matrices in blocks of small integers, in the layouts that
//!   GGUF files have for them; reading such a file is the business of others. A
//!   [`WeightView`] is a dense or a quantised weight, read in panels of rows.
//! * [`random`] generates uniform and normal numbers from a key and a position,
//!   so that any piece of a random matrix can be made again at any time.
//! * [`probe`] measures what the processor can do at most.
//!
//! Chapters of the book: [noise that is stored nowhere](../../../docs/book/src/noise.md).
//!
//! # Invariants
//!
//! Work is split into pieces whose size depends on the shapes alone and every
//! reduction has one fixed order, so a result has the same bits for any number
//! of threads. `unsafe` code stands in one private module, [`raw`](self) only.

pub mod activation;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
mod dual;
pub mod embedding;
pub mod layout;
mod math;
pub mod matmul;
pub mod memory;
pub mod norm;
mod packed;
pub mod parallel;
pub mod perturb;
pub mod probe;
pub mod quantized;
pub mod random;
mod raw;
pub mod reduce;
pub mod rotary;
mod scalar;
pub mod simd;
pub mod softmax;
mod tensor;
mod weight;

pub use dual::Dual;
pub use matmul::{gemm, matmul, matmul_batched, matmul_nt, matmul_tn};
pub use perturb::{ActingWeight, LowRank, RowPerturbation};
pub use quantized::{BlockFormat, QuantizedMatrix};
pub use scalar::{Addend, Products, Real, Scalar};
pub use tensor::{Tensor, flat, tensor, view2};
pub use weight::WeightView;
