//! The last fault of each server, as the driver's monitoring events report it.
//!
//! The driver connects in its own tasks. If it cannot connect, a call fails because no server is
//! available, and the call's error does not contain the reason.

use std::collections::BTreeMap;

use mongodb::{ServerType, event::sdam::SdamEvent, options::ServerAddress};
use parking_lot::Mutex;

use crate::error::ClientError;

/// The last faults of the servers of one client.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<BTreeMap<String, Option<ClientError>>>);

impl Faults {
    /// Records what an event says about a server.
    pub(crate) fn record(&self, event: &SdamEvent) {
        match event {
            SdamEvent::ServerDescriptionChanged(change) => {
                let server = &change.new_description;
                let fault = server.error().map(|error| ClientError::of_connecting(error.clone()));
                // A server that the driver has not asked yet is unknown and has no fault.
                if fault.is_some() || server.server_type() != ServerType::Unknown {
                    self.0.lock().insert(key(&change.address), fault);
                }
            }
            SdamEvent::ServerClosed(closed) => {
                self.0.lock().remove(&key(&closed.address));
            }
            _ => {}
        }
    }

    /// The error of a call for which the driver found no server, with the reason if it is known.
    pub(crate) fn explain(&self, error: ClientError) -> ClientError {
        let servers = self.0.lock();
        let faults =
            || servers.iter().filter_map(|(server, fault)| Some((server, fault.as_ref()?)));
        let is_available = servers.values().any(Option::is_none);
        if !is_available && let Some((_, lasting)) = faults().find(|(_, fault)| fault.is_lasting())
        {
            return lasting.clone();
        }
        match faults().next() {
            Some((server, fault)) if matches!(error, ClientError::NoServer) => {
                ClientError::Unreachable(format!(
                    "no primary exists or responds; {server}: {fault}"
                ))
            }
            _ => error,
        }
    }

    /// Whether this server accepted a connection and closed it.
    pub(crate) fn has_closed(&self, server: &ServerAddress) -> bool {
        let closed = self.0.lock().get(&key(server)).cloned().flatten();
        matches!(closed, Some(ClientError::Closed(_)))
    }
}

/// The driver writes the addresses of servers in lower case.
fn key(server: &ServerAddress) -> String {
    server.to_string().to_lowercase()
}
