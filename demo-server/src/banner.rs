//! The text that the primary prints when all workers serve.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use cluster::ClusterHandle;

use crate::settings::{CookieMode, Listen, Settings, Store, mask_passwords};

/// Where the key that signs cookies comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    Settings,
    /// This primary or one of its predecessors generated it.
    Random,
}

/// Prints the address, the main settings and two commands to try.
pub(crate) fn print(
    settings: &Settings,
    cluster: &ClusterHandle,
    metrics_address: Option<SocketAddr>,
    key_origin: KeyOrigin,
) {
    let address = cluster
        .addresses()
        .get("http")
        .map_or_else(|| settings.listen.to_string(), ToString::to_string);
    // What follows `curl`.
    let target = match &settings.listen {
        Listen::Tcp(_) => format!("http://{address}"),
        Listen::Unix { path, .. } => format!("--unix-socket {} http://localhost", path.display()),
    };
    let listening = match &settings.listen {
        Listen::Tcp(_) => format!("http://{address}"),
        Listen::Unix { .. } => address,
    };
    let store = match &settings.store {
        Store::Primary => {
            "ipc: this process keeps the sessions; workers use them over inherited sockets"
                .to_owned()
        }
        Store::Url(url) => mask_passwords(url).split('?').next().unwrap_or_default().to_owned(),
    };
    let cookie = match settings.cookie {
        CookieMode::Secure => "__Host-id, https only",
        CookieMode::Development => "id, plain http: only for development",
    };
    let workers = cluster.workers();
    let pids: Vec<_> = workers.iter().map(|worker| worker.pid.to_string()).collect();
    let mut lines = vec![
        format!("listening on {listening}"),
        format!("  store    {store}"),
        format!("  workers  {} (pid {})", workers.len(), pids.join(", ")),
        format!("  cookie   {cookie}"),
    ];
    lines.extend(
        settings
            .control
            .as_ref()
            .map(|path| format!("  control  demo-server ctl status --control {}", path.display())),
    );
    lines.extend(metrics_address.map(|address| format!("  metrics  http://{address}/metrics")));
    if key_origin == KeyOrigin::Random {
        let remedy = "set DEMO_COOKIE_KEY=$(openssl rand -base64 48) to keep them valid";
        lines.push(format!("  key      random: a restart makes all cookies invalid; {remedy}"));
    }
    lines.push(format!("try\n  curl -c jar -b jar {target}/"));
    lines.push(format!("  curl -c jar -b jar -d '{{\"user\":\"bob\"}}' {target}/login\n"));
    // One write, so that the text is not mixed with that of another process. The server also works
    // if standard output is closed.
    let _ = io::stdout().write_all(lines.join("\n").as_bytes());
}
