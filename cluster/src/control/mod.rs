//! The control socket: commands to a running primary, and its state, over a Unix socket.
//!
//! [`ClusterBuilder::control`](crate::ClusterBuilder::control) sets the path. The primary listens
//! there as long as the cluster lives. The socket has mode 0600, and the primary serves only its
//! own user and root. It is independent of the sockets between the primary and its workers.
//!
//! This page describes the protocol for programs in any language. [`Client`] implements it in Rust.
//!
//! # Protocol
//!
//! Version 1. A request is one line of JSON of at most 64 KiB. A reply is one line of JSON. One
//! connection can carry any number of requests, one after the other. Each reply has `version` and
//! either `ok`, an object named after the result, or `error`:
//!
//! ```text
//! > {"command":"scale","workers":4}
//! < {"version":1,"ok":{"scaled":{"workers":4}}}
//! > {"command":"drain","id":99}
//! < {"version":1,"error":{"code":"gone","message":"there is no worker 99; use status to list the live workers"}}
//! ```
//!
//! | `command` | parameters | the reply comes when | `ok` |
//! |---|---|---|---|
//! | `status` | | at once | [`status`](StatusReply) |
//! | `reload` | | all workers are replaced | [`reloaded`](ReloadReply) |
//! | `upgrade` | | another primary has taken over; this one ends when its workers have exited | `upgraded`, with the `pid` of the new primary |
//! | `scale` | `workers`: 1 or more | the number of slots has changed; added slots may still start | `scaled` |
//! | `drain` | `id` of a worker | the worker has exited; another worker takes its slot | `drained`, with the `cause` of its end |
//! | `kill` | `id`; `signal`: a name such as `"KILL"`, default `"TERM"` | the signal is sent | `signalled` |
//! | `stop` | `mode`: `"graceful"` (default) or `"fast"` | the last worker has ended | [`stopped`](StopReply) |
//!
//! A request may contain `"version":1`. The primary refuses other numbers. Durations are whole
//! milliseconds in fields whose names end with `_ms`. Later builds may add fields to replies, and
//! names of states, causes and error codes. A client must ignore those that it does not know.
//!
//! Closing the connection does not cancel a command. A client that closes only its sending side
//! still gets the reply. The primary ignores a last line without a line end, because it may be
//! incomplete.
//!
//! A waiting client cannot distinguish a long command from a stopped primary. So [`Client`]
//! requests `status` over another connection every 5 s, and fails if the status does not come
//! within 5 s.
//!
//! # Errors
//!
//! | `code` | meaning |
//! |---|---|
//! | `malformed` | the request is not JSON, not a command of this primary, or has an invalid field |
//! | `version` | the request has another version |
//! | `too_large` | the request has more than 64 KiB; the connection ends |
//! | `too_slow` | no complete request came within 10 s of the connection or the last reply; the connection ends |
//! | `busy` | 16 connections are already open; the connection ends |
//! | `forbidden` | the client is neither the primary's user nor root; the connection ends |
//! | `gone` | there is no such worker |
//! | `failed` | the command failed; `message` says why |
//! | `stopping` | the cluster stops and accepts no such command |

mod client;
pub(crate) mod protocol;

pub use crate::os::socket_file::lock_path;
pub use client::{Client, ControlError};
pub use protocol::{
    Command, EndReply, ErrorCode, Refusal, ReloadReply, Reply, SlotReply, SlotStateKind,
    StatusReply, StopMode, StopReply, WorkerReply, WorkerState,
};
