#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod check;
pub mod history;
pub mod run;
