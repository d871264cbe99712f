//! The page of the methods, and what is said of each.

use std::path::PathBuf;

use ggpo_lora::MethodConfig;
use toml::Table;

use super::*;

#[test]
fn the_page_is_what_the_program_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/methods.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == markdown::page(),
        "docs/methods.md is stale: ggpo methods --markdown > docs/methods.md"
    );
}

#[test]
fn the_file_of_a_method_is_its_settings() {
    for method in METHODS {
        let details = Details::of(method);
        let table: Table = details.toml.parse().unwrap();
        let read: MethodConfig = table["method"].clone().try_into().unwrap();
        assert_eq!(read, method.config(), "{}", details.toml);
    }
}

#[test]
fn lines_fit_a_terminal() {
    let summaries: Vec<Summary> = METHODS.iter().map(Summary::of).collect();
    let details = METHODS
        .iter()
        .map(|method| text::details(&Details::of(method)));
    let all = [text::summaries(&summaries), text::pairs(&Pairs::all())];
    for text in details.chain(all) {
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn what_goes_together_is_asked_of_all_combinations() {
    let pairs = Pairs::all();
    // Every kind, and the four that a setting gives a name of its own.
    assert_eq!(pairs.perturbations.len(), 5 + 4);
    assert_eq!(pairs.combinations.len(), 4 * 4 * 9);
    for combination in &pairs.combinations {
        let is_defined = combination.acting_weight.is_some();
        assert_ne!(is_defined, combination.refused.is_some(), "{combination:?}");
    }
    let shown = text::pairs(&pairs);
    for reason in &pairs.reasons {
        let start = &reason[..reason.len().min(30)];
        assert!(shown.contains(start), "{start}");
    }
}
