//! Every promise of `SECURITY.md` names tests that are there.

use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file is what a test's name calls its module: by its own name, or by that of
/// the folder whose tests it holds.
fn is_module(path: &Path, module: &str) -> bool {
    let stem = path.file_stem().unwrap();
    let folder = path.parent().and_then(Path::file_name);
    stem == module || ((stem == "tests" || stem == "mod") && folder.is_some_and(|it| it == module))
}

#[test]
fn promises_name_tests_that_are_there() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).unwrap();
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        sources(&Path::new(ROOT).join(folder), &mut files);
    }
    let mut tests = 0;
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let names = line.split('`').skip(1).step_by(2);
        let names: Vec<(&str, &str)> = names.filter_map(|name| name.split_once("::")).collect();
        let is_head = line.contains("| Tests |");
        assert!(
            is_head || !names.is_empty(),
            "a promise without a test: {line}"
        );
        for (module, test) in names {
            let mut of_module = files.iter().filter(|path| is_module(path, module));
            let there = of_module.any(|path| {
                let source = std::fs::read_to_string(path).unwrap();
                source.contains(&format!("#[test]\nfn {test}("))
                    || source.contains(&format!("#[test]\n    fn {test}("))
                    || source.contains(&format!("        fn {test}("))
            });
            assert!(there, "{module}::{test} of SECURITY.md is nowhere");
            tests += 1;
        }
        // Of the fuzz targets, those named have a program.
        if let Some(targets) = line.trim_end_matches(" |").rsplit('|').next() {
            let names = targets.split('`').skip(1).step_by(2);
            for name in names.filter(|name| !name.contains("::")) {
                let program = format!("{ROOT}/fuzz/fuzz_targets/{name}.rs");
                assert!(Path::new(&program).is_file(), "{name}: no such target");
            }
        }
    }
    assert!(tests > 40, "{tests}");
}
