//! Sessions as BSON: the names of the fields, how a document is read, and the expressions that
//! write and select documents.

pub(crate) mod decode;
pub(crate) mod expression;
pub(crate) mod field;
