//! Adapter forms: what is trained beside a frozen weight, and how it acts.
//!
//! A form is one file: [`lora`], [`dora`], [`adalora`]. It has named factors, which
//! the optimiser changes, and says by what [`Acting`] weight a layer calculates.
//! Everything else (automatic differentiation, checkpoints, PEFT files, reports)
//! walks the factors and asks no adapter of which form it is.

pub mod adalora;
mod config;
pub mod dora;
pub mod lora;

use std::collections::BTreeMap;
use std::fmt::Debug;

use ggpo_tensor::{ActingWeight, LowRank, Scalar, Tensor, WeightView, flat, view2};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, ArrayViewD, Axis, concatenate};

pub(crate) use config::is_scaling;
pub use config::{LoraConfig, ScalingRule};

use crate::norms::merged_row_norms_squared;
use crate::peft::{PeftForm, make};
use crate::{LayerView, LoraError, State};

/// The adapters of a model by the name of their module. Their order, that of
/// the names, is the layer number of random streams.
pub type Adapters<T> = BTreeMap<String, Adapter<T>>;

/// The weight that acts in a layer instead of W:
///
/// `diag(m / n) (W + s B A + U V)`, of which all but `s B A` is optional.
#[derive(Clone, Debug)]
pub struct Acting<T> {
    /// A, the down projection: r x n.
    pub a: Tensor<T>,
    /// B, the up projection: m x r.
    pub b: Tensor<T>,
    /// The scaling s.
    pub scaling: T,
    /// U (m x k) and V (k x n), which are not trained.
    pub constant: Option<[Tensor<T>; 2]>,
    /// Magnitudes of the rows.
    pub magnitude: Option<Magnitude<T>>,
}

/// Magnitudes that stand in place of the norms of a weight's rows.
#[derive(Clone, Debug)]
pub struct Magnitude<T> {
    /// The magnitudes m, length m.
    pub value: Tensor<T>,
    /// The norms n of the rows of `W + s B A + U V`, length m. They count as
    /// constants in the gradient.
    pub norms: Vec<T>,
}

impl<T: Scalar> Magnitude<T> {
    /// `m_i / n_i` for every row, length m; 0 where the norm is 0.
    pub fn factors(&self) -> Vec<T> {
        let pairs = flat(&self.value).iter().zip(&self.norms);
        let factor = |(&m, &norm): (&T, &T)| if norm == T::ZERO { T::ZERO } else { m / norm };
        pairs.map(factor).collect()
    }
}

impl<T: Scalar> Acting<T> {
    /// The weight before its magnitudes, `W + s B A + U V`.
    pub fn direction<'a>(&'a self, weight: WeightView<'a, T>) -> ActingWeight<'a, T> {
        let trained = LowRank {
            scaling: self.scaling,
            b: view2(&self.b),
            a: view2(&self.a),
        };
        let constant = self.constant.as_ref().map(|[u, v]| LowRank {
            scaling: T::ONE,
            b: view2(u),
            a: view2(v),
        });
        ActingWeight {
            low_rank: [Some(trained), constant],
            ..weight.into()
        }
    }

    /// The acting weight as a whole, m x n.
    pub fn to_dense(&self, weight: WeightView<'_, T>) -> Array2<T> {
        let mut dense = self.direction(weight.reborrow()).to_dense();
        if let Some(magnitude) = &self.magnitude {
            let factors = magnitude.factors();
            dense
                .axis_iter_mut(Axis(0))
                .into_par_iter()
                .zip(&factors)
                .for_each(|(mut row, &factor)| row.map_inplace(|w| *w *= factor));
        }
        dense
    }

    /// What a perturbation sees of a layer, without gradients.
    pub fn view<'a>(&'a self, weight: WeightView<'a, T>) -> LayerView<'a, T> {
        LayerView {
            constant: self.constant.as_ref().map(|[u, v]| [view2(u), view2(v)]),
            magnitude: self.magnitude.as_ref(),
            ..LayerView::new(weight, view2(&self.a), view2(&self.b), self.scaling)
        }
    }
}

/// Gradients of what acts in a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ActingGradients<T> {
    /// dA: r x n.
    pub a: Tensor<T>,
    /// dB: m x r.
    pub b: Tensor<T>,
    /// Gradient of the magnitudes, length m, if there are any.
    pub magnitude: Option<Tensor<T>>,
}

/// The frozen part of a layer: `W + U V`.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a, T> {
    /// W, m x n.
    pub weight: WeightView<'a, T>,
    /// U (m x k) and V (k x n).
    pub constant: Option<&'a [Tensor<T>; 2]>,
}

/// A form of adapter: one layer's factors, and how they act.
pub trait AdapterForm<T: Scalar>: Debug + Send + Sync {
    /// What PEFT calls the form and its factors.
    fn peft(&self) -> &'static PeftForm;

    /// The trained factors with their names in PEFT's files, in a fixed order.
    fn factors(&self) -> Vec<(&'static str, &Tensor<T>)>;

    /// The same to be changed.
    fn factors_mut(&mut self) -> Vec<(&'static str, &mut Tensor<T>)>;

    /// Outputs m and inputs n of the layer.
    fn dim(&self) -> (usize, usize);

    /// The rank r.
    fn rank(&self) -> usize;

    /// The scaling s.
    fn scaling(&self) -> T;

    /// What acts on top of a base.
    fn acting(&self, base: Base<'_, T>) -> Acting<T>;

    /// Gradients of the factors, in their order, from those of what acts.
    fn pull_back(&self, gradients: &ActingGradients<T>) -> Vec<Tensor<T>>;

    /// A copy.
    fn boxed(&self) -> Box<dyn AdapterForm<T>>;
}

/// What goes with a form beside its layers: a penalty on the factors, and changes of
/// them after the optimiser's.
pub trait Regulator<T: Scalar>: Debug + Send + Sync {
    /// A term of the loss; its gradient is added to `gradients`, by the names of the
    /// parameters.
    fn penalty(&self, adapters: &Adapters<T>, gradients: &mut BTreeMap<String, Tensor<T>>) -> f64;

    /// Changes the factors after step `step` (from 0), in which the optimiser saw
    /// `gradients`.
    fn after_step(
        &mut self,
        step: u32,
        adapters: &mut Adapters<T>,
        gradients: &BTreeMap<String, Tensor<T>>,
    );

    /// What must be saved with a checkpoint to continue a run exactly.
    fn state(&self) -> State;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`LoraError::State`] if the state is not one of this regulator.
    fn restore(&mut self, state: State) -> Result<(), LoraError>;

    /// Whether what was restored is of these layers.
    fn fits(&self, adapters: &Adapters<T>) -> bool;
}

/// The adapter of one linear layer.
#[derive(Debug)]
pub struct Adapter<T> {
    form: Box<dyn AdapterForm<T>>,
    /// U and V of the base `W + U V`, which an initialisation has made.
    constant: Option<[Tensor<T>; 2]>,
    /// Probability that an element of the adapter's input is dropped in training.
    pub dropout: f32,
}

impl<T: Scalar> Clone for Adapter<T> {
    fn clone(&self) -> Self {
        Adapter {
            form: self.form.boxed(),
            constant: self.constant.clone(),
            dropout: self.dropout,
        }
    }
}

/// Equal are adapters of the same form, factors, scaling, base and dropout.
impl<T: Scalar> PartialEq for Adapter<T> {
    fn eq(&self, other: &Self) -> bool {
        self.peft() == other.peft()
            && self.factors() == other.factors()
            && self.scaling() == other.scaling()
            && self.constant == other.constant
            && self.dropout == other.dropout
    }
}

impl<T: Scalar> Adapter<T> {
    /// An adapter without dropout on a base that is W alone.
    pub fn new(form: impl AdapterForm<T> + 'static) -> Self {
        Adapter {
            form: Box::new(form),
            constant: None,
            dropout: 0.0,
        }
    }

    /// The same with dropout on its input.
    pub fn with_dropout(self, dropout: f32) -> Self {
        Adapter { dropout, ..self }
    }

    /// The same on the base `W + U V`, for U of m x k and V of k x n.
    pub fn on_base(self, constant: [Tensor<T>; 2]) -> Self {
        Adapter {
            constant: Some(constant),
            ..self
        }
    }

    /// What PEFT calls the form and its factors.
    pub fn peft(&self) -> &'static PeftForm {
        self.form.peft()
    }

    /// The trained factors with their names, in a fixed order.
    pub fn factors(&self) -> Vec<(&'static str, &Tensor<T>)> {
        self.form.factors()
    }

    /// The same to be changed.
    pub fn factors_mut(&mut self) -> Vec<(&'static str, &mut Tensor<T>)> {
        self.form.factors_mut()
    }

    /// The same adapter in other numbers: factors, scaling and base.
    pub fn map<U: Scalar>(&self, number: impl Fn(T) -> U) -> Adapter<U> {
        let in_numbers = |x: &Tensor<T>| x.map(|&x| number(x)).into_shared();
        let factors = self.factors().into_iter();
        let factors = factors.map(|(_, factor)| in_numbers(factor)).collect();
        Adapter {
            constant: self
                .constant
                .as_ref()
                .map(|it| it.each_ref().map(in_numbers)),
            dropout: self.dropout,
            ..make::<U>(self.peft())(factors, number(self.scaling()))
        }
    }

    /// The factor of that name, if there is one.
    pub fn factor(&self, name: &str) -> Option<&Tensor<T>> {
        let mut factors = self.factors().into_iter();
        factors.find_map(|(factor, value)| (factor == name).then_some(value))
    }

    /// The factor of that name to be changed, if there is one.
    pub fn factor_mut(&mut self, name: &str) -> Option<&mut Tensor<T>> {
        let mut factors = self.factors_mut().into_iter();
        factors.find_map(|(factor, value)| (factor == name).then_some(value))
    }

    /// The scaling s.
    pub fn scaling(&self) -> T {
        self.form.scaling()
    }

    /// U and V of the base `W + U V`, if it is not W alone.
    pub fn constant(&self) -> Option<&[Tensor<T>; 2]> {
        self.constant.as_ref()
    }

    /// The same on W alone, where the form is a product of A and B: the base's `U V`
    /// becomes a part of it, `s B A + U V = s [B, U / s] [A; V]`, of rank r + k.
    pub fn on_weight_alone(&self) -> Self {
        let Some([u, v]) = &self.constant else {
            return self.clone();
        };
        let mut alone = Adapter {
            constant: None,
            ..self.clone()
        };
        let scaling = self.scaling();
        let joined = |axis, one: &Tensor<T>, other: ArrayViewD<'_, T>| {
            let joined = concatenate(Axis(axis), &[one.view(), other]);
            let joined = joined.expect("factors of one layer");
            // Joined from columns, it has them one after the other.
            joined.as_standard_layout().into_owned().into_shared()
        };
        if let Some(a) = alone.factor_mut(lora::A) {
            *a = joined(0, a, v.view());
        }
        if let Some(b) = alone.factor_mut(lora::B) {
            *b = joined(1, b, u.map(|&u| u / scaling).view());
        }
        alone
    }

    /// What acts in place of the weight W, which is m x n.
    pub fn acting(&self, weight: WeightView<'_, T>) -> Acting<T> {
        let base = Base {
            weight: weight.reborrow(),
            constant: self.constant.as_ref(),
        };
        Acting {
            constant: self.constant.clone(),
            ..self.form.acting(base)
        }
    }

    /// Gradients of the factors, in their order, from those of what acts.
    pub fn pull_back(&self, gradients: &ActingGradients<T>) -> Vec<Tensor<T>> {
        self.form.pull_back(gradients)
    }

    /// Outputs m and inputs n of the layer it belongs to.
    pub fn dim(&self) -> (usize, usize) {
        self.form.dim()
    }

    /// The rank r of the trained product.
    pub fn rank(&self) -> usize {
        self.form.rank()
    }

    /// The merged weight, m x n.
    ///
    /// # Panics
    /// If `weight` is not m x n.
    pub fn merge(&self, weight: ArrayView2<'_, T>) -> Array2<T> {
        let acting = self.acting(weight.view().into());
        acting.to_dense(weight.view().into())
    }
}

/// The name of a factor of an adapted module among a model's parameters.
pub fn parameter_name(module: &str, factor: &str) -> String {
    format!("{module}.{factor}")
}

/// The factor that a parameter's name means, if it is one of these adapters.
pub fn find_factor<'a, T: Scalar>(
    adapters: &'a mut Adapters<T>,
    parameter: &str,
) -> Option<&'a mut Tensor<T>> {
    // Names have dots on both sides of the one between module and factor.
    let mut splits = parameter
        .match_indices('.')
        .map(|(dot, _)| (&parameter[..dot], &parameter[dot + 1..]));
    let (module, factor) = splits.find(|(module, factor)| {
        let adapter = adapters.get(*module);
        adapter.is_some_and(|adapter| adapter.factor(factor).is_some())
    })?;
    adapters.get_mut(module)?.factor_mut(factor)
}

/// Norms of the rows of `W + s B A + U V` from those of W, length m.
fn merged_norms<T: Scalar>(weight_norms_squared: &[T], layer: &LayerView<'_, T>) -> Vec<T> {
    let squares = merged_row_norms_squared(weight_norms_squared, layer);
    squares.into_iter().map(T::sqrt).collect()
}
