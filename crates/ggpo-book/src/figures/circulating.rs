//! The deviation of the noise by the paper and by a form in circulation.

use ggpo_lora::{Ggpo, GgpoConfig, GgpoForm, LayerView, Perturbation};
use ggpo_report::{Axis, CurvePanel, CurvePlot, Figure, Plot};
use ndarray::Array2;

use super::{curve, normal_matrix};

const M: usize = 64;
const N: usize = 256;

/// One point for each row of a layer of 64 x 256 at the start of training, whose rows
/// have the norms 0.5 to 2.
pub(super) fn figure() -> Figure {
    let norm = |i: usize| 0.5 * 4.0_f64.powf(i as f64 / (M - 1) as f64);
    let mut weight = normal_matrix(0, M, N);
    for (i, mut row) in weight.outer_iter_mut().enumerate() {
        let factor = norm(i) / row.dot(&row).sqrt();
        row *= factor;
    }
    let (a, b) = (normal_matrix(1, 4, N), Array2::zeros((M, 4)));
    let deviations = |label: &str, form: GgpoForm| {
        let config = GgpoConfig {
            form,
            ..GgpoConfig::default()
        };
        let mut ggpo = Ggpo::new(config, 0, 1).expect("the defaults are valid");
        let layer = LayerView::new(weight.view().into(), a.view(), b.view(), 2.0);
        ggpo.begin_step(0, &vec![layer]);
        let points: Vec<(f64, f64)> = (0..M).map(|i| (norm(i), ggpo.row_std(0)[i])).collect();
        curve(label, points.into_iter().step_by(7))
    };
    let panel = CurvePanel {
        x: Axis::linear("norm of the row"),
        y: Axis::linear("deviation of one element of its noise"),
        series: vec![
            deviations("the paper", GgpoForm::Paper),
            deviations("kohya-ss/sd-scripts", GgpoForm::SdScripts),
        ],
        ..CurvePanel::default()
    };
    Figure {
        id: "circulating-form".to_owned(),
        title: "Deviation of the noise over the norm of its row".to_owned(),
        description: "A layer of 64 outputs and 256 inputs at the start of training, sigma 0.03. \
                      By the paper the deviation is in proportion to the norm; in the other form \
                      it is the same for all rows, and too large as the layer has fewer outputs \
                      than inputs."
            .to_owned(),
        plot: Plot::Curves(CurvePlot {
            panels: vec![panel],
            ..CurvePlot::default()
        }),
    }
}
