//! What the processor can do at most, measured.

use std::time::Instant;

use crate::raw::probe::multiply_adds;
use crate::simd::Level;

/// Rounds of one burst: about a millisecond.
const ROUNDS: u64 = 500_000;
/// Bursts of one measurement.
const BURSTS: usize = 40;

/// Floating-point operations per second, a multiply-add being two, that all
/// threads of the current pool do together in registers in single precision with
/// the vectors of a level: the rate that no product of matrices at that level
/// exceeds on them.
///
/// It is that of the fastest of some bursts, all of which take about a tenth of
/// a second. On a quiet machine two measurements agree within a few percent;
/// where they do not, other times measured between them are as doubtful.
///
/// # Panics
/// If the processor does not have the level.
pub fn multiply_add_rate(level: Level) -> f64 {
    multiply_add_rates(level, BURSTS)
        .into_iter()
        .fold(0.0, f64::max)
}

/// The same rate in each of `bursts` bursts of about a millisecond. That of the
/// fastest says what the processor can do; their median says what it does, beside
/// whatever else keeps it busy.
///
/// # Panics
/// If the processor does not have the level.
pub fn multiply_add_rates(level: Level, bursts: usize) -> Vec<f64> {
    let burst = |_| {
        let start = Instant::now();
        let operations: u64 = rayon::broadcast(|_| multiply_adds(level, ROUNDS))
            .iter()
            .sum();
        operations as f64 / start.elapsed().as_secs_f64()
    };
    (0..bursts).map(burst).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_one_of_a_processor() {
        for level in Level::available() {
            let mut rates = multiply_add_rates(level, 3);
            assert_eq!(rates.len(), 3);
            rates.push(multiply_add_rate(level));
            for rate in rates {
                // From a slow core that is busy with something else to a large server.
                assert!((1e7..1e15).contains(&rate), "{rate}");
            }
        }
    }
}
