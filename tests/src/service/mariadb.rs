//! One MariaDB server.

use std::path::Path;

use sqlx::MySqlPool;

use super::{
    cleanup::clean_up,
    kind::{Kind, MARIADB},
    managed::{Continues, Engine, Managed},
    mariadb_node::{MariaDbNode, ask, make_database, product, root_url, user_url},
    node::Node,
    ownership::ExternalServer,
    shared::SharedServer,
    sql::{self, LOOK_WITHIN},
    sql_server::{impl_sql_server, sql_engine_methods},
    url::{own_sql_database, with_database},
};

/// The names of all tables of a database.
const TABLES: &str = "SELECT CONCAT('`', table_name, '`') FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1";

/// One MariaDB server: `mysql://app:PASSWORD@127.0.0.1:PORT/DATABASE` with
/// [`PASSWORD`](super::PASSWORD), for a user who may do everything in its database and nothing
/// else. After a restart it holds what it had committed.
pub type MariaDb = Managed<MariaDbNode>;

impl Engine for MariaDbNode {
    const KIND: &'static Kind = &MARIADB;

    sql_engine_methods!();

    async fn prepare(node: &Node<Self>, database: &str) {
        make_database(&root_url(node.port, ""), database)
            .await
            .expect("a new server makes a database");
    }

    async fn prepare_external(url: &str, database: &str) {
        let made = ask(url, &format!("CREATE DATABASE `{database}`")).await;
        made.unwrap_or_else(|error| {
            panic!("the server of {} makes no database: {error}", MARIADB.url_variable)
        });
    }

    fn remove(url: &str, database: &str, _continues: Continues) {
        let statement = format!("DROP DATABASE `{database}`");
        let url = url.to_owned();
        clean_up("the database", move || async move { ask(&url, &statement).await.map(drop) });
    }

    fn release(_node: &Node<Self>) {}
}

impl_sql_server!(MariaDb, MySqlPool, "MariaDB");
