//! The machine that is measured on.

use serde::{Deserialize, Serialize};

/// What there is to say about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, or its architecture.
    pub processor: String,
    /// Logical processors that this program may use.
    pub threads: usize,
    /// The operating system.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let description = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = processor_name(&description);
        Machine {
            processor: name.unwrap_or(std::env::consts::ARCH).to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: std::env::consts::OS.to_owned(),
        }
    }
}

/// The processor's name in Linux's description of it.
fn processor_name(description: &str) -> Option<&str> {
    let mut lines = description.lines();
    let line = lines.find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let description = "processor\t: 0\nmodel name\t: Some CPU 9000\nmodel name\t: Other\n";
        assert_eq!(processor_name(description), Some("Some CPU 9000"));
        assert_eq!(processor_name("processor\t: 0\n"), None);
        assert!(Machine::this().threads > 0);
    }
}
