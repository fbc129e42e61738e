#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backoff;
pub mod check;
pub mod clock;
pub mod commit;
pub mod password_file;
pub mod runtime_entries;
pub mod settings;
pub mod tls_failure;
pub mod url;
