//! A statement: fixed text, and what is bound to it.
//!
//! Keys, names, values and users are bound and never written into the text. What is written into it is this crate's own, but for the name of
//! the table, which [`Config`](crate::Config) holds to letters, digits and underscores.

use std::sync::Arc;

use crate::dialect::Dialect;

/// A value that is bound.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Integer(i64),
    Bytes(Arc<[u8]>),
    NoBytes,
    Text(Arc<str>),
}

impl Arg {
    pub(crate) fn bytes(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) args: Vec<Arg>,
}

impl Statement {
    pub(crate) fn new(text: &Arc<str>, args: Vec<Arg>) -> Self {
        Self { text: Arc::clone(text), args }
    }
}

/// A statement that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) dialect: Dialect,
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
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::with_capacity(512), args: Vec::with_capacity(8) }
    }

    pub(crate) fn write(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Names a value that is bound.
    pub(crate) fn bind(&mut self, arg: Arg) -> &mut Self {
        self.name(&mut arg.into())
    }

    /// Names a value that was bound before, if the database knows parameters by number; else it is bound once more.
    pub(crate) fn name(&mut self, bound: &mut Bound) -> &mut Self {
        if !self.dialect.numbers_parameters() {
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
        self.write(self.dialect.now())
    }

    pub(crate) fn finish(self) -> Statement {
        Statement { text: self.text.into(), args: self.args }
    }
}
