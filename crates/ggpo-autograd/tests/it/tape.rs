//! What the tape promises, whatever the operations on it.

use std::cell::Cell;
use std::rc::Rc;

use ggpo_autograd::{Operation, Tape, Var, ops};
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use proptest::prelude::*;

fn vector(elements: &[f64]) -> Tensor<f64> {
    tensor(&[elements.len()], elements.to_vec())
}

#[test]
fn a_variable_used_twice_adds_up_its_gradients() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[1.0, -2.0]));
    let y = ops::add(&ops::mul(&x, &x), &ops::scale(&x, 3.0));
    let gradients = tape.backward(&ops::sum(&y));
    assert_eq!(flat(gradients.get(&x).unwrap()), [5.0, -1.0]);
}

#[test]
fn gradients_are_of_the_leaves_the_output_depends_on() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[1.0]));
    let unused = tape.leaf(vector(&[1.0]));
    let aside = ops::scale(&x, 5.0);
    let loss = ops::scale(&x, 2.0);
    let mut gradients = tape.backward(&loss);
    assert!(gradients.get(&unused).is_none());
    assert!(gradients.get(&aside).is_none());
    assert_eq!(gradients.take(&x).unwrap(), vector(&[2.0]));
    assert!(gradients.take(&x).is_none());
}

#[test]
fn no_grad_records_nothing() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[1.0]));
    let before = tape.len();
    let y = tape.no_grad(|| ops::mul(&x, &tape.leaf(vector(&[2.0]))));
    assert_eq!(tape.len(), before);
    assert!(!y.needs_gradient());
    assert_eq!(y.item(), 2.0);
    assert!(ops::mul(&x, &x).needs_gradient(), "recording continues");
}

#[test]
fn a_frozen_branch_records_nothing_and_gets_no_gradient() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[3.0]));
    let frozen = tape.constant(vector(&[2.0]));
    let branch = ops::tanh(&ops::mul(&frozen, &frozen));
    assert_eq!(tape.len(), 1);
    let loss = ops::mul(&x, &branch);
    assert_eq!(tape.len(), 2);
    let gradients = tape.backward(&loss);
    assert_eq!(gradients.get(&x).unwrap(), branch.value());
    assert!(gradients.get(&frozen).is_none());
    assert!(gradients.get(&branch).is_none());
}

#[test]
fn nothing_flows_through_a_detached_variable() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[3.0]));
    let y = ops::mul(&x, &ops::mul(&x, &x).detach());
    let gradients = tape.backward(&y);
    assert_eq!(flat(gradients.get(&x).unwrap()), [9.0]);
}

#[test]
fn a_printed_tape_has_one_line_per_entry() {
    let tape = Tape::<f64>::new();
    let x = tape.constant(Tensor::zeros(&[4, 3][..]));
    let (w, b) = (
        tape.leaf(Tensor::zeros(&[2, 3][..])),
        tape.leaf(Tensor::zeros(&[2][..])),
    );
    let y = ops::gelu_erf(&ops::linear(&x, &w, Some(&b)));
    ops::mean(&ops::mul(&y, &y));
    let expected = "\
        %0 = leaf [2, 3]\n\
        %1 = leaf [2]\n\
        %2 = linear(constant, %0, %1) [4, 2]\n\
        %3 = gelu_erf(%2) [4, 2]\n\
        %4 = mul(%3, %3) [4, 2]\n\
        %5 = mean(%4) [1]\n";
    assert_eq!(tape.to_string(), expected);
    assert_eq!(format!("{y:?} {x:?}"), "%3 [4, 2] constant [4, 3]");
}

#[test]
#[should_panic(expected = "tanh (%1) was already walked back over")]
fn walking_back_twice_panics() {
    let tape = Tape::new();
    let y = ops::tanh(&tape.leaf(vector(&[1.0])));
    tape.backward(&y);
    tape.backward(&y);
}

#[test]
#[should_panic(expected = "backward starts at one number, not at shape [2]")]
fn backward_starts_at_one_number() {
    let tape = Tape::new();
    tape.backward(&tape.leaf(vector(&[1.0, 2.0])));
}

#[test]
#[should_panic(expected = "an operation on variables of two tapes")]
fn two_tapes_do_not_mix() {
    let leaf = || Tape::new().leaf(vector(&[1.0]));
    ops::add(&leaf(), &leaf());
}

#[test]
fn what_an_operation_saved_is_free_after_the_backward_pass() {
    let tape = Tape::new();
    let x = tape.leaf(vector(&[0.5, 1.0]));
    let hidden = ops::tanh(&x);
    let loss = ops::sum(&ops::gelu_erf(&hidden));
    let saved = hidden.value().clone();
    drop(hidden);
    let Err(saved) = saved.try_into_owned_nocopy() else {
        panic!("tanh and gelu_erf hold it");
    };
    tape.backward(&loss);
    assert!(saved.try_into_owned_nocopy().is_ok());
}

/// Variables whose value is cheap to make again, by the name of their operation.
fn recomputed(tape: &Tape<f32>) -> Vec<(&'static str, Var<f32>)> {
    let [x, y] = [0.1, 0.2].map(|shift| scattered(tape, &[64, 300], shift));
    let [w, b] = [0.3, 0.4].map(|shift| scattered(tape, &[300], shift));
    vec![
        ("reshape", ops::reshape(&ops::gelu_erf(&x), &[300, 64])),
        ("gelu_erf", ops::gelu_erf(&x)),
        ("gelu_tanh", ops::gelu_tanh(&x)),
        ("silu", ops::silu(&x)),
        ("swiglu", ops::swiglu(&x, &y)),
        ("mul", ops::mul(&x, &y)),
        ("layer_norm", ops::layer_norm(&x, &w, &b, 1e-5)),
        ("rms_norm", ops::rms_norm(&x, &w, 1e-6)),
    ]
}

#[test]
fn what_is_cheap_to_make_again_is_not_held_by_the_tape() {
    let tape = Tape::new();
    for (name, x) in recomputed(&tape) {
        let inputs = *x.shape().last().unwrap();
        let [w, a] = [0.5, 0.6].map(|shift| scattered(&tape, &[8, inputs], shift));
        let b = scattered(&tape, &[8, 8], 0.7);
        let path = ops::LoraPath {
            scaling: 1.0,
            dropout: None,
            constant: None,
            noise: None,
        };
        let loss = ops::sum(&ops::add(
            &ops::linear(&x, &w, None),
            &ops::lora_linear(&x, &w, None, &a, &b, path),
        ));
        let value = x.value().clone();
        drop(x);
        let free = value.try_into_owned_nocopy().is_ok();
        assert!(
            free,
            "{name}: linear and lora_linear saved only how to make it"
        );
        tape.backward(&loss);
    }
}

#[test]
fn a_value_made_again_has_the_same_bits_and_is_made_once() {
    let tape = Tape::new();
    for (name, x) in recomputed(&tape) {
        let saved = [x.saved(), x.saved()];
        let first = x.value().clone();
        drop(x);
        let [again, other] = saved.each_ref().map(|saved| saved.value());
        assert_ne!(again.as_ptr(), first.as_ptr(), "{name}");
        assert_eq!(again.as_ptr(), other.as_ptr(), "{name}");
        assert!(
            again
                .iter()
                .zip(&first)
                .all(|(a, b)| a.to_bits() == b.to_bits()),
            "{name}"
        );
        drop((other, saved));
        assert!(again.try_into_owned_nocopy().is_ok(), "{name}");
    }
}

/// A constant is on no tape, so what it was made from is not held for it.
#[test]
fn a_constant_is_kept() {
    let tape = Tape::new();
    let x = ops::gelu_erf(&tape.constant(vector(&[1.0])));
    assert_eq!(x.saved().value().as_ptr(), x.value().as_ptr());
}

/// The identity, whose backward pass looks whether nothing else holds a buffer.
struct Witness {
    buffer: Tensor<f64>,
    alone: Rc<Cell<Option<bool>>>,
}

impl Operation<f64> for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn backward(self: Box<Self>, dy: Tensor<f64>, _: &[bool]) -> Vec<Option<Tensor<f64>>> {
        let alone = self.buffer.try_into_owned_nocopy().is_ok();
        self.alone.set(Some(alone));
        vec![Some(dy)]
    }
}

#[test]
fn what_an_operation_saved_is_free_as_soon_as_it_was_used() {
    let tape = Tape::new();
    let alone = Rc::new(Cell::new(None));
    let x = tape.leaf(vector(&[0.5, 1.0]));
    let output = vector(&[0.5, 1.0]);
    let hidden = tape.record(&[&x], output.clone(), || Witness {
        buffer: output,
        alone: Rc::clone(&alone),
    });
    let loss = ops::sum(&ops::gelu_erf(&hidden));
    drop(hidden);
    // gelu_erf saved the buffer, and is walked over before the witness.
    tape.backward(&loss);
    assert_eq!(alone.get(), Some(true));
}

proptest! {
    /// Two paths from one variable that meet again: y = tanh(x) silu(x).
    #[test]
    fn the_gradients_of_a_diamond_add_up(x in -3.0..3.0) {
        let tape = Tape::new();
        let leaf = tape.leaf(vector(&[x]));
        let y = ops::mul(&ops::tanh(&leaf), &ops::silu(&leaf));
        let gradients = tape.backward(&y);
        let (t, s) = (x.tanh(), 1.0 / (1.0 + (-x).exp()));
        let expected = (1.0 - t * t) * x * s + t * (s + x * s * (1.0 - s));
        // A dozen roundings of 1e-16 on numbers up to 3.
        prop_assert!((gradients.get(&leaf).unwrap()[[0]] - expected).abs() < 1e-14);
    }

    /// Diamonds in a row, x <- x + x, double the gradient each time: every
    /// entry is walked over once, after all its users.
    #[test]
    fn a_chain_of_diamonds_is_walked_over_once(depth in 0..50_i32, x in -3.0..3.0) {
        let tape = Tape::new();
        let leaf = tape.leaf(vector(&[x]));
        let y = (0..depth).fold(leaf.clone(), |x, _| ops::add(&x, &x));
        let gradients = tape.backward(&y);
        prop_assert_eq!(gradients.get(&leaf).unwrap()[[0]], 2.0_f64.powi(depth));
    }
}

/// Elements in [-1, 1) without a pattern: multiples of the golden ratio, modulo 1.
fn scattered<T: Scalar>(tape: &Tape<T>, shape: &[usize], shift: f64) -> Var<T> {
    let count = shape.iter().product::<usize>();
    let element = |i: usize| ((i as f64 + shift) * 0.618_033_988_749_894_8).fract();
    let elements = (0..count)
        .map(|i| T::from_f64(2.0 * element(i) - 1.0))
        .collect();
    tape.leaf(tensor(shape, elements))
}

/// The loss and all gradients of two normalised layers with a classifier.
///
/// 256 rows of 160 to 224 columns: the smallest product has 256 * 160 * 224,
/// about 9 million multiply-adds, beyond the million that stay on one thread;
/// rows and columns make several pieces of 2^14 elements.
fn network<T: Scalar>() -> Vec<Tensor<T>> {
    let tape = Tape::new();
    let ids: Vec<usize> = (0..256).map(|i| i * i % 97).collect();
    let leaves = [
        scattered(&tape, &[97, 160], 0.1),
        scattered(&tape, &[160], 0.2),
        scattered(&tape, &[160], 0.3),
        scattered(&tape, &[224, 160], 0.4),
        scattered(&tape, &[224], 0.5),
        scattered(&tape, &[224], 0.6),
        scattered(&tape, &[200, 224], 0.7),
    ];
    let [table, weight, bias, first, first_bias, scale, second] = &leaves;
    let x = ops::embedding(table, &ids, &[256]);
    let x = ops::layer_norm(&x, weight, bias, 1e-5);
    let x = ops::gelu_tanh(&ops::linear(&x, first, Some(first_bias)));
    let x = ops::rms_norm(&x, scale, 1e-6);
    let logits = ops::softmax(&ops::linear(&x, second, None));
    let targets: Vec<_> = (0..256)
        .map(|i| (i % 5 != 0).then_some(i * 7 % 200))
        .collect();
    let loss = ops::cross_entropy(&logits, &targets);
    let mut gradients = tape.backward(&loss);
    let mut results = vec![loss.value().clone()];
    results.extend(leaves.iter().map(|leaf| gradients.take(leaf).unwrap()));
    results
}

fn assert_same_for_any_threads<T: Scalar>() {
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a thread pool").install(network::<T>)
    };
    let alone = with_threads(1);
    assert!(
        alone[1..]
            .iter()
            .all(|gradient| gradient.iter().any(|g| *g != T::ZERO))
    );
    for threads in [2, 7] {
        // Equal means equal bits here: no result is NaN, and a zero's sign
        // could differ only if an order did.
        assert!(with_threads(threads) == alone, "{threads} threads");
    }
}

#[test]
fn gradients_have_the_same_bits_for_any_number_of_threads() {
    assert_same_for_any_threads::<f32>();
    assert_same_for_any_threads::<f64>();
}
