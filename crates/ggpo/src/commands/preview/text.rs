//! Rows at a terminal.

use std::fmt::Write;

use ggpo_files::sentence::shown as shown_text;

use super::{Shown, Token};

/// What begins and ends a colour: tokens with loss, special tokens, ids.
const LOSS: &str = "\x1b[1;32m";
const SPECIAL: &str = "\x1b[35m";
const ID: &str = "\x1b[2m";
const END: &str = "\x1b[0m";

/// A row: every token with its id, those with loss in green, or between brackets where
/// there are no colours.
pub(super) fn row(row: &Shown, colours: bool) -> String {
    let count = row.tokens.iter().filter(|token| token.loss).count();
    let mut text = format!("row {}", row.row);
    let _ = row.line.map(|line| write!(text, " (line {line})"));
    let _ = write!(text, ": {} tokens, {count} with loss", row.tokens.len());
    let marked = if colours { "in green" } else { "in brackets" };
    let _ = match (&row.answer, count) {
        (Some(answer), _) => write!(text, "; the answer is {}", shown_text(answer)),
        (None, 0) => Ok(()),
        (None, _) => write!(text, ", {marked}"),
    };
    text.push('\n');
    for token in &row.tokens {
        text.push_str(&one(token, colours));
        // A line of the text is a line here.
        text.push(if token.text.ends_with('\n') {
            '\n'
        } else {
            ' '
        });
    }
    text.push('\n');
    text
}

fn one(token: &Token, colours: bool) -> String {
    let shown = visible(&token.text);
    let id = token.id;
    match (colours, token.loss, token.special) {
        (false, true, _) => format!("[{shown}|{id}]"),
        (false, false, _) => format!("{shown}|{id}"),
        (true, true, _) => format!("{LOSS}{shown}{END}{ID}|{id}{END}"),
        (true, false, true) => format!("{SPECIAL}{shown}{END}{ID}|{id}{END}"),
        (true, false, false) => format!("{shown}{ID}|{id}{END}"),
    }
}

/// A token's text with white space that can be seen, and nothing that moves a cursor.
fn visible(text: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => '·',
        '\n' => '⏎',
        '\t' => '⇥',
        letter if letter.is_control() => '�',
        letter => letter,
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: usize, text: &str, special: bool, loss: bool) -> Token {
        Token {
            id,
            text: text.to_owned(),
            special,
            loss,
        }
    }

    fn shown(answer: Option<&str>) -> Shown {
        Shown {
            row: 2,
            line: Some(7),
            tokens: vec![
                token(1, "<s>", true, false),
                token(5, " a\n", false, false),
                token(6, "b\u{1b}", false, true),
            ],
            answer: answer.map(str::to_owned),
        }
    }

    #[test]
    fn every_token_stands_with_its_id_and_loss_is_seen() {
        let plain = row(&shown(None), false);
        let expected = "row 2 (line 7): 3 tokens, 1 with loss, in brackets\n\
                        <s>|1 ·a⏎|5\n[b�|6] \n";
        assert_eq!(plain, expected);
        let coloured = row(&shown(None), true);
        assert!(
            coloured.contains("\x1b[1;32mb�\x1b[0m\x1b[2m|6\x1b[0m"),
            "{coloured}"
        );
        assert!(coloured.contains("\x1b[35m<s>"), "{coloured}");
        assert!(row(&shown(Some("yes")), false).contains("; the answer is yes\n"));
        assert!(!row(&shown(Some("\u{1b}[2J")), false).contains('\u{1b}'));
    }
}
