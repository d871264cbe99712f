//! What judges a method. Nothing here knows of a command line.
//!
//! * [`audit`](mod@audit): steps of training, number by number.
//! * [`experiment`]: experiments described in files, carried out, judged, reported.
//! * [`sharpness`]: how sharp the loss is around a model, by exact products of its
//!   Hessian.
//! * [`statistics`]: what a handful of runs can show.
//! * [`verdict`]: what is said of a claim, by a rule fixed before the runs.
//! * [`calibration`]: problems of known answer, before any verdict.
//! * [`parity`]: everything against values calculated elsewhere.
//! * [`bench`](mod@bench): how long training steps take, and how much memory.
//! * [`pretrain`]: the small base models of the experiments.
//!
//! Chapters of the book:
//! [two things called double descent](../../../docs/book/src/double-descent.md),
//! [how a claim gets a verdict](../../../docs/book/src/verdicts.md),
//! [reading an audit](../../../docs/book/src/audit.md),
//! [adding an experiment](../../../docs/book/src/extending.md).

pub mod audit;
pub mod bench;
pub mod calibration;
pub mod experiment;
pub mod parity;
pub mod pretrain;
pub mod progress;
pub mod sharpness;
pub mod statistics;
pub mod verdict;
