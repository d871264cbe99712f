//! LoRA layers of candle, trained by candle's own differentiation and AdamW with the noise of
//! LoRA-GGPO.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ggpo_lora::ndarray::Array2;
use ggpo_lora::{Ggpo, GgpoConfig, LayerView, Perturbation};

const SCALING: f64 = 2.0;
const STEPS: u32 = 100;

/// A frozen weight with an adapter of rank 2.
struct LoraLinear {
    weight: Tensor,
    a: Var,
    b: Var,
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

fn tensor(array: Array2<f32>) -> Result<Tensor> {
    let shape = array.dim();
    let elements = array.into_raw_vec_and_offset().0;
    Ok(Tensor::from_vec(elements, shape, &Device::Cpu)?)
}

fn array(tensor: &Tensor) -> Result<Array2<f32>> {
    let elements = tensor.flatten_all()?.to_vec1()?;
    Ok(Array2::from_shape_vec(tensor.dims2()?, elements)?)
}

impl LoraLinear {
    fn new(outputs: usize, inputs: usize, seed: usize) -> Result<Self> {
        Ok(LoraLinear {
            weight: tensor(wave(outputs, inputs, seed))?,
            a: Var::from_tensor(&tensor(wave(2, inputs, seed + 1))?)?,
            b: Var::from_tensor(&tensor(Array2::zeros((outputs, 2)))?)?,
        })
    }

    /// `x (W + s B A + eps)^T`. To candle eps is a constant, so its backward pass has it too.
    fn forward(&self, x: &Tensor, ggpo: Option<&Ggpo<f32>>, index: usize) -> Result<Tensor> {
        let move_of_weight = (self.b.matmul(&self.a)? * SCALING)?;
        let mut acting = (&self.weight + move_of_weight)?;
        if let Some(noise) = ggpo.and_then(|it| it.noise(index, 0)) {
            let mut eps = Array2::zeros(self.weight.dims2()?);
            noise.add_rows(0, eps.view_mut());
            acting = (acting + tensor(eps)?)?;
        }
        Ok(x.matmul(&acting.t()?)?)
    }

    fn shown(&self) -> Result<Shown> {
        Ok(Shown {
            weight: array(&self.weight)?,
            a: array(&self.a)?,
            b: array(&self.b)?,
            gradients: None,
        })
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
            ..LayerView::new(weight, self.a.view(), self.b.view(), SCALING as f32)
        }
    }
}

/// Trains with noise of this sigma, or without any: the layers at the end as arrays, and the
/// first and the last loss.
fn train(sigma: Option<f64>) -> Result<(Vec<Shown>, [f32; 2])> {
    let layers = [LoraLinear::new(16, 4, 1)?, LoraLinear::new(2, 16, 2)?];
    let x = tensor(Array2::from_shape_fn((8, 4), |(t, j)| {
        ((3 * t + 5 * j + t * j) as f32).cos()
    }))?;
    let target = (x.narrow(1, 0, 2)? * x.narrow(1, 1, 2)?)?;
    let mut ggpo = sigma
        .map(|sigma| {
            let config = GgpoConfig {
                sigma,
                ..GgpoConfig::default()
            };
            Ggpo::new(config, 42, STEPS)
        })
        .transpose()?;
    let trained = layers.iter().flat_map(|it| [it.a.clone(), it.b.clone()]);
    let parameters = ParamsAdamW {
        lr: 0.01,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(trained.collect(), parameters)?;

    let mut shown: Vec<Shown> = layers
        .iter()
        .map(LoraLinear::shown)
        .collect::<Result<_>>()?;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        if let Some(ggpo) = &mut ggpo {
            ggpo.begin_step(step, &shown.iter().map(Shown::view).collect::<Vec<_>>());
        }
        let h = layers[0].forward(&x, ggpo.as_ref(), 0)?.tanh()?;
        let y = layers[1].forward(&h, ggpo.as_ref(), 1)?;
        let loss = (y - &target)?.sqr()?.mean_all()?;
        losses.push(loss.to_scalar()?);

        let gradients = loss.backward()?;
        optimizer.step(&gradients)?;
        for (layer, shown) in layers.iter().zip(&mut shown) {
            let gradient = |var: &Var| array(gradients.get(var).context("it is trained")?);
            shown.gradients = Some([gradient(&layer.a)?, gradient(&layer.b)?]);
            (shown.a, shown.b) = (array(&layer.a)?, array(&layer.b)?);
        }
    }
    // The frozen weights as candle has them now.
    for (layer, shown) in layers.iter().zip(&mut shown) {
        shown.weight = array(&layer.weight)?;
    }
    Ok((shown, [losses[0], losses[losses.len() - 1]]))
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|x| x.to_bits()).collect()
}

/// Trains with noise and without, and checks what must hold.
fn main() -> Result<()> {
    let (noisy, [first, last]) = train(Some(0.03))?;
    println!("loss with noise: {first:.4} to {last:.4}");
    ensure!(last < first / 2.0, "it does not learn");

    let start = [wave(16, 4, 1), wave(2, 16, 2)];
    let (plain, silent) = (train(None)?.0, train(Some(0.0))?.0);
    for index in 0..2 {
        let (noisy, plain, silent) = (&noisy[index], &plain[index], &silent[index]);
        let same = |x: &Array2<f32>, y: &Array2<f32>| bits(x) == bits(y);
        ensure!(
            same(&noisy.weight, &start[index]),
            "a frozen weight changed"
        );
        ensure!(same(&plain.a, &silent.a), "sigma 0 is not plain LoRA in A");
        ensure!(same(&plain.b, &silent.b), "sigma 0 is not plain LoRA in B");
        ensure!(!same(&plain.b, &noisy.b), "the noise does not act");
    }
    println!("frozen weights have the same bits, and sigma 0 is plain LoRA");
    Ok(())
}
