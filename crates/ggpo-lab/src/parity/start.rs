//! Where the adapters of a file start: from its own factors, those of the family, or a
//! decomposition.

use ggpo_lora::adapter::lora;
use ggpo_lora::{Adapter, Adapters, MethodConfig, parameter_name, pissa};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, Tensor, matmul, tensor, view2};
use ggpo_train::Result;
use ggpo_train::trainer::Real;
use ndarray::Axis;

use super::Arithmetic;
use super::compare::Quantity;
use super::family::{Family, Noise};
use super::family_of;
use super::names::{PREFIX, parameter_key};
use super::reference::{Modules, Reference};
use super::section::Section;

/// The setting by which a file says that its adapters are not the family's.
const OWN: &str = "alpha";

/// Whether a file's adapters start as those of the family do.
pub(super) fn is_of_family(file: &Reference) -> bool {
    !file.says(OWN)
}

/// The adapters of a file, their factors those that it has under `prefix`. Without a
/// prefix they are the family's, if the file has none of its own.
pub(super) fn adapters<T: Real>(
    section: &mut Section<'_>,
    family: &Family<T>,
    file: &mut Reference,
    method: &MethodConfig,
    modules: &Modules,
    prefix: Option<&str>,
) -> Result<Adapters<T>> {
    let mut adapters = match is_of_family(file) {
        true => family.adapters.clone(),
        false => new_adapters(family, method, modules)?,
    };
    let Some(prefix) = prefix else {
        return Ok(adapters);
    };
    let mut decomposed = Decomposed::new(section, method);
    for (module, adapter) in &mut adapters {
        let own = adapter.clone();
        for (factor, value) in adapter.factors_mut() {
            let key = parameter_key(file, prefix, &parameter_name(module, factor));
            *value = file.take_shaped(&key, value.shape())?;
        }
        if own.constant().is_some() {
            let key = |factor| parameter_key(file, prefix, &parameter_name(module, factor));
            let base = format!("{prefix}{PREFIX}{module}.base_layer.weight");
            let keys = [key(lora::A), key(lora::B), base];
            let weight = &family.parameters[&parameter_name(module, "weight")];
            *adapter = decomposed.compare(file, &keys, weight, &own, adapter)?;
        }
    }
    decomposed.finish(section);
    Ok(adapters)
}

/// The adapters that a method gives the modules of a family.
fn new_adapters<T: Real>(
    family: &Family<T>,
    method: &MethodConfig,
    modules: &Modules,
) -> Result<Adapters<T>> {
    let gradients = match method.gradient_rows() {
        None => Default::default(),
        Some(_) => family.weight_gradients(modules)?,
    };
    let mut adapters = Adapters::new();
    for (layer, module) in modules.keys().enumerate() {
        let name = parameter_name(module, "weight");
        let stream = Stream::new(0, Purpose::Init, 1, layer as u32);
        let gradient = gradients.get(&name).map(view2);
        let weight = family.parameters.weight(&name);
        let adapter = method.new_adapter(weight, gradient, stream)?;
        adapters.insert(module.clone(), adapter);
    }
    Ok(adapters)
}

/// Our decompositions against those of the reference, whose signs are free: row k of A
/// and column k of B may have changed theirs.
pub(super) struct Decomposed {
    /// Whether A and B are of different triples, so that the signs of their product
    /// are free as well.
    free_product: bool,
    a: Quantity,
    b: Quantity,
    /// The base `W - s B0 A0` from the factors of the reference.
    base: Quantity,
    /// The same from ours.
    own_base: Quantity,
}

impl Decomposed {
    pub(super) fn new(section: &Section<'_>, method: &MethodConfig) -> Self {
        // LoRA-GA, made from gradients that the file has.
        let from_gradients = method.gradient_rows().is_some();
        let decompositions = match from_gradients {
            true => Arithmetic::gradients,
            false => Arithmetic::decompositions,
        };
        Decomposed {
            free_product: from_gradients,
            a: section.quantity("decomposed lora_A", decompositions),
            b: section.quantity("decomposed lora_B", decompositions),
            base: section.quantity("base of given factors", Arithmetic::outputs),
            own_base: section.quantity("base of decomposed factors", decompositions),
        }
    }

    /// Compares the adapter that a method has made with the one that has the factors of
    /// the reference, and the bases with the one that the reference has under the last
    /// of the keys. Returns the adapter of the reference on the base that belongs to it.
    pub(super) fn compare<T: Scalar>(
        &mut self,
        file: &mut Reference,
        [a, b, base]: &[String; 3],
        weight: &Tensor<T>,
        own: &Adapter<T>,
        given: &Adapter<T>,
    ) -> Result<Adapter<T>> {
        let expected = file.take(base)?;
        if expected.shape() != weight.shape() {
            let (expected, found) = (weight.shape(), expected.shape());
            return Err(file.error(format!(
                "{base}: expected shape {expected:?}, found {found:?}"
            )));
        }
        let mut turned = own.clone();
        for (quantity, key, factor, axis) in [
            (&mut self.a, a, lora::A, Axis(0)),
            (&mut self.b, b, lora::B, Axis(1)),
        ] {
            let found = turned.factor_mut(factor).zip(given.factor(factor));
            let Some((found, given)) = found else {
                return Err(file.error(format!("{key}: expected a method with this factor")));
            };
            align(found, given, axis);
            quantity.compare_with(key, &given.mapv(|x| x.value()).into_shared(), found);
        }
        let own = match self.free_product {
            true => turned.clone().on_base(taken_away(&turned)),
            false => own.clone(),
        };
        let given = given.clone().on_base(taken_away(given));
        for (quantity, adapter) in [(&mut self.base, &given), (&mut self.own_base, &own)] {
            if let Some([u, v]) = adapter.constant() {
                let found = &view2(weight) + &matmul(view2(u), view2(v));
                quantity.compare_with(base, &expected, &found.into_dyn().into_shared());
            }
        }
        Ok(given)
    }

    pub(super) fn finish(self, section: &mut Section<'_>) {
        for quantity in [self.a, self.b, self.base, self.own_base] {
            section.push(quantity);
        }
    }
}

/// `-s B` and A, the product of which goes out of the base.
fn taken_away<T: Scalar>(adapter: &Adapter<T>) -> [Tensor<T>; 2] {
    let [b, a] = [lora::B, lora::A].map(|factor| adapter.factor(factor).expect("just compared"));
    let scaling = adapter.scaling();
    [b.map(|&b| -(scaling * b)).into_shared(), a.clone()]
}

/// Turns the signs of rows or columns to those of another matrix.
fn align<T: Scalar>(found: &mut Tensor<T>, like: &Tensor<T>, axis: Axis) {
    let lanes = found.axis_iter_mut(axis).zip(like.axis_iter(axis));
    for (mut lane, like) in lanes {
        let pairs = lane.iter().zip(&like);
        let inner = pairs.fold(T::ZERO, |sum, (&x, &y)| sum + x * y);
        if inner < T::ZERO {
            lane.map_inplace(|x| *x = -*x);
        }
    }
}

/// Compares LoRA-GA's start: the gradient of every weight on the family's batch, and
/// what is made of the gradients that the file has. The model is as it was.
pub(super) fn check_gradient_start<T: Real>(
    section: &mut Section<'_>,
    families: &[Family<T>],
    file: &mut Reference,
    method: &MethodConfig,
) -> Result<()> {
    let modules = file.modules_of("", ".grad");
    let family = family_of(families, file, "base.logits", &modules)?;
    let gradients = family.weight_gradients(&modules)?;
    let mut of_batch = section.quantity("grad", Arithmetic::gradients);
    let mut singular = section.quantity("singular_values", Arithmetic::gradients);
    let mut decomposed = Decomposed::new(section, method);
    let mut adapters = Adapters::new();
    for (module, &(m, n)) in &modules {
        let key = |what| format!("{module}.{what}");
        let name = parameter_name(module, "weight");
        let weight = &family.parameters[&name];
        let exact = file.take(&key("grad"))?;
        of_batch.compare_with(&key("grad"), &exact, &gradients[&name]);
        let gradient: Tensor<T> = exact.mapv(T::from_f64).into_shared();
        // Row k of A of a start from all triples has the norm sqrt(S_k).
        let all = pissa(view2(&gradient).into(), m.min(n), 1.0)?;
        let rows = all.a.outer_iter();
        let values = rows.map(|row| row.iter().fold(T::ZERO, |sum, &x| sum + x * x));
        let values = tensor(&[m.min(n)], values.collect());
        singular.compare(file, &key("singular_values"), &values)?;

        let stream = Stream::new(0, Purpose::Init, 1, 0);
        let own = method.new_adapter(view2(weight).into(), Some(view2(&gradient)), stream)?;
        let mut given = own.clone();
        let factors = [(lora::A, key("lora_A")), (lora::B, key("lora_B"))];
        for (factor, key) in &factors {
            if let Some(value) = given.factor_mut(factor) {
                *value = file.take_shaped(key, value.shape())?;
            }
        }
        let [(_, a), (_, b)] = factors;
        decomposed.compare(file, &[a, b, key("residual")], weight, &own, &given)?;
        adapters.insert(module.clone(), own);
    }
    section.push(of_batch);
    section.push(singular);
    decomposed.finish(section);
    let pass = family.pass(&family.parameters, &adapters, Noise::new(), Vec::new())?;
    section.value(file, "base.logits", &pass.logits, Arithmetic::outputs)
}
