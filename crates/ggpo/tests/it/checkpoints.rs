//! Checkpoints whose checksum is right and whose content is not.

use std::path::Path;

use crate::common::{World, read};
use crate::hostile_files::{TRAIN, assert_printable, words};
use crate::runner::{program, succeeds};

/// Rank and width of the adapters, as a shape stands in a checkpoint.
const SHAPE: [u8; 3] = [2, 4, 16];

/// A run that is stopped after four of its eight steps, and the payload of its checkpoint.
fn stopped(world: &World) -> (Vec<u8>, Vec<u8>) {
    let train = TRAIN.replace(
        "--steps 2",
        "--steps 8 --checkpoint-every 4 --evaluate-every 2",
    );
    succeeds(world, &words(&format!("{train} run")));
    // What a run leaves that was killed after its first checkpoint.
    let previous = read(&world.path("run/checkpoint.previous.bin"));
    std::fs::remove_file(world.path("run/checkpoint.previous.bin")).unwrap();
    std::fs::remove_file(world.path("run/result.json")).unwrap();
    std::fs::remove_dir_all(world.path("run/adapter")).unwrap();
    // Magic, version, kind, length and checksum come before.
    let head = 8 + 4 + 4 + "run".len();
    (previous[..head].to_vec(), previous[head + 12..].to_vec())
}

/// Writes a checkpoint with this payload.
fn write(path: &Path, head: &[u8], payload: &[u8]) {
    let length = (payload.len() as u64).to_le_bytes();
    let checksum = crc32(payload).to_le_bytes();
    std::fs::write(path, [head, &length, &checksum, payload].concat()).unwrap();
}

/// As in zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        let bit = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        (0..8).fold(crc ^ u32::from(*byte), bit)
    };
    !bytes.iter().fold(!0, byte)
}

/// Exit code and error output of going on.
fn resumed(world: &World) -> (Option<i32>, String) {
    let output = program(world, &words("train --out run --resume"))
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let world = World::new();
    let (head, payload) = stopped(&world);
    let path = world.path("run/checkpoint.bin");
    let places = payload.windows(SHAPE.len()).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, bytes)| *bytes == SHAPE)
        .map(|(at, _)| at)
        .collect();
    // Factors, moments and the best state of several layers.
    assert!(places.len() > 12, "{places:?}");
    let every = places.len().div_ceil(24);
    for at in places.into_iter().step_by(every) {
        // Another rank with as many elements, and with too few.
        for shape in [[2, 8, 8], [2, 5, 16], [1, 64, 16], [2, 0, 16]] {
            let mut payload = payload.clone();
            payload[at..at + 3].copy_from_slice(&shape);
            write(&path, &head, &payload);
            let (code, errors) = resumed(&world);
            assert_eq!(code, Some(1), "{at}, {shape:?}: {errors}");
            let (_, sentence) = errors.rsplit_once("error: ").unwrap();
            assert!(!errors.contains("panicked"), "{errors}");
            assert_printable(sentence.trim_end());
        }
    }
    write(&path, &head, &payload);
    let (code, errors) = resumed(&world);
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_length_of_the_course_is_not_believed() {
    let world = World::new();
    let (head, mut payload) = stopped(&world);
    let before = read(&world.path("run/metrics.jsonl")).len();
    // The last field: a number of three bytes, as it is above 250 and below 2^16.
    assert_eq!(payload[payload.len() - 3], 251);
    payload.truncate(payload.len() - 3);
    payload.push(253);
    payload.extend((1_u64 << 40).to_le_bytes());
    write(&world.path("run/checkpoint.bin"), &head, &payload);
    let (code, errors) = resumed(&world);
    assert_eq!(code, Some(0), "{errors}");
    let after = read(&world.path("run/metrics.jsonl"));
    assert!(after.len() < 2 * before && !after.contains(&0));
}

/// Whatever stands in it, a run goes on or is refused in one sentence.
#[test]
fn no_changed_byte_ends_the_program_another_way() {
    let world = World::new();
    let (head, payload) = stopped(&world);
    let result = world.path("run/result.json");
    // Lengths and names are at the beginning, among the moments, and at the end.
    let places = (0..payload.len()).step_by(payload.len() / 90);
    for (number, at) in places.enumerate() {
        let mut changed = payload.clone();
        changed[at] = [0, 255, 1, 253, changed[at] ^ 0x40][number % 5];
        write(&world.path("run/checkpoint.bin"), &head, &changed);
        let (code, errors) = resumed(&world);
        assert!(matches!(code, Some(0 | 1)), "byte {at}: {errors}");
        assert!(!errors.contains("panicked"), "byte {at}: {errors}");
        let _ = std::fs::remove_file(&result);
        let _ = std::fs::remove_dir_all(world.path("run/adapter"));
        let _ = std::fs::remove_file(world.path("run/checkpoint.previous.bin"));
    }
}
