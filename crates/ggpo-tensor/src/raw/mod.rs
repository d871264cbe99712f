//! The only module of the workspace that may contain `unsafe` code.
//!
//! Two things cannot be had without it: calling `matrixmultiply`, whose
//! interface is raw pointers with strides, and calling a function compiled for
//! CPU features that were detected at run time. Every block states why it is
//! sound; everything exported from here is a safe function.
#![allow(unsafe_code)]

pub(crate) mod dispatch;
pub(crate) mod gemm;
