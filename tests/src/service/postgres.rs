//! One PostgreSQL server.

use std::path::Path;

use sqlx::PgPool;

use super::{
    cleanup::clean_up,
    kind::{Kind, POSTGRES},
    managed::{Continues, Engine, Managed},
    node::Node,
    ownership::ExternalServer,
    postgres_node::{PostgresNode, ask, make_database, product, root_url, user_url},
    shared::SharedServer,
    sql::{self, LOOK_WITHIN},
    sql_server::{impl_sql_server, sql_engine_methods},
    url::{own_sql_database, with_database},
};

/// The names of all tables of a database.
const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \
                      ORDER BY 1";

/// One PostgreSQL server: `postgres://app:PASSWORD@127.0.0.1:PORT/DATABASE` with
/// [`PASSWORD`](super::PASSWORD), for a user who may do everything in its database and nothing
/// else. After a restart it holds what it had committed.
pub type Postgres = Managed<PostgresNode>;

impl Engine for PostgresNode {
    const KIND: &'static Kind = &POSTGRES;

    sql_engine_methods!();

    async fn prepare(node: &Node<Self>, database: &str) {
        node.make(database).await;
    }

    async fn prepare_external(url: &str, database: &str) {
        let made = ask(url, &format!("CREATE DATABASE \"{database}\"")).await;
        made.unwrap_or_else(|error| {
            panic!("the server of {} makes no database: {error}", POSTGRES.url_variable)
        });
    }

    fn remove(url: &str, database: &str, _continues: Continues) {
        let statement = format!("DROP DATABASE \"{database}\" WITH (FORCE)");
        let url = url.to_owned();
        clean_up("the database", move || async move { ask(&url, &statement).await.map(drop) });
    }

    fn release(node: &Node<Self>) {
        node.release_memory();
    }
}

impl_sql_server!(Postgres, PgPool, "PostgreSQL");
