//! The command `ctl`: sends a command to a running server and prints the reply.

mod render;

use cluster::control::{Client, ControlError};
use serde_json::json;

use crate::{
    error::AppError,
    runtime,
    settings::{CtlArgs, OutputFormat},
};

/// Sends the command, waits until the server has carried it out, and prints the reply.
#[expect(
    clippy::print_stdout,
    reason = "the standard output of a command-line program is its interface"
)]
pub(crate) fn run(arguments: &CtlArgs) -> Result<(), AppError> {
    let reply = runtime::build()?
        .block_on(async { Client::connect(&arguments.path).await?.call(&arguments.command).await });
    match (&reply, arguments.format) {
        (Ok(reply), OutputFormat::Text) => print!("{}", render::text(reply)),
        (Ok(reply), OutputFormat::Json) => println!("{}", json!(reply)),
        (Err(ControlError::Refused(refusal)), OutputFormat::Json) => {
            println!("{}", json!({ "error": refusal }));
        }
        (Err(_), _) => {}
    }
    Ok(reply.map(drop)?)
}
