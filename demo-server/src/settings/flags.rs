//! The command line.

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

use super::key::{KEYS, Key, Kind};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().bold());

const AFTER: &str = "\
Flags beat environment variables (DEMO_LISTEN, ...), which beat the file (listen = ..., in TOML), which beats the defaults.

Try it:
  demo-server
  curl -c jar -b jar http://127.0.0.1:3000/
  curl -c jar -b jar -d '{\"user\":\"bob\"}' http://127.0.0.1:3000/login

Signals: TERM and QUIT finish what is under way, INT stops fast, HUP replaces all workers, USR2 the primary as well, TTIN and TTOU make it one worker
more or less.";

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
        .help("Print the settings that hold, and stop");
    Command::new("demo-server")
        .about("Several worker processes, one port, one set of sessions")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(STYLES)
        .after_help(AFTER)
        .args(KEYS.iter().map(|key| argument(key).global(true)))
        .arg(config.global(true))
        .arg(print.clone())
        .subcommand(
            Command::new("owner")
                .about(
                    "Only own sessions, for servers with --store-url ipc:/path; needs --store-url",
                )
                .arg(print),
        )
        .subcommand(ctl())
}

/// `ctl` and what it can say. Its help shows no settings but the ones that it reads.
fn ctl() -> Command {
    let id = || {
        Arg::new("id")
            .value_name("ID")
            .required(true)
            .value_parser(value_parser!(WorkerId))
            .help("A worker's id, from status")
    };
    let slots = Arg::new("slots")
        .value_name("N")
        .required(true)
        .value_parser(value_parser!(NonZeroUsize))
        .help("1 or more");
    let signal = Arg::new("signal")
        .long("signal")
        .value_name("NAME")
        .default_value("TERM")
        .value_parser(signal)
        .help("TERM, KILL, ...");
    let fast = Arg::new("fast")
        .long("fast")
        .action(ArgAction::SetTrue)
        .help("Do not wait for requests under way");
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the reply as JSON");
    let unread = KEYS
        .iter()
        .filter(|key| key.name != "control")
        .map(|key| argument(key).global(true).hide(true));
    Command::new("ctl")
        .about("Give a running server an order, and wait until it is carried out; needs --control")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(unread)
        .arg(json.global(true))
        .subcommand(Command::new("status").about("Show slots and workers"))
        .subcommand(Command::new("reload").about(
            "Replace the workers one after the other, by those of the build that is there now",
        ))
        .subcommand(
            Command::new("upgrade")
                .about("Replace the primary as well, by the build that is there now"),
        )
        .subcommand(Command::new("scale").about("Make it so many workers").arg(slots))
        .subcommand(
            Command::new("drain")
                .about("Let a worker finish and leave; another takes its place")
                .arg(id()),
        )
        .subcommand(Command::new("kill").about("Send a worker a signal").arg(id()).arg(signal))
        .subcommand(Command::new("stop").about("Stop the server").arg(fast))
}

fn signal(name: &str) -> Result<Signal, String> {
    control::Command::signal(&name.to_uppercase())
        .ok_or_else(|| "use the name of a signal, such as TERM, KILL, INT, STOP or CONT".to_owned())
}

/// What `ctl` was told to say. Required arguments are there, or clap had ended the program.
pub(super) fn command_of(name: &str, matches: &ArgMatches) -> control::Command {
    let id = || matches.get_one::<WorkerId>("id").copied();
    let order = match name {
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
    order.unwrap_or(control::Command::Status)
}

fn argument(key: &'static Key) -> Arg {
    let help = if key.default.is_empty() {
        key.help.to_owned()
    } else {
        format!("{} [default: {}]", key.help, key.default)
    };
    // The help shows no value of the environment: a store's URL can hold a password as well as a
    // key.
    let argument = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value)
        .env(key.variable())
        .hide_env_values(true)
        .help(help);
    match key.kind {
        // `--allow-crash` and `--allow-crash=false`, but not `--allow-crash something-else`.
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        // Values that start with a dash get their error from the setting's own reader.
        Kind::Plain | Kind::Secret => argument.allow_hyphen_values(true),
    }
}
