//! Row norms of a gradient by equation 7 beside the exact ones.

use ggpo_lora::{LayerView, adapter_gradient_row_norms_squared};
use ggpo_report::{Axis, CurvePanel, CurvePlot, Figure, Plot};
use ggpo_tensor::random::{Purpose, Stream};
use ndarray::Array2;

use super::{cloud, curve, normal_matrix};

const M: usize = 64;
const N: usize = 48;
const RANK: usize = 8;
const SCALING: f64 = 2.0;
/// Size of an element of B once it has grown.
const GROWN: f64 = 0.1;

/// One mark for each row of a layer of 64 x 48 and rank 8. The elements of row i of G
/// are normal numbers times a factor that falls from 1 to 0.01 over the rows.
pub(super) fn figure() -> Figure {
    let mut gradient = normal_matrix(0, M, N);
    for (i, mut row) in gradient.outer_iter_mut().enumerate() {
        row *= 0.01_f64.powf(i as f64 / (M - 1) as f64);
    }
    let uniform = Stream::new(1, Purpose::Init, 0, 0);
    let bound = 1.0 / (N as f64).sqrt();
    let a = Array2::from_shape_fn((RANK, N), |(k, j)| {
        bound * (2.0 * uniform.uniform((k * N + j) as u64) - 1.0)
    });
    let panels = [
        ("at the start, B = 0", 0.0),
        ("B grown to elements of 0.1", GROWN),
    ]
    .map(|(title, size)| panel(title, &gradient, &a, size * normal_matrix(1, M, RANK)));
    Figure {
        id: "gradient-estimate".to_owned(),
        title: "Row norms of a gradient by equation 7 over the exact ones".to_owned(),
        description: "Each mark is a row of a layer of 64 x 48 and rank 8. At the start the \
                      estimate is in proportion to the exact norm but for chance. With B grown it \
                      mixes the rows, and rows with a small gradient get a large norm."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: panels.into(),
            columns: 2,
            shared_x: true,
            shared_y: true,
        }),
    }
}

fn panel(title: &str, gradient: &Array2<f64>, a: &Array2<f64>, b: Array2<f64>) -> CurvePanel {
    // dA = s B^T G and dB = s G A^T.
    let grad_a = SCALING * b.t().dot(gradient);
    let grad_b = SCALING * gradient.dot(&a.t());
    let weight = Array2::zeros((M, N));
    let layer = LayerView {
        grad_a: Some(grad_a.view()),
        grad_b: Some(grad_b.view()),
        ..LayerView::new(weight.view().into(), a.view(), b.view(), SCALING)
    };
    let estimates = adapter_gradient_row_norms_squared(&layer);
    let exact = gradient.outer_iter().map(|row| row.dot(&row).sqrt());
    let marks: Vec<(f64, f64)> = exact
        .zip(estimates)
        .map(|(exact, square)| (exact, square.sqrt()))
        .collect();
    let ends = [0.06, 8.0].map(|norm| (norm, norm));
    CurvePanel {
        title: title.to_owned(),
        x: Axis::log("exact"),
        y: Axis::log("by equation 7"),
        series: vec![cloud("a row", marks), curve("equal", ends)],
        references: Vec::new(),
    }
}
