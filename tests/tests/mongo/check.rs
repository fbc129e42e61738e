//! The check of a server names what sessions need, with the remedy.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use session_core::report::{CheckReport, Outcome};
use store_mongo::{Config, check};
use tests::{
    report::{assert_all_ok, assert_line},
    service::{AnyMongo, Durability, Mongo, MongoSet, PASSWORD},
    session::with,
};

async fn checked(url: &str) -> CheckReport {
    check(&Config::new(url).expect("a URL")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_good_server_is_ok_and_leaves_no_session() {
    let Some(mongo) = AnyMongo::own_server(Durability::Full).await else { return };
    let report = checked(&mongo.url("")).await;
    // A user of one database may not read the settings of the server.
    let words = ["getParameter", "ttlMonitorEnabled: 1"];
    assert_line(&report, "ttlMonitorEnabled", Outcome::NotChecked, &words);
    assert_all_ok(&report, &["ttlMonitorEnabled"]);
    assert_eq!(report.checks.len(), 11, "{report}");
    assert_eq!(mongo.dump().await, []);
    let Some(mongo) = Mongo::start().await else { return };
    assert_all_ok(&checked(&mongo.url()).await, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_replica_set_is_ok() {
    let Some(set) = MongoSet::start_with(&[]).await else { return };
    let report = checked(&set.url()).await;
    assert_line(&report, "topology", Outcome::Ok, &["replica set"]);
    assert_all_ok(&report, &[]);
    let weak = checked(&with(&set.url(), "w=1")).await;
    assert_line(&weak, "write concern", Outcome::Warning, &["w=1", "w=majority"]);
    assert_line(&weak, "journal", Outcome::Warning, &["100 ms", "journal=true"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_a_disabled_ttl_monitor_and_a_wrong_index() {
    let Some(mongo) = Mongo::start().await else { return };
    let disable = doc! { "setParameter": 1, "ttlMonitorEnabled": false };
    mongo.command(disable).await.expect("an administrator sets it");
    let report = checked(&mongo.url()).await;
    let words = ["false", "ttlMonitorEnabled: true"];
    assert_line(&report, "ttlMonitorEnabled", Outcome::Warning, &words);
    assert_all_ok(&report, &["ttlMonitorEnabled"]);
    let sessions = mongo
        .client()
        .await
        .database(mongo.database())
        .collection::<mongodb::bson::Document>("sessions");
    sessions.drop_index("session_expiry").await.expect("the index exists");
    let wrong = mongodb::IndexModel::builder()
        .keys(doc! { "expires": 1 })
        .options(
            mongodb::options::IndexOptions::builder().name("session_expiry".to_owned()).build(),
        )
        .build();
    sessions.create_index(wrong).await.expect("the server creates it");
    let report = checked(&mongo.url()).await;
    let words = ["session_expiry", "conflicts", "collection=<another name>", "drop()"];
    assert_line(&report, "operations", Outcome::Failed, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_role_that_a_user_lacks() {
    let Some(mongo) = Mongo::start_with(&["--auth"]).await else { return };
    let client = mongo.client().await;
    let database = client.database(mongo.database());
    let user = doc! { "createUser": "reader", "pwd": "letters", "roles": ["read"] };
    database.run_command(user).await.expect("an administrator makes a user");
    let url = mongo.url().replace(&format!("app:{PASSWORD}@"), "reader:letters@");
    let words = ["cannot create a session", "grantRolesToUser(\"reader\"", "readWrite"];
    assert_line(&checked(&url).await, "operations", Outcome::Failed, &words);
    let grant = doc! { "grantRolesToUser": "reader", "roles": ["readWrite"] };
    database.run_command(grant).await.expect("an administrator grants a role");
    assert_all_ok(&checked(&url).await, &["ttlMonitorEnabled"]);
    let anonymous = mongo.url().replace(&format!("app:{PASSWORD}@"), "");
    let words = ["mongodb://user:password@host"];
    assert_line(&checked(&anonymous).await, "operations", Outcome::Failed, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_a_wrong_password_from_a_missing_server() {
    let Some(mut mongo) = Mongo::start_with(&["--auth"]).await else { return };
    let report = checked(&mongo.url().replace(PASSWORD, "hunter2")).await;
    assert_line(&report, "connection", Outcome::Ok, &[]);
    let words = ["rejected the login", "authSource", "changeUserPassword(\"app\""];
    assert_line(&report, "login", Outcome::Failed, &words);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    ours!(mongo.stop().await);
    let report = checked(&mongo.url()).await;
    assert_line(&report, "connection", Outcome::Failed, &["refuses the connection", "net.bindIp"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_a_frozen_server_ends_within_twelve_deadlines() {
    const DEADLINE: Duration = Duration::from_millis(300);
    let Some(mongo) = Mongo::start().await else { return };
    ours!(mongo.freeze().await);
    let begun = Instant::now();
    let report = checked(&with(&mongo.url(), "deadline_ms=300")).await;
    let took = begun.elapsed();
    assert!(took < DEADLINE * 12, "{took:?}");
    assert_line(&report, "connection", Outcome::Failed, &["no server is reachable"]);
}
