//! Orders to a server that runs, from the command line.

mod shown;

use std::path::PathBuf;

use cluster::control::{Client, Command, ControlError};
use serde_json::json;
use tokio::runtime::Builder;

use crate::problem::Problem;

/// What to say to which primary.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) path: PathBuf,
    pub(crate) command: Command,
    pub(crate) form: Form,
}

/// For whom the reply is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    People,
    Json,
}

/// Gives the order, waits until it is carried out and prints the reply.
#[expect(
    clippy::print_stdout,
    reason = "what a command-line program says on standard output is its interface"
)]
pub(crate) fn run(order: &Order) -> Result<(), Problem> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Problem::io("cannot start the event loop"))?;
    let called =
        runtime.block_on(async { Client::connect(&order.path).await?.call(&order.command).await });
    match (&called, order.form) {
        (Ok(reply), Form::People) => print!("{}", shown::text(reply)),
        (Ok(reply), Form::Json) => println!("{}", json!(reply)),
        (Err(ControlError::Refused(refusal)), Form::Json) => {
            println!("{}", json!({ "error": refusal }));
        }
        (Err(_), _) => {}
    }
    Ok(called.map(drop)?)
}
