//! Servers whose scripts may access only the keys that their command declares.

use futures_util::StreamExt;
use redis::Client;
use store_redis::Config;
use tests::service::{AnyRedis, Durability};

use crate::{
    connections::{every_call_works, refusal},
    session::{connect, with},
    strict_server::StrictServer,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_every_call_works_where_undeclared_keys_are_refused() {
    let Some(redis) = AnyRedis::server().await else { return };
    let url = redis.url(&format!("prefix=strict-{:016x}:", fastrand::u64(..)));
    let strict = StrictServer::before(&url).await;
    let url = strict.through(&url);
    every_call_works(&connect(&with(&url, "declared_keys=true")).await).await;
    let why = refusal(&url).await;
    assert!(why.contains("add declared_keys=true to the URL"), "{why}");
}

/// `MONITOR` shows the commands of scripts after the command that runs the script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_scripts_access_only_the_keys_that_they_declare() {
    let Some(redis) = AnyRedis::own_server(Durability::None).await else { return };
    let url = redis.url("");
    let mut undeclared = Vec::new();
    for settings in ["declared_keys=true", "declared_keys=false"] {
        let client = Client::open(url.trim_end_matches('?')).expect("a URL");
        let monitor = client.get_async_monitor().await.expect("the server answers");
        let mut lines = monitor.into_on_message::<String>();
        let store = connect(&with(&url, settings)).await;
        every_call_works(&store).await;
        redis.ask(&["ECHO", "the end"]).await;
        let (mut keys, mut found, mut scripts) = (Vec::new(), Vec::new(), 0);
        loop {
            let line = lines.next().await.expect("the monitor reports all commands");
            let (from, command) = line.split_once("] \"").expect("a line of MONITOR");
            let command = command.trim_end().strip_suffix('"').expect("a quoted argument");
            let words: Vec<&str> = command.split("\" \"").collect();
            match words[0] {
                "ECHO" => break,
                "EVAL" | "EVALSHA" => {
                    let count = words[2].parse::<usize>().expect("the number of keys");
                    keys = words[3..3 + count].iter().map(|key| (*key).to_owned()).collect();
                    scripts += 1;
                }
                "TIME" => {}
                _ if from.ends_with("lua") && !keys.iter().any(|key| key == words[1]) => {
                    found.push(format!("{} {}", words[0], words[1]));
                }
                _ => {}
            }
        }
        eprintln!("{settings}: {scripts} scripts, undeclared accesses: {found:?}");
        assert!(scripts > 10, "{scripts}");
        undeclared.push(found);
    }
    assert_eq!(undeclared[0], [""; 0], "with declared_keys=true");
    assert!(!undeclared[1].is_empty(), "the test finds undeclared accesses");
}

#[test]
fn d17_setting_has_two_values() {
    let error = Config::new("redis://host?declared_keys=yes").expect_err("not a value").to_string();
    assert!(error.contains("declared_keys") && error.contains("true or false"), "{error}");
}
