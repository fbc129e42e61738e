//! The check of PostgreSQL.

use std::path::{Path, PathBuf};

use session_core::report::{Check, CheckReport};
use sqlx::{
    ConnectOptions, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};
use store_support::check::{self, Encryption, Endpoint, names};
use tokio::time::timeout;

use super::{
    connection::{POSTGRES_LISTENS, Server},
    questions::{MissingRight, Questions, connections},
};
use crate::{config::Config, error::ClientError, url::Preparation};

const PRIMARY: &str = "primary";
const FSYNC: &str = "fsync";
const COMMIT: &str = "synchronous_commit";
const PAGES: &str = "full_page_writes";
const CONNECTIONS: &str = "max_connections";
const POOLER: &str = "pooler";
const SETTINGS: [&str; 5] = [PRIMARY, FSYNC, COMMIT, PAGES, CONNECTIONS];
/// All checks after those of the connection and of the login.
const OTHERS: [&str; 10] = [
    names::TLS,
    names::VERSION,
    names::OPERATIONS,
    names::CLOCK,
    PRIMARY,
    FSYNC,
    COMMIT,
    PAGES,
    CONNECTIONS,
    POOLER,
];

/// The oldest supported version, as `server_version_num`.
const OLDEST: u32 = 120_000;

/// Settings that a server without them does not tell.
const QUESTION: &str = "SELECT current_setting('server_version_num', true), \
                        current_setting('server_version', true), \
                        current_setting('fsync', true), \
                        current_setting('synchronous_commit', true), \
                        current_setting('synchronous_standby_names', true), \
                        current_setting('full_page_writes', true), \
                        pg_is_in_recovery()::text, quote_ident(current_user::text)";
/// Not a part of the question above, because servers that only use the protocol lack these views.
const CONNECTIONS_QUESTION: &str = "SELECT (current_setting('max_connections')::int \
     - current_setting('superuser_reserved_connections')::int)::text, \
     (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::text";
const TLS_QUESTION: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

pub(super) async fn check(config: &Config, options: &PgConnectOptions, report: &mut CheckReport) {
    let questions = Questions::new(config);
    let socket = socket(options);
    let server = Server {
        endpoint: match &socket {
            Some(path) => Endpoint::Socket(path),
            None => Endpoint::Tcp(options.get_host(), options.get_port()),
        },
        listens: POSTGRES_LISTENS,
        user: options.get_username(),
        authority: "sslrootcert",
    };
    if !server.connect(&questions, report, &OTHERS).await {
        return;
    }
    report.push(tls(&questions, options.get_ssl_mode(), &server.endpoint).await);
    let told = questions.values::<8>(QUESTION).await;
    report.push(match &told {
        Ok([number, version, ..]) => supported(number, version),
        Err(error) => Check::not_checked(names::VERSION, error.to_string()),
    });
    let user = told.as_ref().map_or(server.user, |told| &told[7]);
    questions.push_operations(report, |missing| grant(missing, &config.table, user)).await;
    report.push(questions.clock().await);
    match &told {
        Ok([_, _, fsync, commit, standbys, pages, recovery, _]) => {
            report.push(primary(recovery));
            report.push(flushes(fsync));
            report.push(waits(commit, standbys));
            report.push(full_pages(pages));
            let raise = "ALTER SYSTEM SET max_connections = <more>, and restart the server";
            report.push(match questions.values(CONNECTIONS_QUESTION).await {
                Ok([most, open]) => connections(config, &most, &open, raise),
                Err(error) => Check::not_checked(CONNECTIONS, error.to_string()),
            });
        }
        Err(error) => report.push_not_checked(&SETTINGS, &error.to_string()),
    }
    let limit = config.deadline * 2;
    report.push(match timeout(limit, pooler(config, options)).await {
        Ok(Ok(check)) => check,
        Ok(Err(error)) => Check::not_checked(POOLER, error.to_string()),
        Err(_) => Check::not_checked(
            POOLER,
            format!("a second connection has no answer within {limit:?}"),
        ),
    });
}

/// The path of the server's socket. The driver's setting names its folder.
fn socket(options: &PgConnectOptions) -> Option<PathBuf> {
    let host = Path::new(options.get_host());
    let folder = options.get_socket().map_or(host, PathBuf::as_path);
    folder.is_absolute().then(|| folder.join(format!(".s.PGSQL.{}", options.get_port())))
}

async fn tls(questions: &Questions<'_>, mode: PgSslMode, endpoint: &Endpoint<'_>) -> Check {
    let encryption = match mode {
        PgSslMode::VerifyFull | PgSslMode::VerifyCa => Encryption::Verified,
        PgSslMode::Require => Encryption::Unverified,
        PgSslMode::Disable => Encryption::None,
        PgSslMode::Allow | PgSslMode::Prefer => match questions.values(TLS_QUESTION).await {
            Ok([answer]) if answer == "true" => Encryption::Unverified,
            _ => Encryption::None,
        },
    };
    let is_local = endpoint.is_local(questions.config.deadline).await;
    let remedy = "write sslmode=verify-full and sslrootcert=/path/ca.pem into the URL, and let the \
                  server accept TLS: `ssl = on` in postgresql.conf";
    check::tls(encryption, is_local, remedy)
}

fn supported(number: &str, version: &str) -> Check {
    match number.parse::<u32>() {
        Ok(number) if number < OLDEST => Check::failed(
            names::VERSION,
            format!("PostgreSQL {version} is too old"),
            "install PostgreSQL 12 or later",
        ),
        _ => Check::ok(names::VERSION, format!("PostgreSQL {version}")),
    }
}

fn grant(missing: MissingRight, table: &str, user: &str) -> String {
    match missing {
        MissingRight::UseTable => format!(
            "as the owner of the table: GRANT SELECT, INSERT, UPDATE, DELETE ON \"{table}\" TO {user}"
        ),
        MissingRight::CreateTable => format!(
            "as the owner of the schema: GRANT USAGE, CREATE ON SCHEMA public TO {user}; or run \
             the SQL of Dialect::schema as another user, and GRANT SELECT, INSERT, UPDATE, DELETE \
             ON \"{table}\" TO {user}"
        ),
    }
}

fn primary(recovery: &str) -> Check {
    if recovery == "true" {
        return Check::failed(
            PRIMARY,
            "the server is a standby, which refuses changes",
            "name the primary in the URL, or promote this server: SELECT pg_promote()",
        );
    }
    Check::ok(PRIMARY, "the server is a primary")
}

/// The command that sets a setting of the server.
fn set(name: &str, value: &str) -> String {
    format!("as an administrator: ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf()")
}

fn flushes(fsync: &str) -> Check {
    match fsync {
        "on" => Check::ok(FSYNC, "on"),
        "" => Check::not_checked(FSYNC, "the server does not tell it"),
        value => Check::failed(
            FSYNC,
            format!("{value}: a crash of the machine can destroy the database"),
            set(FSYNC, "on"),
        ),
    }
}

fn waits(commit: &str, standbys: &str) -> Check {
    match (commit, standbys) {
        ("off", _) => Check::warning(
            COMMIT,
            "off: a crash loses up to a second of acknowledged changes, also sign-outs",
            set(COMMIT, "on"),
        ),
        ("local", names) if !names.is_empty() => Check::warning(
            COMMIT,
            "local: a failover to a standby loses acknowledged changes",
            set(COMMIT, "on"),
        ),
        ("", _) => Check::not_checked(COMMIT, "the server does not tell it"),
        (value, "") => Check::ok(COMMIT, format!("{value}, without synchronous standbys")),
        (value, _) => Check::ok(COMMIT, format!("{value}, with synchronous standbys")),
    }
}

fn full_pages(pages: &str) -> Check {
    match pages {
        "on" => Check::ok(PAGES, "on"),
        "" => Check::not_checked(PAGES, "the server does not tell it"),
        value => Check::warning(
            PAGES,
            format!("{value}: a crash of the machine can damage pages of the table"),
            set(PAGES, "on"),
        ),
    }
}

/// Whether a proxy gives each transaction another connection of the server, and then whether it
/// manages prepared statements.
///
/// While the second connection is in a transaction, a proxy in transaction mode sends the first one
/// to another process of the server. Without a proxy each connection has one process.
async fn pooler(config: &Config, options: &PgConnectOptions) -> Result<Check, ClientError> {
    let connect = || async { options.connect().await.map_err(ClientError::of_connecting) };
    let (mut first, mut second) = (connect().await?, connect().await?);
    // A statement can also have the name of another client's statement.
    let processes = async {
        let before = process(&mut first, config.preparation).await?;
        sqlx::raw_sql("BEGIN; SELECT pg_backend_pid()").execute(&mut second).await?;
        let after = process(&mut first, config.preparation).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut second).await?;
        Ok((before, after?))
    };
    let processes = processes.await;
    // Nothing depends on an orderly end of the connections.
    let _ = (first.close().await, second.close().await);
    Ok(match processes {
        Ok((before, after)) if before == after => {
            Check::ok(POOLER, "none that changes the connection between transactions")
        }
        Ok(_) if config.preparation == Preparation::EachCall => {
            Check::ok(POOLER, "in transaction mode; statement-cache-capacity=0 fits it")
        }
        Ok(_) => Check::ok(POOLER, "in transaction mode; it manages prepared statements"),
        Err(ClientError::Pooler(code)) => Check::failed(
            POOLER,
            format!("in transaction mode, and it loses prepared statements ({code})"),
            "write statement-cache-capacity=0 into the URL, or max_prepared_statements = 200 into \
             pgbouncer.ini (pgbouncer 1.21)",
        ),
        Err(error) => return Err(error),
    })
}

/// The id of the server's process that answers.
async fn process(
    connection: &mut PgConnection,
    preparation: Preparation,
) -> Result<i32, ClientError> {
    const QUESTION: &str = "SELECT pg_backend_pid()";
    let row = match preparation {
        Preparation::Once => sqlx::query(QUESTION).fetch_one(connection).await?,
        Preparation::EachCall => sqlx::raw_sql(QUESTION).fetch_one(connection).await?,
    };
    Ok(row.try_get_unchecked(0)?)
}

#[cfg(test)]
mod tests {
    use session_core::report::Outcome;

    use super::*;

    #[test]
    fn settings_that_lose_data_have_a_remedy() {
        for (check, expected, remedy) in [
            (flushes("on"), Outcome::Ok, ""),
            (flushes("off"), Outcome::Failed, "ALTER SYSTEM SET fsync = on"),
            (waits("on", ""), Outcome::Ok, ""),
            (waits("remote_apply", "b"), Outcome::Ok, ""),
            (waits("local", ""), Outcome::Ok, ""),
            (waits("local", "b"), Outcome::Warning, "synchronous_commit = on"),
            (waits("off", ""), Outcome::Warning, "synchronous_commit = on"),
            (full_pages("off"), Outcome::Warning, "full_page_writes = on"),
            (primary("false"), Outcome::Ok, ""),
            (primary("true"), Outcome::Failed, "pg_promote"),
            (supported("110022", "11.22"), Outcome::Failed, "PostgreSQL 12"),
            (supported("150004", "15.4"), Outcome::Ok, ""),
        ] {
            assert_eq!(check.outcome, expected, "{check:?}");
            assert!(check.remedy.clone().unwrap_or_default().contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn connections_are_compared_with_those_that_are_free() {
        let config = Config::new("postgres://localhost/shop?connections=8").unwrap();
        assert_eq!(connections(&config, "97", "3", "raise").outcome, Outcome::Ok);
        let few = connections(&config, "10", "3", "raise");
        assert_eq!(few.outcome, Outcome::Warning);
        assert_eq!(few.remedy.as_deref(), Some("write connections=<fewer> into the URL, or raise"));
        assert_eq!(connections(&config, "", "3", "raise").outcome, Outcome::NotChecked);
    }

    #[test]
    fn socket_is_in_the_folder_of_the_setting() {
        let options: PgConnectOptions =
            "postgres://localhost:5433/shop?host=/run/pg".parse().unwrap();
        assert_eq!(socket(&options), Some("/run/pg/.s.PGSQL.5433".into()));
        let options: PgConnectOptions = "postgres://localhost/shop".parse().unwrap();
        assert_eq!(socket(&options), None);
    }
}
