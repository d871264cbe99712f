//! `y = silu(gate) * up`: the gated unit of the Llama block, in one pass.
//!
//! Backward: `dgate = dy * up * silu'(gate)`, `dup = dy * silu(gate)`. Neither
//! `silu(gate)` nor its gradient is stored.

use ggpo_tensor::activation::{silu, silu_slope};
use ggpo_tensor::parallel::{zip_map, zip_map3, zip_update};
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Saved, Var};

struct Swiglu<T> {
    gate: Saved<T>,
    up: Saved<T>,
}

impl<T: Scalar> Operation<T> for Swiglu<T> {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn backward(self: Box<Self>, dy: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let gate = self.gate.value();
        let dgate = needed[0].then(|| {
            zip_map3(&dy, &gate, &self.up.value(), |dy, gate, up| {
                dy * up * silu_slope(gate)
            })
        });
        let dup = needed[1].then(|| zip_update(dy, &gate, |dy, gate| dy * silu(gate)));
        vec![dgate, dup]
    }
}

/// `silu(gate) * up` of two variables of the same shape.
///
/// # Panics
/// If the shapes differ.
pub fn swiglu<T: Scalar>(gate: &Var<T>, up: &Var<T>) -> Var<T> {
    let value = gated(gate.value(), up.value());
    let saved = [gate.saved(), up.saved()];
    gate.tape()
        .record(&[gate, up], value, || Swiglu {
            gate: gate.saved(),
            up: up.saved(),
        })
        .recomputed(move || {
            let [gate, up] = &saved;
            gated(&gate.value(), &up.value())
        })
}

fn gated<T: Scalar>(gate: &Tensor<T>, up: &Tensor<T>) -> Tensor<T> {
    zip_map(gate, up, |gate, up| silu(gate) * up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::normal;
    use crate::{Tape, gradcheck, ops};

    proptest! {
        #[test]
        fn swiglu_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            let inputs = [normal(seed, &[rows, columns]), normal(!seed, &[rows, columns])];
            gradcheck(&inputs, |_, v| swiglu(&v[0], &v[1])).unwrap();
            let constant = inputs[1].clone();
            gradcheck(&inputs[..1], |t, v| swiglu(&v[0], &t.constant(constant.clone()))).unwrap();
            gradcheck(&inputs[..1], |t, v| swiglu(&t.constant(constant.clone()), &v[0])).unwrap();
        }

        #[test]
        fn it_is_the_product_with_silu(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            let tape = Tape::new();
            let shape = [rows, columns];
            let [gate, up] = [seed, !seed].map(|seed| tape.constant(normal(seed, &shape)));
            let separate = ops::mul(&ops::silu(&gate), &up);
            let fused = swiglu(&gate, &up);
            prop_assert_eq!(fused.value(), separate.value());
        }
    }
}
