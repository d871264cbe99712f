//! A document as Markdown that is readable raw.

use super::document::{Block, Document, Inline, Table, Text};

/// The document as Markdown; figures are links to their files.
pub(super) fn render(document: &Document) -> String {
    let mut out = format!("# {}\n", escape(&document.title));
    blocks(&mut out, &document.lead);
    for section in &document.sections {
        out.push_str(&format!("\n## {}\n", escape(&section.title)));
        blocks(&mut out, &section.blocks);
    }
    out
}

fn blocks(out: &mut String, blocks: &[Block]) {
    for block in blocks {
        out.push('\n');
        match block {
            Block::Paragraph(words) => out.push_str(&format!("{}\n", text(words))),
            Block::List(points) => {
                for point in points {
                    out.push_str(&format!("- {}\n", text(point)));
                }
            }
            Block::Code(lines) => out.push_str(&format!("```sh\n{}\n```\n", lines.trim_end())),
            Block::Table(content) => table(out, content),
            Block::Figure(figure) => {
                let caption = escape(&figure.caption);
                out.push_str(&format!("![{caption}]({})\n\n*{caption}*\n", figure.file));
            }
        }
    }
}

fn text(words: &Text) -> String {
    let pieces = words.0.iter().map(|piece| match piece {
        Inline::Plain(words) => escape(words),
        Inline::Strong(words) => {
            // Spaces before the end mark would make it a plain star.
            let trimmed = words.trim_end();
            format!("**{}**{}", escape(trimmed), &words[trimmed.len()..])
        }
        Inline::Code(words) => format!("`{words}`"),
        Inline::Link { text, file, .. } => format!("[{}]({file})", escape(text)),
    });
    pieces.collect()
}

fn table(out: &mut String, table: &Table) {
    let caption = escape(&table.caption);
    if table.folded {
        out.push_str(&format!("<details>\n<summary>{caption}</summary>\n\n"));
    } else {
        out.push_str(&format!("{caption}:\n\n"));
    }
    let cell = |cell: &String| escape(cell);
    let head: Vec<String> = table.head.iter().map(cell).collect();
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(cell).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&head])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if column < table.names {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    out.push_str(&line(&head));
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            let dashes = "-".repeat(width - 1);
            if column < table.names {
                format!("{dashes}-")
            } else {
                format!("{dashes}:")
            }
        })
        .collect();
    out.push_str(&line(&rule));
    for row in &rows {
        out.push_str(&line(row));
    }
    if table.folded {
        out.push_str("\n</details>\n");
    }
}

/// Keeps words from being read as marks.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '\n' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '|' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}
