//! H30: two browsers of one user.

use tests::cookie::{key_of, secret_of};

use crate::rig::{Rig, cookie, devices, page, principal, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h30_device_with_a_renewed_id_can_be_signed_out() {
    let Some(rig) = Rig::start(&[]).await else { return };
    let (first, other) = (rig.signed_in("bob").await, rig.signed_in("bob").await);
    let listed = devices(&first).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let handle = &listed.iter().find(|device| !device.current).expect("the other device").handle;
    let before = cookie(&other).await;
    assert_eq!(send(&other, "POST", "/renew", None).await.0, 204);
    let after = cookie(&other).await;
    assert!(
        key_of(&before) == key_of(&after) && secret_of(&before) != secret_of(&after),
        "the browser stores the renewed id"
    );
    assert_eq!(principal(&other).await.as_deref(), Some("bob"));
    assert_eq!(send(&first, "DELETE", &format!("/devices/{handle}"), None).await.0, 204);
    assert!(page(&other).await.is_anonymous(), "the device is signed out");
    assert_eq!(principal(&first).await.as_deref(), Some("bob"));
    let left = devices(&first).await;
    println!(
        "h30: {} devices before, {} after the end of one with a renewed id",
        listed.len(),
        left.len()
    );
    assert!(left.len() == 1 && left[0].current, "{left:?}");
    first.close().await;
    other.close().await;
}
