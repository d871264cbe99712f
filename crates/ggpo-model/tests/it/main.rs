//! Models and their files, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod chat;
mod descriptions;
mod generate;
mod gguf;
mod gguf_written;
mod minilm;
mod model_folder;
mod models;
mod peft_forms;
mod qwen;
mod rotary;
mod weights;
