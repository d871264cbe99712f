//! One file per command.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod estimate;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod features;
pub(crate) mod fetch;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod landscape;
pub(crate) mod merge;
pub(crate) mod methods;
pub(crate) mod predict;
pub(crate) mod preview;
pub(crate) mod sharpness;
pub(crate) mod shell;
pub(crate) mod train;
