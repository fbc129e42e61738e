//! Inserts the sessions of the baseline into PostgreSQL or SQLite: `fill-sql URL`, with one id per
//! line on standard input.

use std::{error::Error, io};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("usage: fill-sql URL, with one id per line on standard input")?;
    let rows: Vec<String> = io::stdin()
        .lines()
        .map(|id| Ok(format!("('{}', 1)", id?.replace('\'', "''"))))
        .collect::<io::Result<_>>()?;
    let table = "CREATE TABLE baseline (id TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL)";
    let sessions =
        AssertSqlSafe(format!("INSERT INTO baseline (id, n) VALUES {}", rows.join(", ")));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&url).await?;
            connection.execute(table).await?;
            connection.execute(sessions).await?;
        } else {
            let mut connection = PgConnection::connect(&url).await?;
            connection.execute(table).await?;
            connection.execute(sessions).await?;
        }
        Ok(())
    })
}
