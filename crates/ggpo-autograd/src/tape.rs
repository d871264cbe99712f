//! The tape, the variables that write it, and the walk back over it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use ggpo_tensor::parallel::zip_update;
use ggpo_tensor::{Scalar, Tensor};

use crate::Stopwatch;
use crate::saved::{Recipe, Saved};

/// What an operation does when the tape is read backwards.
///
/// The implementing type holds whatever the forward pass saved.
pub trait Operation<T: Scalar> {
    /// The operation's name in a printed tape.
    fn name(&self) -> &'static str;

    /// Turns the gradient of the output (of the output's shape) into the
    /// gradients of the inputs, each of its input's shape.
    ///
    /// Entry i of the result is `None` exactly if `needed[i]` is false: nothing
    /// is calculated for an input that needs no gradient.
    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>>;
}

/// Entry number on a tape.
type Index = usize;

struct Entry<T> {
    name: &'static str,
    shape: Vec<usize>,
    inputs: Vec<Option<Index>>,
    /// `None` for a leaf, and after the backward pass has used it.
    operation: Option<Box<dyn Operation<T>>>,
}

struct Inner<T> {
    entries: RefCell<Vec<Entry<T>>>,
    recording: Cell<bool>,
    stopwatch: RefCell<Option<Stopwatch>>,
}

/// A record of calculations, in their order; cloning it gives another handle.
pub struct Tape<T>(Rc<Inner<T>>);

impl<T> Clone for Tape<T> {
    fn clone(&self) -> Self {
        Tape(Rc::clone(&self.0))
    }
}

impl<T: Scalar> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A value, and its place on the tape if anything it depends on needs a gradient.
///
/// The tape itself holds no values: an intermediate result lives as long as a
/// handle or an operation's saved state does.
pub struct Var<T> {
    value: Tensor<T>,
    /// How to make the value again, if that is cheap.
    recipe: Option<Rc<Recipe<T>>>,
    index: Option<Index>,
    tape: Tape<T>,
}

impl<T: Scalar> Clone for Var<T> {
    fn clone(&self) -> Self {
        Var {
            value: self.value.clone(),
            recipe: self.recipe.clone(),
            index: self.index,
            tape: self.tape.clone(),
        }
    }
}

impl<T: Scalar> Tape<T> {
    /// An empty tape.
    pub fn new() -> Self {
        Tape(Rc::new(Inner {
            entries: RefCell::new(Vec::new()),
            recording: Cell::new(true),
            stopwatch: RefCell::default(),
        }))
    }

    /// A value whose gradient is wanted.
    pub fn leaf(&self, value: Tensor<T>) -> Var<T> {
        let index = self.0.recording.get().then(|| {
            self.push(Entry {
                name: LEAF,
                shape: value.shape().to_vec(),
                inputs: Vec::new(),
                operation: None,
            })
        });
        self.var(value, index)
    }

    /// A value that needs no gradient.
    pub fn constant(&self, value: Tensor<T>) -> Var<T> {
        self.var(value, None)
    }

    /// Runs `work` without recording: its results are constants.
    pub fn no_grad<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = self.0.recording.replace(false);
        let result = work();
        self.0.recording.set(before);
        result
    }

    /// Times what is calculated from here on, in the phases `forward` and
    /// `backward`, by the names of the operations.
    ///
    /// The tape hears of an operation when its result is there, so a forward lap
    /// is the time since the entry before: what is calculated on the way without
    /// an entry counts to the next one. Results that need no gradient count as
    /// `not recorded`.
    pub fn start_timing(&self, stopwatch: Stopwatch) {
        *self.0.stopwatch.borrow_mut() = Some(stopwatch);
    }

    /// Gives back the stopwatch of [`start_timing`](Tape::start_timing).
    pub fn stop_timing(&self) -> Option<Stopwatch> {
        self.0.stopwatch.borrow_mut().take()
    }

    /// Number of recorded entries, leaves included.
    pub fn len(&self) -> usize {
        self.0.entries.borrow().len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wraps the result of an operation; `operation` is built, and an entry
    /// written, only if some input needs a gradient and the tape is recording.
    ///
    /// # Panics
    /// If an input belongs to another tape.
    pub fn record<O: Operation<T> + 'static>(
        &self,
        inputs: &[&Var<T>],
        value: Tensor<T>,
        operation: impl FnOnce() -> O,
    ) -> Var<T> {
        debug_assert!(value.is_standard_layout(), "results are in standard layout");
        for input in inputs {
            assert!(
                Rc::ptr_eq(&self.0, &input.tape.0),
                "an operation on variables of two tapes"
            );
        }
        let needed = self.0.recording.get() && inputs.iter().any(|input| input.needs_gradient());
        if !needed {
            self.lap(FORWARD, "not recorded");
        }
        let index = needed.then(|| {
            let operation = operation();
            self.push(Entry {
                name: operation.name(),
                shape: value.shape().to_vec(),
                inputs: inputs.iter().map(|input| input.index).collect(),
                operation: Some(Box::new(operation)),
            })
        });
        self.var(value, index)
    }

    /// Gradients of a scalar `loss` with respect to all leaves.
    ///
    /// The operations are used up: what they saved is dropped on the way.
    ///
    /// # Panics
    /// If `loss` has more than one element, depends on no leaf, or a part of
    /// its tape was used by an earlier call.
    pub fn backward(&self, loss: &Var<T>) -> Gradients<T> {
        assert_eq!(
            loss.value.len(),
            1,
            "backward starts at one number, not at shape {:?}",
            loss.shape()
        );
        self.backward_from(loss, Tensor::from_elem(loss.shape(), T::ONE))
    }

    /// Gradients of `sum(seed * output)` with respect to all leaves.
    ///
    /// # Panics
    /// As [`backward`](Tape::backward), and if `seed` has another shape.
    pub fn backward_from(&self, output: &Var<T>, seed: Tensor<T>) -> Gradients<T> {
        assert_eq!(output.shape(), seed.shape(), "shape of the seed gradient");
        let start = output
            .index
            .expect("backward needs an output that depends on a leaf");
        let mut entries = self.0.entries.borrow_mut();
        self.lap(FORWARD, "after the last operation");
        let mut gradients: Vec<Option<Tensor<T>>> = vec![None; start + 1];
        gradients[start] = Some(seed);
        for index in (0..=start).rev() {
            if entries[index].name == LEAF {
                continue;
            }
            // What the output does not depend on has no gradient.
            let Some(gradient) = gradients[index].take() else {
                continue;
            };
            let entry = &mut entries[index];
            let operation = entry.operation.take().unwrap_or_else(|| {
                panic!("{} (%{index}) was already walked back over", entry.name)
            });
            let needed: Vec<bool> = entry.inputs.iter().map(Option::is_some).collect();
            let results = operation.backward(gradient, &needed);
            assert_eq!(results.len(), needed.len(), "{}: gradients", entry.name);
            let inputs = entry.inputs.clone();
            let name = entry.name;
            for (position, (input, result)) in inputs.into_iter().zip(results).enumerate() {
                assert_eq!(
                    input.is_some(),
                    result.is_some(),
                    "{name}: gradient of input {position} must exist exactly if needed"
                );
                if let (Some(input), Some(result)) = (input, result) {
                    assert_eq!(
                        entries[input].shape,
                        result.shape(),
                        "{name}: shape of the gradient of input {position}"
                    );
                    accumulate(&mut gradients[input], result);
                }
            }
            self.lap(BACKWARD, name);
        }
        Gradients(gradients)
    }

    fn push(&self, entry: Entry<T>) -> Index {
        self.lap(FORWARD, entry.name);
        let mut entries = self.0.entries.borrow_mut();
        entries.push(entry);
        entries.len() - 1
    }

    fn lap(&self, phase: &'static str, name: &'static str) {
        if let Some(stopwatch) = self.0.stopwatch.borrow_mut().as_mut() {
            stopwatch.lap(phase, name);
        }
    }

    fn var(&self, value: Tensor<T>, index: Option<Index>) -> Var<T> {
        Var {
            value,
            recipe: None,
            index,
            tape: self.clone(),
        }
    }
}

const LEAF: &str = "leaf";
const FORWARD: &str = "forward";
const BACKWARD: &str = "backward";

fn accumulate<T: Scalar>(slot: &mut Option<Tensor<T>>, gradient: Tensor<T>) {
    *slot = Some(match slot.take() {
        None => gradient,
        Some(total) => zip_update(total, &gradient, |total, part| total + part),
    });
}

/// One line per entry: `%7 = linear(%3, %5, constant) [4, 16]`.
impl<T> fmt::Display for Tape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.entries.borrow().iter().enumerate() {
            let inputs: Vec<String> = entry
                .inputs
                .iter()
                .map(|input| match input {
                    Some(input) => format!("%{input}"),
                    None => "constant".to_owned(),
                })
                .collect();
            let call = if entry.inputs.is_empty() {
                entry.name.to_owned()
            } else {
                format!("{}({})", entry.name, inputs.join(", "))
            };
            writeln!(f, "%{index} = {call} {:?}", entry.shape)?;
        }
        Ok(())
    }
}

impl<T: Scalar> Var<T> {
    /// The value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// What an operation keeps of the value for its backward pass.
    pub fn saved(&self) -> Saved<T> {
        match &self.recipe {
            Some(recipe) => Saved::Recomputed(Rc::clone(recipe)),
            None => Saved::Kept(self.value.clone()),
        }
    }

    /// The same variable, of whose value others save only how to `make` it
    /// again: with the same bits, cheaply, and from nothing but what its
    /// operation saves. A constant has no operation and stays as it is.
    pub fn recomputed(mut self, make: impl Fn() -> Tensor<T> + 'static) -> Self {
        self.recipe = self.needs_gradient().then(|| Recipe::new(make));
        self
    }

    /// The shape of the value.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// Whether a gradient flows to or through this variable.
    pub fn needs_gradient(&self) -> bool {
        self.index.is_some()
    }

    /// The tape this variable belongs to.
    pub fn tape(&self) -> &Tape<T> {
        &self.tape
    }

    /// The same value as a constant: no gradient flows back through it.
    pub fn detach(&self) -> Var<T> {
        self.tape.constant(self.value.clone())
    }

    /// The only element.
    ///
    /// # Panics
    /// If there is not exactly one.
    pub fn item(&self) -> T {
        assert_eq!(self.value.len(), 1, "item of shape {:?}", self.shape());
        *self.value.first().expect("one element")
    }
}

impl<T: Scalar> fmt::Debug for Var<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "%{index} {:?}", self.shape()),
            None => write!(f, "constant {:?}", self.shape()),
        }
    }
}

/// The gradients of the leaves after a backward pass.
pub struct Gradients<T>(Vec<Option<Tensor<T>>>);

impl<T: Scalar> Gradients<T> {
    /// The gradient of a leaf; `None` if the output does not depend on it.
    pub fn get(&self, leaf: &Var<T>) -> Option<&Tensor<T>> {
        self.0.get(leaf.index?)?.as_ref()
    }

    /// Removes and returns the gradient of a leaf.
    pub fn take(&mut self, leaf: &Var<T>) -> Option<Tensor<T>> {
        self.0.get_mut(leaf.index?)?.take()
    }
}
