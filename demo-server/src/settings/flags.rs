//! The command line: flags, subcommands and their help.

use std::num::NonZeroUsize;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::styling::{AnsiColor, Styles},
    value_parser,
};
use cluster::{
    Signal, WorkerId,
    control::{self, StopMode},
};

use super::spec::{SETTINGS, SettingKind, SettingSpec};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().bold());

const AFTER_HELP: &str = "\
Priority of settings: flag, environment variable (DEMO_LISTEN, ...), configuration file \
(TOML, listen = ...), default.

Examples:
  demo-server
  curl -c jar -b jar http://127.0.0.1:3000/
  curl -c jar -b jar -d '{\"user\":\"bob\"}' http://127.0.0.1:3000/login

Signals: TERM and QUIT stop the server after its requests have ended. INT stops it at once. HUP \
replaces all workers. USR2 also replaces the primary. TTIN and TTOU add and remove a worker.";

/// The program's command line.
pub(super) fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("DEMO_CONFIG")
        .hide_env_values(true)
        .help("A TOML file with settings");
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the effective settings, and exit");
    Command::new("demo-server")
        .about("A demo server: several worker processes with one port and shared sessions")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(STYLES)
        .after_help(AFTER_HELP)
        .args(SETTINGS.iter().map(|spec| argument(spec).global(true)))
        .arg(config.global(true))
        .arg(print.clone())
        .subcommand(
            Command::new("owner")
                .about("Own the sessions of servers that use the same --store-url ipc:/path")
                .arg(print.clone()),
        )
        .subcommand(check().arg(print))
        .subcommand(ctl())
}

/// The subcommand `check`. It reads all settings of the server.
fn check() -> Command {
    let format = Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("Format of the report");
    Command::new("check")
        .about("Connect to the store once, and report what it needs; ends with 1 if a check failed")
        .arg(format)
}

/// The subcommand `ctl`. Its help shows only the settings that it reads.
fn ctl() -> Command {
    let id = || {
        Arg::new("id")
            .value_name("ID")
            .required(true)
            .value_parser(value_parser!(WorkerId))
            .help("Id of the worker, as status prints it")
    };
    let slots = Arg::new("slots")
        .value_name("N")
        .required(true)
        .value_parser(value_parser!(NonZeroUsize))
        .help("Number of workers, 1 or more");
    let signal = Arg::new("signal")
        .long("signal")
        .value_name("NAME")
        .default_value("TERM")
        .value_parser(signal)
        .help("Name of the signal: TERM, KILL, ...");
    let fast = Arg::new("fast")
        .long("fast")
        .action(ArgAction::SetTrue)
        .help("Do not wait for requests in flight");
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the reply as JSON");
    let unused = SETTINGS
        .iter()
        .filter(|spec| spec.name != "control")
        .map(|spec| argument(spec).global(true).hide(true));
    Command::new("ctl")
        .about(
            "Send a command to a running server, and wait until it is carried out; needs --control",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(unused)
        .arg(json.global(true))
        .subcommand(Command::new("status").about("Show slots and workers"))
        .subcommand(
            Command::new("reload").about(
                "Replace the workers one after the other; new workers run the installed build",
            ),
        )
        .subcommand(
            Command::new("upgrade")
                .about("Replace the primary and all workers by the installed build"),
        )
        .subcommand(Command::new("scale").about("Set the number of workers").arg(slots))
        .subcommand(
            Command::new("drain")
                .about("Stop a worker after its requests have ended; a new worker replaces it")
                .arg(id()),
        )
        .subcommand(Command::new("kill").about("Send a signal to a worker").arg(id()).arg(signal))
        .subcommand(Command::new("stop").about("Stop the server").arg(fast))
}

fn signal(name: &str) -> Result<Signal, String> {
    control::Command::signal(&name.to_uppercase())
        .ok_or_else(|| "use the name of a signal, such as TERM, KILL, INT, STOP or CONT".to_owned())
}

/// The command that `ctl` sends. clap has already checked that required arguments are present.
pub(super) fn control_command(name: &str, matches: &ArgMatches) -> control::Command {
    let id = || matches.get_one::<WorkerId>("id").copied();
    let command = match name {
        "reload" => Some(control::Command::Reload),
        "upgrade" => Some(control::Command::Upgrade),
        "scale" => matches
            .get_one::<NonZeroUsize>("slots")
            .map(|&workers| control::Command::Scale { workers }),
        "drain" => id().map(|id| control::Command::Drain { id }),
        "kill" => id()
            .zip(matches.get_one::<Signal>("signal").copied())
            .map(|(id, signal)| control::Command::Kill { id, signal }),
        "stop" => Some(control::Command::Stop {
            mode: if matches.get_flag("fast") { StopMode::Fast } else { StopMode::Graceful },
        }),
        _ => None,
    };
    command.unwrap_or(control::Command::Status)
}

fn argument(spec: &'static SettingSpec) -> Arg {
    let help = if spec.default.is_empty() {
        spec.help.to_owned()
    } else {
        format!("{} [default: {}]", spec.help, spec.default)
    };
    // The help must not print values of the environment: a cookie key is a secret, and the URL of a
    // store can contain a password.
    let argument = Arg::new(spec.name)
        .long(spec.name)
        .value_name(spec.placeholder)
        .env(spec.environment_variable())
        .hide_env_values(true)
        .help(help);
    match spec.kind {
        // Accepts `--allow-crash` and `--allow-crash=false`, but not `--allow-crash false`.
        SettingKind::Switch => {
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        // The parser of the setting reports a value that starts with a dash.
        SettingKind::Plain | SettingKind::Secret => argument.allow_hyphen_values(true),
    }
}
