//! Which line of the checklist is proved over which store: a table from the outcome of a run of
//! tests.
//!
//! A test's name says what it proves. `hostile_requests::redis::s15_s16_hostile_text_…` is of the lines S15 and
//! S16 and of the store `redis`: the ids stand in front of the function's name, and the store is a
//! module on the way to it. A test without such a module is not in a cell.

mod lines;
mod run;
mod table;

pub use run::{Ended, Run};
pub use table::Table;
