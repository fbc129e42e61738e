//! Starts that fail.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use crate::harness::{Cluster, fixture, is_free};

#[test]
fn k15_port_in_use_fails_the_start_with_a_clear_error() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap();
    let output = output_of(fixture(&[("listen", &addr.to_string())]));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("cannot listen on {addr} (`main`); stop the process")),
        "{text}"
    );
    assert!(!text.contains("forked"), "no worker was started: {text}");
    drop(holder);
    assert!(is_free(addr));
}

#[test]
fn k15_bad_address_fails_the_start_with_a_clear_error() {
    for address in ["127.0.0.1", "no such host:80", "127.0.0.1:70000"] {
        let output = output_of(fixture(&[("listen", address)]));
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("cannot listen on") && text.contains("host:port"), "{text}");
    }
    // A documentation address, which no machine has (RFC 5737).
    let text = String::from_utf8(output_of(fixture(&[("listen", "192.0.2.1:80")])).stdout).unwrap();
    assert!(text.contains("this machine has no such address"), "{text}");
}

#[test]
fn k15_program_that_never_boots_ends_with_a_clear_error() {
    let cluster =
        Cluster::start(&[("workers", "2"), ("boot", "exit"), ("base", "10"), ("give_up", "3")]);
    let addr = cluster.addr;
    let (lines, status) = cluster.rest();
    assert_eq!(status.code(), Some(1));
    let settled =
        lines.iter().find(|line| line["event"] == "settled").map(|line| line["error"].to_string());
    let error = lines
        .iter()
        .find_map(|line| line["error"].as_str().filter(|_| line.get("event").is_none()))
        .unwrap();
    assert!(error.starts_with("no worker ever became ready: all 2 slots were given up"), "{error}");
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(settled.is_none_or(|text| text.contains("no worker ever became ready")));
    assert_eq!(lines.iter().filter(|line| line["event"] == "forked").count(), 6);
    assert!(is_free(addr));
}

#[test]
fn late_role_call_fails_with_a_clear_error() {
    let output = output_of(fixture(&[("role", "late")]));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("must be called while the process has one thread"), "{text}");
}

#[test]
fn forged_worker_variable_is_refused() {
    for (forged, reason) in [
        ("1", "does not hold what a primary writes"),
        (
            r#"{"id":1,"slot":0,"orphan":{"secs":1,"nanos":0},"control":999,"listeners":{},"fds":{}}"#,
            "descriptor 999 of `control` is not usable",
        ),
        (
            r#"{"id":1,"slot":0,"orphan":{"secs":1,"nanos":0},"control":0,"listeners":{},"fds":{}}"#,
            "standard streams cannot be handed over",
        ),
    ] {
        let mut command = fixture(&[]);
        command.env("CLUSTER_WORKER", forged);
        let output = output_of(command);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(reason), "{text}");
    }
}

fn output_of(mut command: Command) -> Output {
    command.output().unwrap()
}
