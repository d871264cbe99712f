//! A page as one HTML file that needs nothing else.
//!
//! The file has a line for each block and each row of a table, so that two of them
//! can be compared line by line: hence the breaks among the marks.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{Block, Column, Figure, Inline, Page, Section, Table, Text, VerdictLine, figure, svg};

/// The style of a page: colours, type, tables, print.
pub const STYLE: &str = include_str!("page.css");

/// The page; figures and style are part of it.
pub(crate) fn render(page: &Page) -> String {
    let markup = html! {
        (DOCTYPE) "\n"
        html lang="en" { "\n"
            head { "\n"
                meta charset="utf-8"; "\n"
                meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                title { (page.title) } "\n"
                style { "\n" (PreEscaped(STYLE)) (PreEscaped(figure::STYLE)) } "\n"
            } "\n"
            body { "\n"
                a.skip href="#content" { "To the content" } "\n"
                header { h1 { (page.title) } } "\n"
                @if !page.sections.is_empty() {
                    nav aria-label="Contents" { "\n"
                        details { "\n" summary { "Contents" } "\n" (contents(&page.sections)) }
                    } "\n"
                }
                main id="content" { "\n"
                    (blocks(&page.lead))
                    @for part in &page.sections {
                        (section(part, 2))
                    }
                } "\n"
            } "\n"
        } "\n"
    };
    svg::printable(&markup.into_string())
}

fn contents(sections: &[Section]) -> Markup {
    html! {
        ul { "\n"
            @for section in sections {
                li {
                    a href={ "#" (section.id) } { (section.title) }
                    @if !section.subsections.is_empty() {
                        (contents(&section.subsections))
                    }
                } "\n"
            }
        } "\n"
    }
}

fn section(part: &Section, level: usize) -> Markup {
    html! {
        section id=(part.id) { "\n"
            @match level {
                2 => h2 { (part.title) },
                3 => h3 { (part.title) },
                _ => h4 { (part.title) },
            } "\n"
            (blocks(&part.blocks))
            @for inner in &part.subsections {
                (section(inner, level + 1))
            }
        } "\n"
    }
}

fn blocks(blocks_: &[Block]) -> Markup {
    html! {
        @for block in blocks_ {
            @match block {
                Block::Paragraph(words) => p { (text(words)) },
                Block::List(points) => ul { "\n"
                    @for point in points {
                        li { (text(point)) } "\n"
                    }
                },
                Block::Table(content) => (table(content)),
                Block::Figure(content) => (figure(content)),
                Block::Details { summary, blocks: inner } => details { "\n"
                    summary { (summary) } "\n"
                    (blocks(inner))
                },
                Block::Code(lines) => pre tabindex="0" { code { (lines.trim_end()) } },
                Block::Verdicts(lines) => ul.verdicts { "\n"
                    @for line in lines {
                        (verdict(line)) "\n"
                    }
                },
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
                Inline::Link { text, to } => a href=(to) { (text) },
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let class = |index: usize| match table.columns.get(index) {
        Some(Column { numeric: true, .. }) => "number",
        _ => "name",
    };
    html! {
        div.scroll role="region" aria-label=(table.caption) tabindex="0" { "\n"
            table { "\n"
                @if !table.caption.is_empty() {
                    caption { span { (table.caption) } } "\n"
                }
                thead { "\n"
                    tr {
                        @for (index, column) in table.columns.iter().enumerate() {
                            th scope="col" class=(class(index)) { (column.title) }
                        }
                    } "\n"
                } "\n"
                tbody { "\n"
                    @for row in &table.rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 {
                                    th scope="row" class=(class(index)) { (text(&cell.text)) }
                                } @else {
                                    td class=(class(index)) { (text(&cell.text)) }
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
    html! {
        figure id=(figure.anchor()) { "\n"
            div.scroll tabindex="0" role="group" aria-label=(figure.title) { "\n"
                (figure.inline_svg()) "\n"
            } "\n"
            figcaption { strong { (figure.title) } " " (figure.description) } "\n"
        }
    }
}

fn verdict(line: &VerdictLine) -> Markup {
    html! {
        li class=(line.tone.mark_and_class().1) {
            span.verdict { span.mark aria-hidden="true" { (line.tone.mark()) } (line.verdict) } " "
            span.claim {
                @if line.section.is_empty() {
                    (line.claim)
                } @else {
                    a href={ "#" (line.section) } { (line.claim) }
                }
            } " "
            span.found { (line.number) } " "
            @if let Some(picture) = line.picture() {
                span.picture { (picture) }
            }
        }
    }
}
