//! A statement: its SQL text and the values that are bound to it.
//!
//! Keys, hashes, names, values and users are always bound. The text comes from this crate, except
//! for the name of the table, which [`Config`](crate::Config) restricts to letters, digits and
//! underscores.

use std::sync::Arc;

/// A value that is bound to a parameter.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Integer(Option<i64>),
    Bytes(Option<Arc<[u8]>>),
    Text(Arc<str>),
}

impl Arg {
    pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Some(bytes.as_ref().into()))
    }

    /// A number. One that is too large for the database becomes the largest possible one, which as
    /// a limit means "no limit".
    pub(crate) fn number(number: impl TryInto<i64>) -> Self {
        Self::Integer(Some(number.try_into().unwrap_or(i64::MAX)))
    }

    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }
}

/// A statement that is ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) args: Vec<Arg>,
}

impl Statement {
    pub(crate) fn new(text: &Arc<str>, args: impl Into<Vec<Arg>>) -> Self {
        Self { text: Arc::clone(text), args: args.into() }
    }
}
