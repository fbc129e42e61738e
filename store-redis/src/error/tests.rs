//! Each error has the effect of its class.

use super::*;
use crate::codes::{CODES, KINDS};

fn server(line: &str) -> ClientError {
    let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
    value.extract_error().unwrap_err().into()
}

#[test]
fn each_failure_becomes_the_right_store_error() {
    let transient = [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "CLUSTERDOWN The cluster is down",
        "MOVED 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "MISCONF Redis is configured to save RDB snapshots",
    ];
    for line in transient {
        assert!(server(line).is_retryable(), "{line}: {:?}", server(line));
        assert!(StoreError::from(server(line)).is_transient(), "{line}");
    }
    for line in [
        "NOPERM User default has no permissions",
        "WRONGPASS invalid username-password pair",
        "ERR unknown command",
    ] {
        assert!(
            matches!(StoreError::from(server(line)), StoreError::Other { store: "redis", .. }),
            "{line}"
        );
    }
    let full = server(
        "OOM command not allowed when used memory > 'maxmemory'. script: 1f, \
         on @user_script:2.",
    );
    assert!(matches!(StoreError::from(full), StoreError::Rejected(Rejection::Full { .. })));
    let full = server(
        "ERR Error running script (call to f_c0): @user_script:31: @user_script: 31: \
         -OOM command not allowed when used memory",
    );
    assert!(matches!(full, ClientError::Full(_)), "{full:?}");
    let demoted = server(
        "ERR Error running script (call to f_c0): @user_script:3: @user_script: 3: \
         -READONLY You can't write against a read",
    );
    assert!(
        matches!(&demoted, ClientError::Demoted(why) if why.contains("-READONLY You can't")),
        "{demoted:?}"
    );
    let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert!(StoreError::from(ClientError::from(broken)).is_transient());
    assert!(ClientError::Lost(String::new()).ends_connection());
    assert!(server("READONLY You can't write against a read only replica.").ends_connection());
}

#[test]
fn c45_error_does_not_quote_the_command() {
    let error = server(
        "ERR unknown command 'EVALSHA', with args beginning with: 'f00' '1' \
         'session:{AbCd}secret'",
    );
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

/// What the start does, and what a later call answers.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    /// The store sends the command again. If that does not help, the start waits, and a later call
    /// is `Unavailable`.
    TriesAgain,
    /// The store sends the text of the script.
    SendsText,
    /// The start waits, and a later call is `Unavailable`.
    Waits,
    /// The start ends with this remedy, and a later call is `Other`.
    Ends(&'static str),
    /// The start ends, and a later call is refused as full.
    EndsAsFull,
}

/// The effect of each class.
fn effect(class: Class) -> Effect {
    match class {
        Class::Busy | Class::Demoted => Effect::TriesAgain,
        Class::NoScript => Effect::SendsText,
        Class::Lost | Class::Quota => Effect::Waits,
        Class::Full => Effect::EndsAsFull,
        Class::TooLarge => Effect::Ends("data_bytes"),
        Class::LoginRequired => Effect::Ends("put it into the URL"),
        Class::WrongLogin => Effect::Ends("check user and password"),
        Class::NoPermission => Effect::Ends("lists the commands that the user needs"),
        Class::Protected => Effect::Ends("requirepass"),
        Class::TooOld => Effect::Ends("use Redis 6.2 or later"),
        Class::NoCommand => Effect::Ends("does not offer a command"),
        Class::NoDatabase => Effect::Ends("write a smaller number"),
        Class::IsCluster => Effect::Ends("use a URL with redis-cluster://"),
        Class::IsNoCluster => Effect::Ends("use a URL with redis://"),
        Class::UndeclaredKeys => Effect::Ends("declared_keys=true"),
        Class::Unreadable => Effect::Ends("unexpected form"),
        Class::Refused => Effect::Ends("refuses the command"),
    }
}

fn assert_effect(class: Class, error: ClientError) {
    let shown = format!("{error} ({error:?})");
    let (again, text) = (error.is_retryable(), matches!(error, ClientError::NoScript));
    let answer = StoreError::from(error);
    let found = match &answer {
        StoreError::Unavailable { .. } if again => Effect::TriesAgain,
        StoreError::Unavailable { .. } => Effect::Waits,
        StoreError::Rejected(Rejection::Full { .. }) if !again => Effect::EndsAsFull,
        StoreError::Other { .. } if text => Effect::SendsText,
        StoreError::Other { .. } if !again => Effect::Ends(""),
        _ => panic!("{shown}: {answer:?}"),
    };
    match effect(class) {
        Effect::Ends(remedy) => {
            assert_eq!(found, Effect::Ends(""), "{shown}");
            assert!(shown.contains(remedy), "{remedy} is missing in: {shown}");
        }
        expected => assert_eq!(found, expected, "{shown}"),
    }
    let ends_start = !answer.is_transient();
    let waits = matches!(found, Effect::TriesAgain | Effect::Waits);
    assert_eq!(ends_start, !waits, "{shown}");
}

#[test]
fn each_error_code_has_the_effect_of_its_class() {
    for &(code, part, class) in CODES {
        assert_effect(class, server(&format!("{code} {part} and more")));
        // Redis 6.2 wraps an error of a script.
        let script = format!(
            "ERR Error running script (call to f_c0): @user_script:3: @user_script: 3: -{code} \
             {part} and more"
        );
        assert_effect(class, server(&script));
    }
    for unknown in ["WEIRD it is", "ERR", "ERR syntax error"] {
        assert_effect(Class::Refused, server(unknown));
    }
}

#[test]
fn each_kind_of_the_driver_has_the_effect_of_its_class() {
    for &(kind, class) in KINDS {
        assert_effect(class, RedisError::from((kind, "a text")).into());
    }
    for kind in [ErrorKind::Server(ServerErrorKind::ResponseError), ErrorKind::Extension] {
        assert_eq!(codes::of_kind(kind), None, "a server has a code");
    }
}

#[test]
fn no_error_code_has_two_classes() {
    for (at, (code, part, _)) in CODES.iter().enumerate() {
        let hidden =
            CODES[..at].iter().any(|(before, shadow, _)| before == code && part.contains(shadow));
        assert!(!hidden, "{code:?} {part}");
    }
}

/// Texts of servers, as they are documented or were seen.
#[test]
fn texts_of_services_have_their_class() {
    for (line, class) in [
        ("ERR max number of clients reached", Class::Busy),
        ("ERR max number of clients + cluster connections reached", Class::Busy),
        ("ERR unknown command 'EVALSHA', with args beginning with: 'f0' '1' ", Class::NoCommand),
        (
            "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000. See \
             https://upstash.com/docs/redis/troubleshooting/max_daily_request_limit for details",
            Class::Quota,
        ),
        ("ERR max requests limit exceeded. Limit: 500000, Usage: 500000.", Class::Quota),
        ("ERR DB capacity quota exceeded", Class::Full),
        ("NOPROTO unsupported protocol version", Class::TooOld),
        ("CROSSSLOT Keys in request don't hash to the same slot", Class::UndeclaredKeys),
        (
            "ERR Script attempted to access a non local key in a cluster node script: f0, on \
             @user_script:1.",
            Class::UndeclaredKeys,
        ),
        (
            "ERR Error running script (call to f_f0): @user_script:1: Script attempted to access a \
             non local key in a cluster node",
            Class::UndeclaredKeys,
        ),
        ("ERR This instance has cluster support disabled", Class::IsNoCluster),
        ("NOPERM this user has no permissions to run the 'evalsha' command", Class::NoPermission),
        ("DENIED Redis is running in protected mode because", Class::Protected),
        ("ERR DB index is out of range", Class::NoDatabase),
        ("UNKILLABLE Sorry the script already executed write commands", Class::Refused),
    ] {
        assert_effect(class, server(line));
    }
}
