use super::*;
use crate::bench::Machine;
use crate::bench::goals::Bound;
use crate::bench::products::{Product, Products};
use crate::bench::rounds::{Probe, Spread};
use crate::bench::study::{GoalRow, NoisePoint, Verdict};

fn spread(median: f64, quiet: usize) -> Spread {
    Spread {
        median,
        low: median - 0.01,
        high: median + 0.01,
        quiet,
        of: 7,
    }
}

fn study() -> Study {
    let row = |what: &str, goal, outcome| GoalRow {
        what: what.to_owned(),
        goal,
        outcome,
    };
    let point = |batch, seq, median| NoisePoint {
        batch,
        seq,
        ratio: spread(median, 5),
    };
    let probe = |fastest| Probe {
        fastest,
        usual: fastest,
    };
    let product = |name: &str, serial, matrixmultiply| Product {
        name: name.to_owned(),
        serial,
        ours: 80.0,
        matrixmultiply,
    };
    Study {
        machine: Machine::this(),
        version: "0.1.0".to_owned(),
        sections: vec![Section {
            level: Level::Avx2,
            rows: vec![
                row(
                    "a",
                    Some(Bound::AtMost(0.65)),
                    Verdict::Times(spread(0.5, 5)),
                ),
                row(
                    "b",
                    Some(Bound::AtLeast(0.65)),
                    Verdict::Times(spread(0.5, 0)),
                ),
                row("c", None, Verdict::Memory(0.25)),
                row(
                    "d",
                    Some(Bound::AtLeast(1.0)),
                    Verdict::Product {
                        ratio: 0.8,
                        of: "p_v".to_owned(),
                        busy: true,
                    },
                ),
            ],
            noise: vec![point(1, 32, 1.4), point(4, 64, 1.1)],
            products: Some(Products {
                one_thread: [100.0, 90.0].map(probe),
                all_threads: [200.0, 200.0].map(probe),
                held_by: Some("X=avx2".to_owned()),
                products: vec![
                    product("p_v", true, Some(100.0)),
                    product("4x3x2/forward", false, None),
                ],
            }),
            groups: Vec::new(),
        }],
    }
}

#[test]
fn a_page_says_what_was_met_missed_and_measured_on_a_busy_machine() {
    let page = page(&study(), "cargo xtask bench", "speed");
    for line in [
        "## AVX2",
        "| a | at most 0.65 | 0.500 | 0.490 to 0.510 | 5 of 7 | met |",
        "| b | at least 0.65 | 0.500 | 0.490 to 0.510 | busy machine, 0 of 7 | **missed** |",
        "| c |  | 0.250 |  |  |  |",
        "| d | at least 1.00 | 0.800 (p_v) |  | busy machine | **missed** |",
        "| 256 | 4 x 64 | 1.100 | 1.090 to 1.110 | 5 of 7 |",
        "| p_v | 1 | 80.0 | 100.0 | 0.80 | 0.80 |",
        "| 4x3x2/forward | 2 | 80.0 |  |  | 0.40 |",
        "* `matrixmultiply` held to AVX2 by a setting of its tests, X=avx2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    assert!(page.contains("(speed-noise.svg)"), "{page}");
}

#[test]
fn the_figure_is_there_if_the_noise_was_measured() {
    let mut study = study();
    let svg = figure(&study).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("AVX2"), "{svg}");
    study.sections[0].noise.clear();
    assert_eq!(figure(&study), None);
    assert!(!page(&study, "c", "speed").contains(".svg"));
}

#[test]
fn a_study_is_read_back_as_it_was_written() {
    let study = study();
    let text = serde_json::to_string(&study).unwrap();
    assert!(text.contains("\"level\":\"avx2\""), "{text}");
    assert_eq!(serde_json::from_str::<Study>(&text).unwrap(), study);
}
