//! The connections to operators: the control socket and the service manager.

mod server;
mod systemd;

use std::sync::Arc;

use tokio::{net::UnixListener, sync::mpsc::UnboundedReceiver};

use super::{cluster::Cluster, events::ServiceStep};
use crate::os::notify::Notifier;

/// Starts the task that serves the control socket and informs the service manager, until the
/// cluster has ended and both have learned its outcome.
pub(super) fn open(
    cluster: &Arc<Cluster>,
    control: Option<UnixListener>,
    service_steps: UnboundedReceiver<ServiceStep>,
) {
    let notifier = Notifier::of_this_process();
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        let close = CloseOnDrop(Arc::clone(&cluster));
        let notify = async {
            match notifier {
                Some(notifier) => systemd::notify(&cluster.shared, &notifier, service_steps).await,
                None => drop(service_steps),
            }
        };
        let serve = async {
            match control {
                Some(listener) => {
                    // Earlier clients belong to the predecessor.
                    if cluster.shared.lifecycle.wait_in_charge().await {
                        server::serve(&cluster, listener).await;
                    }
                }
                None => cluster.shared.lifecycle.ended().await,
            }
        };
        tokio::join!(notify, serve);
        drop(close);
    });
}

/// Removes the files of the operators, also when the task is dropped with its runtime.
struct CloseOnDrop(Arc<Cluster>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.endpoints.close();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::{
        builder::ClusterBuilder, os::executable::Executable, primary::handle::ClusterHandle,
    };

    #[tokio::test]
    async fn files_are_removed_before_wait_returns() {
        let folder = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let builder = ClusterBuilder::new(Executable::of_this_process().unwrap(), None)
            .control(folder.path().join("control"))
            .pid_file(folder.path().join("pid"));
        let (cluster, startup) = Cluster::open(builder, BTreeMap::new(), None).unwrap();
        let cluster = Arc::new(cluster);
        open(&cluster, startup.control, startup.service_steps);
        // The socket, its lock file, the pid file.
        assert_eq!(files(), 3);
        cluster.shared.conclude();
        assert!(ClusterHandle::new(cluster).wait().await.is_err());
        assert_eq!(files(), 0);
    }
}
