//! LoRA layers of burn, trained by burn's own differentiation and Adam with the noise of
//! LoRA-GGPO.

use burn::backend::{Autodiff, NdArray};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use ggpo_lora::ndarray::Array2;
use ggpo_lora::{Ggpo, GgpoConfig, LayerView, LoraError, Perturbation};

type Plain = NdArray<f32>;
type Training = Autodiff<Plain>;

const SCALING: f32 = 2.0;
const STEPS: u32 = 100;

/// A frozen layer of burn with an adapter of rank 2.
#[derive(Module, Debug)]
struct LoraLinear<B: Backend> {
    base: Linear<B>,
    a: Param<Tensor<B, 2>>,
    b: Param<Tensor<B, 2>>,
}

/// Two layers with a hyperbolic tangent between.
#[derive(Module, Debug)]
struct Net<B: Backend> {
    first: LoraLinear<B>,
    second: LoraLinear<B>,
}

/// A layer as plain arrays: what the perturbation is shown.
struct Shown {
    weight: Array2<f32>,
    a: Array2<f32>,
    b: Array2<f32>,
    gradients: Option<[Array2<f32>; 2]>,
}

/// A made-up matrix.
fn wave(rows: usize, columns: usize, at: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        ((7 * i + 3 * j + i * j + at) as f32).sin() / 2.0
    })
}

fn tensor<B: Backend>(array: Array2<f32>) -> Tensor<B, 2> {
    let (rows, columns) = array.dim();
    let elements = array.into_raw_vec_and_offset().0;
    Tensor::from_data(
        TensorData::new(elements, [rows, columns]),
        &B::Device::default(),
    )
}

fn array<B: Backend>(tensor: Tensor<B, 2>) -> Array2<f32> {
    let [rows, columns] = tensor.dims();
    let elements = tensor.into_data().to_vec().expect("elements are f32");
    Array2::from_shape_vec((rows, columns), elements).expect("as many as the shape says")
}

impl<B: Backend> LoraLinear<B> {
    fn new(outputs: usize, inputs: usize, seed: usize) -> Self {
        // burn keeps weights in x out.
        let weight = tensor::<B>(wave(outputs, inputs, seed)).transpose();
        let base = Linear {
            weight: Param::from_tensor(weight),
            bias: None,
        };
        LoraLinear {
            base: base.no_grad(),
            a: Param::from_tensor(tensor(wave(2, inputs, seed + 1))),
            b: Param::from_tensor(tensor(Array2::zeros((outputs, 2)))),
        }
    }

    /// `x (W + s B A + eps)^T`. To burn eps is a constant, so its backward pass has it too.
    fn forward(&self, x: Tensor<B, 2>, ggpo: Option<&Ggpo<f32>>, index: usize) -> Tensor<B, 2> {
        let weight = self.base.weight.val().transpose();
        let [outputs, inputs] = weight.dims();
        let mut acting = weight + self.b.val().matmul(self.a.val()) * SCALING;
        if let Some(noise) = ggpo.and_then(|it| it.noise(index, 0)) {
            let mut eps = Array2::zeros((outputs, inputs));
            noise.add_rows(0, eps.view_mut());
            acting = acting + tensor(eps);
        }
        x.matmul(acting.transpose())
    }

    fn shown(&self, gradients: Option<[Array2<f32>; 2]>) -> Shown {
        Shown {
            weight: array(self.base.weight.val().transpose()),
            a: array(self.a.val()),
            b: array(self.b.val()),
            gradients,
        }
    }
}

impl Shown {
    fn view(&self) -> LayerView<'_, f32> {
        let [grad_a, grad_b] = match &self.gradients {
            Some([a, b]) => [Some(a.view()), Some(b.view())],
            None => [None, None],
        };
        let weight = self.weight.view().into();
        LayerView {
            grad_a,
            grad_b,
            ..LayerView::new(weight, self.a.view(), self.b.view(), SCALING)
        }
    }
}

/// Trains with noise of this sigma, or without any: the layers at the end as arrays, and the
/// first and the last loss.
fn train(sigma: Option<f64>) -> Result<([Shown; 2], [f32; 2]), LoraError> {
    let mut net = Net::<Training> {
        first: LoraLinear::new(16, 4, 1),
        second: LoraLinear::new(2, 16, 2),
    };
    let x = Array2::from_shape_fn((8, 4), |(t, j)| ((3 * t + 5 * j + t * j) as f32).cos());
    let target = Array2::from_shape_fn((8, 2), |(t, o)| x[[t, o]] * x[[t, o + 1]]);
    let (x, target) = (tensor::<Training>(x), tensor::<Training>(target));
    let config = |sigma| GgpoConfig {
        sigma,
        ..GgpoConfig::default()
    };
    let ggpo = sigma.map(|sigma| Ggpo::new(config(sigma), 42, STEPS));
    let mut ggpo = ggpo.transpose()?;
    let mut optimizer = AdamConfig::new().init();

    let mut shown = [net.first.shown(None), net.second.shown(None)];
    let mut losses = Vec::new();
    for step in 0..STEPS {
        if let Some(ggpo) = &mut ggpo {
            ggpo.begin_step(step, &shown.iter().map(Shown::view).collect::<Vec<_>>());
        }
        let h = net.first.forward(x.clone(), ggpo.as_ref(), 0).tanh();
        let y = net.second.forward(h, ggpo.as_ref(), 1);
        let loss = (y - target.clone()).powi_scalar(2).mean();
        losses.push(loss.clone().into_scalar());

        let gradients = loss.backward();
        let of = |layer: &LoraLinear<Training>| {
            let gradient = |factor: &Param<Tensor<Training, 2>>| {
                let found = factor.val().grad(&gradients);
                array(found.expect("it is trained"))
            };
            Some([gradient(&layer.a), gradient(&layer.b)])
        };
        let [first, second] = [of(&net.first), of(&net.second)];
        net = optimizer.step(
            0.01,
            net.clone(),
            GradientsParams::from_grads(gradients, &net),
        );
        shown = [net.first.shown(first), net.second.shown(second)];
    }
    Ok((shown, [losses[0], losses[losses.len() - 1]]))
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|x| x.to_bits()).collect()
}

/// Trains with noise and without, and checks what must hold.
fn main() -> Result<(), LoraError> {
    let (noisy, [first, last]) = train(Some(0.03))?;
    println!("loss with noise: {first:.4} to {last:.4}");
    assert!(last < first / 2.0, "it learns");

    let start = [wave(16, 4, 1), wave(2, 16, 2)];
    let (plain, silent) = (train(None)?.0, train(Some(0.0))?.0);
    for index in 0..2 {
        let (noisy, plain, silent) = (&noisy[index], &plain[index], &silent[index]);
        assert_eq!(bits(&noisy.weight), bits(&start[index]), "frozen weights");
        assert_eq!(bits(&plain.a), bits(&silent.a), "sigma 0 is plain LoRA");
        assert_eq!(bits(&plain.b), bits(&silent.b), "sigma 0 is plain LoRA");
        assert_ne!(bits(&plain.b), bits(&noisy.b), "the noise acts");
    }
    println!("frozen weights have the same bits, and sigma 0 is plain LoRA");
    Ok(())
}
