//! Whether a generated text gives the right answer.
//!
//! Solutions in the form of GSM8K (Cobbe and others 2021) end in a line `#### N`,
//! which is compared as a number; other texts are compared as a whole.

/// What stands before the final answer.
const MARK: &str = "####";

/// The number after the first `####` of a solution, if there is one.
///
/// It stands on the same line. Commas, spaces and what follows the number (a
/// full stop, a unit) are dropped. The first mark counts, since a model that
/// does not stop continues with questions of its own.
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

/// Whether a generated text gives the answer of the reference: the same final
/// number if the reference has one, else the same text but for white space
/// around it.
pub fn same_answer(reference: &str, generated: &str) -> bool {
    match final_number(reference) {
        Some(expected) => final_number(generated) == Some(expected),
        None => reference.trim() == generated.trim(),
    }
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
    }

    #[test]
    fn without_a_mark_the_texts_are_compared() {
        assert!(same_answer("a cat", " a cat\n"));
        assert!(!same_answer("a cat", "a  cat"));
        assert!(!same_answer("a cat", "A cat"));
        assert!(!same_answer("12", "#### 12"));
    }
}
