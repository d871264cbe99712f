//! What a model is made of, and how a new one starts.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, Tensor, tensor};

use super::Model;
use crate::parameters::Parameters;

/// A parameter that a model must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name in the model's file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How a new one starts.
    pub start: InitialValue,
}

/// How a new parameter starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialValue {
    /// Normal with the `initializer_range` as standard deviation.
    Normal,
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
}

/// Standard deviation of the weights of a new head, the published models'
/// `initializer_range`.
pub const INITIALIZER_RANGE: f32 = 0.02;

impl Model {
    /// A new parameter of the specification, from its own random stream.
    pub fn new_parameter<T: Scalar>(
        &self,
        spec: &ParameterSpec,
        initializer_range: f32,
        seed: u64,
    ) -> Tensor<T> {
        let index = self
            .specification()
            .iter()
            .position(|other| other.name == spec.name)
            .expect("a parameter of this model");
        let count = spec.shape.iter().product();
        let elements = match spec.start {
            InitialValue::Zeros => vec![T::ZERO; count],
            InitialValue::Ones => vec![T::ONE; count],
            InitialValue::Normal => {
                let mut normal = vec![0.0_f32; count];
                Stream::new(seed, Purpose::Init, 0, index as u32).fill_normal(0, &mut normal);
                normal
                    .into_iter()
                    .map(|z| T::from_f64(f64::from(z * initializer_range)))
                    .collect()
            }
        };
        tensor(&spec.shape, elements)
    }

    /// New parameters throughout.
    pub fn new_parameters<T: Scalar>(&self, initializer_range: f32, seed: u64) -> Parameters<T> {
        let specification = self.specification();
        let new = |spec: &ParameterSpec| {
            let value = self.new_parameter(spec, initializer_range, seed);
            (spec.name.clone(), value)
        };
        specification.iter().map(new).collect()
    }
}

/// The specification of a linear layer's weight, and of its bias if it has one.
pub(super) fn linear_spec(
    module: &str,
    outputs: usize,
    inputs: usize,
    bias: bool,
) -> impl Iterator<Item = ParameterSpec> + use<> {
    let weight = ParameterSpec {
        name: format!("{module}.weight"),
        shape: vec![outputs, inputs],
        start: InitialValue::Normal,
    };
    let bias = bias.then(|| ParameterSpec {
        name: format!("{module}.bias"),
        shape: vec![outputs],
        start: InitialValue::Zeros,
    });
    std::iter::once(weight).chain(bias)
}

/// The specification of a normalisation's weight, and of its bias if it has one.
pub(super) fn norm_spec(
    module: &str,
    width: usize,
    bias: bool,
) -> impl Iterator<Item = ParameterSpec> + use<> {
    let weight = ParameterSpec {
        name: format!("{module}.weight"),
        shape: vec![width],
        start: InitialValue::Ones,
    };
    let bias = bias.then(|| ParameterSpec {
        name: format!("{module}.bias"),
        shape: vec![width],
        start: InitialValue::Zeros,
    });
    std::iter::once(weight).chain(bias)
}

/// Whether a parameter belongs to one of the modules.
pub fn is_in(parameter: &str, modules: &[impl AsRef<str>]) -> bool {
    modules.iter().any(|module| {
        let rest = parameter.strip_prefix(module.as_ref());
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}
