//! Writes the seeds of all targets to `fuzz/corpus`.

use std::path::Path;

use ggpo_fuzz::{TARGETS, World};

fn main() -> std::io::Result<()> {
    let world = World::new();
    for target in &TARGETS {
        let folder = Path::new("fuzz/corpus").join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)(&world).into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
