//! A model's parameters and adapters, bound to the tape of one forward pass.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ggpo_autograd::ops::{
    LoraPath, Weight, Witnessed, attention, cross_entropies, embedding, linear,
    linear_cross_entropies, lora_linear, magnitude, quantized_embedding, weight_noise, witness,
};
use ggpo_autograd::{Tape, Var};
use ggpo_lora::{Acting, ActingGradients, Adapters, Magnitude, parameter_name};
use ggpo_tensor::attention::{AttentionMask, attention_over, view4};
use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor, tensor};
use ndarray::{Axis, concatenate};

use super::KeyValueCache;
use crate::parameters::Parameters;

/// What a model's forward pass calculates with: parameters become variables on
/// the tape when they are first asked for, linear layers carry whatever adapter
/// and noise belong to them, and attention sees whatever positions were read
/// before.
pub struct Graph<'a, T> {
    tape: Tape<T>,
    parameters: &'a Parameters<T>,
    adapters: &'a Adapters<T>,
    acting: Option<&'a ActingWeights<T>>,
    trained: BTreeSet<String>,
    trains_adapters: bool,
    perturbed: Vec<LayerPerturbation<T>>,
    dropout: Option<DropoutKey>,
    caches: Option<RefCell<Vec<&'a mut KeyValueCache<T>>>>,
    variables: RefCell<BTreeMap<String, Var<T>>>,
    layers: RefCell<BTreeMap<String, LayerVariables<T>>>,
    watch: Option<RefCell<Option<String>>>,
    traced: Option<RefCell<BTreeMap<String, TracedLinear<T>>>>,
    losses: RefCell<Vec<T>>,
}

/// What a linear layer has read and given in a pass, a row for each token.
#[derive(Debug, Clone)]
pub struct TracedLinear<T> {
    /// Input, ... x in.
    pub x: Tensor<T>,
    /// Output, ... x out.
    pub y: Tensor<T>,
    /// Gradient of the output, once the tape was walked back over.
    pub dy: Witnessed<T>,
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

/// What acts in the adapted layers, by the name of their module.
pub type ActingWeights<T> = BTreeMap<String, Acting<T>>;

/// What acts in the layers of all adapters, made once for many passes.
pub fn acting_weights<T: Scalar>(
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
) -> ActingWeights<T> {
    let act = |(module, adapter): (&String, &ggpo_lora::Adapter<T>)| {
        let weight = parameters.weight(&parameter_name(module, WEIGHT));
        (module.clone(), adapter.acting(weight))
    };
    adapters.iter().map(act).collect()
}

/// The name of the weight of a module.
const WEIGHT: &str = "weight";

/// What a perturbation does to the weight of an adapted layer in one pass.
#[derive(Debug, Clone)]
pub struct LayerPerturbation<T> {
    /// Noise on the rows of the weight that acts.
    pub noise: Option<Arc<dyn RowPerturbation<T>>>,
    /// A move `U V` of the merged weight: U m x k, V k x n.
    pub low_rank: Option<[Tensor<T>; 2]>,
}

impl<T> Default for LayerPerturbation<T> {
    fn default() -> Self {
        LayerPerturbation {
            noise: None,
            low_rank: None,
        }
    }
}

/// The parts of an adapter on the tape.
struct LayerVariables<T> {
    acting: Acting<T>,
    a: Var<T>,
    b: Var<T>,
    magnitude: Option<Var<T>>,
}

impl<T: Scalar> Clone for LayerVariables<T> {
    fn clone(&self) -> Self {
        LayerVariables {
            acting: self.acting.clone(),
            a: self.a.clone(),
            b: self.b.clone(),
            magnitude: self.magnitude.clone(),
        }
    }
}

/// The gradients of one pass.
#[derive(Debug, Clone)]
pub struct PassGradients<T> {
    /// Those of the model's own parameters that were asked for, by name.
    pub parameters: BTreeMap<String, Tensor<T>>,
    /// Those of what acts in the adapted layers, by the name of the module.
    pub acting: BTreeMap<String, ActingGradients<T>>,
}

impl<T: Scalar> PassGradients<T> {
    /// All of them by the names of what is trained; `adapters` are those of the pass.
    pub fn by_name(&self, adapters: &Adapters<T>) -> BTreeMap<String, Tensor<T>> {
        let mut all = self.parameters.clone();
        for (module, gradients) in &self.acting {
            let adapter = &adapters[module];
            let names = adapter.factors().into_iter().map(|(factor, _)| factor);
            for (factor, gradient) in names.zip(adapter.pull_back(gradients)) {
                all.insert(parameter_name(module, factor), gradient);
            }
        }
        all
    }

    /// Adds the gradients of another part of the same step.
    pub fn add(&mut self, other: Self) {
        let add = |sum: &mut Tensor<T>, part: &Tensor<T>| sum.zip_mut_with(part, |x, &y| *x += y);
        for (name, part) in other.parameters {
            match self.parameters.get_mut(&name) {
                Some(sum) => add(sum, &part),
                None => _ = self.parameters.insert(name, part),
            }
        }
        for (module, part) in other.acting {
            let Some(sum) = self.acting.get_mut(&module) else {
                self.acting.insert(module, part);
                continue;
            };
            add(&mut sum.a, &part.a);
            add(&mut sum.b, &part.b);
            if let (Some(sum), Some(part)) = (&mut sum.magnitude, &part.magnitude) {
                add(sum, part);
            }
        }
    }

    /// Multiplies all of them.
    pub fn scale(&mut self, factor: T) {
        let parameters = self.parameters.values_mut();
        let acting = self.acting.values_mut().flat_map(|it| {
            let factors = [&mut it.a, &mut it.b].into_iter();
            factors.chain(it.magnitude.as_mut())
        });
        for gradient in parameters.chain(acting) {
            gradient.map_inplace(|g| *g *= factor);
        }
    }
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
            acting: None,
            trained: BTreeSet::new(),
            trains_adapters: false,
            perturbed: Vec::new(),
            dropout: None,
            caches: None,
            variables: RefCell::default(),
            layers: RefCell::default(),
            watch: None,
            traced: None,
            losses: RefCell::default(),
        }
    }

    /// Keeps what the adapted linear layers read and give.
    pub fn tracing(mut self) -> Self {
        self.traced = Some(RefCell::default());
        self
    }

    /// What the adapted linear layers have read and given so far, by the name of the
    /// module, of a graph that traces.
    pub fn traced(&self) -> BTreeMap<String, TracedLinear<T>> {
        let traced = self.traced.as_ref();
        traced.map_or_else(BTreeMap::new, |traced| traced.borrow().clone())
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
        self.trains_adapters = true;
        self
    }

    /// Perturbs the weights of the adapted modules, in their order.
    pub fn perturbed(mut self, layers: Vec<LayerPerturbation<T>>) -> Self {
        assert_eq!(layers.len(), self.adapters.len(), "one entry per adapter");
        self.perturbed = layers;
        self
    }

    /// Lets what acts in the layers be `acting`, made before from the same adapters.
    pub fn with_acting(mut self, acting: &'a ActingWeights<T>) -> Self {
        self.acting = Some(acting);
        self
    }

    /// Lets the adapters' dropout act, with the masks of this seed and step.
    pub fn with_dropout(mut self, seed: u64, step: u32) -> Self {
        self.dropout = Some(DropoutKey { seed, step });
        self
    }

    /// Lets a batch continue where the caches, one per row, have stopped: its
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
    /// unless the layer has an adapter or the graph watches; the losses of the single
    /// rows stay in the graph.
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
                    return self.keep(cross_entropies(&self.linear(x, module), &targets));
                }
                let bias = self.optional(&format!("{module}.bias"));
                (parameter_name(module, WEIGHT), bias)
            }
            OutputLayer::Tied { table, bias } => {
                (table.to_owned(), bias.map(|name| self.parameter(name)))
            }
        };
        self.with_weight(&weight, |weight| {
            self.keep(linear_cross_entropies(x, weight, bias.as_ref(), targets))
        })
    }

    fn keep(&self, (mean, losses): (Var<T>, Vec<T>)) -> Var<T> {
        self.losses.replace(losses);
        mean
    }

    /// The losses of the single rows that the last
    /// [`output_cross_entropy`](Self::output_cross_entropy) is the mean of.
    pub fn row_losses(&self) -> Vec<T> {
        self.losses.borrow().clone()
    }

    /// The linear layer `module` on `x` (... x in), with its adapter and noise.
    pub fn linear(&self, x: &Var<T>, module: &str) -> Var<T> {
        let y = self.with_weight(&parameter_name(module, WEIGHT), |weight| {
            self.linear_with(x, module, weight)
        });
        if let Some(watch) = &self.watch
            && watch.borrow().is_none()
            && y.value().iter().any(|y| !y.value().is_finite())
        {
            *watch.borrow_mut() = Some(module.to_owned());
        }
        match &self.traced {
            Some(traced) if self.adapters.contains_key(module) => {
                let (y, dy) = witness(&y);
                let (x, value) = (x.value().clone(), y.value().clone());
                let linear = TracedLinear { x, y: value, dy };
                traced.borrow_mut().insert(module.to_owned(), linear);
                y
            }
            _ => y,
        }
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
        let layer = self.layer(module);
        let LayerPerturbation { noise, low_rank } =
            self.perturbed.get(index).cloned().unwrap_or_default();
        let dropout =
            self.dropout
                .filter(|_| adapter.dropout > 0.0)
                .map(|DropoutKey { seed, step }| {
                    let stream = Stream::new(seed, Purpose::Dropout, step, index as u32);
                    Dropout::new(stream, adapter.dropout)
                });
        let mut path = LoraPath {
            scaling: layer.acting.scaling,
            dropout,
            constant: sum_of_products(layer.acting.constant.clone(), low_rank),
            noise,
        };
        let Some(m) = &layer.magnitude else {
            return lora_linear(x, weight, bias.as_ref(), &layer.a, &layer.b, path);
        };
        // The noise is on what acts, the magnitudes included.
        let noise = path.noise.take();
        let z = lora_linear(x, weight, None, &layer.a, &layer.b, path);
        let Magnitude { norms, .. } = layer.acting.magnitude.as_ref().expect("it has magnitudes");
        let y = magnitude(&z, m, norms, bias.as_ref());
        match noise {
            Some(noise) => weight_noise(&y, x, noise),
            None => y,
        }
    }

    /// The parts of the adapter of `module` on the tape.
    fn layer(&self, module: &str) -> LayerVariables<T> {
        if let Some(layer) = self.layers.borrow().get(module) {
            return layer.clone();
        }
        let acting = match self.acting {
            Some(made) => made[module].clone(),
            None => {
                let weight = self.parameters.weight(&parameter_name(module, WEIGHT));
                self.adapters[module].acting(weight)
            }
        };
        let variable = |value: &Tensor<T>| match self.trains_adapters {
            true => self.tape.leaf(value.clone()),
            false => self.tape.constant(value.clone()),
        };
        let layer = LayerVariables {
            a: variable(&acting.a),
            b: variable(&acting.b),
            magnitude: acting.magnitude.as_ref().map(|m| variable(&m.value)),
            acting,
        };
        let mut layers = self.layers.borrow_mut();
        layers.insert(module.to_owned(), layer.clone());
        layer
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
            keys: None,
            ..*mask
        };
        let bias = bias.map(Var::value);
        let context = attention_over(q.value(), &rows, scale, bias, &mask);
        self.tape.constant(context)
    }

    /// The gradients of `weight * loss` with respect to all that is trained.
    pub fn gradients(self, loss: &Var<T>, weight: T) -> PassGradients<T> {
        let mut found = self.tape.backward_from(loss, tensor(&[1], vec![weight]));
        let variables = self.variables.into_inner().into_iter();
        let parameters = variables
            .filter(|(name, _)| self.trained.contains(name))
            .filter_map(|(name, variable)| Some((name, found.take(&variable)?)))
            .collect();
        let layers = self.layers.into_inner().into_iter();
        let acting = layers.filter_map(|(module, layer)| {
            let gradients = ActingGradients {
                a: found.take(&layer.a)?,
                b: found.take(&layer.b)?,
                magnitude: layer.magnitude.and_then(|m| found.take(&m)),
            };
            Some((module, gradients))
        });
        PassGradients {
            parameters,
            acting: acting.collect(),
        }
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

/// `U V` of two products, `[U1, U2]` and `[V1; V2]`; none of none.
fn sum_of_products<T: Scalar>(
    one: Option<[Tensor<T>; 2]>,
    other: Option<[Tensor<T>; 2]>,
) -> Option<[Tensor<T>; 2]> {
    match (one, other) {
        (Some([u1, v1]), Some([u2, v2])) => {
            let join = |axis, parts: [&Tensor<T>; 2]| {
                let joined = concatenate(Axis(axis), &parts.map(|part| part.view()));
                let joined = joined.expect("products of one shape");
                // Columns that are joined lie column by column.
                joined.as_standard_layout().into_owned().into_shared()
            };
            Some([join(1, [&u1, &u2]), join(0, [&v1, &v2])])
        }
        (one, other) => one.or(other),
    }
}
