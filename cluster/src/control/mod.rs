//! The control socket: orders to a running primary, and its state, over a Unix socket.
//!
//! [`ClusterBuilder::control`](crate::ClusterBuilder::control) names the path. The primary listens
//! there as long as the cluster lives; the socket has mode 0600, and only the primary's own user
//! and root are answered. It has nothing to do with the socket pairs between primary and workers.
//! This page describes what is said, for programs in any language; [`Client`] says it in Rust.
//!
//! # Protocol
//!
//! Version 1. A request is one line of JSON of at most 64 KiB, a reply is one line of JSON. One
//! connection can make any number of requests, one after the other. Each reply has `version` and
//! either `ok`, with an object named for what was done, or `error`:
//!
//! ```text
//! > {"command":"scale","workers":4}
//! < {"version":1,"ok":{"scaled":{"workers":4}}}
//! > {"command":"drain","id":99}
//! < {"version":1,"error":{"code":"gone","message":"there is no worker 99; status lists those that live"}}
//! ```
//!
//! | `command` | with | replies when | `ok` |
//! |---|---|---|---|
//! | `status` | | at once | [`status`](StatusReply) |
//! | `reload` | | all workers are replaced | [`reloaded`](ReloadReply) |
//! | `upgrade` | | another primary has taken over; this one, which answers, ends when its workers have left | `upgraded`, with the `pid` of the other |
//! | `scale` | `workers`: 1 or more | there are so many slots; those that were added may still start | `scaled` |
//! | `drain` | `id` of a worker | the worker has left, and another takes its slot | `drained`, with the `cause` of its end |
//! | `kill` | `id`; `signal`: a name such as `"KILL"`, `"TERM"` without | the signal is sent | `signalled` |
//! | `stop` | `mode`: `"graceful"`, as without, or `"fast"` | the last worker has ended | [`stopped`](StopReply) |
//!
//! A request may carry `"version":1`; another number is refused. Times are whole milliseconds in
//! fields that end with `_ms`. Later builds may add fields to replies, and names of states, causes
//! and error codes: ignore those that you do not know.
//!
//! Who hangs up does not take an order back. Who shuts down only its sending side still gets the
//! reply. A last line without its end is no request, because it can be half an order.
//!
//! A client that waits cannot tell an order that takes long from a primary that is stopped. So
//! [`Client`] asks for `status` over another connection every 5 s, and gives up when that is not
//! said within 5 s.
//!
//! # Errors
//!
//! | `code` | is |
//! |---|---|
//! | `malformed` | no JSON, no command that this primary knows, or a field that does not fit |
//! | `version` | a request of another version |
//! | `too_large` | a request of more than 64 KiB; the connection ends |
//! | `too_slow` | no whole request within 10 s of the connection or of the last reply; the connection ends |
//! | `busy` | 16 connections are open already; the connection ends |
//! | `forbidden` | the client is neither the primary's user nor root; the connection ends |
//! | `gone` | there is no such worker |
//! | `failed` | the order failed; `message` says why |
//! | `stopping` | the cluster stops, and takes no such order any more |

mod client;
mod command;
mod reply;
mod socket;
mod wire;

pub use client::{Client, ControlError};
pub use command::{Command, StopMode};
pub use reply::{
    EndReply, ReloadReply, Reply, SlotReply, SlotState, StatusReply, StopReply, WorkerReply,
    WorkerState,
};
pub use socket::lock_path;
pub use wire::{ErrorCode, Refusal};

pub(crate) use socket::ControlSocket;
pub(crate) use wire::{Answer, MAX_REQUEST, NoLine, read_line, request};
