//! LoRA adapters and the weight perturbation of LoRA-GGPO, independent of any
//! model and any automatic differentiation.
//!
//! * [`LoraConfig`], [`Targets`] and [`Adapter`]: which layers get an adapter,
//!   and the adapter itself.
//! * [`Ggpo`]: one fresh noise matrix for every adapted layer at every step, of
//!   row variances that follow the norms of weights and gradients (eq. 6 to 8).
//!   It reads a model through the trait [`AdaptedLayers`] and hands out noise
//!   as [`RowPerturbation`](ggpo_tensor::RowPerturbation)s, which the linear
//!   kernels of `ggpo-tensor` add to the weight on the way.
//! * [`pissa`], [`olora`] and [`lora_ga`]: where the factors of an adapter start
//!   when their product is not zero.
//! * [`peft`]: adapters in the files of the PEFT library.
//!
//! # Notation
//!
//! A layer is `y = x W'^T` with the merged weight `W' = W + s B A`: the frozen
//! base weight W is m x n (out x in), A is r x n, B is m x r, s is the scaling.
//! G is the gradient of the loss with respect to W'; `W'_i` and `G_i` are row i.
//!
//! # One step
//!
//! A layer of plain arrays, 2 x 3, with an adapter of rank 1. It is the second
//! step of a run, so there are gradients of the first:
//!
//! ```
//! use ggpo_lora::{Ggpo, GgpoConfig, LayerView, Perturbation};
//! use ndarray::{Axis, array};
//!
//! let weight = array![[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]];
//! let (a, b) = (array![[1.0, 0.0, 0.0]], array![[0.0], [0.0]]);
//! let (grad_a, grad_b) = (array![[0.0, 0.0, 0.0]], array![[0.5], [0.0]]);
//! // What the perturbation sees of a model: a list of views, or a type of your own that
//! // is `AdaptedLayers`.
//! let layers = vec![LayerView {
//!     grad_a: Some(grad_a.view()),
//!     grad_b: Some(grad_b.view()),
//!     ..LayerView::new(weight.view().into(), a.view(), b.view(), 2.0)
//! }];
//! let config = GgpoConfig { sigma: 0.03, beta: 16.0, ..GgpoConfig::default() };
//! let mut ggpo = Ggpo::new(config, 42, 100)?;
//! ggpo.begin_step(1, &layers);
//!
//! // B = 0, so W' = W: its rows have the norms 3 and 5. By equation 7,
//! // G = 2 dB A has the rows (1, 0, 0) and 0. Hence v_i = sigma^2 / 3 times
//! // 9 + 16 and 25 + 0, which happens to be the same.
//! let expected = 0.03 * (25.0_f64 / 3.0).sqrt();
//! for std in ggpo.row_std(0) {
//!     assert!((std - expected).abs() < 1e-15);
//! }
//! // 16 of the 50 in all come from the gradient.
//! assert!((ggpo.statistics()[0].gradient_share - 0.32).abs() < 1e-15);
//!
//! // Forward and backward add the same noise to the weight, in whatever pieces
//! // they walk through it, and leave the weight itself alone.
//! let noise = ggpo.noise(0, 0).expect("sigma is not 0");
//! let mut forward = weight.clone();
//! noise.add_rows(0, forward.view_mut());
//! let mut backward = weight.row(1).to_owned().insert_axis(Axis(0));
//! noise.add_rows(1, backward.view_mut());
//! assert_eq!(forward.row(1), backward.row(0));
//! assert_ne!(forward, weight);
//! # Ok::<(), ggpo_lora::LoraError>(())
//! ```
//!
//! Chapters of the book: [LoRA](../../../docs/book/src/lora.md),
//! [the equations, and where each comes from](../../../docs/book/src/equations.md),
//! [row norms without forming a matrix](../../../docs/book/src/row-norms.md),
//! [what the method does and does not](../../../docs/book/src/laws.md),
//! [other implementations and their errors](../../../docs/book/src/errors.md),
//! [use in a model of your own](../../../docs/book/src/extending.md).
#![forbid(unsafe_code)]

pub mod adapter;
mod error;
mod init;
mod layers;
pub mod lora_plus;
pub mod method;
mod norms;
pub mod peft;
pub mod perturbation;
pub mod product_decay;
mod state;
mod targets;

/// The version whose arrays stand in the interface of this crate.
pub use ndarray;

pub use adapter::lora::Lora;
pub use adapter::{
    Acting, ActingGradients, Adapter, Adapters, LoraConfig, Magnitude, ScalingRule, find_factor,
    parameter_name,
};
pub use error::LoraError;
pub use init::{Factors, LoraGaConfig, lora_ga, olora, pissa, pseudo_inverse};
pub use layers::{AdaptedLayers, FactorView, LayerView};
pub use method::{AdapterKind, MethodConfig};
pub use norms::{adapter_gradient_row_norms_squared, merged_row_norms_squared, row_norms_squared};
pub use perturbation::ggpo::{
    GaussianRows, Ggpo, GgpoConfig, GgpoForm, GradientEstimate, NoiseGradient, NoiseKind,
    NoisePlace, NoiseSpread, SigmaSchedule, WeightTerm,
};
pub use perturbation::{Perturbation, PerturbationConfig};
pub use state::{NoiseStatistics, State};
pub use targets::Targets;
