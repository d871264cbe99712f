//! A model's parameters and adapters, bound to the tape of one forward pass.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ggpo_autograd::ops::{
    LoraPath, Weight, attention, cross_entropy, embedding, linear, linear_cross_entropy,
    lora_linear, quantized_embedding,
};
use ggpo_autograd::{Tape, Var};
use ggpo_lora::Adapter;
use ggpo_tensor::attention::{AttentionMask, attention_over, view4};
use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor};

use super::KeyValueCache;
use crate::parameters::Parameters;

/// The adapters of a model by the name of their module. Their order, that of
/// the names, is the layer number of random streams.
pub type Adapters<T> = BTreeMap<String, Adapter<T>>;

/// What a model's forward pass calculates with: parameters become variables on
/// the tape when they are first asked for, linear layers carry whatever adapter
/// and noise belong to them, and attention sees whatever positions were read
/// before.
pub struct Graph<'a, T> {
    tape: Tape<T>,
    parameters: &'a Parameters<T>,
    adapters: &'a Adapters<T>,
    trained: BTreeSet<String>,
    noise: Vec<Option<Arc<dyn RowPerturbation<T>>>>,
    dropout: Option<DropoutKey>,
    caches: Option<RefCell<Vec<&'a mut KeyValueCache<T>>>>,
    variables: RefCell<BTreeMap<String, Var<T>>>,
    watch: Option<RefCell<Option<String>>>,
}

/// The last linear layer of a head, whose outputs are logits.
#[derive(Debug, Clone, Copy)]
pub enum OutputLayer {
    /// The module of that name, which may have an adapter.
    Module(&'static str),
    /// A table that embeds tokens, too, and the name of a bias.
    Tied {
        /// Name of the table, vocabulary x in; it may be quantised.
        table: &'static str,
        /// Name of the bias, if there is one.
        bias: Option<&'static str>,
    },
}

/// Which dropout masks a step uses.
#[derive(Debug, Clone, Copy)]
struct DropoutKey {
    seed: u64,
    step: u32,
}

/// The name of the parameter A of an adapted module.
pub fn lora_a(module: &str) -> String {
    format!("{module}.lora_A.weight")
}

/// The name of the parameter B of an adapted module.
pub fn lora_b(module: &str) -> String {
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
            caches: None,
            variables: RefCell::default(),
            watch: None,
        }
    }

    /// Looks at the output of every linear layer for numbers that are not finite.
    pub fn watching(mut self) -> Self {
        self.watch = Some(RefCell::default());
        self
    }

    /// The first linear layer whose output was not finite, of a graph that
    /// watches.
    pub fn first_not_finite(&self) -> Option<String> {
        self.watch.as_ref()?.borrow().clone()
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

    /// Lets a batch go on where the caches, one per row, have stopped: its
    /// positions follow those of the cache, attend to them, and are added.
    pub fn with_caches(mut self, caches: Vec<&'a mut KeyValueCache<T>>) -> Self {
        self.caches = Some(RefCell::new(caches));
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

    /// Logits: the last linear layer of a head on `x` (... x in).
    pub fn output(&self, x: &Var<T>, layer: OutputLayer) -> Var<T> {
        match layer {
            OutputLayer::Module(module) => self.linear(x, module),
            OutputLayer::Tied { table, bias } => {
                let bias = bias.map(|name| self.parameter(name));
                self.with_weight(table, |table| linear(x, table, bias.as_ref()))
            }
        }
    }

    /// Mean cross entropy of the [`output`](Self::output) on `x` (rows x in)
    /// against one target per row, of shape `[1]`. The logits are not stored,
    /// unless the layer has an adapter or the graph watches.
    pub fn output_cross_entropy(
        &self,
        x: &Var<T>,
        layer: OutputLayer,
        targets: &[usize],
    ) -> Var<T> {
        let (weight, bias) = match layer {
            OutputLayer::Module(module) => {
                if self.watch.is_some() || self.adapters.contains_key(module) {
                    let targets: Vec<_> = targets.iter().copied().map(Some).collect();
                    return cross_entropy(&self.linear(x, module), &targets);
                }
                let bias = self.optional(&format!("{module}.bias"));
                (format!("{module}.weight"), bias)
            }
            OutputLayer::Tied { table, bias } => {
                (table.to_owned(), bias.map(|name| self.parameter(name)))
            }
        };
        self.with_weight(&weight, |weight| {
            linear_cross_entropy(x, weight, bias.as_ref(), targets)
        })
    }

    /// The linear layer `module` on `x` (... x in), with its adapter and noise.
    pub fn linear(&self, x: &Var<T>, module: &str) -> Var<T> {
        let y = self.with_weight(&format!("{module}.weight"), |weight| {
            self.linear_with(x, module, weight)
        });
        if let Some(watch) = &self.watch
            && watch.borrow().is_none()
            && y.value().iter().any(|y| !y.value().is_finite())
        {
            *watch.borrow_mut() = Some(module.to_owned());
        }
        y
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

    /// The position at which each of the `rows` of a batch starts: 0 without
    /// caches. To be asked before any attention of the same forward pass.
    pub fn first_positions(&self, rows: usize) -> Vec<usize> {
        match &self.caches {
            None => vec![0; rows],
            Some(caches) => caches.borrow().iter().map(|row| row.positions()).collect(),
        }
    }

    /// Attention of `q` over `k` and `v` as [`ops::attention`](attention), in
    /// the layer of that name. With caches, `k` and `v` are those of the new
    /// positions, and attention is over all positions so far; the keys of a mask
    /// that is not causal are those of an encoder, which all come in the first
    /// pass.
    ///
    /// # Panics
    /// As [`ops::attention`](attention). With caches, if something is trained,
    /// the batch is padded, or its rows are not as many as the caches.
    pub fn attention(
        &self,
        layer: &str,
        q: &Var<T>,
        [k, v]: [&Var<T>; 2],
        scale: T,
        bias: Option<&Var<T>>,
        mask: &AttentionMask,
    ) -> Var<T> {
        let Some(caches) = &self.caches else {
            return attention(q, k, v, scale, bias, mask);
        };
        assert!(self.trained.is_empty(), "caches are for evaluation");
        let padded = mask.keys.iter().flatten().any(|kept| !kept);
        assert!(!padded, "a batch with caches has no padding");
        let mut caches = caches.borrow_mut();
        assert_eq!(caches.len(), q.shape()[0], "one cache per row");
        let (k, v) = (view4(k.value()), view4(v.value()));
        let new = k.outer_iter().zip(v.outer_iter());
        let rows: Vec<_> = caches
            .iter_mut()
            .zip(new)
            .map(|(cache, (k, v))| cache.append(layer, mask.causal, [k, v]))
            .collect();
        let mask = AttentionMask {
            causal: mask.causal,
            keys: None,
        };
        let bias = bias.map(Var::value);
        let context = attention_over(q.value(), &rows, scale, bias, &mask);
        self.tape.constant(context)
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
