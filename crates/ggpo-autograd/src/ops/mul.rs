//! `y = a * b`, element by element; `da = dy * b`, `db = dy * a`.

use ggpo_tensor::parallel::zip_map;
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Saved, Var};

/// Each factor is saved only if the other one needs a gradient.
struct Mul<T> {
    a: Option<Saved<T>>,
    b: Option<Saved<T>>,
}

impl<T: Scalar> Operation<T> for Mul<T> {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        [self.b, self.a]
            .into_iter()
            .map(|other| other.map(|other| product(&gradient, &other.value())))
            .collect()
    }
}

/// The elementwise product of two variables of the same shape.
///
/// # Panics
/// If the shapes differ.
pub fn mul<T: Scalar>(a: &Var<T>, b: &Var<T>) -> Var<T> {
    let y = a
        .tape()
        .record(&[a, b], product(a.value(), b.value()), || Mul {
            a: b.needs_gradient().then(|| a.saved()),
            b: a.needs_gradient().then(|| b.saved()),
        });
    if !(a.needs_gradient() && b.needs_gradient()) {
        return y;
    }
    let (a, b) = (a.saved(), b.saved());
    y.recomputed(move || product(&a.value(), &b.value()))
}

fn product<T: Scalar>(a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    zip_map(a, b, |a, b| a * b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn mul_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            let inputs = [normal(seed, &[rows, columns]), normal(!seed, &[rows, columns])];
            gradcheck(&inputs, |_, v| mul(&v[0], &v[1])).unwrap();
            gradcheck(&inputs[..1], |_, v| mul(&v[0], &v[0])).unwrap();
            let constant = inputs[1].clone();
            gradcheck(&inputs[..1], |t, v| mul(&t.constant(constant.clone()), &v[0])).unwrap();
        }
    }
}
