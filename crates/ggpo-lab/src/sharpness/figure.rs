//! A landscape as figures: the curves, and the surface as a map.

use ggpo_report::{
    Axis, CurvePanel, CurvePlot, CurvePoint, Figure, HeatMap, HeatScale, Plot, Series,
};

use super::landscape::{Landscape, Surface};
use super::settings::Space;

/// The figures of a landscape: `curves`, and `surface` where there is one.
pub fn figures(landscape: &Landscape) -> Vec<Figure> {
    let surface = landscape.surface.as_ref();
    let surface = surface.map(|surface| surface_map(landscape, surface));
    std::iter::once(curves(landscape)).chain(surface).collect()
}

fn curves(landscape: &Landscape) -> Figure {
    let points = |losses: &[Option<f64>]| {
        let places = landscape.steps.iter().zip(losses);
        // What is not finite is counted below the plot.
        let points = places.map(|(&x, loss)| CurvePoint::new(x, loss.unwrap_or(f64::NAN)));
        points.collect()
    };
    let series = landscape.curves.iter().enumerate();
    let series = series.map(|(index, curve)| {
        Series::new(format!("direction {}", index + 1), points(&curve.losses))
    });
    Figure {
        id: "curves".to_owned(),
        title: format!("Loss over the {}", name(landscape)),
        description: format!(
            "The mean loss along random directions whose rows are as long as those of the {}: \
             at 1 every row has moved by its own length. The model is in the middle.",
            name(landscape)
        ),
        plot: Plot::Curves(CurvePlot {
            panels: vec![CurvePanel {
                x: Axis::linear("step along the direction"),
                y: Axis::linear("loss"),
                series: series.collect(),
                ..CurvePanel::default()
            }],
            ..CurvePlot::default()
        }),
    }
}

fn surface_map(landscape: &Landscape, surface: &Surface) -> Figure {
    let names: Vec<String> = surface.steps.iter().copied().map(step).collect();
    // The second direction points up.
    let rows = names.iter().rev().cloned().collect();
    Figure {
        id: "surface".to_owned(),
        title: format!("Loss over two directions of the {}", name(landscape)),
        description: "The mean loss over steps along two of the directions, the model in the \
                      middle; dark is high."
            .to_owned(),
        plot: Plot::Heat(HeatMap {
            rows_title: "step along the second direction".to_owned(),
            rows,
            columns_title: "step along the first".to_owned(),
            columns: names,
            values: surface.losses.iter().rev().cloned().collect(),
            decimals: 2,
            scale: HeatScale::Sequential,
        }),
    }
}

fn name(landscape: &Landscape) -> &'static str {
    match landscape.config.space {
        Space::Merged => "merged weights",
        Space::Factors => "factors",
    }
}

/// A step in words; 0 has no sign.
fn step(x: f64) -> String {
    let rounded = (1000.0 * x).round() / 1000.0;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}
