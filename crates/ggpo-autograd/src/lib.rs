//! Reverse-mode automatic differentiation, from scratch.
//!
//! Calculating with [`Var`]s writes a [`Tape`]: one entry per operation, in
//! the order of calculation, each with what its backward pass needs. Reading
//! the tape backwards turns the gradient of a loss into the gradients of its
//! leaves.
//!
//! ```
//! use ggpo_autograd::{Tape, ops};
//! use ggpo_tensor::tensor;
//!
//! let tape = Tape::new();
//! let x = tape.constant(tensor(&[1, 2], vec![3.0, 4.0]));
//! let w = tape.leaf(tensor(&[1, 2], vec![0.5, -1.0]));
//! let loss = ops::sum(&ops::linear(&x, &w, None));
//! let mut gradients = tape.backward(&loss);
//! assert_eq!(gradients.take(&w).unwrap(), tensor(&[1, 2], vec![3.0, 4.0]));
//! ```
//!
//! Chapters of the book:
//! [a tape in a hundred lines, and ours](../../../docs/book/src/tape.md),
//! [one step in full](../../../docs/book/src/one-step.md),
//! [adding an operation](../../../docs/book/src/extending.md).
//!
//! # Invariants
//!
//! * One operation is one file of [`ops`]: formula, forward, what it saves,
//!   backward, and its gradient check in `f64`.
//! * An operation without backward cannot be written: [`Operation`] asks for it.
//! * Nothing is recorded, and no gradient calculated, for what needs none.
//! * Saved values are dropped as soon as the backward pass has used them, and
//!   what is cheap to calculate again is not saved: see [`Saved`].

mod gradcheck;
pub mod ops;
mod saved;
mod stopwatch;
mod tape;

pub use gradcheck::{GradcheckError, gradcheck, gradcheck_within};
pub use saved::{Recipe, Saved};
pub use stopwatch::{Laps, Stopwatch};
pub use tape::{Gradients, Operation, Tape, Var};
