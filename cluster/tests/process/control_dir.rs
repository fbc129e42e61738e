//! A temporary control socket and its clients.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Cluster, TIMEOUT, until};

/// A temporary folder, and the path of a control socket in it.
pub(crate) struct ControlDir {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl ControlDir {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        Self { folder, path }
    }

    pub(crate) fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub(crate) fn ready(&self, options: &[(&str, &str)]) -> Cluster {
        Cluster::ready(&[&[("control", self.text())], options].concat())
    }

    pub(crate) fn operator(&self) -> Operator {
        Operator::connect(&self.path)
    }

    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.operator().ask(request)
    }

    pub(crate) fn status(&self) -> Value {
        self.ask(&json!({ "command": "status" }))["ok"]["status"].clone()
    }

    /// Waits until there are `slots` slots and all serve.
    pub(crate) fn wait_until_serving(&self, slots: usize) {
        until("all slots serve", || {
            let status = self.status();
            let slots_now = status["slots"].as_array().unwrap();
            (slots_now.len() == slots && slots_now.iter().all(|slot| slot["state"] == "serving"))
                .then_some(())
        });
    }

    /// Stops the cluster, and checks that it removes its files.
    pub(crate) fn assert_removed_by_stop(&self, cluster: &mut Cluster) {
        cluster.signal(Signal::TERM);
        assert!(cluster.exit().success());
        assert_eq!(self.files(), 0);
    }

    pub(crate) fn files(&self) -> usize {
        fs::read_dir(self.folder.path()).unwrap().count()
    }
}

/// One connection to a control socket.
pub(crate) struct Operator(pub(crate) BufReader<UnixStream>);

impl Operator {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Writes bytes. Ignores a closed connection, because a refused client still gets a reply.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match self.0.get_mut().write_all(bytes) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => panic!("not written: {e}"),
            _ => {}
        }
    }

    /// The next reply, or `Null` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Value {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(read) if read > 0 => serde_json::from_str(&line).unwrap(),
            Ok(_) => Value::Null,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Value::Null,
            Err(e) => panic!("no reply: {e}"),
        }
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.write(format!("{request}\n").as_bytes());
        self.receive()
    }
}
