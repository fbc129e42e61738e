//! The methods of a service of several processes, of which each is named by its port.

/// Implements them for a type with the fields `server`, a `ServerOwnership`, and `version`.
macro_rules! impl_by_port {
    ($service:ident) => {
        impl $service {
            /// The product and its version, as `redis 7.0.15` or `mongo 7.0.14`.
            #[must_use]
            pub fn version(&self) -> &str {
                &self.version
            }

            /// Kills the process on this port. A stopped process stays stopped.
            ///
            /// # Errors
            /// If the environment names the service.
            ///
            /// # Panics
            /// If no process has this port.
            pub async fn stop(&mut self, port: u16) -> Result<(), ExternalServer> {
                self.server.own_mut()?.stop(port).await;
                Ok(())
            }

            /// Starts a killed process again, on its port and with what it held. It may need a
            /// moment more to follow the primary: [`complete`](Self::complete) waits for that.
            ///
            /// # Errors
            /// If the environment names the service.
            ///
            /// # Panics
            /// If no process has this port, or if it does not answer.
            pub async fn start_again(&mut self, port: u16) -> Result<(), ExternalServer> {
                self.server.own_mut()?.start_again(port).await;
                Ok(())
            }

            /// Freezes the process on this port.
            ///
            /// # Errors
            /// If the environment names the service.
            ///
            /// # Panics
            /// If no process has this port.
            pub async fn freeze(&self, port: u16) -> Result<(), ExternalServer> {
                self.server.own()?.freeze(port).await;
                Ok(())
            }

            /// Lets the process on this port continue.
            ///
            /// # Errors
            /// If the environment names the service.
            ///
            /// # Panics
            /// If no process has this port.
            pub async fn thaw(&self, port: u16) -> Result<(), ExternalServer> {
                self.server.own()?.thaw(port).await;
                Ok(())
            }
        }
    };
}

/// Implements the methods for all processes at once, for a type like that of `impl_by_port`.
macro_rules! impl_for_all {
    ($service:ident) => {
        impl $service {
            /// The ports of its processes on 127.0.0.1.
            ///
            /// # Errors
            /// If the environment names the service.
            pub fn ports(&self) -> Result<Vec<u16>, ExternalServer> {
                Ok(self.server.own()?.list().iter().map(|node| node.port).collect())
            }

            /// The URL by which other tests can share it, and the folder with its files.
            pub(super) fn shared_as(&self) -> (String, PathBuf) {
                self.server.shared_as(self.url())
            }

            /// All that its processes have written.
            ///
            /// # Errors
            /// If the environment names the service.
            pub fn output(&self) -> Result<String, ExternalServer> {
                self.server.output()
            }

            /// Kills all processes.
            ///
            /// # Errors
            /// If the environment names the service.
            pub async fn stop_all(&mut self) -> Result<(), ExternalServer> {
                self.server.own_mut()?.stop_all().await;
                Ok(())
            }

            /// Freezes all processes.
            ///
            /// # Errors
            /// If the environment names the service.
            pub async fn freeze_all(&self) -> Result<(), ExternalServer> {
                self.server.own()?.freeze_all().await;
                Ok(())
            }

            /// Lets all processes continue.
            ///
            /// # Errors
            /// If the environment names the service.
            pub async fn thaw_all(&self) -> Result<(), ExternalServer> {
                self.server.own()?.thaw_all().await;
                Ok(())
            }
        }
    };
}

/// Implements the methods for one server, or for all processes of a service. The type is an enum of
/// `Server` and of the variant `$group`, which has the methods of `impl_for_all`.
macro_rules! impl_for_one_or_all {
    ($service:ident, $group:ident) => {
        impl $service {
            /// Kills it.
            ///
            /// # Errors
            /// If the environment names it.
            pub async fn stop(&mut self) -> Result<(), ExternalServer> {
                match self {
                    Self::Server(server) => server.stop().await,
                    Self::$group(servers) => servers.stop_all().await,
                }
            }

            /// Starts it again at the same address.
            ///
            /// # Errors
            /// If the environment names it.
            ///
            /// # Panics
            /// If it does not answer.
            pub async fn start_again(&mut self) -> Result<(), ExternalServer> {
                match self {
                    Self::Server(server) => server.start_again().await,
                    Self::$group(servers) => servers.start_all().await,
                }
            }

            /// Freezes it: it keeps its connections and answers nothing.
            ///
            /// # Errors
            /// If the environment names it.
            pub async fn freeze(&self) -> Result<(), ExternalServer> {
                match self {
                    Self::Server(server) => server.freeze().await,
                    Self::$group(servers) => servers.freeze_all().await,
                }
            }

            /// Lets it continue. Members of several servers may elect a primary after that.
            ///
            /// # Errors
            /// If the environment names it.
            pub async fn thaw(&self) -> Result<(), ExternalServer> {
                match self {
                    Self::Server(server) => server.thaw().await,
                    Self::$group(servers) => servers.thaw_all().await,
                }
            }
        }
    };
}

pub(super) use {impl_by_port, impl_for_all, impl_for_one_or_all};
