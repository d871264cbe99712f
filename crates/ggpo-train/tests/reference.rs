//! Models, adapters, noise and whole training steps against values calculated
//! by PyTorch, Transformers and PEFT in double precision.
//!
//! The fixtures hold those values rounded to single precision, a relative error
//! of 6e-8. In `f64` ours must agree to 1e-6 of the largest magnitude; in `f32`
//! to 2e-5 for logits and losses and 1e-4 for gradients, some hundred roundings
//! of 6e-8 through the layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ggpo_autograd::Tape;
use ggpo_lora::peft::PeftAdapter;
use ggpo_lora::{AdaptedLayers, Ggpo, GgpoConfig, LayerView};
use ggpo_tensor::{RowPerturbation, Scalar, Tensor, view2};
use ggpo_train::data::Batch;
use ggpo_train::model::{Adapters, Graph, Head, Model};
use ggpo_train::optimizer::Real;
use ggpo_train::parameters::Parameters;
use ggpo_train::schedule::{Schedule, ScheduleKind, Warmup};
use ggpo_train::trainer::{Trainer, TrainerConfig};
use ggpo_train::weights::{load, read_safetensors};
use ndarray::{Array2, ArrayViewMut2, s};

const F64: [f64; 2] = [1e-6, 1e-6];
const F32: [f64; 2] = [2e-5, 1e-4];

/// A family's folder: model, adapter, batch and everything calculated on it.
struct Case<T> {
    model: Model,
    parameters: Parameters<T>,
    adapters: Adapters<T>,
    /// The parameters with those that were trained beside the adapter.
    adapted: Parameters<T>,
    saved_modules: Vec<String>,
    batch: Batch,
    values: BTreeMap<String, Tensor<T>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read_integers(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<i64>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let integers = file
        .tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::I64);
    integers
        .map(|(name, view)| {
            let (words, _) = view.data().as_chunks::<8>();
            let values = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
            (name, (view.shape().to_vec(), values))
        })
        .collect()
}

fn read_batch(path: &Path, head: Head) -> Batch {
    let integers = read_integers(path);
    let (shape, ids) = &integers["input_ids"];
    let (batch, time) = (shape[0], shape[1]);
    let unsigned = |values: &[i64]| values.iter().map(|v| *v as usize).collect::<Vec<_>>();
    let label = |label: i64| usize::try_from(label).ok();
    let labels = &integers["labels"].1;
    let targets = match head {
        Head::Classes(_) | Head::Value => labels.iter().map(|l| label(*l)).collect(),
        // The token after position t is what position t predicts.
        Head::Tokens => (0..batch * time)
            .map(|i| {
                if (i + 1) % time == 0 {
                    None
                } else {
                    label(labels[i + 1])
                }
            })
            .collect(),
    };
    let kinds = integers
        .get("token_type_ids")
        .map(|(_, kinds)| unsigned(kinds));
    let kept = integers["attention_mask"]
        .1
        .iter()
        .map(|kept| *kept == 1)
        .collect();
    Batch {
        shape: [batch, time],
        ids: unsigned(ids),
        token_types: kinds.unwrap_or(vec![0; batch * time]),
        attention: Array2::from_shape_vec((batch, time), kept).unwrap(),
        targets,
        values: Vec::new(),
        decoder: None,
    }
}

fn open<T: Scalar>(family: &str, head: Head) -> Case<T> {
    let folder = fixtures().join(family);
    let model = Model::read(&folder.join("model"), head).unwrap();
    let loaded = load::<T>(&folder.join("model"), &model).unwrap();
    assert!(loaded.missing.is_empty(), "{:?}", loaded.missing);
    let adapter = PeftAdapter::<T>::read(folder.join("adapter")).unwrap();
    let mut adapted = loaded.parameters.clone();
    let saved_modules: Vec<String> = adapter.saved_modules.keys().cloned().collect();
    for (name, value) in adapter.saved_modules {
        assert!(adapted.insert(name, value).is_some());
    }
    Case {
        batch: read_batch(&folder.join("case.safetensors"), model.head),
        values: read_safetensors(&folder.join("case.safetensors")).unwrap(),
        model,
        parameters: loaded.parameters,
        adapters: adapter.adapters,
        adapted,
        saved_modules,
    }
}

/// Largest difference over the largest magnitude expected.
fn relative_error<T: Scalar>(found: &Tensor<T>, expected: &Tensor<T>) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = |x: f64, y: f64| if y.is_nan() { y } else { x.max(y) };
    let pairs = found.iter().zip(expected);
    let error = pairs
        .map(|(a, b)| (a.value() - b.value()).abs())
        .fold(0.0, largest);
    error / expected.iter().map(|x| x.value().abs()).fold(0.0, f64::max)
}

fn check<T: Scalar>(what: &str, found: &Tensor<T>, expected: &Tensor<T>, tolerance: f64) {
    let error = relative_error(found, expected);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:e} above {tolerance:e}"
    );
}

/// A given noise matrix.
#[derive(Debug)]
struct Given<T>(Tensor<T>);

impl<T: Scalar> RowPerturbation<T> for Given<T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let rows = first_row..first_row + panel.nrows();
        panel.zip_mut_with(&view2(&self.0).slice(s![rows, ..]), |w, &eps| *w += eps);
    }
}

/// The name under which PyTorch knows a parameter of ours.
fn peft_name(ours: &str) -> String {
    let adapted = ours
        .replace(".lora_A.", ".lora_A.default.")
        .replace(".lora_B.", ".lora_B.default.");
    format!("base_model.model.{adapted}")
}

fn layer_value<'a, T>(case: &'a Case<T>, module: &str, what: &str) -> &'a Tensor<T> {
    &case.values[&format!("ggpo.base_model.model.{module}.{what}")]
}

/// Logits, loss and gradients under `noise`, held against those of `prefix`.
fn check_training<T: Scalar>(
    case: &Case<T>,
    noise: Vec<Option<Arc<dyn RowPerturbation<T>>>>,
    prefix: &str,
    gradient_prefix: &str,
    [exact, gradient]: [f64; 2],
) -> BTreeMap<String, Tensor<T>> {
    let graph = || {
        Graph::for_evaluation(Tape::new(), &case.adapted, &case.adapters)
            .training(case.saved_modules.iter().cloned())
            .with_noise(noise.clone())
    };
    let logits = case.model.logits(&graph(), &case.batch);
    let name = format!("{prefix}.logits");
    check(&name, logits.value(), &case.values[&name], exact);

    let graph = graph();
    let loss = case.model.loss(&graph, &case.batch);
    let name = format!("{prefix}.loss");
    check(&name, loss.value(), &case.values[&name], exact);
    let mut gradients = graph.tape().backward(&loss);
    let mut found = BTreeMap::new();
    for (ours, variable) in graph.into_trained() {
        let value = gradients.take(&variable).expect("every parameter acts");
        let name = format!(
            "{gradient_prefix}{}",
            reference_name(case, gradient_prefix, &ours)
        );
        check(&name, &value, &case.values[&name], gradient);
        found.insert(ours, value);
    }
    let expected = case
        .values
        .keys()
        .filter(|name| name.starts_with(gradient_prefix));
    assert_eq!(expected.count(), found.len(), "gradients of {prefix}");
    found
}

/// Trained modules stand under `.modules_to_save.default.` in PyTorch.
fn reference_name<T>(case: &Case<T>, prefix: &str, ours: &str) -> String {
    let plain = peft_name(ours);
    if case.values.contains_key(&format!("{prefix}{plain}")) {
        return plain;
    }
    let (module, parameter) = plain.rsplit_once('.').unwrap();
    format!("{module}.modules_to_save.default.{parameter}")
}

/// The layers with the gradients of the same batch, as the reference has them.
struct Layers<'a, T> {
    case: &'a Case<T>,
    gradients: &'a BTreeMap<String, Tensor<T>>,
}

impl<T: Scalar> AdaptedLayers<T> for Layers<'_, T> {
    fn count(&self) -> usize {
        self.case.adapters.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        let (module, adapter) = self.case.adapters.iter().nth(index).unwrap();
        LayerView {
            weight: self.case.adapted.weight(&format!("{module}.weight")),
            a: view2(&adapter.a),
            b: view2(&adapter.b),
            scaling: adapter.scaling,
            grad_a: Some(view2(&self.gradients[&format!("{module}.lora_A.weight")])),
            grad_b: Some(view2(&self.gradients[&format!("{module}.lora_B.weight")])),
            grad_merged: None,
        }
    }
}

fn check_family<T: Scalar>(family: &str, head: Head, tolerances: [f64; 2]) {
    let case = open::<T>(family, head);
    let none = Adapters::new();
    let logits = case.model.evaluate(&case.parameters, &none, &case.batch);
    check(
        "base.logits",
        &logits,
        &case.values["base.logits"],
        tolerances[0],
    );
    let graph = Graph::for_evaluation(Tape::new(), &case.parameters, &none);
    let loss = case.model.loss(&graph, &case.batch);
    check(
        "base.loss",
        loss.value(),
        &case.values["base.loss"],
        tolerances[0],
    );

    let quiet = vec![None; case.adapters.len()];
    let gradients = check_training(&case, quiet, "lora", "grad.", tolerances);
    check_noise(&case, &gradients, tolerances[1]);
    check_exact_gradients(&case, tolerances[1]);

    let given = case.adapters.keys().map(|module| {
        let eps = layer_value(&case, module, "eps").clone();
        Some(Arc::new(Given(eps)) as Arc<dyn RowPerturbation<T>>)
    });
    check_training(
        &case,
        given.collect(),
        "perturbed",
        "perturbed.grad.",
        tolerances,
    );
}

/// Standard deviations of the noise with the defaults and with beta = 1000.
fn check_noise<T: Scalar>(case: &Case<T>, gradients: &BTreeMap<String, Tensor<T>>, tolerance: f64) {
    for (beta, name) in [(0.01, "noise_std"), (1000.0, "noise_std_beta_1000")] {
        let config = GgpoConfig {
            beta,
            ..GgpoConfig::default()
        };
        let mut ggpo = Ggpo::new(config, 1, 1).unwrap();
        ggpo.begin_step(0, &Layers { case, gradients });
        for (layer, module) in case.adapters.keys().enumerate() {
            let expected = layer_value(case, module, name);
            let found = ggpo_tensor::tensor(expected.shape(), ggpo.row_std(layer).to_vec());
            check(&format!("{module} {name}"), &found, expected, tolerance);
        }
    }
}

/// The gradient of an adapted module's weight is that of the merged weight.
fn check_exact_gradients<T: Scalar>(case: &Case<T>, tolerance: f64) {
    let weights = case
        .adapters
        .keys()
        .map(|module| format!("{module}.weight"));
    let graph = Graph::for_evaluation(Tape::new(), &case.adapted, &case.adapters).training(weights);
    let loss = case.model.loss(&graph, &case.batch);
    let mut gradients = graph.tape().backward(&loss);
    let mut variables = graph.into_trained();
    for module in case.adapters.keys() {
        let variable = variables.remove(&format!("{module}.weight")).unwrap();
        let found = gradients.take(&variable).unwrap();
        let expected = layer_value(case, module, "grad_merged_exact");
        check(
            &format!("{module} exact gradient"),
            &found,
            expected,
            tolerance,
        );
    }
}

#[test]
fn bert_agrees_in_double_precision() {
    check_family::<f64>("bert", Head::Classes(3), F64);
}

#[test]
fn bert_agrees_in_single_precision() {
    check_family::<f32>("bert", Head::Classes(3), F32);
}

#[test]
fn llama_agrees_in_double_precision() {
    check_family::<f64>("llama", Head::Tokens, F64);
}

#[test]
fn llama_agrees_in_single_precision() {
    check_family::<f32>("llama", Head::Tokens, F32);
}

/// Six steps of AdamW from the adapter, on the whole batch; losses to 1e-4.
fn check_trajectory<T: Real>(name: &str, config: TrainerConfig, tolerance: f64) {
    let case = open::<T>("llama", Head::Tokens);
    let path = fixtures().join(format!("trajectories/{name}.safetensors"));
    let expected = read_safetensors::<T>(&path).unwrap();
    let mut trainer = Trainer::new(
        case.model.clone(),
        case.parameters.clone(),
        case.adapters.clone(),
        Default::default(),
        None,
        config,
        1,
    )
    .unwrap();
    let batch = std::slice::from_ref(&case.batch);
    let losses: Vec<T> = (0..6)
        .map(|_| T::from_f64(trainer.step(batch).unwrap().loss))
        .collect();
    let losses = ggpo_tensor::tensor(&[6], losses);
    check("losses", &losses, &expected["losses"], tolerance);
    for (module, adapter) in trainer.adapters() {
        for (part, found) in [("lora_A", &adapter.a), ("lora_B", &adapter.b)] {
            let name = peft_name(&format!("{module}.{part}.weight"));
            check(&name, found, &expected[&name], 10.0 * tolerance);
        }
    }
    let logits = trainer
        .model()
        .evaluate(trainer.parameters(), trainer.adapters(), &case.batch);
    check(
        "final.logits",
        &logits,
        &expected["final.logits"],
        10.0 * tolerance,
    );
}

fn six_steps(schedule: Schedule, clip: Option<f64>) -> TrainerConfig {
    TrainerConfig {
        learning_rate: 1e-2,
        steps: 6,
        schedule,
        clip,
        adamw: Default::default(),
    }
}

#[test]
fn lora_adamw_trajectory_is_reproduced() {
    check_trajectory::<f64>("lora_adamw", six_steps(Schedule::default(), None), 1e-6);
    check_trajectory::<f32>("lora_adamw", six_steps(Schedule::default(), None), 1e-4);
}

#[test]
fn clipped_cosine_trajectory_is_reproduced() {
    let schedule = || Schedule {
        kind: ScheduleKind::Cosine,
        warmup: Warmup::Steps(2),
    };
    check_trajectory::<f64>("lora_clip_cosine", six_steps(schedule(), Some(1.0)), 1e-6);
    check_trajectory::<f32>("lora_clip_cosine", six_steps(schedule(), Some(1.0)), 1e-4);
}
