//! Whatever values and words a page has, it is well-formed.

use ggpo_report::{
    Axis, Block, CurvePanel, CurvePlot, CurvePoint, Figure, HeatMap, HeatScale, Interval,
    IntervalPanel, IntervalPlot, IntervalRow, Page, Place, Plot, ReferenceLine, Series, Tone,
    VerdictLine,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Numbers of all sizes, and those that are none.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -10.0..10.0,
        Just(0.0),
        Just(-0.0),
        Just(5e-324),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z <&>\"']{0,60}", Just(String::new())]
}

fn axis() -> impl Strategy<Value = Axis> {
    (words(), any::<bool>(), vec(number(), 0..12)).prop_map(|(title, log, ticks)| {
        let axis = if log {
            Axis::log(title)
        } else {
            Axis::linear(title)
        };
        axis.with_ticks(ticks)
    })
}

fn interval() -> impl Strategy<Value = Interval> {
    (number(), number(), number()).prop_map(|(low, mean, high)| Interval { low, mean, high })
}

fn interval_plot() -> impl Strategy<Value = Plot> {
    let points = vec((number(), words()), 0..4);
    let row = (
        words(),
        points,
        option::of(interval()),
        words(),
        any::<bool>(),
    );
    let row = row.prop_map(|(label, points, estimate, number, emphasis)| IntervalRow {
        label,
        points,
        estimate,
        number,
        emphasis,
    });
    let margin = option::of((number(), number()));
    let panel = (
        words(),
        axis(),
        vec(row, 0..4),
        option::of(number()),
        margin,
    );
    let panel = panel.prop_map(|(title, axis, rows, reference, margin)| IntervalPanel {
        title,
        axis,
        rows,
        reference,
        margin,
    });
    let plot = (vec(panel, 0..3), any::<bool>(), 0..4_usize, any::<bool>());
    plot.prop_map(|(mut panels, alike, columns, shared_axis)| {
        if let (true, Some(first)) = (alike, panels.first().cloned()) {
            panels.fill(first);
        }
        Plot::Intervals(IntervalPlot {
            panels,
            columns,
            shared_axis,
        })
    })
}

fn curve_plot() -> impl Strategy<Value = Plot> {
    let point = (number(), number(), option::of((number(), number())));
    let point = point.prop_map(|(x, y, band)| CurvePoint { x, y, band });
    let series = (words(), vec(point, 0..40), vec((number(), number()), 0..4));
    let series = series.prop_map(|(label, points, cloud)| Series {
        label,
        points,
        cloud,
    });
    let place = prop_oneof![number().prop_map(Place::X), number().prop_map(Place::Y)];
    let reference = (place, words()).prop_map(|(at, label)| ReferenceLine { at, label });
    let panel = (
        words(),
        axis(),
        axis(),
        vec(series, 0..3),
        vec(reference, 0..3),
    );
    let panel = panel.prop_map(|(title, x, y, series, references)| CurvePanel {
        title,
        x,
        y,
        series,
        references,
    });
    let plot = (vec(panel, 0..4), 0..5_usize, any::<bool>(), any::<bool>());
    plot.prop_map(|(panels, columns, shared_x, shared_y)| {
        Plot::Curves(CurvePlot {
            panels,
            columns,
            shared_x,
            shared_y,
        })
    })
}

fn heat_map() -> impl Strategy<Value = Plot> {
    let scale = prop_oneof![
        Just(HeatScale::Sequential),
        number().prop_map(|centre| HeatScale::Diverging { centre })
    ];
    let names = || vec(words(), 0..4);
    let values = vec(vec(option::of(number()), 0..4), 0..4);
    let map = (
        words(),
        names(),
        words(),
        names(),
        values,
        0..4_usize,
        scale,
    );
    map.prop_map(
        |(rows_title, rows, columns_title, columns, values, decimals, scale)| {
            Plot::Heat(HeatMap {
                rows_title,
                rows,
                columns_title,
                columns,
                values,
                decimals,
                scale,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn figures_are_well_formed(
        plot in prop_oneof![interval_plot(), curve_plot(), heat_map()],
        (id, title, description) in (words(), words(), words()),
    ) {
        let svg = Figure { id, title, description, plot }.to_svg();
        let parsed = roxmltree::Document::parse(&svg).expect("well-formed");
        let numbers = ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"];
        for element in parsed.descendants() {
            for attribute in element.attributes().filter(|it| numbers.contains(&it.name())) {
                let value: f64 = attribute.value().parse().expect("a number");
                prop_assert!((-100.0..1e5).contains(&value), "{attribute:?}");
            }
        }
    }

    #[test]
    fn pages_are_well_formed(
        (title, text, code) in (words(), words(), words()),
        (interval, margin) in (option::of(interval()), option::of(number())),
    ) {
        let line = VerdictLine {
            claim: text.clone(),
            section: code.clone(),
            verdict: text.clone(),
            tone: Tone::Equivalent,
            number: text.clone(),
            interval,
            margin,
        };
        let lead = vec![Block::paragraph(text), Block::Code(code), Block::Verdicts(vec![line])];
        let page = Page { title, lead, sections: Vec::new() };
        page.to_markdown("figures");
        let html = page.to_html();
        // The only elements without an end are those in the head.
        let body = &html[html.find("<body>").expect("a body")..];
        let body = body.trim_end().trim_end_matches("</html>");
        roxmltree::Document::parse(body).expect("well-formed");
    }
}
