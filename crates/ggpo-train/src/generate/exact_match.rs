//! Final answers of solutions in the form of GSM8K (Cobbe and others 2021): a
//! line `#### N` at the end, compared as a number.

/// What stands before the final answer.
const MARK: &str = "####";

/// The number after the first `####` of a solution, if there is one.
///
/// It stands on the same line. Commas, spaces and what follows the number (a
/// full stop, a unit) are dropped. The first mark counts, since a model that
/// does not stop goes on with questions of its own.
pub fn final_number(solution: &str) -> Option<f64> {
    let (_, answer) = solution.split_once(MARK)?;
    let line = answer.lines().next()?;
    let line: String = line.chars().filter(|c| !matches!(c, ',' | ' ')).collect();
    let (sign, digits) = match line.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, line.as_str()),
    };
    let mut points = 0;
    let end = digits.find(|c: char| {
        points += usize::from(c == '.');
        !c.is_ascii_digit() && (c != '.' || points > 1)
    });
    let number = digits[..end.unwrap_or(digits.len())].parse::<f64>();
    number.ok().map(|number| sign * number)
}

/// Whether a generated solution arrives at the number of the reference; never
/// if either has none.
pub fn same_answer(reference: &str, generated: &str) -> bool {
    let (expected, found) = (final_number(reference), final_number(generated));
    expected.is_some() && expected == found
}

/// The share of generated solutions with the number of their reference; NaN of
/// no pairs.
pub fn exact_match<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> f64 {
    let (mut right, mut count) = (0.0, 0.0);
    for (reference, generated) in pairs {
        right += f64::from(u8::from(same_answer(reference, generated)));
        count += 1.0;
    }
    right / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_after_the_mark_is_read() {
        for (answer, expected) in [
            ("Three hens lay 6 eggs.\n#### 6", 6.0),
            ("#### 6.", 6.0),
            ("####6", 6.0),
            ("####   6  \n", 6.0),
            ("#### -12", -12.0),
            ("#### - 12", -12.0),
            ("#### 3.25", 3.25),
            ("#### 3.25.", 3.25),
            ("#### .5", 0.5),
            ("#### 1,234,567", 1_234_567.0),
            ("#### 1,234.50.", 1234.5),
            ("#### 1 234", 1234.0),
            ("#### 18 eggs", 18.0),
            ("#### 7%", 7.0),
            ("#### 5\n\nQuestion: how many are left?\n#### 9", 5.0),
        ] {
            assert_eq!(final_number(answer), Some(expected), "{answer:?}");
        }
    }

    #[test]
    fn without_a_number_there_is_none() {
        for answer in [
            "",
            "The answer is 6.",
            "####",
            "#### ",
            "#### none",
            "#### .",
            "#### -",
            "#### --5",
            "####\n6",
            "### 6",
            "#### inf",
        ] {
            assert_eq!(final_number(answer), None, "{answer:?}");
        }
    }

    #[test]
    fn answers_are_compared_as_numbers() {
        assert!(same_answer("#### 1,200", "So it is 1200.\n#### 1200.00"));
        assert!(same_answer("#### 0", "#### -0"));
        assert!(!same_answer("#### 12", "#### -12"));
        assert!(!same_answer("#### 12", "#### 120"));
        assert!(!same_answer("#### 12", "It is 12."));
        assert!(!same_answer("no mark", "no mark"));
    }

    #[test]
    fn the_score_is_a_share() {
        let pairs = [("#### 1", "#### 1"), ("#### 2", "2"), ("#### 3", "#### 4")];
        assert_eq!(exact_match(pairs), 1.0 / 3.0);
        assert!(exact_match([]).is_nan());
    }
}
