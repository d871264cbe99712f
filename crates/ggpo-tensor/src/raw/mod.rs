//! The only module of the workspace that may contain `unsafe` code.
//!
//! Some things cannot be had without it: calling `matrixmultiply`, whose
//! interface is raw pointers with strides, kernels in vector instructions and
//! calling functions compiled for CPU features that were detected at run time,
//! memory that several threads write before anything is read from it, and setting
//! up the allocator. Every block states why it is
//! sound; everything exported from here is safe.
#![allow(unsafe_code)]

pub(crate) mod dispatch;
pub(crate) mod gemm;
pub(crate) mod memory;
pub(crate) mod pieces;
pub(crate) mod probe;
pub(crate) mod sgemm;
