//! [`Invocation`]: what the command line tells the program to do.

use std::{ffi::OsString, path::PathBuf};

use clap::ArgMatches;
use cluster::control::Command;

use super::{SettingError, Settings, flags, raw, reader::SettingReader, values::ProcessRole};

/// What the command line tells the program to do.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Serve requests with several worker processes.
    Serve(Settings),
    /// Own the sessions of other servers.
    Owner(Settings),
    /// Print this text.
    PrintConfig(String),
    /// Check the store, and print the report in this format.
    Check(Settings, OutputFormat),
    /// Send a command to a running server.
    Ctl(CtlArgs),
}

/// The arguments of `ctl`.
#[derive(Debug)]
pub(crate) struct CtlArgs {
    /// The control socket of the server.
    pub(crate) path: PathBuf,
    pub(crate) command: Command,
    pub(crate) format: OutputFormat,
}

/// The format of the printed reply or report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}

impl Invocation {
    /// Reads command line, environment and file.
    ///
    /// # Errors
    /// [`SettingError`]. If clap refuses the command line, the program ends at once with clap's
    /// message and code 2.
    pub(crate) fn from_process() -> Result<Self, SettingError> {
        Self::from_arguments(std::env::args_os()).unwrap_or_else(|error| refuse(&error))
    }

    /// Reads these arguments, environment and file. The first argument is the name of the program.
    /// The outer error is clap's.
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> clap::error::Result<Result<Self, SettingError>> {
        Ok(Self::from_matches(&flags::command().try_get_matches_from(arguments)?))
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, SettingError> {
        let print = matches.get_flag("print-config");
        if let (Some(("ctl", ctl)), false) = (matches.subcommand(), print) {
            return ctl_args(ctl).map(Self::Ctl);
        }
        let command_matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
        let mut raw = raw::merge(command_matches)?;
        let settings = Settings::parse(&raw)?;
        let role = match matches.subcommand_name() {
            Some("owner") => ProcessRole::Owner,
            _ => ProcessRole::Server,
        };
        settings.check_used(&SettingReader(&raw), role)?;
        if print || command_matches.get_flag("print-config") {
            settings.insert_resolved(&mut raw);
            return Ok(Self::PrintConfig(raw::render(&raw)));
        }
        if let Some(("check", check)) = matches.subcommand() {
            let is_json = check.get_one::<String>("format").is_some_and(|format| format == "json");
            let format = if is_json { OutputFormat::Json } else { OutputFormat::Text };
            return Ok(Self::Check(settings, format));
        }
        Ok(match role {
            ProcessRole::Owner => Self::Owner(settings),
            ProcessRole::Server => Self::Serve(settings),
        })
    }
}

/// Ends the program with clap's message, without an argument that can contain a password.
#[expect(clippy::print_stderr, reason = "the log is not set up yet")]
#[expect(clippy::exit, reason = "clap's own function for this ends the program too")]
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() || !error.render().to_string().contains("://") {
        error.exit()
    }
    eprintln!(
        "error: {}: an argument that is a URL is in the wrong place; the URL is not shown, because \
         it can contain a password; use --store-url URL, or see --help",
        error.kind()
    );
    std::process::exit(2)
}

/// Reads the arguments of `ctl`. Settings that it does not use are not checked.
fn ctl_args(ctl: &ArgMatches) -> Result<CtlArgs, SettingError> {
    let missing = || SettingError::Invalid {
        reason: "ctl needs the control socket of the server: start the server and ctl with the \
                 same --control /path (or DEMO_CONTROL, or control in a file)"
            .to_owned(),
    };
    // clap requires a subcommand, so the default is never used.
    let (name, matches) = ctl.subcommand().unwrap_or(("status", ctl));
    let path = SettingReader(&raw::merge(matches)?).path("control").ok_or_else(missing)?;
    let format = if matches.get_flag("json") { OutputFormat::Json } else { OutputFormat::Text };
    Ok(CtlArgs { path, command: flags::control_command(name, matches), format })
}
