//! The listings and figures of the book in `docs/book`.
//!
//! Every chapter is the documentation of a module, so that `cargo test` compiles and runs
//! its listings. [`figures`] makes the figures, for `cargo xtask book`.
#![forbid(unsafe_code)]

pub mod figures;

/// Modules that have a chapter each as their documentation.
macro_rules! chapters {
    ($($module:ident $file:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../../docs/book/src/", $file))]
            pub mod $module {}
        )*
    };
}

chapters! {
    index "index.md"
    lora "lora.md"
    tape "tape.md"
    equations "equations.md"
    row_norms "row-norms.md"
    noise "noise.md"
    one_step "one-step.md"
    laws "laws.md"
    double_descent "double-descent.md"
    verdicts "verdicts.md"
    audit "audit.md"
    errors "errors.md"
    extending "extending.md"
}
