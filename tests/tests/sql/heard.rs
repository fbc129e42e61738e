//! What a server was asked to do, by its own account.

use tests::service::{AnySql, MariaDb, Postgres};

/// A server that writes down every statement.
pub(crate) struct Heard {
    pub(crate) server: AnySql,
    /// How much of what it has written was looked at.
    seen: usize,
}

impl Heard {
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

    /// The statements since the last look, in order, of the user who has the sessions.
    pub(crate) async fn statements(&mut self) -> Vec<String> {
        let all: Vec<String> = if let AnySql::Postgres(server) = &self.server {
            // A statement is written down before it is executed.
            let output = server.output().expect("the server is the test's own");
            let lines = output.lines().filter_map(|line| line.strip_prefix("app:LOG:  "));
            let statements = lines
                .filter(|line| line.starts_with("execute ") || line.starts_with("statement: "));
            statements
                .filter_map(|line| line.split_once(": ").map(|(_, statement)| statement.to_owned()))
                .collect()
        } else {
            let ask = "SELECT argument FROM mysql.general_log WHERE command_type IN ('Execute', 'Query') AND user_host LIKE 'app%' \
                           ORDER BY event_time";
            let rows = self.server.ask(ask).await.expect("the server answers");
            rows.into_iter().flatten().flatten().collect()
        };
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        new
    }

    /// Their first words.
    pub(crate) async fn words(&mut self) -> Vec<String> {
        let statements = self.statements().await;
        statements
            .iter()
            .filter_map(|statement| statement.split_whitespace().next().map(str::to_owned))
            .collect()
    }
}
