//! The same elements under another shape; the gradient goes back under the old one.

use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Saved, Var};

struct Reshape {
    shape: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        vec![Some(reshaped(gradient, &self.shape))]
    }
}

/// The elements in row-major order under another shape; nothing is copied.
///
/// # Panics
/// If the number of elements is another one.
pub fn reshape<T: Scalar>(x: &Var<T>, shape: &[usize]) -> Var<T> {
    let value = reshaped(x.value().clone(), shape);
    let y = x.tape().record(&[x], value, || Reshape {
        shape: x.shape().to_vec(),
    });
    let shape = shape.to_vec();
    match x.saved() {
        Saved::Kept(_) => y,
        saved => y.recomputed(move || reshaped(saved.value(), &shape)),
    }
}

fn reshaped<T: Scalar>(x: Tensor<T>, shape: &[usize]) -> Tensor<T> {
    let before = x.shape().to_vec();
    x.into_shape_with_order(shape)
        .unwrap_or_else(|_| panic!("shape {before:?} cannot become {shape:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::normal;
    use crate::{Tape, gradcheck};

    proptest! {
        #[test]
        fn reshape_agrees_with_differences(a in 1..4usize, b in 1..4usize, c in 1..4usize, seed: u64) {
            gradcheck(&[normal(seed, &[a, b, c])], |_, v| reshape(&v[0], &[c, a * b])).unwrap();
        }
    }

    #[test]
    fn the_storage_is_shared() {
        let x = Tape::<f64>::new().constant(normal(1, &[2, 6]));
        let y = reshape(&x, &[3, 4]);
        assert_eq!(y.value().as_ptr(), x.value().as_ptr());
        assert_eq!(y.shape(), [3, 4]);
    }

    #[test]
    #[should_panic(expected = "shape [2, 6] cannot become [5, 2]")]
    fn the_number_of_elements_stays() {
        reshape(&Tape::<f64>::new().constant(normal(1, &[2, 6])), &[5, 2]);
    }
}
