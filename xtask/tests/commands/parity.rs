//! The comparison with values calculated elsewhere.

use std::path::Path;

use ggpo_tensor::simd::{Level, VARIABLE};

use super::{Place, REFERENCE, errors};

#[test]
fn parity_holds_the_fixtures_against_the_reference_at_every_level() {
    let place = Place(tempfile::tempdir().unwrap());
    let mut rows = 0;
    for level in Level::available() {
        let mut command = place.command(&["parity", REFERENCE]);
        let output = command.env(VARIABLE, level.name()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = format!("{level}: {text}{}", errors(&output));
        assert_eq!(output.status.code(), Some(0), "{said}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("all ") && last.ends_with(" quantities within tolerance"));
        let is_row = |line: &&str| line.starts_with("  ") && !line.contains("tolerance");
        rows = text.lines().filter(is_row).count();
        assert!(last.contains(&format!(" {rows} ")), "{said}");
    }

    let output = place.run(&["parity", REFERENCE, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), rows);
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["relative"].as_f64() <= row["tolerance"].as_f64());
    }
}

#[test]
fn parity_exits_with_1_for_one_changed_number() {
    let place = Place(tempfile::tempdir().unwrap());
    for file in [
        "model/config.json",
        "model/model.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "case.safetensors",
    ] {
        let (from, to) = (Path::new(REFERENCE).join("bert"), place.path("copy/bert"));
        std::fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let case = place.path("copy/bert/case.safetensors");
    let mut bytes = std::fs::read(&case).unwrap();
    let last = bytes.last_chunk_mut::<4>().unwrap();
    *last = (f32::from_le_bytes(*last) + 1.0).to_le_bytes();
    std::fs::write(&case, bytes).unwrap();
    let output = place.run(&["parity", "copy"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("EXCEEDS").count(), 1, "{text}");
    assert!(
        text.ends_with("1 of 18 quantities exceed their tolerance\n"),
        "{text}"
    );

    std::fs::remove_file(place.path("copy/bert/adapter/adapter_config.json")).unwrap();
    let output = place.run(&["parity", "copy"]);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(text.starts_with("error: ") && text.contains("adapter_config.json"));
}
