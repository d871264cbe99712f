//! A page before it has a form: sections of blocks of running text, tables and figures.

use crate::{Figure, Table, VerdictLine, html, markdown};

/// A piece of running text.
#[derive(Debug, Clone, PartialEq)]
pub enum Inline {
    /// Plain words.
    Plain(String),
    /// Words that stand out.
    Strong(String),
    /// A command, a name of a file or of a setting.
    Code(String),
    /// A link.
    Link {
        /// Its words.
        text: String,
        /// An address, or `#` and the id of a section.
        to: String,
    },
}

impl Inline {
    /// The words without their form.
    pub fn words(&self) -> &str {
        match self {
            Inline::Plain(text) | Inline::Strong(text) | Inline::Code(text) => text,
            Inline::Link { text, .. } => text,
        }
    }
}

/// Running text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text(pub Vec<Inline>);

impl Text {
    /// Plain words to begin with.
    pub fn new(words: impl Into<String>) -> Self {
        Text::default().plain(words)
    }

    /// Adds plain words.
    pub fn plain(self, words: impl Into<String>) -> Self {
        self.with(Inline::Plain(words.into()))
    }

    /// Adds words that stand out.
    pub fn strong(self, words: impl Into<String>) -> Self {
        self.with(Inline::Strong(words.into()))
    }

    /// Adds a command or name.
    pub fn code(self, words: impl Into<String>) -> Self {
        self.with(Inline::Code(words.into()))
    }

    /// Adds a link to an address, or to `#` and the id of a section.
    pub fn link(self, text: impl Into<String>, to: impl Into<String>) -> Self {
        self.with(Inline::Link {
            text: text.into(),
            to: to.into(),
        })
    }

    /// The words without their form.
    pub fn words(&self) -> String {
        self.0.iter().map(Inline::words).collect()
    }

    fn with(mut self, piece: Inline) -> Self {
        self.0.push(piece);
        self
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Text::new(words)
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        Text::new(words)
    }
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Paragraph(Text),
    /// Points of a list.
    List(Vec<Text>),
    /// A table.
    Table(Table),
    /// A figure.
    Figure(Figure),
    /// What is shown only when asked for.
    Details {
        /// What stands there at first.
        summary: String,
        /// What it unfolds to.
        blocks: Vec<Block>,
    },
    /// Lines to type, or what a program wrote.
    Code(String),
    /// Claims and what was found about each.
    Verdicts(Vec<VerdictLine>),
}

impl Block {
    /// A paragraph.
    pub fn paragraph(text: impl Into<Text>) -> Self {
        Block::Paragraph(text.into())
    }
}

/// A part of a page, with a heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Its anchor, unique on the page.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Its content.
    pub blocks: Vec<Block>,
    /// Sections within it, after its blocks.
    pub subsections: Vec<Section>,
}

impl Section {
    /// A section without subsections.
    pub fn new(id: impl Into<String>, title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Section {
            id: id.into(),
            title: title.into(),
            blocks,
            subsections: Vec::new(),
        }
    }
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What stands before the first section.
    pub lead: Vec<Block>,
    /// Its sections.
    pub sections: Vec<Section>,
}

impl Page {
    /// One HTML file that needs nothing else.
    pub fn to_html(&self) -> String {
        html::render(self)
    }

    /// Markdown whose figures are files in a folder beside it; [`Page::figures`] tells
    /// which they are.
    pub fn to_markdown(&self, figures_folder: &str) -> String {
        markdown::render(self, figures_folder)
    }

    /// All figures, in order; each is to be written under [`Figure::file_name`].
    pub fn figures(&self) -> Vec<&Figure> {
        let mut found = Vec::new();
        collect_from_blocks(&self.lead, &mut found);
        collect_from_sections(&self.sections, &mut found);
        found
    }
}

fn collect_from_sections<'a>(sections: &'a [Section], found: &mut Vec<&'a Figure>) {
    for section in sections {
        collect_from_blocks(&section.blocks, found);
        collect_from_sections(&section.subsections, found);
    }
}

fn collect_from_blocks<'a>(blocks: &'a [Block], found: &mut Vec<&'a Figure>) {
    for block in blocks {
        match block {
            Block::Figure(figure) => found.push(figure),
            Block::Details { blocks, .. } => collect_from_blocks(blocks, found),
            _ => {}
        }
    }
}
