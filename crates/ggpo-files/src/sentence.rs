//! Whatever was found in a file, as one line for a person.

use std::borrow::Cow;
use std::ops::Range;

/// Most characters of a message.
pub const LONGEST: usize = 500;
/// What stands where something was left out.
const GAP: &str = " [...] ";

/// A text as one line of at most [`LONGEST`] printable characters: line ends become
/// spaces, what cannot be printed becomes its number, and of a longer text the middle
/// is left out, as what was expected and found stands at its end.
pub fn one_line(text: &str) -> String {
    at_most(text, LONGEST)
}

/// The same with another bound.
pub fn at_most(text: &str, most: usize) -> String {
    let head = most - most / 3;
    let tail = most / 3 - GAP.len();
    // Enough of a very long text on either side: a character gives at least one,
    // but for white space, which is not worth more care.
    let (begin, end) = match text.len() > 16 * most {
        true => {
            let boundary = |from: usize| (from..).find(|&at| text.is_char_boundary(at));
            let begin = boundary(8 * most).unwrap_or(text.len());
            let end = boundary(text.len() - 8 * most).unwrap_or(text.len());
            (printable(&text[..begin]), Some(printable(&text[end..])))
        }
        false => (printable(text), None),
    };
    if end.is_none() && begin.len() <= most {
        return begin.into_iter().collect();
    }
    let end = end.unwrap_or_else(|| begin.clone());
    let first = begin.iter().take(head);
    let last = &end[end.len().saturating_sub(tail)..];
    let gap: Vec<char> = GAP.chars().collect();
    first.chain(&gap).chain(last).collect()
}

/// Says something on the error output, as one line. Nobody may be listening.
pub fn note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{}", one_line(text));
}

/// The characters of a text as they are printed.
fn printable(text: &str) -> Vec<char> {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    for character in text.trim().chars() {
        if character.is_whitespace() {
            if out.last() != Some(&' ') {
                out.push(' ');
            }
        } else if ['"', '\'', '\\'].contains(&character) {
            out.push(character);
        } else {
            // Letters stay as they are.
            out.extend(character.escape_debug());
        }
    }
    out
}

/// A text as a terminal may be given it: line ends and tabs stay, every other control
/// character, and what changes the direction of writing, becomes its number.
pub fn shown(text: &str) -> Cow<'_, str> {
    let moves = |c: char| {
        c.is_control() && !['\n', '\t'].contains(&c)
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match moves(character) {
            true => out.extend(character.escape_unicode()),
            false => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// What is wrong with a TOML text, which the library's own words show over several
/// lines: `message` is its sentence, `span` the place.
pub fn toml_problem(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    match before {
        None => message.to_owned(),
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_printable_characters() {
        let text = "a\u{1b}[31m red\n  \u{202e}file\t\"x\" caf\u{e9} \u{9be8}\0";
        let found = one_line(text);
        let expected = "a\\u{1b}[31m red \\u{202e}file \"x\" caf\u{e9} \u{9be8}\\0";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        let text =
            "a\u{1b}]0;title\u{7}\r\n\tb\u{9b}2J \u{202e}c e\u{301} \u{1f468}\u{200d}\u{1f469}";
        let expected = "a\\u{1b}]0;title\\u{7}\\u{d}\n\tb\\u{9b}2J \\u{202e}c e\u{301} \u{1f468}\u{200d}\u{1f469}";
        assert_eq!(shown(text), expected);
        assert!(matches!(shown("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_texts_lose_their_middle() {
        for middle in [600, 20_000, 10_000_000] {
            let text = format!("path: {}, found 7", "\n\u{7}x".repeat(middle));
            let found = one_line(&text);
            assert!(found.chars().count() <= LONGEST);
            assert!(found.starts_with("path: ") && found.ends_with(", found 7"));
            assert!(found.contains(GAP));
        }
        let whole = "x".repeat(LONGEST);
        assert_eq!(one_line(&whole), whole);
    }

    #[test]
    fn problems_of_toml_name_the_line() {
        let text = "a = 1\nb = [\n";
        assert_eq!(
            toml_problem(text, "unclosed", Some(10..11)),
            "line 2: unclosed"
        );
        assert_eq!(toml_problem(text, "unclosed", None), "unclosed");
    }
}
