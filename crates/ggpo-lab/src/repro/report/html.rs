//! A document as one HTML page that needs nothing else.
//!
//! The page keeps a line for each block and each row of a table, so that two of them
//! can be compared line by line: hence the breaks among the marks.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::document::{Block, Document, Figure, Inline, Table, Text};

const STYLE: &str = include_str!("style.css");

/// The document as a page; figures and style are part of it.
pub(super) fn render(document: &Document) -> String {
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" { "\n"
            head { "\n"
                meta charset="utf-8"; "\n"
                meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                title { (document.title) } "\n"
                style { "\n" (PreEscaped(STYLE)) } "\n"
            } "\n"
            body { "\n"
                main { "\n"
                    h1 { (document.title) } "\n"
                    (blocks(&document.lead))
                    nav aria-label="Sections" { "\n"
                        ul { "\n"
                            @for section in &document.sections {
                                li { a href={ "#" (section.id) } { (section.title) } } "\n"
                            }
                        } "\n"
                    } "\n"
                    @for section in &document.sections {
                        section id=(section.id) { "\n"
                            h2 { (section.title) } "\n"
                            (blocks(&section.blocks))
                        } "\n"
                    }
                } "\n"
            } "\n"
        } "\n"
    };
    page.into_string()
}

fn blocks(blocks: &[Block]) -> Markup {
    html! {
        @for block in blocks {
            @match block {
                Block::Paragraph(words) => p { (text(words)) },
                Block::List(points) => ul { "\n"
                    @for point in points {
                        li { (text(point)) } "\n"
                    }
                },
                Block::Code(lines) => pre { code { (lines.trim_end()) } },
                Block::Table(content) => (table(content)),
                Block::Figure(content) => (figure(content)),
            } "\n"
        }
    }
}

fn text(words: &Text) -> Markup {
    html! {
        @for piece in &words.0 {
            @match piece {
                Inline::Plain(words) => (words),
                Inline::Strong(words) => strong { (words) },
                Inline::Code(words) => code { (words) },
                Inline::Link { text, section: Some(section), .. } => {
                    a href={ "#" (section) } { (text) }
                }
                Inline::Link { text, file, section: None } => a href=(file) { (text) },
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    if table.folded {
        return html! {
            details { "\n"
                summary { (table.caption) } "\n"
                (numbers(table)) "\n"
            }
        };
    }
    numbers(table)
}

/// The table itself, with its caption unless that is shown above.
fn numbers(table: &Table) -> Markup {
    let class = |column| match column < table.names {
        true => "name",
        false => "number",
    };
    html! {
        div.scroll tabindex="0" { "\n"
            table { "\n"
                @if !table.folded {
                    caption { (table.caption) } "\n"
                }
                thead { "\n"
                    tr {
                        @for (column, head) in table.head.iter().enumerate() {
                            th scope="col" class=(class(column)) { (head) }
                        }
                    } "\n"
                } "\n"
                tbody { "\n"
                    @for row in &table.rows {
                        tr {
                            @for (column, cell) in row.iter().enumerate() {
                                @if column == 0 {
                                    th scope="row" class="name" { (cell) }
                                } @else {
                                    td class=(class(column)) { (cell) }
                                }
                            }
                        } "\n"
                    }
                } "\n"
            } "\n"
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    let mark = html! { svg role="img" aria-label=(figure.caption); }.into_string();
    let described = format!("{} ", mark.trim_end_matches('>'));
    let svg = figure.svg.replacen("<svg ", &described, 1);
    html! {
        figure { "\n"
            div.scroll tabindex="0" { "\n" (PreEscaped(svg.trim_end())) "\n" } "\n"
            figcaption { (figure.caption) } "\n"
        }
    }
}
