//! How numbers are written: the only place that rounds.
//!
//! Negative numbers carry a real minus sign (`−`, U+2212), as wide as a digit; files
//! for programs, such as CSV, take the values themselves instead.

/// Stands for a number that does not exist.
pub const ABSENT: &str = "–";

/// This number of digits after the point; [`ABSENT`] if the value is not finite.
pub fn fixed(value: f64, decimals: usize) -> String {
    finite(value, |value| format!("{value:.decimals$}"))
}

/// As [`fixed`], with a sign before positive numbers too.
pub fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    if value > 0.0 && has_digit_above_zero(&text) {
        format!("+{text}")
    } else {
        text
    }
}

/// This number of significant digits; tiny and huge numbers in scientific notation.
pub fn significant(value: f64, digits: usize) -> String {
    let after_first = digits.max(1) - 1;
    finite(value, |value| {
        let scientific = format!("{value:.after_first$e}");
        // The exponent after rounding.
        let exponent = scientific.split_once('e').map(|(_, exponent)| exponent);
        let exponent: i32 = exponent.and_then(|text| text.parse().ok()).unwrap_or(0);
        if value == 0.0 {
            "0".to_owned()
        } else if (-4..6).contains(&exponent) {
            let decimals = (after_first as i32 - exponent).max(0) as usize;
            format!("{value:.decimals$}")
        } else {
            power_of_ten(&scientific)
        }
    })
}

/// A share, such as 0.123, as a percentage: `12.3 %`.
pub fn percent(share: f64, decimals: usize) -> String {
    format!("{} %", fixed(100.0 * share, decimals))
}

/// A probability of a test: `p = 0.012`, `p < 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {}", fixed(p, 3))
    }
}

/// A time in seconds, in its two largest units: `0.25 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 9.95 {
        return finite(seconds, |_| format!("{} s", significant(seconds, 2)));
    }
    let whole = seconds.round() as u64;
    let (minutes, hours) = (whole / 60, whole.saturating_add(30) / 3600);
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} min {} s", whole % 60),
        3600..86_370 => format!("{} h {} min", whole.saturating_add(30) / 3600, {
            (whole + 30) / 60 % 60
        }),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A count with its digits in groups of three: `1,234,567`.
pub fn count(value: usize) -> String {
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
pub fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// `a, b and c`.
pub fn listed<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// A number in full, as on the ticks of an axis: `0.25`, `1024`, `2·10⁻⁵`.
pub(crate) fn full(value: f64) -> String {
    finite(value, |value| match value.abs() {
        0.0 => "0".to_owned(),
        1e-4..1e6 => value.to_string(),
        _ => power_of_ten(&format!("{value:e}")),
    })
}

/// Writes `1.5e-7` as `1.5·10⁻⁷`, and `1e5` as `10⁵`.
pub(crate) fn power_of_ten(scientific: &str) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let Some((factor, exponent)) = scientific.split_once('e') else {
        return scientific.to_owned();
    };
    let raised: String = exponent
        .chars()
        .map(|letter| {
            letter
                .to_digit(10)
                .map_or('⁻', |digit| DIGITS[digit as usize])
        })
        .collect();
    match factor {
        "1" => format!("10{raised}"),
        "-1" => format!("-10{raised}"),
        _ => format!("{factor}·10{raised}"),
    }
}

/// A number that may be missing or not finite; a rounded negative zero is a zero.
fn finite(value: f64, write: impl Fn(f64) -> String) -> String {
    if !value.is_finite() {
        return ABSENT.to_owned();
    }
    let text = write(value);
    let text = match has_digit_above_zero(&text) {
        true => &text,
        false => text.trim_start_matches('-'),
    };
    text.replace('-', "−")
}

fn has_digit_above_zero(text: &str) -> bool {
    text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_said() {
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-1.25, 1), "−1.2");
        assert_eq!(fixed(f64::NAN, 2), ABSENT);
        assert_eq!(signed(0.5, 2), "+0.50");
        assert_eq!(signed(-0.5, 2), "−0.50");
        assert_eq!(signed(0.0001, 2), "0.00");
        assert_eq!(significant(9.996, 3), "10.0");
        assert_eq!(significant(-1234.5, 3), "−1234");
        assert_eq!(significant(1.234e-7, 3), "1.23·10⁻⁷");
        assert_eq!(percent(0.12345, 2), "12.35 %");
        assert_eq!(p_value(0.0123), "p = 0.012");
        assert_eq!(p_value(1e-9), "p < 0.001");
        assert_eq!(p_value(f64::NAN), "p = –");
        assert_eq!(full(1024.0), "1024");
        assert_eq!(full(-1e-5), "−10⁻⁵");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn times_have_their_two_largest_units() {
        let texts = [0.25, 9.96, 59.4, 200.0, 7500.0, 3599.9, 86_399.0, 187_200.0].map(duration);
        let expected = [
            "0.25 s",
            "10 s",
            "59 s",
            "3 min 20 s",
            "2 h 5 min",
            "1 h 0 min",
            "1 d 0 h",
            "2 d 4 h",
        ];
        assert_eq!(texts, expected);
        assert_eq!(duration(f64::INFINITY), ABSENT);
        assert!(duration(1e300).ends_with(" h"));
    }

    #[test]
    fn words_are_joined_as_said() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(plural(1, "seed"), "1 seed");
        assert_eq!(plural(1200, "seed"), "1,200 seeds");
    }
}
