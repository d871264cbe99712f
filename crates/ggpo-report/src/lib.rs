//! Pages of text, tables and figures, as one HTML file or as Markdown with SVG files.
//!
//! A [`Page`] is plain data; both forms are rendered from it, so they cannot disagree.
//! One [`Table`], one [`IntervalPlot`], one [`CurvePlot`] and one [`HeatMap`] serve
//! everything that has numbers, and [`VerdictLine`]s say what follows from them.
//!
//! ```
//! use ggpo_report::{Block, Page, Section, Text};
//!
//! let page = Page {
//!     title: "Findings".to_owned(),
//!     lead: vec![Block::paragraph("What was measured.")],
//!     sections: vec![Section::new(
//!         "method",
//!         "Method",
//!         vec![Block::paragraph(Text::new("Run ").code("measure").plain("."))],
//!     )],
//! };
//! assert!(page.to_html().contains("<code>measure</code>"));
//! assert!(page.to_markdown("figures").contains("Run `measure`."));
//! ```

mod figure;
pub mod format;
mod html;
mod markdown;
mod page;
mod plot;
mod svg;
mod table;
mod verdict;

pub use figure::{Figure, Plot};
pub use html::STYLE;
pub use page::{Block, Inline, Page, Section, Text};
pub use plot::axis::{Axis, Scale};
pub use plot::curve::{CurvePanel, CurvePlot, CurvePoint, Place, ReferenceLine, Series};
pub use plot::heat::{HeatMap, HeatScale};
pub use plot::interval::{Interval, IntervalPanel, IntervalPlot, IntervalRow};
pub use table::{Cell, Column, Table};
pub use verdict::{Tone, VerdictLine};
