//! Experiments and downloads that are ended: records and files are whole, and another call
//! brings what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::subject::{End, Subject, Words};
use super::{Chance, preload::Faults};

/// Two methods on the tiny model, a few seconds of it.
const EXPERIMENT: &str = r#"
place = 1
title = "Made up"
question = "Are the records those of a call that nothing happens to?"
kind = "comparison"
claim = "{method} beats {reference} on {task}"
claim_kind = "better"
references = ["lora"]
primary = "accuracy"
margin = 0.5
diverged = 25.0
[[tasks]]
id = "task"
title = "the task"
about = "nothing."
model = "encoder"
batch_size = 8
steps = 60
schedule = { kind = "constant" }
data = { kind = "classification", train = "train.tsv", validation = "validation.tsv", test = "test.tsv", max_length = 12 }
[[methods]]
id = "ggpo"
title = "LoRA-GGPO"
method = { name = "ggpo" }
[[methods]]
id = "lora"
title = "LoRA"
method = { name = "lora" }
[grid.quick]
seeds = 3
learning_rates = [1e-3, 1e-2]
tuning_seeds = 1
scored_rows = { validation = 16, test = 64, train = 16 }
"#;

fn reproduce(subject: &Subject, out: &str) -> Words {
    subject.task(&format!(
        "repro --quick --jobs 1 --experiments experiments --out {out}"
    ))
}

/// Records by key, without the time that a run took.
fn records(path: &Path) -> Result<BTreeMap<String, Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let record = |line: &str| -> Result<(String, Value)> {
        let mut record: Value = serde_json::from_str(line)?;
        record["seconds"] = Value::Null;
        Ok((record["key"].to_string(), record))
    };
    let records: BTreeMap<String, Value> = text.lines().map(record).collect::<Result<_>>()?;
    match records.len() == text.lines().count() {
        true => Ok(records),
        false => bail!("{}: a record stands twice", path.display()),
    }
}

/// Experiments ended at random moments, up to three times; then they go on to the records
/// of a call that nothing has happened to.
pub(super) fn experiments(
    subject: &Subject,
    _: &Faults,
    round: u32,
    chance: &Chance,
) -> Result<()> {
    let folder = subject.path("experiments");
    if !folder.exists() {
        fs::create_dir(&folder)?;
        fs::write(folder.join("made-up.toml"), EXPERIMENT)?;
        succeeds(reproduce(subject, "undisturbed").end()?)?;
    }
    let (signal, code) =
        [("KILL", None), ("INT", Some(130)), ("TERM", Some(143))][round as usize % 3];
    for kill in 0..3 {
        let moment = Duration::from_millis(chance.below(kill, 1500));
        let end = reproduce(subject, "repro").kill_after(moment, signal)?;
        match end.code {
            // Before it listened to signals.
            Some(0) | None => {}
            found if found == code => end.says("go on with: cargo xtask repro")?,
            found => bail!(
                "SIG{signal}: expected {code:?}, found {found:?}: {}",
                end.errors
            ),
        }
    }
    succeeds(reproduce(subject, "repro").end()?)?;
    let [found, expected] =
        ["repro", "undisturbed"].map(|out| subject.path(out).join("runs.jsonl"));
    if records(&found)? != records(&expected)? {
        bail!("expected the records of a call that nothing has happened to, found others");
    }
    if subject.path("repro/work").exists() || !subject.path("repro/report.md").is_file() {
        bail!("expected a report and nothing of the runs");
    }
    subject.refuse_left_over(&["repro"])
}

fn succeeds(end: End) -> Result<()> {
    match end.code {
        Some(0) => Ok(()),
        _ => bail!("expected success, found {end:?}"),
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Bytes of the file of weights.
const WEIGHTS: usize = 3_000_000;

fn weights() -> Vec<u8> {
    (0..WEIGHTS).map(|at| (at * at % 251) as u8).collect()
}

/// A hub on this machine, with one repository, that hands out its files slowly.
fn hub() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a port of this machine")?;
    let address = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who asks may be killed meanwhile.
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines();
    let lines: Vec<String> = lines
        .map_while(std::result::Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let request = lines.first().map(String::as_str).unwrap_or_default();
    let from = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let range = value.strip_prefix("bytes=")?.strip_suffix('-')?;
        name.eq_ignore_ascii_case("range")
            .then(|| range.parse().ok())?
    });
    let body = match request.split(' ').nth(1).unwrap_or_default() {
        path if path.starts_with("/api/") => {
            let digest = Sha256::digest(weights());
            let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let file = json!({
                "rfilename": "model.safetensors", "size": WEIGHTS, "lfs": {"sha256": sha256},
            });
            let files = json!([{"rfilename": "config.json", "size": 2}, file]);
            json!({"sha": COMMIT, "siblings": files})
                .to_string()
                .into_bytes()
        }
        path if path.ends_with("config.json") => b"{}".to_vec(),
        _ => weights(),
    };
    let from: usize = from.unwrap_or(0).min(body.len());
    let (status, range) = match from {
        0 => ("200 OK", String::new()),
        from => (
            "206 Partial Content",
            format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            ),
        ),
    };
    let rest = &body[from..];
    let length = rest.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    for piece in rest.chunks(100_000) {
        stream.write_all(piece)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A download ended at random moments, up to three times; then it goes on to the files
/// of the hub, and nothing else is left.
pub(super) fn downloads(subject: &Subject, _: &Faults, round: u32, chance: &Chance) -> Result<()> {
    let hub = hub()?;
    let fetch = || {
        let mut words = subject.command("fetch a/b --to fetched");
        words.command.env("HF_ENDPOINT", &hub);
        words.command.env("HF_HUB_CACHE", subject.path("cache/hub"));
        words.command.env_remove("HF_TOKEN");
        words
    };
    let signal = ["KILL", "INT", "TERM"][round as usize % 3];
    for kill in 0..3 {
        let moment = Duration::from_millis(chance.below(kill, 450));
        let end = fetch().kill_after(moment, signal)?;
        if end.code == Some(0) || subject.path("fetched").exists() {
            break;
        }
    }
    if !subject.path("fetched").exists() {
        succeeds(fetch().end()?)?;
    }
    let mut names: Vec<String> = fs::read_dir(subject.path("fetched"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    if names != ["config.json", "model.safetensors"] {
        bail!(
            "expected the two files of the model, found {}",
            names.join(", ")
        );
    }
    if fs::read(subject.path("fetched/model.safetensors"))? != weights() {
        bail!("expected the weights of the hub, found others");
    }
    for blob in fs::read_dir(subject.path("cache/hub/models--a--b/blobs"))? {
        let name = blob?.file_name();
        if name.to_string_lossy().ends_with(".part") {
            bail!("{} is left", name.display());
        }
    }
    subject.refuse_left_over(&["fetched", "cache/hub/models--a--b/blobs"])
}
