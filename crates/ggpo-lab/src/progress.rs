//! Progress bars: silent when the error output is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` pieces of work called `unit`, with rate and time left.
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
