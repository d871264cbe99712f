//! A landscape as an SVG: the curves, and beside them the surface.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::landscape::{Landscape, Surface};
use super::settings::Space;

/// Height of a panel, and width of each, in pixels.
const PANEL: (u32, u32) = (460, 380);
/// Lines that can be told apart without seeing red or green (Okabe and Ito).
const LINES: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(170, 68, 153),
    RGBColor(184, 134, 11),
];
/// From the lowest to the highest loss of a surface: dark to light.
const HEIGHTS: [RGBColor; 4] = [
    RGBColor(33, 24, 84),
    RGBColor(38, 110, 142),
    RGBColor(96, 190, 130),
    RGBColor(250, 235, 150),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The figure of a landscape, as SVG.
pub fn figure(landscape: &Landscape) -> String {
    let mut svg = String::new();
    let panels = 1 + u32::from(landscape.surface.is_some());
    {
        let size = (panels * PANEL.0, PANEL.1);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area, landscape).expect("a drawing in memory is not refused");
    }
    svg
}

fn draw(area: &Area<'_>, landscape: &Landscape) -> Drawn {
    area.fill(&WHITE)?;
    match &landscape.surface {
        None => curves(area, landscape)?,
        Some(surface) => {
            let (left, right) = area.split_horizontally(PANEL.0);
            curves(&left, landscape)?;
            draw_surface(&right, landscape, surface)?;
        }
    }
    Ok(area.present()?)
}

fn curves(area: &Area<'_>, landscape: &Landscape) -> Drawn {
    let all = landscape.curves.iter().flat_map(|curve| &curve.losses);
    let (low, high) = range(all.copied().flatten());
    let reach = landscape.config.reach;
    let space = match landscape.config.space {
        Space::Merged => "merged weights",
        Space::Factors => "factors",
    };
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .caption(format!("Loss over {space}"), ("sans-serif", 16))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(-reach..reach, low..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| mark(*x))
        .x_desc("Step (1: every row moves by its length)")
        .draw()?;
    for (curve, color) in landscape.curves.iter().zip(LINES.iter().cycle()) {
        let places = landscape.steps.iter().zip(&curve.losses);
        let places: Vec<_> = places.map(|(&x, &loss)| (x, loss)).collect();
        // A line ends where the loss is not finite.
        for part in places.split(|(_, loss)| loss.is_none()) {
            let part = part.iter().filter_map(|&(x, loss)| Some((x, loss?)));
            chart.draw_series(LineSeries::new(part, color.stroke_width(2)))?;
        }
    }
    Ok(())
}

fn draw_surface(area: &Area<'_>, landscape: &Landscape, surface: &Surface) -> Drawn {
    let (low, high) = range(surface.losses.iter().flatten().copied().flatten());
    let half = landscape.config.reach / (surface.steps.len() - 1) as f64;
    let end = landscape.config.reach + half;
    let caption = format!("Loss from {low:.3} (dark) to {high:.3} (light)");
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .caption(caption, ("sans-serif", 16))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(-end..end, -end..end)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_label_formatter(&|x| mark(*x))
        .y_label_formatter(&|y| mark(*y))
        .x_desc("Step along the first direction")
        .y_desc("Along the second")
        .draw()?;
    let rows = surface.steps.iter().zip(&surface.losses);
    let cells = rows.flat_map(|(&y, row)| {
        let row = surface.steps.iter().zip(row);
        row.filter_map(move |(&x, &loss)| {
            let color = shade((loss? - low) / (high - low));
            let corners = [(x - half, y - half), (x + half, y + half)];
            Some(Rectangle::new(corners, color.filled()))
        })
    });
    chart.draw_series(cells)?;
    let middle = Circle::new((0.0, 0.0), 4, WHITE.stroke_width(2));
    chart.draw_series(std::iter::once(middle))?;
    Ok(())
}

/// A step in words; 0 has no sign.
fn mark(step: f64) -> String {
    let rounded = (1000.0 * step).round() / 1000.0;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// The smallest and the largest number, apart from each other.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(ends, |(low, high), x| (low.min(x), high.max(x)));
    let margin = 1e-6 * low.abs().max(1e-6);
    match low <= high {
        true => (low - margin, high + margin),
        false => (0.0, 1.0),
    }
}

/// The colour of a height from 0 to 1.
fn shade(height: f64) -> RGBColor {
    let place = height.clamp(0.0, 1.0) * (HEIGHTS.len() - 1) as f64;
    let below = (place as usize).min(HEIGHTS.len() - 2);
    let share = place - below as f64;
    let (from, to) = (HEIGHTS[below], HEIGHTS[below + 1]);
    let mix = |from: u8, to: u8| {
        let mixed = f64::from(from) + share * (f64::from(to) - f64::from(from));
        mixed.round() as u8
    };
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}
