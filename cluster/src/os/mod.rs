//! Everything that talks to the operating system and is independent of the cluster's logic.

pub(crate) mod executable;
pub(crate) mod fds;
pub(crate) mod guard;
pub(crate) mod listener;
pub(crate) mod notify;
pub(crate) mod orphans;
pub(crate) mod pid_file;
pub(crate) mod socket_file;
pub(crate) mod sys;
