//! How far work is: a bar on a terminal, and where it matters lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` pieces of work called `unit`, with rate and time left;
/// silent when the error output is not a terminal.
///
/// # Panics
/// Never: the template is fixed.
pub fn bar(total: u64, label: &str, unit: &str) -> ProgressBar {
    let template = format!(
        "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left  {{msg}}"
    );
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    ProgressBar::new(total)
        .with_style(style)
        .with_prefix(label.to_owned())
}

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Long work that is followed without a terminal as well: a line when it begins,
/// then a bar, or without a terminal a line now and then, all on the error output.
pub struct Followed {
    bar: ProgressBar,
    label: String,
    begun: Instant,
    said: Instant,
}

impl Followed {
    /// Work called `label` of `total` pieces called `unit`, which begins now, as
    /// `headline` says.
    pub fn begin(headline: &str, label: &str, total: u64, unit: &str) -> Self {
        ggpo_files::sentence::note(headline);
        Followed {
            bar: bar(total, label, unit),
            label: label.to_owned(),
            begun: Instant::now(),
            said: Instant::now(),
        }
    }

    /// Time since the work began.
    pub fn gone(&self) -> Duration {
        self.begun.elapsed()
    }

    /// `done` pieces are done; `detail` says more in a line of its own.
    pub fn reach(&mut self, done: u64, detail: impl FnOnce() -> String) {
        self.bar.set_position(done);
        if !stderr().is_terminal() && self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            let (label, gone) = (&self.label, minutes(self.gone().as_secs_f64()));
            ggpo_files::sentence::note(&format!("{label}: {}, {gone} gone", detail()));
        }
    }
}

/// The bar goes, the lines stay.
impl Drop for Followed {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A time in seconds as people say it: `40 s`, `12 min`.
pub fn minutes(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 99.5 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_seconds_or_minutes() {
        assert_eq!(minutes(0.4), "0 s");
        assert_eq!(minutes(99.4), "99 s");
        assert_eq!(minutes(100.0), "2 min");
        assert_eq!(minutes(1800.0), "30 min");
    }
}
