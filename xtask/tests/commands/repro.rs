//! Experiments: the same results for any number of threads, in parts, and after being
//! killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Place, errors};

const REPRODUCE: [&str; 3] = ["repro", "--quick", "--out"];

fn reproduce(place: &Place, out: &str, more: &[&str], threads: &str) {
    let mut command = place.command(&REPRODUCE);
    let command = command.arg(out).args(more);
    let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

/// The rows of `results.csv`, without the time that a run took.
fn results(folder: &Path) -> Vec<String> {
    let text = read(folder, "results.csv");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let seconds = head.iter().position(|name| *name == "seconds").unwrap();
    let without = |line: &str| {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields.remove(seconds);
        fields.join(",")
    };
    lines.map(without).collect()
}

/// Finished runs of a folder that is being written.
fn finished(folder: &Path) -> usize {
    let text = std::fs::read_to_string(folder.join("runs.jsonl")).unwrap_or_default();
    text.lines().count()
}

/// 2 x (2 rates + 3 seeds); 2 x 3 ranks x 2 shares x 2 seeds; 2 x 2 rates x 2 seeds.
const RUNS: usize = 10 + 24 + 8;

#[test]
fn repro_gives_the_same_results_for_any_number_of_threads_and_in_parts() {
    let place = Place::new(6);
    reproduce(&place, "one", &[], "1");
    reproduce(&place, "three", &[], "3");
    let expected = results(&place.path("one"));
    assert_eq!(expected.len(), RUNS);
    assert_eq!(results(&place.path("three")), expected);
    let report = read(&place.path("one"), "report.md");
    for words in [
        "Over the rank",
        "LoRA-GGPO beats LoRA: Two classes",
        "not testable",
    ] {
        assert!(report.contains(words), "{words}");
    }
    for line in report.lines().filter(|line| line.starts_with("![")) {
        let (_, file) = line.split_once("](").unwrap();
        let file = file.trim_end_matches(')');
        assert!(place.path("one").join(file).is_file(), "{file}");
    }
    assert!(!place.path("one").join("work").exists());
    // What is there is not done again.
    let before = read(&place.path("one"), "runs.jsonl");
    reproduce(&place, "one", &[], "2");
    assert_eq!(read(&place.path("one"), "runs.jsonl"), before);

    // In two parts, each twice, since tuning comes before what it chooses for.
    let merge = || {
        let output = place.run(&["report", "part-1", "part-2", "--quick", "--out", "merged"]);
        assert!(output.status.success(), "{}", errors(&output));
    };
    for round in 0..2 {
        for (part, out) in [("1/2", "part-1"), ("2/2", "part-2")] {
            let others = ["--with", "part-1", "--with", "part-2"];
            reproduce(
                &place,
                out,
                &[&["--shard", part], &others[..]].concat(),
                "2",
            );
        }
        if round == 0 {
            merge();
            assert!(read(&place.path("merged"), "report.md").contains("Not complete"));
        }
    }
    merge();
    assert_eq!(results(&place.path("merged")), expected);
    // Nothing was done twice.
    let records = |out: &str| read(&place.path(out), "runs.jsonl").lines().count();
    assert_eq!(records("part-1") + records("part-2"), records("one"));
}

#[test]
fn repro_that_is_killed_goes_on_to_the_same_results() {
    let place = Place::new(60);
    reproduce(&place, "whole", &[], "2");
    for kills in 1..4 {
        let mut child = place
            .command(&REPRODUCE)
            .arg("killed")
            .env("RAYON_NUM_THREADS", "2")
            .spawn()
            .unwrap();
        let started = Instant::now();
        while finished(&place.path("killed")) < 4 * kills && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(300), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let killed = place.path("killed");
    assert!(!killed.join("report.md").exists(), "killed too late");
    // A record that was cut off is made again.
    let text = read(&killed, "runs.jsonl");
    std::fs::write(killed.join("runs.jsonl"), &text[..text.len() - 40]).unwrap();
    reproduce(&place, "killed", &[], "2");
    assert_eq!(results(&place.path("whole")), results(&killed));
}

#[cfg(unix)]
#[test]
fn repro_that_is_asked_to_stop_goes_on_to_the_same_results() {
    let place = Place::new(60);
    reproduce(&place, "whole", &[], "2");
    for (enough, (signal, code)) in [(2, ("INT", 130)), (6, ("TERM", 143))] {
        let mut command = place.command(&REPRODUCE);
        let child = command.arg("stopped").env("RAYON_NUM_THREADS", "2");
        let child = child.stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        while finished(&place.path("stopped")) < enough {
            assert!(started.elapsed() < Duration::from_secs(300), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        let again = "go on with: cargo xtask repro --quick --out stopped";
        assert!(errors(&output).contains(again), "{}", errors(&output));
        assert!(
            !place.path("stopped/report.md").exists(),
            "stopped too late"
        );
    }
    reproduce(&place, "stopped", &[], "2");
    assert_eq!(
        results(&place.path("whole")),
        results(&place.path("stopped"))
    );
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let place = Place::new(1);
    let path = place.path("experiments/compared.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        (
            "references = [\"lora\"]",
            "references = [\"dora\"]",
            "references: expected the id",
        ),
        (
            "primary = \"matthews\"",
            "primary = \"perplexity\"",
            "primary: expected a measure",
        ),
        (
            "margin = 0.5",
            "margin = 0.0",
            "margin: expected a finite number above 0",
        ),
        (
            "seeds = 3",
            "seeds = 0",
            "grid.quick.seeds: expected at least 1",
        ),
        (
            "kind = \"comparison\"",
            "kind = \"guess\"",
            "unknown variant `guess`",
        ),
        (
            "[grid.quick]",
            "[grid.default]",
            "grid.default.seeds: method \"ggpo\": the smallest p",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let output = place.run(&["repro", "--quick"]);
        assert_eq!(output.status.code(), Some(1), "{to}");
        let said = errors(&output);
        assert!(
            said.starts_with("error: experiments/compared.toml: "),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
    std::fs::write(&path, text).unwrap();
    let output = place.run(&["repro", "nothing", "--quick"]);
    assert!(errors(&output).contains("expected one of peak, compared, bump, found nothing"));
    let output = place.run(&["repro", "--quick", "--shard", "3/2"]);
    assert_eq!(output.status.code(), Some(2));
    let output = place.run(&["repro", "--full"]);
    assert!(
        errors(&output).contains("level: expected quick, found full"),
        "{}",
        errors(&output)
    );
}
