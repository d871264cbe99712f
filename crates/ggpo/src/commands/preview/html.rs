//! Rows as a page.

use std::path::Path;

use maud::{DOCTYPE, Markup, html};

use super::{Shown, Token};

const STYLE: &str = "
body { font: 15px/1.9 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #fff; }
.row { white-space: pre-wrap; font-family: ui-monospace, monospace; }
.token { border-radius: 3px; background: #f0f1f3; margin-right: 1px; }
.special { color: #8250df; }
.loss { background: #b7ecc3; }
sub { color: #6e7781; font-size: 0.65em; user-select: none; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; }
  .token { background: #21262d; }
  .special { color: #d2a8ff; }
  .loss { background: #1f6f3a; }
}
";

/// A page that needs no other file.
pub(super) fn page(data: &Path, notes: &str, rows: &[Shown]) -> String {
    let title = format!("{}, as the model reads it", data.display());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (notes) }
                p { "Tokens " span.token.loss { "with loss" } ", " span.token { "without" } ", "
                    span.token.special { "special ones" } ", each with its id." }
                @for row in rows { (one_row(row)) }
            }
        }
    };
    page.into_string()
}

fn one_row(row: &Shown) -> Markup {
    let count = row.tokens.iter().filter(|token| token.loss).count();
    html! {
        h2 { "Row " (row.row) @if let Some(line) = row.line { ", line " (line) } }
        p {
            (row.tokens.len()) " tokens, " (count) " with loss"
            @if let Some(answer) = &row.answer { "; the answer is " b { (answer) } }
        }
        div.row { @for token in &row.tokens { (one(token)) } }
    }
}

fn one(token: &Token) -> Markup {
    html! {
        span.token.special[token.special].loss[token.loss] { (token.text) sub { (token.id) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_markup() {
        let token = Token {
            id: 9,
            text: "<script>".to_owned(),
            special: true,
            loss: true,
        };
        let row = Shown {
            row: 1,
            line: None,
            tokens: vec![token],
            answer: None,
        };
        let page = page(Path::new("a.jsonl"), "1 example", &[row]);
        let expected = "<span class=\"token special loss\">&lt;script&gt;<sub>9</sub></span>";
        assert!(page.contains(expected), "{page}");
        assert!(!page.contains("<script>"));
    }
}
