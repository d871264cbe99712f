//! A document as one HTML page that needs nothing else.

use super::document::{Block, Document, Figure, Inline, Section, Table, Text};

const STYLE: &str = include_str!("style.css");

/// The document as a page; figures and style are part of it.
pub(super) fn render(document: &Document) -> String {
    let title = escape(&document.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    blocks(&mut out, &document.lead);
    out.push_str("<nav aria-label=\"Sections\">\n<ul>\n");
    for Section { id, title, .. } in &document.sections {
        out.push_str(&format!(
            "<li><a href=\"#{id}\">{}</a></li>\n",
            escape(title)
        ));
    }
    out.push_str("</ul>\n</nav>\n");
    for section in &document.sections {
        let title = escape(&section.title);
        out.push_str(&format!(
            "<section id=\"{}\">\n<h2>{title}</h2>\n",
            section.id
        ));
        blocks(&mut out, &section.blocks);
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn blocks(out: &mut String, blocks: &[Block]) {
    for block in blocks {
        match block {
            Block::Paragraph(words) => out.push_str(&format!("<p>{}</p>\n", text(words))),
            Block::List(points) => {
                out.push_str("<ul>\n");
                for point in points {
                    out.push_str(&format!("<li>{}</li>\n", text(point)));
                }
                out.push_str("</ul>\n");
            }
            Block::Code(lines) => {
                out.push_str(&format!(
                    "<pre><code>{}</code></pre>\n",
                    escape(lines.trim_end())
                ));
            }
            Block::Table(content) => table(out, content),
            Block::Figure(content) => figure(out, content),
        }
    }
}

fn text(words: &Text) -> String {
    let pieces = words.0.iter().map(|piece| match piece {
        Inline::Plain(words) => escape(words),
        Inline::Strong(words) => format!("<strong>{}</strong>", escape(words)),
        Inline::Code(words) => format!("<code>{}</code>", escape(words)),
        Inline::Link {
            text,
            file,
            section,
        } => {
            let target = section.map_or_else(|| escape(file), |section| format!("#{section}"));
            format!("<a href=\"{target}\">{}</a>", escape(text))
        }
    });
    pieces.collect()
}

fn table(out: &mut String, table: &Table) {
    let caption = escape(&table.caption);
    if table.folded {
        out.push_str(&format!("<details>\n<summary>{caption}</summary>\n"));
    }
    out.push_str("<div class=\"scroll\" tabindex=\"0\">\n<table>\n");
    if !table.folded {
        out.push_str(&format!("<caption>{caption}</caption>\n"));
    }
    out.push_str("<thead>\n<tr>");
    for (column, head) in table.head.iter().enumerate() {
        let class = if column < table.names {
            "name"
        } else {
            "number"
        };
        out.push_str(&format!(
            "<th scope=\"col\" class=\"{class}\">{}</th>",
            escape(head)
        ));
    }
    out.push_str("</tr>\n</thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            out.push_str(&match column {
                0 => format!("<th scope=\"row\" class=\"name\">{cell}</th>"),
                _ if column < table.names => format!("<td class=\"name\">{cell}</td>"),
                _ => format!("<td class=\"number\">{cell}</td>"),
            });
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    if table.folded {
        out.push_str("</details>\n");
    }
}

fn figure(out: &mut String, figure: &Figure) {
    let caption = escape(&figure.caption);
    let described = format!("<svg role=\"img\" aria-label=\"{caption}\" ");
    let svg = figure.svg.replacen("<svg ", &described, 1);
    out.push_str(&format!(
        "<figure>\n<div class=\"scroll\" tabindex=\"0\">\n{}\n</div>\n\
         <figcaption>{caption}</figcaption>\n</figure>\n",
        svg.trim_end()
    ));
}

/// Keeps words from being read as marks.
fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
