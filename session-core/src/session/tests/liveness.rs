//! Liveness checks for streams and web sockets.

use super::*;

#[tokio::test]
async fn h29_is_alive_reports_current_superseded_and_ended() {
    let site = Site::new();
    let id = site.sign_in(Some(&site.session().await), bob()).await;
    let stream = site.open(Some(&id));
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Current);
    let renewed = site.renew(&id).await;
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Superseded, "in the grace");
    site.clock.advance(MINUTE);
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Superseded, "and later");
    assert_eq!(site.open(Some(&renewed)).is_alive().await.unwrap(), Liveness::Current);
    site.open(Some(&renewed)).destroy().await.unwrap();
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Ended);
    assert_eq!(site.open(None).is_alive().await.unwrap(), Liveness::Ended);
}

#[tokio::test]
async fn h29_session_replaced_by_another_sign_in_has_ended() {
    let (site, bobs, stream) = signed_in().await;
    site.sign_in(Some(&bobs), alice()).await;
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Ended);
}

#[tokio::test]
async fn h29_liveness_check_does_not_extend_the_ttl() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let stream = site.open(Some(&id));
    for _ in 0..29 {
        site.clock.advance(MINUTE);
        let (alive, calls) = site.calls(stream.is_alive()).await;
        assert_eq!((alive.unwrap(), calls), (Liveness::Current, 1));
    }
    site.clock.advance(MINUTE);
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Ended, "30 minutes without a use");
}

#[tokio::test]
async fn h29_refresh_shows_the_present_record() {
    let (site, id, stream) = opened().await;
    assert_eq!(stream.get::<i32>("n").await.unwrap(), Some(1));
    site.open(Some(&id)).add("n", 1).await.unwrap();
    assert_eq!(stream.is_alive().await.unwrap(), Liveness::Current);
    assert_eq!(
        stream.get::<i32>("n").await.unwrap(),
        Some(1),
        "a check keeps the values read before"
    );
    stream.insert("m", &1).unwrap();
    assert_eq!(stream.refresh().await.unwrap(), Liveness::Current);
    assert_eq!(
        (stream.get::<i32>("n").await.unwrap(), stream.get::<i32>("m").await.unwrap()),
        (Some(2), Some(1))
    );
    site.open(Some(&id)).destroy().await.unwrap();
    assert_eq!(stream.refresh().await.unwrap(), Liveness::Ended);
    assert_eq!(stream.get::<i32>("n").await.unwrap(), None);
}

#[tokio::test]
async fn h29_commit_on_an_ended_session_is_gone() {
    let (site, id, stream) = loaded().await;
    stream.commit().await.unwrap();
    site.open(Some(&id)).destroy().await.unwrap();
    assert!(matches!(stream.commit().await, Err(SessionError::Gone)), "without recorded changes");
    stream.insert("n", &2).unwrap();
    assert!(matches!(stream.commit().await, Err(SessionError::Gone)));
    assert_eq!(site.living().await, 0);
}

#[tokio::test]
async fn h29_empty_commit_with_a_superseded_id_is_superseded() {
    let (site, id, stream) = loaded().await;
    site.sign_in(Some(&id), bob()).await;
    assert!(matches!(stream.commit().await, Err(SessionError::Superseded)));
}

/// The end that `stream` waits for, and the seconds until then, if that is less than `most`.
async fn wait(stream: &Session, most: Duration) -> Option<(StreamEnd, u64)> {
    let begun = tokio::time::Instant::now();
    let end = tokio::time::timeout(most, stream.ended()).await.ok()?;
    Some((end, begun.elapsed().as_secs()))
}

#[tokio::test(start_paused = true)]
async fn h29_stream_notices_the_end_within_four_seconds() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let stream = site.open(Some(&id));
    assert_eq!(wait(&stream, HOUR).await, None, "it is alive");
    let renewed = site.renew(&id).await;
    site.clock.advance(MINUTE);
    assert_eq!(wait(&stream, HOUR).await, None, "a renewal does not end the wait");
    let (ended, ()) = tokio::join!(wait(&stream, HOUR), async {
        tokio::time::sleep(MINUTE).await;
        site.open(Some(&renewed)).destroy_all().await.unwrap();
    });
    let (end, seconds) = ended.unwrap();
    assert_eq!(end, StreamEnd::Ended);
    assert!((60..64).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn h29_stream_tolerates_short_outages_and_reports_long_ones() {
    let site = Site::new();
    let id = site.sign_in(None, bob()).await;
    let stream = site.open(Some(&id));
    let outage = async |time: Duration| {
        tokio::time::sleep(MINUTE).await;
        site.store.fail(["load"]);
        tokio::time::sleep(time).await;
        site.store.fail([]);
    };
    for _ in 0..3 {
        let (ended, ()) = tokio::join!(wait(&stream, 3 * MINUTE), outage(50 * SECOND));
        assert_eq!(ended, None, "50 seconds, and the store answers again in between");
    }
    let (ended, ()) = tokio::join!(wait(&stream, HOUR), outage(2 * MINUTE));
    let (end, seconds) = ended.unwrap();
    assert_eq!(end, StreamEnd::Outage);
    assert!((116..=124).contains(&seconds), "{seconds}");
    let (ended, ()) = tokio::join!(wait(&stream, HOUR), async {
        site.store.fail(["load"]);
        site.open(Some(&id)).destroy().await.unwrap();
        tokio::time::sleep(30 * SECOND).await;
        site.store.fail([]);
    });
    assert!(
        matches!(ended, Some((StreamEnd::Ended, 30..34))),
        "{ended:?}: an end during an outage is reported after it"
    );
}
