//! The report before it has a form: sections of paragraphs, tables and figures.
//!
//! Both the Markdown and the HTML are rendered from it, so they cannot disagree.

/// A piece of running text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Inline {
    /// Plain words.
    Plain(String),
    /// Words that stand out.
    Strong(String),
    /// A command, a name of a file or of a setting.
    Code(String),
    /// A link to another file of the report, which a page that holds
    /// everything replaces by a place within itself.
    Link {
        /// The words.
        text: String,
        /// File beside the report.
        file: String,
        /// Id of a section, if the page has one in place of the file.
        section: Option<&'static str>,
    },
}

/// Running text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text(pub(super) Vec<Inline>);

impl Text {
    /// Plain words to begin with.
    pub(super) fn new(words: impl Into<String>) -> Self {
        Text::default().plain(words)
    }

    /// Adds plain words.
    pub(super) fn plain(mut self, words: impl Into<String>) -> Self {
        self.0.push(Inline::Plain(words.into()));
        self
    }

    /// Adds words that stand out.
    pub(super) fn strong(mut self, words: impl Into<String>) -> Self {
        self.0.push(Inline::Strong(words.into()));
        self
    }

    /// Adds a command or name.
    pub(super) fn code(mut self, words: impl Into<String>) -> Self {
        self.0.push(Inline::Code(words.into()));
        self
    }

    /// Adds a link to a file of the report.
    pub(super) fn file(self, text: &str, file: &str) -> Self {
        self.link(text, file, None)
    }

    /// Adds a link to a file that a page may hold as a section.
    pub(super) fn link(mut self, text: &str, file: &str, section: Option<&'static str>) -> Self {
        self.0.push(Inline::Link {
            text: text.to_owned(),
            file: file.to_owned(),
            section,
        });
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

/// Numbers in rows and columns; the first columns name the row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// What the table shows.
    pub(super) caption: String,
    /// Heads of the columns.
    pub(super) head: Vec<String>,
    /// Columns of words, at the left; the others hold numbers.
    pub(super) names: usize,
    /// The rows.
    pub(super) rows: Vec<Vec<String>>,
    /// Long; shown when asked for.
    pub(super) folded: bool,
}

impl Table {
    /// An empty table.
    pub(super) fn new(caption: impl Into<String>, names: usize, head: &[&str]) -> Self {
        Table {
            caption: caption.into(),
            head: head.iter().map(|&head| head.to_owned()).collect(),
            names,
            rows: Vec::new(),
            folded: false,
        }
    }
}

/// A drawing in a file of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// File below the report's folder.
    pub(super) file: String,
    /// What it shows, and how to read it.
    pub(super) caption: String,
    /// The drawing, as SVG.
    pub(super) svg: String,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    /// A paragraph.
    Paragraph(Text),
    /// Points of a list.
    List(Vec<Text>),
    /// Lines to type.
    Code(String),
    /// A table.
    Table(Table),
    /// A figure.
    Figure(Figure),
}

impl Block {
    /// A paragraph.
    pub(super) fn paragraph(text: impl Into<Text>) -> Self {
        Block::Paragraph(text.into())
    }
}

/// A section with a heading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// Its anchor.
    pub(super) id: String,
    /// Its heading.
    pub(super) title: String,
    /// Its parts.
    pub(super) blocks: Vec<Block>,
}

impl Section {
    /// A section.
    pub(super) fn new(id: &str, title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Section {
            id: id.to_owned(),
            title: title.into(),
            blocks,
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// Its title.
    pub(super) title: String,
    /// What stands before the first section.
    pub(super) lead: Vec<Block>,
    /// Its sections.
    pub(super) sections: Vec<Section>,
}

impl Document {
    /// All figures, in order.
    pub(super) fn figures(&self) -> impl Iterator<Item = &Figure> {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        blocks.filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            _ => None,
        })
    }
}
