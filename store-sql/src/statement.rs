//! A statement: fixed text, and the values that are bound to it.
//!
//! Keys, hashes, names, values and users are bound and never part of the text. The text is this
//! crate's own, except for the name of the table, which [`Config`](crate::Config) restricts to
//! letters, digits and underscores.

use std::sync::Arc;

use crate::dialect::Sql;

/// A value that is bound.
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

    /// A number that is far below 2^63, or means "as many as there are".
    pub(crate) fn number(number: impl TryInto<i64>) -> Self {
        Self::Integer(Some(number.try_into().unwrap_or(i64::MAX)))
    }

    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }
}

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

/// A statement that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) sql: &'static Sql,
    text: String,
    args: Vec<Arg>,
}

/// A value that a statement may name more than once.
#[derive(Debug)]
pub(crate) struct Bound {
    arg: Arg,
    number: Option<usize>,
}

impl From<Arg> for Bound {
    fn from(arg: Arg) -> Self {
        Self { arg, number: None }
    }
}

impl Writer {
    pub(crate) fn new(sql: &'static Sql) -> Self {
        Self { sql, text: String::with_capacity(512), args: Vec::with_capacity(8) }
    }

    pub(crate) fn write(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Binds a value and names it.
    pub(crate) fn bind(&mut self, arg: Arg) -> &mut Self {
        self.name(&mut arg.into())
    }

    /// Names a value that was bound before. A database whose parameters have no numbers gets it
    /// bound once more.
    pub(crate) fn name(&mut self, bound: &mut Bound) -> &mut Self {
        if !self.sql.numbers_parameters {
            self.args.push(bound.arg.clone());
            self.text.push('?');
            return self;
        }
        let number = *bound.number.get_or_insert_with(|| {
            self.args.push(bound.arg.clone());
            self.args.len()
        });
        self.text.push('$');
        self.text.push_str(&number.to_string());
        self
    }

    /// The database's time, in milliseconds since 1970.
    pub(crate) fn now(&mut self) -> &mut Self {
        self.write(self.sql.now)
    }

    pub(crate) fn finish(self) -> Statement {
        Statement { text: self.text.into(), args: self.args }
    }
}
