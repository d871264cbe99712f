//! Listings that are run, quotations that are true, exercises with answers.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{chapters, read, root};

/// The words after the opening marks of a text's code blocks.
fn kinds(text: &str) -> Vec<&str> {
    let fences: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("```"))
        .collect();
    assert!(fences.len().is_multiple_of(2), "a block is not closed");
    fences.into_iter().step_by(2).collect()
}

/// A listing in Rust is run; `sh` and `console` are held by a test of the program; `text`
/// is a formula or a diagram. Attributes such as `ignore` would keep a listing from running,
/// and most of them from sharing one program with the others.
#[test]
fn every_listing_is_tested() {
    for (file, text) in chapters() {
        for kind in kinds(&text) {
            let known = ["rust", "sh", "console", "text"].contains(&kind);
            assert!(known, "{file}: a block of kind {kind:?}");
        }
    }
}

#[test]
fn every_chapter_has_listings_and_exercises_with_answers() {
    for (file, text) in &chapters()[1..] {
        let (body, exercises) = text
            .split_once("\n## Exercises\n")
            .unwrap_or_else(|| panic!("{file} has no exercises"));
        assert!(kinds(body).contains(&"rust"), "{file} has no listing");
        assert!(
            !exercises.contains("\n## "),
            "{file} ends with its exercises"
        );
        let (questions, answers) = exercises
            .split_once("<details><summary>Answers</summary>")
            .unwrap_or_else(|| panic!("{file} has no answers"));
        let count = (1..9)
            .take_while(|number| questions.contains(&format!("\n{number}. ")))
            .count();
        assert!((2..=3).contains(&count), "{file}: {count} exercises");
        assert!(kinds(answers).contains(&"rust"), "{file}: answers are run");
        for number in 1..=count {
            let answer = format!("// {number}. ");
            assert!(answers.contains(&answer), "{file}: answer {number}");
        }
    }
}

/// What stands between a comment that names a file and one that ends it is in that file,
/// line by line.
#[test]
fn quotations_are_in_their_files() {
    let quotation = Regex::new(r"(?s)<!-- ([a-z0-9_./-]+) -->\n(.*?)<!-- end -->").unwrap();
    let mut count = 0;
    for (file, text) in chapters() {
        for found in quotation.captures_iter(&text) {
            let (_, [path, lines]) = found.extract();
            let source = read(path);
            let known: BTreeSet<&str> = source.lines().collect();
            for line in lines.lines() {
                assert!(known.contains(line), "{file}: not in {path}: {line}");
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} lines are quoted");
}

/// The chapter on the laws names every test of them, and no other.
#[test]
fn every_law_names_its_tests() {
    let name = Regex::new(r"\b(?:law|toy)_[a-z0-9_]+").unwrap();
    let test = Regex::new(r"fn ((?:law|toy)_[a-z0-9_]+)\(").unwrap();
    let folder = root().join("crates/ggpo-lora/tests/it/theory");
    let mut tests = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        tests.extend(test.captures_iter(&text).map(|it| it[1].to_owned()));
    }
    let chapter = read("docs/book/src/laws.md");
    let named: BTreeSet<String> = name
        .find_iter(&chapter)
        .map(|it| it.as_str().to_owned())
        .collect();
    assert!(tests.len() > 20);
    assert_eq!(named, tests);
}
