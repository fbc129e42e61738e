//! The statements that a server executed, from the server's own log.

use tests::service::{AnySql, MariaDb, Postgres};

/// A server that logs every statement.
pub(crate) struct StatementLog {
    pub(crate) server: AnySql,
    /// The number of statements that were already returned.
    seen: usize,
}

impl StatementLog {
    pub(crate) async fn postgres() -> Option<Self> {
        let flags = ["-c", "log_statement=all", "-c", "log_line_prefix=%u:"];
        Postgres::start_with(&flags)
            .await
            .map(|server| Self { server: AnySql::Postgres(server), seen: 0 })
    }

    pub(crate) async fn mariadb() -> Option<Self> {
        let flags = ["--general-log=1", "--log-output=TABLE"];
        MariaDb::start_with(&flags)
            .await
            .map(|server| Self { server: AnySql::MariaDb(server), seen: 0 })
    }

    /// The new statements of the user `app` since the last call, in order.
    pub(crate) async fn statements(&mut self) -> Vec<String> {
        let all: Vec<String> = if let AnySql::Postgres(server) = &self.server {
            // The server logs a statement before it executes it.
            let output = server.output().expect("the test started this server");
            let lines = output.lines().filter_map(|line| line.strip_prefix("app:LOG:  "));
            let statements = lines
                .filter(|line| line.starts_with("execute ") || line.starts_with("statement: "));
            statements
                .filter_map(|line| line.split_once(": ").map(|(_, statement)| statement.to_owned()))
                .collect()
        } else {
            let ask = "SELECT argument FROM mysql.general_log WHERE command_type IN ('Execute', \
                       'Query') AND user_host LIKE 'app%' \
                           ORDER BY event_time";
            let rows = self.server.ask(ask).await.expect("the server answers");
            rows.into_iter().flatten().flatten().collect()
        };
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        new
    }

    /// The first word of each new statement.
    pub(crate) async fn words(&mut self) -> Vec<String> {
        let statements = self.statements().await;
        statements
            .iter()
            .filter_map(|statement| statement.split_whitespace().next().map(str::to_owned))
            .collect()
    }
}
