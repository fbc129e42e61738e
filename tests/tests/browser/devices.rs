//! H30: two browsers of one user.

use serde::Deserialize;
use tests::{
    chromium::Chromium,
    jar::{key_of, secret_of},
};

use crate::rig::{Rig, page, principal, send};

#[derive(Debug, Deserialize)]
struct Device {
    handle: String,
    current: bool,
}

async fn cookie(browser: &Chromium) -> String {
    browser.cookies().await.remove(0).value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h30_a_device_that_renewed_meanwhile_can_be_ended() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let (first, other) = (rig.signed_in("bob").await, rig.signed_in("bob").await);
    let (status, text) = send(&first, "GET", "/devices", None).await;
    assert_eq!(status, 200, "{text}");
    let devices: Vec<Device> = serde_json::from_str(&text).expect("devices");
    assert_eq!(devices.len(), 2, "{devices:?}");
    let listed = &devices.iter().find(|device| !device.current).expect("the other device").handle;
    let before = cookie(&other).await;
    assert_eq!(send(&other, "POST", "/renew", None).await.0, 204);
    let after = cookie(&other).await;
    assert!(key_of(&before) == key_of(&after) && secret_of(&before) != secret_of(&after), "the browser keeps the renewed id");
    assert_eq!(principal(&other).await.as_deref(), Some("bob"));
    assert_eq!(send(&first, "DELETE", &format!("/devices/{listed}"), None).await.0, 204);
    assert!(page(&other).await.is_anonymous(), "the device is signed out");
    assert_eq!(principal(&first).await.as_deref(), Some("bob"));
    let (_, text) = send(&first, "GET", "/devices", None).await;
    let left: Vec<Device> = serde_json::from_str(&text).expect("devices");
    println!("h30: {} devices before, {} after one that had renewed was ended", devices.len(), left.len());
    assert!(left.len() == 1 && left[0].current, "{left:?}");
    first.close().await;
    other.close().await;
}
