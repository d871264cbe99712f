//! A page as Markdown that is readable raw.

use crate::{Block, Column, Inline, Page, Section, Table, Text, VerdictLine, svg};

/// The page; figures are links to their files.
pub(crate) fn render(page: &Page, figures_folder: &str) -> String {
    let mut writer = Writer {
        out: format!("# {}\n", escape(&page.title)),
        folder: figures_folder.trim_end_matches('/'),
    };
    writer.blocks(&page.lead);
    writer.sections(&page.sections, 2);
    svg::printable(&writer.out)
}

struct Writer<'a> {
    out: String,
    folder: &'a str,
}

impl Writer<'_> {
    fn sections(&mut self, sections: &[Section], level: usize) {
        for section in sections {
            let anchor = html_words(&section.id);
            let (marks, title) = ("#".repeat(level.min(6)), escape(&section.title));
            let heading = format!("\n<a id=\"{anchor}\"></a>\n\n{marks} {title}\n");
            self.out.push_str(&heading);
            self.blocks(&section.blocks);
            self.sections(&section.subsections, level + 1);
        }
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.out.push('\n');
            match block {
                Block::Paragraph(words) => self.line("", &from_start(&text(words))),
                Block::List(points) => {
                    for point in points {
                        self.line("- ", &from_start(&text(point)));
                    }
                }
                Block::Table(content) => self.table(content),
                Block::Figure(figure) => {
                    let (title, words) = (escape(&figure.title), escape(&figure.description));
                    let file = address(&format!("{}/{}", self.folder, figure.file_name()));
                    let file = file.trim_start_matches('/');
                    self.line("", &format!("![{words}]({file})\n\n**{title}**: {words}"));
                }
                Block::Details { summary, blocks } => {
                    let summary = html_words(summary);
                    self.line("", &format!("<details>\n<summary>{summary}</summary>"));
                    self.blocks(blocks);
                    self.line("\n", "</details>");
                }
                Block::Code(lines) => {
                    let fence = "`".repeat(longest_ticks(lines).max(2) + 1);
                    self.line("", &format!("{fence}text\n{}\n{fence}", lines.trim_end()));
                }
                Block::Verdicts(lines) => {
                    for line in lines {
                        self.line("- ", &verdict(line));
                    }
                }
            }
        }
    }

    fn line(&mut self, start: &str, words: &str) {
        self.out.push_str(start);
        self.out.push_str(words);
        self.out.push('\n');
    }

    fn table(&mut self, table: &Table) {
        if !table.caption.is_empty() {
            self.line("", &format!("**{}**\n", escape(&table.caption)));
        }
        let heads = table
            .columns
            .iter()
            .map(|column| escape(&column.title))
            .collect();
        let in_cell = |words: &Text| {
            // In a cell, code too needs its bars escaped.
            let pieces = words.0.iter().map(|piece| match piece {
                Inline::Code(words) => code(words).replace('|', "\\|"),
                piece => inline(piece),
            });
            pieces.collect::<String>()
        };
        let cells = table
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| in_cell(&cell.text)).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        for (index, row) in lines.iter().enumerate() {
            let (mut line, mut rule) = ("|".to_owned(), "|".to_owned());
            for (column, Column { numeric, .. }) in table.columns.iter().enumerate() {
                let (cell, width) = (row.get(column).map_or("", String::as_str), width(column));
                let dashes = "-".repeat(width - 1);
                if *numeric {
                    line.push_str(&format!(" {cell:>width$} |"));
                    rule.push_str(&format!(" {dashes}: |"));
                } else {
                    line.push_str(&format!(" {cell:<width$} |"));
                    rule.push_str(&format!(" {dashes}- |"));
                }
            }
            self.line("", &line);
            if index == 0 {
                self.line("", &rule);
            }
        }
    }
}

fn verdict(line: &VerdictLine) -> String {
    let claim = match line.section.as_str() {
        "" => escape(&line.claim),
        section => format!(
            "[{}]({})",
            escape(&line.claim),
            address(&format!("#{section}"))
        ),
    };
    let found = [Some(escape(&line.number)), line.interval_in_words()];
    let found: Vec<_> = found
        .into_iter()
        .flatten()
        .filter(|it| !it.is_empty())
        .collect();
    let (mark, verdict) = (line.tone.mark(), escape(&line.verdict));
    format!("{mark} **{verdict}**: {claim} ({})", found.join("; ")).replace(" ()", "")
}

fn text(words: &Text) -> String {
    words.0.iter().map(inline).collect()
}

fn inline(piece: &Inline) -> String {
    match piece {
        Inline::Plain(words) => escape(words),
        Inline::Strong(words) => {
            // With spaces inside, the marks would be plain stars.
            let inner = words.trim();
            let (start, end) = match words.split_once(inner) {
                Some((start, end)) if !inner.is_empty() => (start, end),
                _ => return " ".to_owned(),
            };
            let [start, end] = [start, end].map(|space| if space.is_empty() { "" } else { " " });
            format!("{start}**{}**{end}", escape(inner))
        }
        Inline::Code(words) => code(words),
        Inline::Link { text, to } => format!("[{}]({})", escape(text), address(to)),
    }
}

/// Code between more backticks than it has in a row.
fn code(words: &str) -> String {
    let words = words.replace(['\n', '\r'], " ");
    let ticks = "`".repeat(longest_ticks(&words) + 1);
    let space = if words.starts_with('`') || words.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{ticks}{space}{words}{space}{ticks}")
}

fn longest_ticks(words: &str) -> usize {
    let runs = words.split(|letter| letter != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// Keeps words from being read as marks.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '|' | '[' | ']' | '~' | '$' | '!' => {
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

/// Keeps what a line begins with from being read as a heading, a list or a quotation.
fn from_start(line: &str) -> String {
    let line = line.trim_start();
    let digits = line.len()
        - line
            .trim_start_matches(|it: char| it.is_ascii_digit())
            .len();
    let rest = &line[digits..];
    let is_mark = match digits {
        0 => rest.starts_with(['#', '>', '+', '-', '=', ':']),
        _ => rest.starts_with(['.', ')']),
    };
    match is_mark {
        true => format!("{}\\{rest}", &line[..digits]),
        false => line.to_owned(),
    }
}

fn html_words(words: &str) -> String {
    let words = words.replace(['\n', '\r'], " ");
    maud::html! { (words) }.into_string()
}

/// An address without letters that would end the link.
fn address(to: &str) -> String {
    let mut address = String::with_capacity(to.len());
    for letter in to.chars() {
        match letter {
            ' ' | '(' | ')' | '<' | '>' | '|' | '\\' | '\n' | '\r' | '"' => {
                address.push_str(&format!("%{:02X}", letter as u32));
            }
            _ => address.push(letter),
        }
    }
    address
}
