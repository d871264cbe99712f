//! How numbers are written: the only place that rounds.

/// Stands for a number that does not exist.
pub(super) const ABSENT: &str = "–";

/// A number that may be missing or not finite.
fn finite(value: f64, write: impl Fn(f64) -> String) -> String {
    if !value.is_finite() {
        return ABSENT.to_owned();
    }
    // A rounded negative zero is a zero.
    let text = write(value);
    let is_zero = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    let text = if is_zero {
        text.trim_start_matches('-')
    } else {
        &text
    };
    text.replace('-', "−")
}

/// So many digits after the point.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    finite(value, |value| format!("{value:.decimals$}"))
}

/// As [`fixed`], with a sign before positive numbers too.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let is_positive = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) && value > 0.0;
    if is_positive {
        format!("+{text}")
    } else {
        text
    }
}

/// Three significant digits; tiny and huge numbers in scientific notation.
pub(super) fn significant(value: f64) -> String {
    finite(value, |value| {
        let size = value.abs();
        if value == 0.0 {
            "0".to_owned()
        } else if !(1e-3..1e5).contains(&size) {
            scientific(value)
        } else {
            // The exponent after rounding to three digits.
            let rounded = format!("{size:.2e}");
            let exponent = rounded
                .split('e')
                .nth(1)
                .and_then(|digits| digits.parse().ok());
            let decimals = (2 - exponent.unwrap_or(0_i32)).max(0) as usize;
            format!("{value:.decimals$}")
        }
    })
}

fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}·10{}", superscript(exponent)),
        None => text,
    }
}

fn superscript(exponent: &str) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = exponent.chars().map(|letter| match letter.to_digit(10) {
        Some(digit) => DIGITS[digit as usize],
        None => '⁻',
    });
    raised.collect()
}

/// A share as a percentage: two decimals, or scientific if it is tiny.
pub(super) fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value != 0.0 && value.abs() < 0.01 {
        return format!("{} %", significant(value));
    }
    format!("{} %", fixed(value, 2))
}

/// A probability of a test.
pub(super) fn probability(p: f64) -> String {
    significant(p)
}

/// A setting, in full.
pub(super) fn setting(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        rate(value)
    } else {
        value.to_string()
    }
}

/// A learning rate, in full.
pub(super) fn rate(value: f64) -> String {
    format!("{value:e}")
}

/// A count with its digits in groups of three.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 seed`, `2 seeds`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{} {noun}s", count(number))
    }
}

/// `a, b and c`.
pub(super) fn listed<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Learning rates as a list.
pub(super) fn rates(values: &[f64]) -> String {
    let texts: Vec<String> = values.iter().map(|value| rate(*value)).collect();
    listed(&texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_said() {
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(signed(0.5, 2), "+0.50");
        assert_eq!(signed(-0.5, 2), "−0.50");
        assert_eq!(signed(0.0001, 2), "0.00");
        assert_eq!(significant(1.0), "1.00");
        assert_eq!(significant(9.996), "10.0");
        assert_eq!(significant(1.234e-7), "1.23·10⁻⁷");
        assert_eq!(percent(0.12345), "12.35 %");
        assert_eq!(percent(1e-6), "1.00·10⁻⁴ %");
        assert_eq!(setting(3e-4), "3e-4");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(fixed(f64::NAN, 2), ABSENT);
    }

    #[test]
    fn words_are_joined_as_said() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(counted(1, "seed"), "1 seed");
    }
}
