#![no_main]

use std::sync::LazyLock;

use ggpo_fuzz::{World, target};

static WORLD: LazyLock<World> = LazyLock::new(World::new);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (target("hub").expect("a target").run)(&WORLD, bytes);
});
