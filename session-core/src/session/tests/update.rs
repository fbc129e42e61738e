//! `add`, `update` and the device list, which call the store before they return.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn c16_concurrent_updates_lose_nothing() {
    let site = Arc::new(Site::new());
    let id = site.session().await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (site, id) = (Arc::clone(&site), id.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    site.open(Some(&id))
                        .update::<i64>("n", |n| Some(n.unwrap_or(0) + 1))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(site.open(Some(&id)).get::<i64>("n").await.unwrap(), Some(1_001));
}

#[tokio::test]
async fn update_does_not_overwrite_unseen_commits() {
    let (site, id, session) = loaded().await;
    site.open(Some(&id)).add("n", 10).await.unwrap();
    session.add("other", 1).await.unwrap();
    assert_eq!(session.update::<i32>("n", |n| n.map(|n| n + 1)).await.unwrap(), Some(12));
}

#[tokio::test]
async fn update_reads_and_removes_absent_values() {
    let site = Site::new();
    let session = site.open(None);
    assert_eq!(session.update::<i32>("n", |n| n).await.unwrap(), None);
    assert_eq!(session.cookie(), CookieChange::Keep);
    assert_eq!(session.update::<i32>("n", |n| n.or(Some(7))).await.unwrap(), Some(7));
    let id = issued(&session);
    assert_eq!(site.open(Some(&id)).update::<i32>("n", |_| None).await.unwrap(), None);
    assert!(!site.open(Some(&id)).contains("n").await.unwrap());
}

#[tokio::test]
async fn immediate_calls_commit_recorded_changes_first() {
    let site = Site::new();
    let session = site.open(None);
    session.insert("n", &5).unwrap();
    assert_eq!(session.add("n", 1).await.unwrap(), 6);
    session.finish(RecordedChanges::Drop).await.unwrap();
    assert_eq!(site.open(Some(&issued(&session))).get::<i32>("n").await.unwrap(), Some(6));
}

#[tokio::test]
async fn s20_users_list_and_end_only_their_own_devices() {
    let site = Site::new();
    let sign_in = async |who: &str| {
        let session = site.open(None);
        session.sign_in(Principal::new(who).unwrap());
        finish(&session).await.unwrap();
        issued(&session)
    };
    let (first, second, other) =
        (sign_in("bob").await, sign_in("bob").await, sign_in("alice").await);
    let session = site.open(Some(&first));
    let others = session.others().await.unwrap();
    assert_eq!(
        others.iter().map(|device| device.handle).collect::<Vec<_>>(),
        [second.key().handle()]
    );
    assert!(!session.destroy_other(other.key().handle()).await.unwrap());
    assert!(site.open(Some(&other)).principal().await.unwrap().is_some());
    assert!(session.destroy_other(others[0].handle).await.unwrap());
    assert_eq!(site.open(Some(&second)).principal().await.unwrap(), None);
    sign_in("bob").await;
    assert_eq!(session.destroy_others().await.unwrap(), 1);
    assert_eq!(session.destroy_all().await.unwrap(), 1);
    assert_eq!(session.cookie(), CookieChange::Remove);
    assert!(site.open(Some(&other)).principal().await.unwrap().is_some());
}

#[tokio::test]
async fn update_ignores_what_a_clone_records_meanwhile() {
    let (site, id, session) = opened().await;
    let clone = session.clone();
    let updated = session.update::<i32>("n", |n| {
        clone.insert("n", &50).unwrap();
        n.map(|n| n + 1)
    });
    assert_eq!(updated.await.unwrap(), Some(2));
    finish(&session).await.unwrap();
    assert_eq!(
        site.open(Some(&id)).get::<i32>("n").await.unwrap(),
        Some(50),
        "a change recorded later is committed later"
    );
}
