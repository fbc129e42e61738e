//! What one PostgreSQL server and one MariaDB server have in common.

/// The methods of `Engine` that are the same for both. The calling file imports the functions of
/// its product: `user_url`, `root_url`, `make_database` and `product`.
macro_rules! sql_engine_methods {
    () => {
        fn process(_folder: &Path, flags: &[&str], leaves_template: bool) -> Self {
            Self::new(flags, leaves_template)
        }

        fn new_database(_external: Option<&str>) -> String {
            own_sql_database()
        }

        fn url(node: &Node<Self>, database: &str) -> String {
            user_url(node.port, database)
        }

        fn root_url(node: &Node<Self>, database: &str) -> String {
            root_url(node.port, database)
        }

        fn shared_url(shared: &SharedServer, database: &str) -> String {
            user_url(shared.port(), database)
        }

        fn shared_root_url(shared: &SharedServer, database: &str) -> String {
            with_database(shared.url(), database)
        }

        fn external_url(url: &str, database: &str) -> String {
            with_database(url, database)
        }

        async fn prepare_shared(shared: &SharedServer, database: &str) {
            make_database(shared.url(), database)
                .await
                .expect("the shared server makes a database");
        }

        async fn product(url: &str) -> Result<String, String> {
            product(url).await.map_err(|error| error.to_string())
        }
    };
}

/// Implements the methods of a server for its tests. The calling file has `ask`, which runs
/// statements at a URL, and `TABLES`, the query for the names of all tables of a database.
macro_rules! impl_sql_server {
    ($server:ident, $pool:ty, $product:literal) => {
        impl $server {
            /// Its URL through its Unix-domain socket.
            ///
            /// # Errors
            /// If the environment names the server.
            pub fn socket_url(&self) -> Result<String, ExternalServer> {
                Ok(self.node()?.socket_url(self.database()))
            }

            /// Connections to its database for the statements of the test, which wait at most five
            /// seconds for a server. Their user may do most.
            ///
            /// # Panics
            /// If the environment names a server by something that is not a URL of the product.
            #[must_use]
            pub fn pool(&self) -> $pool {
                let options = sqlx::pool::PoolOptions::new().acquire_timeout(LOOK_WITHIN);
                // The error would show the password.
                options
                    .connect_lazy(&self.root_url())
                    .unwrap_or_else(|_| panic!("a URL of {}", $product))
            }

            /// The rows that some statements give, as text: on a new connection of the user who may
            /// do most, within five seconds.
            ///
            /// # Errors
            /// If it refuses one of them or does not answer.
            pub async fn ask(&self, statements: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
                Ok(ask(&self.root_url(), statements).await?.rows)
            }

            /// All rows of all tables of its database, one per line, with the names of the columns.
            /// Bytes that are letters appear as letters.
            ///
            /// # Panics
            /// If the server does not answer.
            pub async fn dump(&self) -> String {
                let url = self.root_url();
                sql::dump(TABLES, async |statement| ask(&url, statement).await)
                    .await
                    .expect("the server answers")
            }
        }
    };
}

pub(super) use {impl_sql_server, sql_engine_methods};
