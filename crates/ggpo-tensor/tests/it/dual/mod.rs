//! Every public kernel on dual numbers. A kernel that assumed of a number more than
//! `Scalar` would not compile; one that lost a tangent on the way, by going through
//! `f64` say, would give another derivative than differences do.

mod kernels;
mod weights;

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Dual, Tensor, flat, tensor};

/// Step of the central differences, whose error is about its square, 1e-10, and the
/// rounding of the results over it, 1e-15 / 1e-5.
const STEP: f64 = 1e-5;
/// A hundred times the error of a difference of numbers of size one.
const TOLERANCE: f64 = 1e-8;
/// Sums of some hundred terms of size one, in another order.
const ROUNDING: f64 = 1e-12;

/// Normal numbers that are the same in every run.
fn normal(layer: u32, shape: &[usize]) -> Vec<f64> {
    let stream = Stream::new(5, Purpose::Data, 0, layer);
    let count = shape.iter().product::<usize>() as u64;
    (0..count).map(|i| stream.normal(i).into()).collect()
}

/// Checks a kernel, given for both numbers, at normal inputs of some shapes along a
/// normal direction: the values on dual numbers are those in `f64`, and the tangents
/// the central differences.
fn check(
    shapes: &[&[usize]],
    real: impl Fn(&[Tensor<f64>]) -> Vec<f64>,
    dual: impl Fn(&[Tensor<Dual>]) -> Vec<Dual>,
) {
    let numbers = |first: u32| -> Vec<Vec<f64>> {
        let layers = (first..).zip(shapes);
        layers.map(|(layer, shape)| normal(layer, shape)).collect()
    };
    let (inputs, direction) = (numbers(0), numbers(1000));
    let moved = |step: f64| {
        let elements = inputs.iter().zip(&direction).map(|(x, d)| {
            let moved = x.iter().zip(d).map(|(x, d)| x + step * d);
            moved.collect()
        });
        let tensors = shapes.iter().zip(elements);
        let tensors: Vec<_> = tensors.map(|(shape, x)| tensor(shape, x)).collect();
        real(&tensors)
    };
    let duals: Vec<_> = shapes
        .iter()
        .zip(inputs.iter().zip(&direction))
        .map(|(shape, (x, d))| {
            let pairs = x.iter().zip(d);
            let elements = pairs.map(|(&value, &tangent)| Dual { value, tangent });
            tensor(shape, elements.collect())
        })
        .collect();

    let (found, values) = (dual(&duals), moved(0.0));
    let (above, below) = (moved(STEP), moved(-STEP));
    assert_eq!(found.len(), values.len());
    assert!(found.iter().any(|x| x.tangent != 0.0), "no tangent at all");
    for (index, found) in found.iter().enumerate() {
        let value = values[index];
        let close = (found.value - value).abs() <= ROUNDING * value.abs().max(1.0);
        assert!(close, "value {index}: {} or {value}", found.value);
        let difference = (above[index] - below[index]) / (2.0 * STEP);
        let error = (found.tangent - difference).abs() / difference.abs().max(1.0);
        assert!(
            error <= TOLERANCE * value.abs().max(1.0),
            "tangent {index}: {} or {difference}",
            found.tangent
        );
    }
}

/// The elements of several results, one after the other.
fn joined<T: Copy>(results: &[&Tensor<T>]) -> Vec<T> {
    let elements = results.iter().flat_map(|result| flat(result));
    elements.copied().collect()
}

/// A test of [`check`]: name, shapes, and the kernel as a function of tensors of T.
macro_rules! on_dual_numbers {
    ($($name:ident: $shapes:expr, |$inputs:pat_param| $body:expr;)+) => {$(
        #[test]
        fn $name() {
            fn kernel<T: ggpo_tensor::Scalar>(inputs: &[ggpo_tensor::Tensor<T>]) -> Vec<T> {
                let $inputs = inputs else { unreachable!("as many inputs as shapes") };
                $body
            }
            let shapes: &[&[usize]] = &$shapes;
            crate::dual::check(shapes, kernel::<f64>, kernel::<ggpo_tensor::Dual>);
        }
    )+};
}
pub(crate) use on_dual_numbers;
