//! The command line.

use clap::{
    Arg, ArgAction, Command,
    builder::styling::{AnsiColor, Styles},
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
    let config = Arg::new("config").long("config").value_name("FILE").env("DEMO_CONFIG").help("A TOML file with settings");
    let print = Arg::new("print-config").long("print-config").action(ArgAction::SetTrue).help("Print the settings that hold, and stop");
    Command::new("demo-server")
        .about("Several worker processes, one port, one set of sessions")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(STYLES)
        .after_help(AFTER)
        .args(KEYS.iter().map(|key| argument(key).global(true)))
        .arg(config.global(true))
        .arg(print.global(true))
        .subcommand(Command::new("owner").about("Only own sessions, for servers with --store-url ipc:/path; needs --store-url"))
}

fn argument(key: &'static Key) -> Arg {
    let help = if key.default.is_empty() { key.help.to_owned() } else { format!("{} [default: {}]", key.help, key.default) };
    let argument =
        Arg::new(key.name).long(key.name).value_name(key.value).env(key.variable()).hide_env_values(key.kind == Kind::Secret).help(help);
    match key.kind {
        // `--allow-crash` and `--allow-crash=false`, but not `--allow-crash something-else`.
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        // Values that start with a dash get their error from the setting's own reader.
        Kind::Plain | Kind::Secret => argument.allow_hyphen_values(true),
    }
}
