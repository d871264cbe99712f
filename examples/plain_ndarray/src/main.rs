//! A net of two layers on plain arrays, its backward pass by hand, and its adapters trained
//! with the noise of LoRA-GGPO. No tape and no model of this project is used.
//!
//! ```text
//! h = tanh(x (W1 + s B1 A1 + eps1)^T)        y = h (W2 + s B2 A2 + eps2)^T
//! ```

use ggpo_lora::{Ggpo, GgpoConfig, LayerView, LoraError, Perturbation};
use ndarray::Array2;

const SCALING: f32 = 2.0;
const RATE: f32 = 0.05;
const STEPS: u32 = 200;

/// One layer: its frozen weight, its adapter, and the adapter's gradients of the last step.
struct Layer {
    weight: Array2<f32>,
    a: Array2<f32>,
    b: Array2<f32>,
    gradients: Option<[Array2<f32>; 2]>,
}

impl Layer {
    fn new(outputs: usize, inputs: usize, seed: usize) -> Self {
        let wave = |shape, at: usize| {
            let element = |(i, j)| ((7 * i + 3 * j + i * j + at) as f32).sin() / 2.0;
            Array2::from_shape_fn(shape, element)
        };
        Layer {
            weight: wave((outputs, inputs), seed),
            a: wave((2, inputs), seed + 1),
            b: Array2::zeros((outputs, 2)),
            gradients: None,
        }
    }

    /// What the perturbation sees.
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

    /// `W + s B A + eps`, formed; noise or none.
    fn acting(&self, perturbation: Option<&Ggpo<f32>>, index: usize) -> Array2<f32> {
        let mut acting = &self.weight + &(SCALING * self.b.dot(&self.a));
        if let Some(noise) = perturbation.and_then(|it| it.noise(index, 0)) {
            noise.add_rows(0, acting.view_mut());
        }
        acting
    }

    /// `dA = s B^T G` and `dB = s G A^T`, then a step of descent.
    fn learn(&mut self, gradient: &Array2<f32>) {
        let grad_a = SCALING * self.b.t().dot(gradient);
        let grad_b = SCALING * gradient.dot(&self.a.t());
        self.a.scaled_add(-RATE, &grad_a);
        self.b.scaled_add(-RATE, &grad_b);
        self.gradients = Some([grad_a, grad_b]);
    }
}

/// Trains with noise of this sigma, or without any; the layers, first and last loss.
fn train(sigma: Option<f64>) -> Result<([Layer; 2], [f32; 2]), LoraError> {
    let mut layers = [Layer::new(6, 4, 1), Layer::new(2, 6, 2)];
    let x = Array2::from_shape_fn((8, 4), |(t, j)| ((3 * t + 5 * j + t * j) as f32).cos());
    let target = Array2::from_shape_fn((8, 2), |(t, o)| x[[t, o]] * x[[t, o + 1]]);
    let config = |sigma| GgpoConfig {
        sigma,
        ..GgpoConfig::default()
    };
    let perturbation = sigma.map(|sigma| Ggpo::new(config(sigma), 42, STEPS));
    let mut perturbation = perturbation.transpose()?;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        if let Some(ggpo) = &mut perturbation {
            ggpo.begin_step(step, &layers.iter().map(Layer::view).collect::<Vec<_>>());
        }
        let [w1, w2] = [0, 1].map(|index| layers[index].acting(perturbation.as_ref(), index));

        let h = x.dot(&w1.t()).mapv(f32::tanh);
        let dy = (h.dot(&w2.t()) - &target) / 8.0;
        losses.push(4.0 * dy.mapv(|d| d * d).sum());

        let dh = dy.dot(&w2) * h.mapv(|h| 1.0 - h * h);
        layers[0].learn(&dh.t().dot(&x));
        layers[1].learn(&dy.t().dot(&h));
    }
    Ok((layers, [losses[0], losses[losses.len() - 1]]))
}

fn bits(matrix: &Array2<f32>) -> Vec<u32> {
    matrix.iter().map(|x| x.to_bits()).collect()
}

/// Trains with noise and without, and checks what must hold.
fn main() -> Result<(), LoraError> {
    let (layers, [first, last]) = train(Some(0.03))?;
    println!("loss with noise: {first:.4} to {last:.4}");
    assert!(last < first / 2.0, "it learns");

    let start = [Layer::new(6, 4, 1), Layer::new(2, 6, 2)];
    for (layer, start) in layers.iter().zip(&start) {
        assert_eq!(bits(&layer.weight), bits(&start.weight), "frozen weights");
    }

    let ([plain, _], [silent, _]) = (train(None)?.0, train(Some(0.0))?.0);
    assert_eq!(bits(&plain.a), bits(&silent.a), "sigma 0 is plain LoRA");
    assert_eq!(bits(&plain.b), bits(&silent.b), "sigma 0 is plain LoRA");
    assert_ne!(bits(&plain.b), bits(&layers[0].b), "the noise acts");
    println!("frozen weights have the same bits, and sigma 0 is plain LoRA");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().unwrap();
    }
}
