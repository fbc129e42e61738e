//! Start with `--store sql`: wrong URLs and unusable databases. Each mistake gets an error that
//! names the input and the remedy, without a password.

use tests::{
    Ended, Setup,
    service::{AnySql, Durability, PASSWORD},
};

use crate::startup::{
    Mistake, SECRET, assert_refused, assert_settings_hide_the_password,
    assert_startup_message_hides_the_password, assert_wrong_urls_are_refused,
    demo_starts_while_its_servers_are_down_and_serves_later, run_with, start,
};

const MISTAKES: &[Mistake] = &[
    ("ipc:/run/hunter2.sock", &["DEMO_STORE_URL", "postgres:", "mysql:", "sqlite:", "--store ipc"]),
    ("redis://:hunter2@host/0", &["DEMO_STORE_URL", "postgres:", "--store redis"]),
    ("mongodb://app:hunter2@host/shop", &["DEMO_STORE_URL", "postgres:", "--store mongo"]),
    ("postgre://app:hunter2@host/shop", &["DEMO_STORE_URL", "postgres:", "its scheme is postgre"]),
    ("hunter2@host", &["DEMO_STORE_URL", "postgres:", "none"]),
    ("postgres:hunter2", &["postgres://"]),
    ("postgres:app:hunter2@host/shop", &["postgres://"]),
    ("mysql:/app:hunter2@host/shop", &["mysql://"]),
    ("postgres://app:hunter2@", &["host", "empty"]),
    ("mysql://app:hunter2@/shop", &["host", "empty"]),
    ("postgres://app:hunter2@host:99999", &["port", "1 to 65535"]),
    ("mysql://app:hunter2@host:port/shop", &["port", "1 to 65535"]),
    ("postgres://app:hunter2", &["port", "user and password end with an @"]),
    ("postgres://app:hunter2@host/?nonsense=1", &["\"nonsense\"", "deadline_ms", "table"]),
    ("postgres://app:hunter2@host/?prefix=a", &["\"prefix\""]),
    ("postgres://host/?password=hunter2", &["\"password\""]),
    ("mysql://host/shop?user=hunter2", &["\"user\""]),
    ("mysql://app:hunter2@host/?sslmode=require", &["\"sslmode\"", "ssl-mode"]),
    ("postgres://app:hunter2@host/?ssl-mode=REQUIRED", &["\"ssl-mode\"", "sslmode"]),
    ("postgres://app:hunter2@host/?sslmode=sometimes", &["sometimes"]),
    ("mysql://app:hunter2@host/?deadline_ms=soon", &["deadline_ms", "\"soon\""]),
    ("mysql://app:hunter2@host/?deadline_ms=0", &["deadline_ms", "1 or more"]),
    (
        "postgres://app:hunter2@host/?data_bytes=99999999",
        &["data_bytes", "\"99999999\"", "at most"],
    ),
    ("postgres://app:hunter2@host/?connections=0", &["connections", "1 to 1024"]),
    ("postgres://app:hunter2@host/?migrate=maybe", &["migrate", "\"maybe\"", "true or false"]),
    ("postgres://app:hunter2@host/?table=a-b", &["table", "\"a-b\"", "letters"]),
    ("postgres://app:hunter2@host/?table=1a", &["table", "\"1a\"", "no digit"]),
    ("mysql://app:hunter2@host/?synchronous=normal", &["synchronous", "SQLite only"]),
    ("sqlite:", &["sqlite:sessions.db"]),
    ("sqlite::memory:", &["memory:", "sqlite:sessions.db"]),
    ("sqlite:hunter2%ff.db", &["path", "UTF-8"]),
    ("sqlite:hunter2.db?mode=memory", &["\"mode\"", "synchronous"]),
    ("sqlite:hunter2.db?synchronous=off", &["synchronous", "\"off\"", "full or normal"]),
];

/// Passwords with a character that is not percent-encoded, so that the URL is split within the
/// password.
const UNENCODED: &[&str] = &[
    "postgres://app:hunter2/hunter2@127.0.0.1:1/shop",
    "mysql://app:1/hunter2@127.0.0.1",
    "postgres://127.0.0.1:1/hunter2@host",
    "mysql://app:1/hunter2@host.example.com/shop",
    "mysql://app:hunter2?hunter2@host/shop",
    "postgres://app:1?hunter2=x@host/shop",
    "mysql://app:hunter2#hunter2@host/shop",
];

async fn run(url: &str) -> Ended {
    run_with("sql", url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_urls_are_named_with_the_allowed_values() {
    assert_wrong_urls_are_refused(
        "sql",
        MISTAKES,
        UNENCODED,
        &["DEMO_STORE_URL", "percent-encoded"],
        "postgres://app:hunter2@host",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_settings_and_startup_message_show_no_password() {
    let urls = [
        "postgres://app:hunter2@host:7000/shop?sslmode=require",
        "postgresql://app:hunter2@host/shop",
        "mysql://app:hunter2@host/shop?ssl-ca=/a.pem",
        "mariadb://app:hunt%40er2hunter2@host/shop",
    ];
    assert_settings_hide_the_password("sql", &urls).await;
    for (sql, begin) in [
        (AnySql::postgres().await, "postgres://"),
        (AnySql::mariadb().await, "mysql://"),
        (AnySql::sqlite().await, "sqlite:"),
    ] {
        let Some(sql) = sql else { continue };
        let url = sql.url("table=greeting");
        assert_startup_message_hides_the_password("sql", &url, begin).await;
    }
}

const LOGIN: &str = "refuses the login; look at user, password and database";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_rejected_login_ends_the_start_without_showing_the_password() {
    for sql in
        [AnySql::own_postgres(Durability::Full).await, AnySql::own_mariadb(Durability::Full).await]
    {
        let Some(sql) = sql else { continue };
        let url = sql.url("");
        let (server, _) = url.rsplit_once('/').expect("a database");
        for wrong in [
            url.replace(PASSWORD, SECRET),
            url.replace("app:", "nobody:"),
            url.replace(&format!(":{PASSWORD}@"), "@"),
        ] {
            assert_ne!(wrong, url);
            assert_refused(&run(&wrong).await, 1, &["127.0.0.1:", LOGIN]);
        }
        // MariaDB refuses the login, because the user has no rights on the other database.
        let elsewhere = match sql {
            AnySql::Postgres(_) => "does not exist; create it",
            _ => LOGIN,
        };
        let wrong = format!("{server}/elsewhere");
        assert_refused(&run(&wrong).await, 1, &["127.0.0.1:", elsewhere]);
        assert_eq!(sql.dump().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_privileges_end_the_start_with_a_reason() {
    for sql in
        [AnySql::own_postgres(Durability::Full).await, AnySql::own_mariadb(Durability::Full).await]
    {
        let Some(sql) = sql else { continue };
        sql.ask("CREATE TABLE other (id int)").await.expect("an administrator creates tables");
        let make = match sql {
            AnySql::Postgres(_) => {
                "CREATE ROLE reader LOGIN PASSWORD 'hunter2'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
            }
            _ => {
                "CREATE USER reader@'%' IDENTIFIED BY 'hunter2'; GRANT SELECT ON other TO reader@'%'"
            }
        };
        sql.ask(make).await.expect("an administrator creates users");
        let url = sql
            .url("table=visits")
            .replace(&format!("app:{PASSWORD}"), &format!("reader:{SECRET}"));
        assert_refused(&run(&url).await, 1, &["127.0.0.1:", "lacks a right that the store needs"]);
        assert_eq!(sql.dump().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_table_ends_the_start_with_its_name() {
    for sql in [AnySql::postgres().await, AnySql::mariadb().await, AnySql::sqlite().await] {
        let Some(sql) = sql else { continue };
        sql.ask("CREATE TABLE visits (id int)").await.expect("the server answers");
        let url = sql.url("table=visits");
        assert_refused(
            &run(&url).await,
            1,
            &["\"visits\"", "does not belong to this crate", "the setting table"],
        );
        let other = sql.url("table=carts");
        let demo = start("sql", &other).await;
        assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_file_ends_the_start_with_its_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display();
    std::fs::write(
        folder.path().join("text"),
        "a text that is longer than the header of an SQLite database".repeat(10),
    )
    .expect("a file");
    for (url, words) in [
        (format!("sqlite:{path}/nowhere/sessions.db"), ["cannot be opened", "folder"]),
        (format!("sqlite:{path}/text/sessions.db"), ["cannot be opened", "folder"]),
        (format!("sqlite:{path}/text"), ["not an SQLite database", "damaged"]),
    ] {
        let file = url.trim_start_matches("sqlite:").to_owned();
        let words: Vec<&str> = words.into_iter().chain([file.as_str()]).collect();
        assert_refused(&run(&url).await, 1, &words);
    }
    let url = format!("sqlite:{path}/sessions.db");
    let demo = start("sql", &url).await;
    assert_eq!(demo.signed_in("bob").await.page().await.principal.as_deref(), Some("bob"));
}

on_own_setups!(
    demo_starts_while_its_servers_are_down_and_serves_later;
    postgres = Setup::own_postgres(Durability::Full),
    mariadb = Setup::own_mariadb(Durability::Full),
);
