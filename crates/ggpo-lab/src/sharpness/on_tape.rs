//! A function written with the operations of the tape.

use ggpo_autograd::{Tape, Var};
use ggpo_tensor::{Scalar, flat, tensor};

use super::merged::moving;
use super::objective::{Block, Objective};

/// A function of some arrays, for any number.
pub trait TapeFunction {
    /// The loss, of shape `[1]`, of variables with the shapes that [`OnTape`] was given.
    fn loss<T: Scalar>(&self, variables: &[Var<T>]) -> Var<T>;
}

/// A [`TapeFunction`] at a point.
pub struct OnTape<F, T> {
    function: F,
    shapes: Vec<Vec<usize>>,
    blocks: Vec<Block>,
    point: Vec<T>,
}

impl<F: TapeFunction, T: Scalar> OnTape<F, T> {
    /// A function of arrays of these shapes, at the point that has their elements one
    /// after the other.
    ///
    /// # Panics
    /// If the point has another length.
    pub fn new(function: F, shapes: &[&[usize]], point: Vec<T>) -> Self {
        let lengths = shapes.iter().map(|shape| shape.iter().product::<usize>());
        assert_eq!(
            point.len(),
            lengths.sum::<usize>(),
            "elements of the shapes"
        );
        let block = |(index, shape): (usize, &&[usize])| {
            let columns = shape.last().copied().unwrap_or(1);
            Block {
                name: index.to_string(),
                rows: shape.iter().product::<usize>() / columns.max(1),
                columns,
            }
        };
        OnTape {
            function,
            blocks: shapes.iter().enumerate().map(block).collect(),
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            point,
        }
    }

    /// Leaves with these elements.
    fn leaves<U: Scalar>(&self, tape: &Tape<U>, x: &[U]) -> Vec<Var<U>> {
        assert_eq!(
            x.len(),
            self.point.len(),
            "as many numbers as the point has"
        );
        let mut rest = x;
        let leaf = |shape: &Vec<usize>| {
            let (own, after) = rest.split_at(shape.iter().product());
            rest = after;
            tape.leaf(tensor(shape, own.to_vec()))
        };
        self.shapes.iter().map(leaf).collect()
    }

    fn gradient_at<U: Scalar>(&self, x: &[U]) -> Vec<U> {
        let tape = Tape::new();
        let leaves = self.leaves(&tape, x);
        let mut gradients = tape.backward(&self.function.loss(&leaves));
        let of_leaf = |leaf: &Var<U>| match gradients.take(leaf) {
            Some(gradient) => flat(&gradient).to_vec(),
            None => vec![U::ZERO; leaf.value().len()],
        };
        leaves.iter().flat_map(of_leaf).collect()
    }
}

impl<F: TapeFunction, T: Scalar> Objective<T> for OnTape<F, T> {
    fn point(&self) -> &[T] {
        &self.point
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn loss(&self, x: &[T]) -> f64 {
        let tape = Tape::new();
        let leaves = self.leaves(&tape, x);
        self.function.loss(&leaves).item().value()
    }

    fn gradient(&self, x: &[T]) -> Vec<T> {
        self.gradient_at(x)
    }

    fn hessian_product(&self, v: &[T]) -> Vec<T> {
        let gradient = self.gradient_at(&moving(&self.point, v));
        gradient.into_iter().map(|g| g.tangent).collect()
    }
}
