//! The check of MySQL and MariaDB.

use session_core::report::{Check, CheckReport};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use store_support::check::{self, Encryption, Endpoint, names};

use super::{
    connection::Server,
    questions::{MissingRight, Questions, connections},
};
use crate::{config::Config, error::ClientError};

const READ_ONLY: &str = "read_only";
const FLUSH: &str = "innodb_flush_log_at_trx_commit";
const BINLOG: &str = "sync_binlog";
const DOUBLEWRITE: &str = "innodb_doublewrite";
const CONNECTIONS: &str = "max_connections";
const ENGINE: &str = "engine";
const SETTINGS: [&str; 5] = [READ_ONLY, FLUSH, BINLOG, DOUBLEWRITE, CONNECTIONS];
/// All checks after those of the connection and of the login.
const OTHERS: [&str; 10] = [
    names::TLS,
    names::VERSION,
    names::OPERATIONS,
    names::CLOCK,
    READ_ONLY,
    FLUSH,
    BINLOG,
    DOUBLEWRITE,
    CONNECTIONS,
    ENGINE,
];

const QUESTION: &str = "SELECT VERSION(), CAST(@@read_only AS CHAR), \
                        CAST(@@innodb_flush_log_at_trx_commit AS CHAR), \
                        CAST(@@sync_binlog AS CHAR), CAST(@@log_bin AS CHAR), \
                        CAST(@@innodb_doublewrite AS CHAR), CAST(@@max_connections AS CHAR), \
                        CURRENT_USER(), DATABASE()";

pub(super) async fn check(
    config: &Config,
    options: &MySqlConnectOptions,
    report: &mut CheckReport,
) {
    let questions = Questions::new(config);
    let server = Server {
        endpoint: match options.get_socket() {
            Some(path) => Endpoint::Socket(path),
            None => Endpoint::Tcp(options.get_host(), options.get_port()),
        },
        listens: "bind-address in my.cnf",
        user: options.get_username(),
        authority: "ssl-ca",
    };
    if !server.connect(&questions, report, &OTHERS).await {
        return;
    }
    report.push(tls(&questions, options.get_ssl_mode(), &server.endpoint).await);
    let told = questions.values::<9>(QUESTION).await;
    report.push(match &told {
        Ok([version, ..]) => supported(version),
        Err(error) => Check::not_checked(names::VERSION, error.to_string()),
    });
    let (user, database) = match &told {
        Ok(told) => (account(&told[7]), told[8].as_str()),
        Err(_) => (format!("'{}'@'%'", server.user), options.get_database().unwrap_or("<name>")),
    };
    questions
        .push_operations(report, |missing| grant(missing, database, &config.table, &user))
        .await;
    report.push(questions.clock().await);
    match &told {
        Ok([_, read_only, flush, sync, binlog, doublewrite, most, ..]) => {
            report.push(accepts_changes(read_only));
            report.push(flushes(flush));
            report.push(synchronizes(sync, binlog));
            report.push(writes_twice(doublewrite));
            let raise = "SET GLOBAL max_connections = <more>, and the line in my.cnf";
            report.push(match status(&questions, "Threads_connected").await {
                Ok(open) => connections(config, most, &open, raise),
                Err(error) => Check::not_checked(CONNECTIONS, error.to_string()),
            });
        }
        Err(error) => report.push_not_checked(&SETTINGS, &error.to_string()),
    }
    report.push(engine(&questions).await);
}

/// A status variable of this connection or of the server.
async fn status(questions: &Questions<'_>, name: &str) -> Result<String, ClientError> {
    let [_, value] = questions.values(&format!("SHOW STATUS LIKE '{name}'")).await?;
    Ok(value)
}

async fn tls(questions: &Questions<'_>, mode: MySqlSslMode, endpoint: &Endpoint<'_>) -> Check {
    let encryption = match mode {
        MySqlSslMode::VerifyIdentity | MySqlSslMode::VerifyCa => Encryption::Verified,
        MySqlSslMode::Required => Encryption::Unverified,
        MySqlSslMode::Disabled => Encryption::None,
        MySqlSslMode::Preferred => match status(questions, "Ssl_cipher").await {
            Ok(cipher) if !cipher.is_empty() => Encryption::Unverified,
            _ => Encryption::None,
        },
    };
    let is_local = endpoint.is_local(questions.config.deadline).await;
    let remedy = "write ssl-mode=VERIFY_IDENTITY and ssl-ca=/path/ca.pem into the URL, and let the \
                  server accept TLS: ssl-ca, ssl-cert and ssl-key in my.cnf";
    check::tls(encryption, is_local, remedy)
}

fn supported(version: &str) -> Check {
    let is_mariadb = version.contains("MariaDB");
    // Some servers of MariaDB put the version of a MySQL before their own.
    let number = version.strip_prefix("5.5.5-").unwrap_or(version);
    let number = number.split('-').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = [(); 3].map(|()| parts.next().unwrap_or(0));
    let (product, oldest, shown) = if is_mariadb {
        ("MariaDB", [10, 5, 0], "MariaDB 10.5")
    } else {
        ("MySQL", [8, 0, 16], "MySQL 8.0.16")
    };
    if found < oldest {
        return Check::failed(
            names::VERSION,
            format!("{product} {number} is too old"),
            format!("install {shown} or later"),
        );
    }
    Check::ok(names::VERSION, format!("{product} {number}"))
}

/// The account that `CURRENT_USER()` tells, in the form that `GRANT` takes.
fn account(current_user: &str) -> String {
    let (user, host) = current_user.rsplit_once('@').unwrap_or((current_user, "%"));
    format!("'{user}'@'{host}'")
}

fn grant(missing: MissingRight, database: &str, table: &str, user: &str) -> String {
    match missing {
        MissingRight::UseTable => format!(
            "as an administrator: GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.`{table}` \
             TO {user}"
        ),
        MissingRight::CreateTable => format!(
            "as an administrator: GRANT CREATE, INDEX, SELECT, INSERT, UPDATE, DELETE ON \
             `{database}`.* TO {user}"
        ),
    }
}

fn is_off(value: &str) -> bool {
    value == "0" || value.eq_ignore_ascii_case("off")
}

/// The command and the line that set a setting of the server.
fn set(name: &str, value: &str) -> String {
    format!(
        "as an administrator: SET GLOBAL {name} = {value}, and in my.cnf under [mysqld] the line \
         {name} = {value}"
    )
}

fn accepts_changes(read_only: &str) -> Check {
    if is_off(read_only) {
        return Check::ok(READ_ONLY, "off");
    }
    Check::failed(
        READ_ONLY,
        format!("{read_only}: the server refuses changes; it is a replica"),
        "name the primary in the URL, or after a failover: SET GLOBAL read_only = OFF",
    )
}

fn flushes(flush: &str) -> Check {
    let lost = match flush {
        // 3 is a stricter form of 1 in MariaDB.
        "1" | "3" => return Check::ok(FLUSH, flush),
        "2" => "a crash of the machine",
        _ => "a crash of the server",
    };
    Check::warning(
        FLUSH,
        format!("{flush}: {lost} loses about a second of acknowledged changes, also sign-outs"),
        set(FLUSH, "1"),
    )
}

fn synchronizes(sync: &str, binlog: &str) -> Check {
    if is_off(binlog) {
        return Check::ok(BINLOG, "the server has no binary log");
    }
    if sync == "1" {
        return Check::ok(BINLOG, "1");
    }
    Check::warning(
        BINLOG,
        format!("{sync}: after a crash of the machine, replicas differ from the server"),
        set(BINLOG, "1"),
    )
}

fn writes_twice(doublewrite: &str) -> Check {
    if is_off(doublewrite) {
        return Check::warning(
            DOUBLEWRITE,
            "off: a crash of the machine can damage pages of the table",
            "in my.cnf under [mysqld] the line innodb_doublewrite = ON, and restart the server",
        );
    }
    Check::ok(DOUBLEWRITE, "on")
}

async fn engine(questions: &Questions<'_>) -> Check {
    let table = &questions.config.table;
    let question = format!(
        "SELECT CAST(ENGINE AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = \
         DATABASE() AND TABLE_NAME = '{table}'"
    );
    match questions.values(&question).await {
        Ok([engine]) if engine.eq_ignore_ascii_case("InnoDB") => Check::ok(ENGINE, engine),
        Ok([engine]) => Check::failed(
            ENGINE,
            format!("{engine}: its changes are not atomic, and a crash loses them"),
            format!("ALTER TABLE `{table}` ENGINE = InnoDB"),
        ),
        Err(ClientError::Answer(_)) => {
            Check::not_checked(ENGINE, format!("the user sees no table {table}"))
        }
        Err(error) => Check::not_checked(ENGINE, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use session_core::report::Outcome;

    use super::*;

    #[test]
    fn settings_that_lose_data_have_a_remedy() {
        for (check, expected, remedy) in [
            (flushes("1"), Outcome::Ok, ""),
            (flushes("2"), Outcome::Warning, "SET GLOBAL innodb_flush_log_at_trx_commit = 1"),
            (flushes("0"), Outcome::Warning, "SET GLOBAL innodb_flush_log_at_trx_commit = 1"),
            (synchronizes("0", "0"), Outcome::Ok, ""),
            (synchronizes("1", "1"), Outcome::Ok, ""),
            (synchronizes("0", "1"), Outcome::Warning, "SET GLOBAL sync_binlog = 1"),
            (writes_twice("ON"), Outcome::Ok, ""),
            (writes_twice("0"), Outcome::Warning, "innodb_doublewrite = ON"),
            (accepts_changes("OFF"), Outcome::Ok, ""),
            (accepts_changes("1"), Outcome::Failed, "read_only = OFF"),
        ] {
            assert_eq!(check.outcome, expected, "{check:?}");
            assert!(check.remedy.clone().unwrap_or_default().contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn versions_of_both_products_are_compared() {
        for (version, found, expected) in [
            ("8.0.36", "MySQL 8.0.36", Outcome::Ok),
            ("8.0.15", "MySQL 8.0.15 is too old", Outcome::Failed),
            ("10.11.6-MariaDB-0+deb12u1", "MariaDB 10.11.6", Outcome::Ok),
            ("5.5.5-10.4.30-MariaDB", "MariaDB 10.4.30 is too old", Outcome::Failed),
        ] {
            let check = supported(version);
            assert_eq!((check.found.as_str(), check.outcome), (found, expected));
        }
        assert_eq!(account("app@10.0.%"), "'app'@'10.0.%'");
    }
}
