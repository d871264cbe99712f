//! Where time goes, by phase and name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A sum of laps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Laps {
    /// Their time together.
    pub time: Duration,
    /// Their number.
    pub count: u64,
}

/// Sums up laps, each of which begins where the one before has ended, so that all
/// laps together are the time since the start.
#[derive(Debug, Clone)]
pub struct Stopwatch {
    last: Instant,
    laps: BTreeMap<(&'static str, &'static str), Laps>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Stopwatch {
            last: Instant::now(),
            laps: BTreeMap::new(),
        }
    }
}

impl Stopwatch {
    /// Begins a lap here; what went before counts for nothing.
    pub fn start(&mut self) {
        self.last = Instant::now();
    }

    /// Ends the lap, adds it to those of this phase and name, and begins another.
    pub fn lap(&mut self, phase: &'static str, name: &'static str) {
        let now = Instant::now();
        let laps = self.laps.entry((phase, name)).or_default();
        laps.time += now - self.last;
        laps.count += 1;
        self.last = now;
    }

    /// The sums by phase and name.
    pub fn laps(&self) -> &BTreeMap<(&'static str, &'static str), Laps> {
        &self.laps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_add_up_to_the_time_since_the_start() {
        let mut stopwatch = Stopwatch::default();
        stopwatch.start();
        let start = Instant::now();
        for name in ["a", "b", "a"] {
            std::thread::sleep(Duration::from_millis(2));
            stopwatch.lap("phase", name);
        }
        let total: Duration = stopwatch.laps().values().map(|laps| laps.time).sum();
        assert!(total >= Duration::from_millis(6) && total <= start.elapsed() * 2);
        assert_eq!(stopwatch.laps()[&("phase", "a")].count, 2);
        assert_eq!(stopwatch.laps()[&("phase", "b")].count, 1);
    }
}
