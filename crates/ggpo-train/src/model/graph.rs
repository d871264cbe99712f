//! A model's parameters and adapters, bound to the tape of one forward pass.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ggpo_autograd::ops::{LoraPath, Weight, embedding, linear, lora_linear, quantized_embedding};
use ggpo_autograd::{Tape, Var};
use ggpo_lora::Adapter;
use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor};

use crate::parameters::Parameters;

/// The adapters of a model by the name of their module. Their order, that of
/// the names, is the layer number of random streams.
pub type Adapters<T> = BTreeMap<String, Adapter<T>>;

/// What a model's forward pass calculates with: parameters become variables on
/// the tape when they are first asked for, and linear layers carry whatever
/// adapter and noise belong to them.
pub struct Graph<'a, T> {
    tape: Tape<T>,
    parameters: &'a Parameters<T>,
    adapters: &'a Adapters<T>,
    trained: BTreeSet<String>,
    noise: Vec<Option<Arc<dyn RowPerturbation<T>>>>,
    dropout: Option<DropoutKey>,
    variables: RefCell<BTreeMap<String, Var<T>>>,
}

/// Which dropout masks a step uses.
#[derive(Debug, Clone, Copy)]
struct DropoutKey {
    seed: u64,
    step: u32,
}

/// The name of the parameter A of an adapted module.
pub(crate) fn lora_a(module: &str) -> String {
    format!("{module}.lora_A.weight")
}

/// The name of the parameter B of an adapted module.
pub(crate) fn lora_b(module: &str) -> String {
    format!("{module}.lora_B.weight")
}

impl<'a, T: Scalar> Graph<'a, T> {
    /// A graph in which nothing is trained and nothing is random.
    pub fn for_evaluation(
        tape: Tape<T>,
        parameters: &'a Parameters<T>,
        adapters: &'a Adapters<T>,
    ) -> Self {
        Graph {
            tape,
            parameters,
            adapters,
            trained: BTreeSet::new(),
            noise: Vec::new(),
            dropout: None,
            variables: RefCell::default(),
        }
    }

    /// Takes gradients of the named parameters, and of all adapters.
    ///
    /// Naming the weight of an adapted module gives the exact gradient of its
    /// merged weight.
    pub fn training(mut self, trained: impl IntoIterator<Item = String>) -> Self {
        self.trained = trained.into_iter().collect();
        self.trained
            .extend(self.adapters.keys().flat_map(|m| [lora_a(m), lora_b(m)]));
        self
    }

    /// Adds noise to the weights of the adapted modules, in their order.
    pub fn with_noise(mut self, noise: Vec<Option<Arc<dyn RowPerturbation<T>>>>) -> Self {
        assert_eq!(noise.len(), self.adapters.len(), "one entry per adapter");
        self.noise = noise;
        self
    }

    /// Lets the adapters' dropout act, with the masks of this seed and step.
    pub fn with_dropout(mut self, seed: u64, step: u32) -> Self {
        self.dropout = Some(DropoutKey { seed, step });
        self
    }

    /// The tape.
    pub fn tape(&self) -> &Tape<T> {
        &self.tape
    }

    /// The dense parameter of that name.
    ///
    /// # Panics
    /// If the model has none of that name; loading has made sure it has.
    pub fn parameter(&self, name: &str) -> Var<T> {
        let value = self.parameters.get(name);
        self.variable(name, || {
            value.unwrap_or_else(|| panic!("the model has no parameter {name}"))
        })
    }

    /// The parameter of that name, if there is one.
    pub fn optional(&self, name: &str) -> Option<Var<T>> {
        let value = self.parameters.get(name)?;
        Some(self.variable(name, || value))
    }

    /// The rows of the table `name` that `ids` choose, as
    /// [`ops::embedding`](embedding); the table may be quantised.
    pub fn embedding(&self, name: &str, ids: &[usize], leading: &[usize]) -> Var<T> {
        match self.parameters.quantized.get(name) {
            Some(table) => quantized_embedding(&self.tape, table, ids, leading),
            None => embedding(&self.parameter(name), ids, leading),
        }
    }

    /// `x tableᵀ` with the table `name`, which may be quantised: the logits of a
    /// model whose output is tied to its embedding.
    pub fn tied_linear(&self, x: &Var<T>, name: &str) -> Var<T> {
        self.with_weight(name, |table| linear(x, table, None))
    }

    /// The linear layer `module` on `x` (... x in), with its adapter and noise.
    pub fn linear(&self, x: &Var<T>, module: &str) -> Var<T> {
        self.with_weight(&format!("{module}.weight"), |weight| {
            self.linear_with(x, module, weight)
        })
    }

    /// Does `work` with the weight of that name, dense or quantised.
    fn with_weight<R>(&self, name: &str, work: impl FnOnce(Weight<'_, T>) -> R) -> R {
        match self.parameters.quantized.get(name) {
            Some(matrix) => work(matrix.into()),
            None => work((&self.parameter(name)).into()),
        }
    }

    fn linear_with(&self, x: &Var<T>, module: &str, weight: Weight<'_, T>) -> Var<T> {
        let bias = self.optional(&format!("{module}.bias"));
        let Some(adapter) = self.adapters.get(module) else {
            return linear(x, weight, bias.as_ref());
        };
        let mut names = self.adapters.keys();
        let index = names.position(|name| name == module).expect("just found");
        let a = self.variable(&lora_a(module), || &adapter.a);
        let b = self.variable(&lora_b(module), || &adapter.b);
        let dropout =
            self.dropout
                .filter(|_| adapter.dropout > 0.0)
                .map(|DropoutKey { seed, step }| {
                    let stream = Stream::new(seed, Purpose::Dropout, step, index as u32);
                    Dropout::new(stream, adapter.dropout)
                });
        let path = LoraPath {
            scaling: adapter.scaling,
            dropout,
            noise: self.noise.get(index).cloned().flatten(),
        };
        lora_linear(x, weight, bias.as_ref(), &a, &b, path)
    }

    /// The variables that were asked for and are trained, by name.
    pub fn into_trained(self) -> BTreeMap<String, Var<T>> {
        let mut variables = self.variables.into_inner();
        variables.retain(|name, _| self.trained.contains(name));
        variables
    }

    fn variable<'v>(&self, name: &str, value: impl FnOnce() -> &'v Tensor<T>) -> Var<T> {
        if let Some(variable) = self.variables.borrow().get(name) {
            return variable.clone();
        }
        let value = value().clone();
        let variable = if self.trained.contains(name) {
            self.tape.leaf(value)
        } else {
            self.tape.constant(value)
        };
        self.variables
            .borrow_mut()
            .insert(name.to_owned(), variable.clone());
        variable
    }
}
