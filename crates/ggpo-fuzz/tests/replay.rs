//! The committed seeds, and changes of them that are always the same: a few seconds of
//! every target without a fuzzer.

use std::path::{Path, PathBuf};

use ggpo_fuzz::{TARGETS, Target, World};

/// Changes of every seed, unless the environment asks for others.
const CHANGES: u64 = 500;
/// Asks for more changes, for one target, and for other ones than before.
const VARIABLES: [&str; 3] = ["GGPO_FUZZ_CHANGES", "GGPO_FUZZ_TARGET", "GGPO_FUZZ_FIRST"];

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target.name)
}

/// A number that depends on a seed alone (splitmix64).
fn number(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}

/// The bytes with one to four changes: of a byte, of eight bytes, a cut, a repetition.
fn changed(bytes: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=number(state) % 4 {
        let at = number(state) % bytes.len().max(1);
        let rest = bytes.len() - at.min(bytes.len());
        match number(state) % 5 {
            0 if rest > 0 => bytes[at] = number(state) as u8,
            1 if rest >= 8 => {
                let huge = [u64::MAX, 1 << 40, 1 << 20, 0][number(state) % 4];
                bytes[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            }
            2 => bytes.truncate(at),
            3 if rest > 0 => {
                let part = bytes[at..at + rest.min(32)].to_vec();
                bytes.splice(at..at, part);
            }
            _ if rest > 0 => bytes[at] ^= 1 << (number(state) % 8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_seed_and_no_change_of_one_ends_a_target() {
    let world = World::new();
    let [changes, only, first] = VARIABLES.map(|name| std::env::var(name).ok());
    let number = |text: Option<String>| text.map(|text| text.parse::<u64>().unwrap());
    let (changes, first) = (
        number(changes).unwrap_or(CHANGES),
        number(first).unwrap_or(0),
    );
    let chosen = |target: &&Target| only.as_ref().is_none_or(|only| only == target.name);
    for target in TARGETS.iter().filter(chosen) {
        let mut executions = 0;
        let folder = corpus(target);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{folder:?} holds seeds");
        for path in paths {
            let seed = std::fs::read(&path).unwrap();
            (target.run)(&world, &seed);
            for change in first..first + changes {
                let mut state = change;
                (target.run)(&world, &changed(&seed, &mut state));
            }
            executions += 1 + changes;
        }
        println!("{}: {executions} executions", target.name);
    }
}
