//! The kinds of plots.

pub(crate) mod axis;
pub(crate) mod curve;
mod field;
pub(crate) mod heat;
pub(crate) mod interval;
