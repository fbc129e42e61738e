//! The check of a connection to a server, and of the login.

use std::time::Instant;

use session_core::report::{Check, CheckReport};
use store_support::check::{Endpoint, names};

use super::questions::{Questions, since};
use crate::error::ClientError;

/// What differs between the servers.
pub(super) struct Server<'s> {
    pub(super) endpoint: Endpoint<'s>,
    /// The setting with the addresses at which the server listens.
    pub(super) listens: &'static str,
    /// The user in the URL.
    pub(super) user: &'s str,
    /// The setting of the URL with the authority of the certificate.
    pub(super) authority: &'static str,
}

impl Server<'_> {
    /// Connects, and adds the checks of the connection and of the login. Returns whether there is a
    /// connection. If there is none, the other checks are added as not made.
    pub(super) async fn connect(
        &self,
        questions: &Questions<'_>,
        report: &mut CheckReport,
        others: &[&'static str],
    ) -> bool {
        let begun = Instant::now();
        if let Err(error) = questions.config.check_files() {
            let remedy = "correct the path in the URL, or let this user read the file";
            report.push(Check::failed(names::CONNECTION, error.to_string(), remedy));
            report.push_not_checked(&[names::LOGIN], "there is no connection");
            report.push_not_checked(others, "there is no connection");
            return false;
        }
        let Err(error) = questions.rows("SELECT 1").await else {
            let found = format!("connected in {:?}", since(begun));
            report.push(Check::ok(names::CONNECTION, found));
            report.push(Check::ok(names::LOGIN, format!("accepted, as user {}", self.user)));
            return true;
        };
        if let ClientError::Login(_) = error {
            report.push(Check::ok(names::CONNECTION, "the server answers"));
            report.push(Check::failed(names::LOGIN, error.to_string(), self.login_remedy()));
        } else {
            report.push(self.why_no_connection(questions, &error).await);
            report.push_not_checked(&[names::LOGIN], "there is no connection");
        }
        report.push_not_checked(others, "there is no connection");
        false
    }

    fn login_remedy(&self) -> String {
        let Self { user, listens, .. } = self;
        if *listens == POSTGRES_LISTENS {
            format!(
                "write the password into the URL, or as an administrator: ALTER ROLE {user} LOGIN \
                 PASSWORD '<password>', and a line for this user and address in pg_hba.conf"
            )
        } else {
            format!(
                "write the password into the URL, or as an administrator: ALTER USER '{user}'@'%' \
                 IDENTIFIED BY '<password>', and GRANT on the database"
            )
        }
    }

    async fn why_no_connection(&self, questions: &Questions<'_>, error: &ClientError) -> Check {
        let remedy = match error {
            ClientError::Unreachable(_) | ClientError::Lost(_) => {
                let limit = questions.config.deadline;
                if let Some(check) = self.endpoint.why_unreachable(limit, self.listens).await {
                    return check;
                }
                "the server accepts connections and does not answer: it is stopped or overloaded, \
                 or another program listens at this port"
                    .to_owned()
            }
            // The error itself has the remedy.
            ClientError::Tls(_) | ClientError::TlsSettings(_) => format!(
                "correct the settings of TLS in the URL; {}=/path/ca.pem names an authority",
                self.authority
            ),
            ClientError::NoDatabase(_) => {
                "CREATE DATABASE <name> as an administrator, or correct the URL".to_owned()
            }
            ClientError::Busy(_) | ClientError::TooManyConnections(_) => {
                "raise max_connections, or lower connections in the URL".to_owned()
            }
            #[cfg(feature = "mysql")]
            ClientError::Blocked(_) => "FLUSH HOSTS as an administrator".to_owned(),
            ClientError::Pooler(_) => {
                "write statement-cache-capacity=0 into the URL, or max_prepared_statements = 200 \
                 into pgbouncer.ini"
                    .to_owned()
            }
            ClientError::StartupParameter(_) => {
                "ignore_startup_parameters = extra_float_digits in pgbouncer.ini, and remove the \
                 setting options from the URL"
                    .to_owned()
            }
            _ => "the log of the server has the reason".to_owned(),
        };
        Check::failed(names::CONNECTION, error.to_string(), remedy)
    }
}

/// [`Server::listens`] of PostgreSQL.
pub(super) const POSTGRES_LISTENS: &str = "listen_addresses in postgresql.conf";
