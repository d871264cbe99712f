//! Writes a page with every kind of block and figure, and with their edge cases, to a
//! folder: `cargo run -p ggpo-report --example gallery -- FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

use ggpo_report::format::{fixed, p_value, signed};
use ggpo_report::*;

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("gallery"), PathBuf::from);
    let page = page();
    fs::create_dir_all(folder.join("figures"))?;
    fs::write(folder.join("gallery.html"), page.to_html())?;
    fs::write(folder.join("gallery.md"), page.to_markdown("figures"))?;
    for figure in page.figures() {
        fs::write(
            folder.join("figures").join(figure.file_name()),
            figure.to_svg(),
        )?;
    }
    fs::write(folder.join("scores.csv"), scores().to_csv())
}

fn page() -> Page {
    let words = Text::new("Words with ")
        .strong("emphasis")
        .plain(", ")
        .code("code --with <marks>")
        .plain(" and ")
        .link("a link", "#curves")
        .plain("; a < b & c | d.");
    let mut blocks = Section::new(
        "blocks",
        "Tables and text",
        vec![
            Block::List(vec!["One point.".into(), Text::new("Another with ").code("code").plain(".")]),
            Block::Table(scores()),
            Block::Code("measure --seeds 5 \\\n  --out folder/of/a/rather/long/name/that/scrolls/in/its/box/on/a/phone".to_owned()),
            Block::Details {
                summary: "Folded: the wide table".to_owned(),
                blocks: vec![Block::Table(wide()), Block::paragraph("And words after it.")],
            },
        ],
    );
    blocks.subsections = vec![Section::new(
        "inner",
        "A section within",
        vec![Block::paragraph(words.clone())],
    )];
    Page {
        title: "A page of everything there is".to_owned(),
        lead: vec![Block::Paragraph(words), Block::Verdicts(verdicts())],
        sections: vec![
            blocks,
            Section::new("intervals", "Intervals", figures(intervals())),
            Section::new("curves", "Curves", figures(curves())),
            Section::new("heat", "Heat maps", figures(heat_maps())),
        ],
    }
}

fn figures(plots: Vec<(&str, Plot)>) -> Vec<Block> {
    let figure = |(title, plot): (&str, Plot)| {
        Block::Figure(Figure {
            id: title.to_lowercase(),
            title: title.replace('-', ": "),
            description: "What there is to see, in a sentence or two that also stand for the \
                          picture where it cannot be seen."
                .to_owned(),
            plot,
        })
    };
    plots.into_iter().map(figure).collect()
}

fn verdicts() -> Vec<VerdictLine> {
    let line =
        |claim: &str, verdict: &str, tone, interval: Option<(f64, f64, f64)>, margin| VerdictLine {
            claim: claim.to_owned(),
            section: "intervals".to_owned(),
            verdict: verdict.to_owned(),
            tone,
            number: interval.map_or("3 of 12 runs".to_owned(), |it| {
                format!("{} points, {}", signed(it.1, 2), p_value(0.012))
            }),
            interval: interval.map(|(low, mean, high)| Interval::new(low, mean, high)),
            margin,
        };
    vec![
        line(
            "The new method is better than the old one at every rank",
            "Supported",
            Tone::Supported,
            Some((0.6, 1.1, 1.7)),
            Some(0.5),
        ),
        line(
            "Perturbation helps without decay",
            "Contradicted",
            Tone::Contradicted,
            Some((-4e-6, -3e-6, -1e-6)),
            None,
        ),
        line(
            "The cheap estimate is as good as the exact norm",
            "Equivalent",
            Tone::Equivalent,
            Some((-0.1, 0.05, 0.2)),
            Some(0.5),
        ),
        line(
            "The loss is flatter",
            "Undecided",
            Tone::Undecided,
            Some((-300.0, 200.0, 1400.0)),
            Some(100.0),
        ),
        line(
            "Scores of a model with billions of weights are reached",
            "Not testable",
            Tone::NotTestable,
            None,
            None,
        ),
        line(
            "All values are equal",
            "Undecided",
            Tone::Undecided,
            Some((0.0, 0.0, 0.0)),
            Some(0.0),
        ),
    ]
}

fn scores() -> Table {
    let columns = vec![
        Column::words("Method"),
        Column::numbers("Rank"),
        Column::numbers("Score"),
        Column::words("Note"),
    ];
    let mut table = Table::new("Scores on the test part", columns);
    for (method, rank, score) in [
        ("LoRA", 8.0, -0.8123456),
        ("GGPO", 16.0, 0.91),
        ("full", f64::NAN, 1.0 / 3.0),
    ] {
        let note = Text::new("of ").code("a|b");
        table.row([
            method.into(),
            Cell::number(rank, fixed(rank, 0)),
            Cell::number(score, fixed(score, 3)),
            Cell::from(note),
        ]);
    }
    table
}

fn wide() -> Table {
    let columns = (0..14).map(|column| Column::numbers(format!("Column {column}")));
    let mut table = Table::new("A wide table scrolls in its box", columns.collect());
    for row in 0..3 {
        table.row((0..14).map(|column| fixed(f64::from(row * column) * 1.25 - 3.0, 2)));
    }
    table
}

/// Numbers that look like chance, the same each time.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as f64 * 12.9898).sin() * 43_758.545;
    mixed - mixed.floor() - 0.5
}

fn row(label: &str, mean: f64, width: f64, seeds: usize) -> IntervalRow {
    let values = (0..seeds).map(|seed| {
        (
            mean + 2.0 * width * noise(seed + label.len()),
            format!("seed {seed}"),
        )
    });
    IntervalRow {
        label: label.to_owned(),
        points: values.collect(),
        estimate: Some(Interval::new(mean - width, mean, mean + width)),
        number: match seeds {
            0 => signed(mean, 2),
            _ => format!(
                "{} [{},\u{a0}{}]",
                signed(mean, 2),
                fixed(mean - width, 2),
                fixed(mean + width, 2)
            ),
        },
        emphasis: label == "GGPO",
    }
}

fn intervals() -> Vec<(&'static str, Plot)> {
    let panel = |title: &str, shift: f64, seeds| IntervalPanel {
        title: title.to_owned(),
        axis: Axis::linear("Difference from LoRA, in points of accuracy"),
        rows: vec![
            row("GGPO", 0.9 + shift, 0.3, seeds),
            row(
                "Random directions of the same norm, without the gradient",
                0.1 + shift,
                0.4,
                seeds,
            ),
            row("Flat-LoRA", -0.4 + shift, 0.5, seeds),
        ],
        reference: Some(0.0),
        margin: Some((-0.3, 0.3)),
    };
    let plot = |panels: Vec<IntervalPanel>, columns, shared_axis| {
        Plot::Intervals(IntervalPlot {
            panels,
            columns,
            shared_axis,
        })
    };
    let mut odd = panel("Odd values", 0.0, 2);
    odd.axis = Axis::log("Ratio (logarithmic)");
    odd.reference = Some(1.0);
    odd.rows = vec![
        row("GGPO", 3.0, 2.5, 7),
        row("not finite", f64::NAN, 1.0, 2),
        IntervalRow {
            estimate: Some(Interval::point(2e-3)),
            ..row("no interval", 1.0, 0.0, 0)
        },
        IntervalRow {
            label: "nothing".to_owned(),
            ..IntervalRow::default()
        },
        IntervalRow {
            label: "Averyverylongwordthatdoesnotfitanywhereatallandiscut".to_owned(),
            ..row("x", 0.2, 0.1, 12)
        },
    ];
    vec![
        ("Intervals-one", plot(vec![panel("", 0.0, 5)], 1, false)),
        (
            "Intervals-side",
            plot(
                vec![
                    panel("Task one", 0.0, 5),
                    panel("Task two, with a long title", 8.0, 3),
                ],
                2,
                false,
            ),
        ),
        (
            "Intervals-below",
            plot(
                vec![panel("First", 0.0, 0), panel("Second, same axis", 0.5, 0)],
                1,
                true,
            ),
        ),
        (
            "Intervals-odd",
            plot(vec![odd, IntervalPanel::default()], 1, false),
        ),
    ]
}

fn course(label: &str, end: f64, points: usize) -> Series {
    let point = |index: usize| {
        let x = index as f64 + 1.0;
        let y = end + 2.0 / x.sqrt() + 0.05 * noise(index + label.len());
        CurvePoint::in_band(x, y, y - 0.15, y + 0.15)
    };
    Series::new(label, (0..points).map(point).collect())
}

fn ranks(label: &str, end: f64) -> Series {
    let ranks = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
    let points = ranks.map(|rank: f64| CurvePoint::new(rank, end - 0.5 / rank));
    let cloud = ranks.iter().flat_map(|&rank| {
        (0..4).map(move |seed| (rank, end - 0.5 / rank + 0.1 * noise(seed + rank as usize)))
    });
    Series {
        cloud: cloud.collect(),
        ..Series::new(label, points.to_vec())
    }
}

fn reference(at: Place, label: &str) -> ReferenceLine {
    let label = label.to_owned();
    ReferenceLine { at, label }
}

fn curves() -> Vec<(&'static str, Plot)> {
    let plot = |panels, columns, shared| {
        Plot::Curves(CurvePlot {
            panels,
            columns,
            shared_x: shared,
            shared_y: shared,
        })
    };
    let names = [
        "LoRA",
        "GGPO",
        "Flat-LoRA",
        "random directions",
        "DoRA",
        "AdaLoRA",
        "full",
        "a ninth",
        "a tenth",
    ];
    let loss = CurvePanel {
        title: String::new(),
        x: Axis::linear("Step"),
        y: Axis::linear("Training loss (nats)"),
        series: names[..4]
            .iter()
            .zip([1.0, 0.8, 0.9, 1.3])
            .map(|(name, end)| course(name, end, 100))
            .collect(),
        references: vec![
            reference(Place::Y(0.7), "best of the grid"),
            reference(Place::Y(0.72), "entropy of the labels"),
            reference(Place::X(10.0), "end of warm-up"),
            reference(Place::X(80.0), "second epoch"),
        ],
    };
    let by_rank = |title: &str, shift: f64| CurvePanel {
        title: title.to_owned(),
        x: Axis::log("Rank").with_ticks((0..10).map(|power| f64::from(1 << power))),
        y: Axis::linear("Accuracy"),
        series: vec![ranks("LoRA", 0.5 + shift), ranks("GGPO", 0.8 + shift)],
        references: Vec::new(),
    };
    let many = CurvePanel {
        x: Axis::linear("Step"),
        y: Axis::log("Norm (logarithmic)"),
        series: names
            .iter()
            .enumerate()
            .map(|(index, name)| course(name, 4.0_f64.powi(index as i32) / 8.0, 8))
            .collect(),
        ..CurvePanel::default()
    };
    let single = |title: &str, points: &[(f64, f64)]| CurvePanel {
        title: title.to_owned(),
        x: Axis::linear("x"),
        y: Axis::linear("y"),
        series: vec![Series::new(
            "values",
            points.iter().map(|&(x, y)| CurvePoint::new(x, y)).collect(),
        )],
        references: Vec::new(),
    };
    vec![
        ("Curves-loss", plot(vec![loss], 1, false)),
        ("Curves-rank", plot(vec![by_rank("", 0.0)], 1, false)),
        (
            "Curves-grid",
            plot(
                (1..=4)
                    .map(|task| by_rank(&format!("Task {task}"), 0.1 * f64::from(task)))
                    .collect(),
                2,
                true,
            ),
        ),
        ("Curves-many", plot(vec![many], 1, false)),
        (
            "Curves-odd",
            plot(
                vec![
                    single("One point", &[(3.0, -2.0)]),
                    single("All equal", &[(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)]),
                    single(
                        "With a gap",
                        &[
                            (1.0, 5.0),
                            (2.0, 6.0),
                            (3.0, f64::NAN),
                            (4.0, f64::INFINITY),
                            (5.0, 5.0),
                            (6.0, 4.0),
                        ],
                    ),
                    single("Huge", &[(-1e200, -1e299), (0.0, 1e299), (1e200, 5e298)]),
                    single("Far from zero", &[(1e9, 1e-9), (1e9 + 4.0, 2e-9)]),
                    single("Empty", &[]),
                ],
                3,
                false,
            ),
        ),
    ]
}

fn heat_maps() -> Vec<(&'static str, Plot)> {
    let map = |rows: usize, columns: usize, head: &str, scale| {
        let value = |row: usize, column: usize| {
            (row * 3 + column != 4).then(|| 2.0 * noise(row * 31 + column))
        };
        Plot::Heat(HeatMap {
            rows_title: "learning rate".to_owned(),
            rows: (0..rows).map(|row| format!("{}e-4", row + 1)).collect(),
            columns_title: "rank".to_owned(),
            columns: (0..columns)
                .map(|column| format!("{head}{}", 1 << column))
                .collect(),
            values: (0..rows)
                .map(|row| (0..columns).map(|column| value(row, column)).collect())
                .collect(),
            decimals: 2,
            scale,
        })
    };
    let empty = HeatMap {
        rows_title: String::new(),
        rows: vec!["only".to_owned(), "infinite".to_owned()],
        columns_title: String::new(),
        columns: vec!["a column of many words".to_owned()],
        values: vec![vec![Some(1.0)], vec![Some(f64::INFINITY)]],
        decimals: 1,
        scale: HeatScale::Sequential,
    };
    vec![
        (
            "Heat-diverging",
            map(4, 6, "", HeatScale::Diverging { centre: 0.0 }),
        ),
        (
            "Heat-sequential",
            map(3, 12, "rank ", HeatScale::Sequential),
        ),
        (
            "Heat-rotated",
            map(3, 8, "dimension-", HeatScale::Diverging { centre: 0.5 }),
        ),
        ("Heat-odd", Plot::Heat(empty)),
    ]
}
