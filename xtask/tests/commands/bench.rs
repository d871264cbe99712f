//! Measurements.

use std::time::{Duration, Instant};

use ggpo_tensor::simd::Level;

use super::{Place, errors};

#[test]
fn bench_writes_what_the_goals_came_to() {
    let place = Place(tempfile::tempdir().unwrap());
    let level = Level::best();
    let arguments = [
        "bench",
        "--groups=tiny",
        "--steps=1",
        "--minutes=0.1",
        "--out=speed",
    ];
    let mut command = place.command(&arguments);
    let output = command.args(["--simd", level.name()]).output().unwrap();
    let said = errors(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "on a quiet machine, at most about 6 s",
        &format!("{level}, tiny: ggpo, ggpo, 2 threads; ggpo, lora, 2 threads, on 16 x 64"),
        "3 rounds to warm up, then 1 quiet ones",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(place.path("speed/speed.md")).unwrap();
    for part in [
        "| tiny: GGPO step / LoRA step |",
        "not measured: without --against torch",
        "| tiny | 16 x 64 | ggpo, ggpo, 2 threads |",
        "| backward | lora_linear | 14 |",
        &format!("`cargo xtask bench --simd {level} --groups tiny --steps 1 --minutes 0.1`"),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let study = std::fs::read(place.path("speed/speed.json")).unwrap();
    let study: serde_json::Value = serde_json::from_slice(&study).unwrap();
    let section = &study["sections"][0];
    assert_eq!(section["level"], level.name());
    assert_eq!(
        section["groups"][0]["processes"].as_array().unwrap().len(),
        2
    );
    assert!(!place.path("speed/speed-partial.json").exists());
}

/// On a machine that is never quiet a study ends with its time, and what it has
/// measured is there before.
#[test]
fn bench_keeps_what_it_has_measured_when_it_is_stopped() {
    let place = Place(tempfile::tempdir().unwrap());
    let arguments = ["bench", "--groups=tiny", "--steps=1000000", "--out=speed"];
    let mut command = place.command(&arguments);
    command.stderr(std::process::Stdio::null());
    let mut process = command.spawn().unwrap();
    let partial = place.path("speed/speed-partial.md");
    let begun = Instant::now();
    while !partial.exists() && begun.elapsed() < Duration::from_secs(120) {
        assert_eq!(process.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let page = std::fs::read_to_string(partial).unwrap();
    assert!(page.contains("| tiny: GGPO step / LoRA step |"), "{page}");
    assert!(!place.path("speed/speed.md").exists());
}
