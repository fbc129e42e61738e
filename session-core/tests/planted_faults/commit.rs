//! The faults of `commit`.

use std::{collections::BTreeMap, time::Duration};

use session_core::{
    Change, Changes, Claim, Commit, Committed, Guard, Json, Limits, NewRecord, Outcome,
    PrincipalChange, Record, Rejection, Rotation, SecretHash, SessionStore, StoreError, StoreKey,
    Stored,
};

use crate::{
    client::{Client, round_trip},
    fault::Fault,
};

const LONG: Duration = Duration::from_secs(600);

/// Applies a commit, with the faults of commits without a rotation.
pub(crate) async fn apply(
    client: &Client,
    key: &StoreKey,
    mut commit: Commit,
) -> Result<Outcome, StoreError> {
    let records = &client.namespace.records;
    commit.changes = as_stored(client, commit.changes);
    let loaded = records.load(key).await?.map(Stored::into_record);
    if let Some(rotation) = commit.rotate {
        return rotate(client, key, commit, rotation, loaded).await;
    }
    match (client.fault, loaded) {
        (Fault::CommitReplacesAllValues, _) => commit.clear |= !commit.changes.is_empty(),
        (Fault::CommitIgnoresGuard, _) => commit.guard = Guard::Any,
        (Fault::CommitIgnoresRemove, _) => {
            commit.changes.retain(|_, change| *change != Change::Remove);
        }
        (Fault::CommitStopsAtRemovedFirstValue, Some(record)) => {
            let first = record.data.iter().next().map(|(name, _)| name.clone());
            if let Some(first) =
                first.filter(|first| commit.changes.get(first) == Some(&Change::Remove))
            {
                commit.changes.retain(|name, _| *name <= first);
            }
        }
        (Fault::CommitCannotRemoveAllValues, Some(record))
            if record
                .data
                .iter()
                .all(|(name, _)| commit.changes.get(name) == Some(&Change::Remove)) =>
        {
            commit.changes.retain(|_, change| *change != Change::Remove);
        }
        (Fault::ClearRemovesNewValues, _) if commit.clear => commit.changes.clear(),
        (Fault::AttributesAreNotStored, _) => commit.attributes = None,
        (Fault::CommitAlwaysExtendsTtl, _) => commit.ttl = commit.ttl.or(Some(LONG)),
        (Fault::TtlIsNeverShortened, Some(record)) => {
            commit.ttl = commit.ttl.map(|ttl| ttl.max(record.ttl));
        }
        (Fault::CommitNeverOverwrites, Some(record)) => {
            commit.changes.retain(|name, _| record.data.get(name.as_str()).is_none());
        }
        (Fault::TtlIncrementsVersion, Some(record)) => {
            commit.attributes = commit.attributes.or_else(|| commit.ttl.map(|_| record.attributes));
        }
        (Fault::AddRequiresValue, Some(record)) => {
            let missing = commit.changes.iter().find(|(name, change)| {
                matches!(change, Change::Add(_)) && record.data.get(name.as_str()).is_none()
            });
            if let Some((name, _)) = missing {
                return Err(Rejection::NotAnInteger { name: name.clone() }.into());
            }
        }
        (Fault::CommitWritesEachChangeSeparately, Some(_)) => {
            return write_each_change(client, key, commit).await;
        }
        (Fault::CommitWritesStaleRecord, Some(record)) => {
            let read = client.last_read.lock().get(key).cloned().unwrap_or(record);
            round_trip().await;
            return records.commit(key, with_all_values(read, commit)).await;
        }
        (Fault::AddIsNotAtomic, Some(record)) => {
            return add_in_two_steps(client, key, commit, &record).await;
        }
        (Fault::CommitRecreatesDeletedRecord, Some(record)) => {
            round_trip().await;
            return match records.commit(key, commit).await? {
                Outcome::Gone => {
                    records.create(key, record.into_new()).await.map(|_| Outcome::Gone)
                }
                outcome => Ok(outcome),
            };
        }
        (Fault::CommitCreatesMissingRecord, None) => drop(
            records.create(key, NewRecord::new(commit.secret, commit.ttl.unwrap_or(LONG))).await,
        ),
        (Fault::EmptyCommitIsAlwaysDone, _) if commit.is_empty() => {
            return Ok(Outcome::Done(unchanged()));
        }
        (Fault::SignInWithoutRotationIsAccepted, Some(record))
            if matches!(commit.principal, PrincipalChange::Set(_)) =>
        {
            commit.rotate = Some(Rotation {
                secret: record.secret,
                generation: record.generation,
                grace: None,
            });
        }
        (Fault::SignInWithoutRotationIsAccepted, None)
            if matches!(commit.principal, PrincipalChange::Set(_)) =>
        {
            return Ok(Outcome::Gone);
        }
        (_, Some(record)) => compare_wrongly(client, key, &mut commit, &record).await?,
        _ => {}
    }
    answer(client, key, commit).await
}

/// The changes with names and values as the backend stores them.
fn as_stored(client: &Client, changes: Changes) -> Changes {
    changes
        .into_iter()
        .map(|(name, change)| {
            let change = match change {
                Change::Set(value) => Change::Set(client.value(value)),
                other => other,
            };
            (client.name(name), change)
        })
        .collect()
}

/// The faults of the comparison of the secret.
async fn compare_wrongly(
    client: &Client,
    key: &StoreKey,
    commit: &mut Commit,
    record: &Record,
) -> Result<(), StoreError> {
    let equal = |fold: fn(&SecretHash) -> Vec<u8>| fold(&record.secret) == fold(&commit.secret);
    let accepted = match client.fault {
        Fault::CommitAcceptsAnySecret => true,
        Fault::CommitAcceptsFormerSecret => {
            record.grace.as_ref().is_some_and(|grace| grace.secret == commit.secret)
        }
        Fault::HashesEndAtZeroByte => {
            equal(|hash| hash.as_bytes().iter().copied().take_while(|byte| *byte != 0).collect())
        }
        Fault::HashesIgnoreCase => equal(|hash| hash.as_bytes().to_ascii_lowercase()),
        _ => false,
    };
    if accepted {
        commit.secret = record.secret;
    }
    let superseded = commit.secret != record.secret;
    match client.fault {
        Fault::SupersededCommitExtendsTtl if superseded && commit.ttl.is_some() => {
            let touch = Commit { ttl: commit.ttl, ..Commit::new(record.secret) };
            let _ = client.namespace.records.commit(key, touch).await?;
        }
        Fault::ConflictBeforeSuperseded if superseded && is_stale(commit, record) => {
            commit.secret = record.secret;
        }
        Fault::RejectedBeforeSuperseded => {
            let text = commit.changes.iter().find(|(name, change)| {
                matches!(change, Change::Add(_))
                    && record
                        .data
                        .get(name.as_str())
                        .is_some_and(|value| value.as_integer().is_none())
            });
            if let Some((name, _)) = text {
                return Err(Rejection::NotAnInteger { name: name.clone() }.into());
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_stale(commit: &Commit, record: &Record) -> bool {
    matches!(commit.guard, Guard::Version(version) if version != record.version)
}

/// The faults of a commit with a rotation.
async fn rotate(
    client: &Client,
    key: &StoreKey,
    mut commit: Commit,
    mut rotation: Rotation,
    loaded: Option<Record>,
) -> Result<Outcome, StoreError> {
    let records = &client.namespace.records;
    let Some(record) = loaded else {
        if client.has(Fault::RotationCreatesMissingRecord)
            && commit.principal == PrincipalChange::Keep
        {
            let new = NewRecord {
                generation: rotation.generation,
                ..NewRecord::new(rotation.secret, LONG)
            };
            return records.create(key, new).await.map(|_| Outcome::Gone);
        }
        return records.commit(key, commit).await;
    };
    let current = commit.secret == record.secret;
    match client.fault {
        Fault::GraceIsClamped => {
            let keeps = commit.principal == PrincipalChange::Keep && !commit.authenticated;
            let clamp =
                |grace: Duration| grace.clamp(Duration::from_millis(1), Limits::LONGEST_GRACE);
            rotation.grace = rotation.grace.filter(|_| keeps).map(clamp);
        }
        Fault::GraceIsNotStored => rotation.grace = None,
        Fault::GraceIsAlwaysLongest => {
            rotation.grace = rotation.grace.map(|_| Limits::LONGEST_GRACE);
        }
        Fault::GraceSurvivesNextRotation if current && rotation.grace.is_none() => {
            if let Some(grace) = record.grace {
                client.namespace.former_secrets.lock().insert(key.clone(), grace);
            }
        }
        Fault::RotationIncrementsVersion => {
            commit.attributes = commit.attributes.or(Some(record.attributes));
        }
        Fault::RotationExtendsTtl | Fault::CommitAlwaysExtendsTtl => {
            commit.ttl = commit.ttl.or(Some(LONG));
        }
        Fault::RotationResetsAuthenticationAge => commit.authenticated |= rotation.grace.is_none(),
        Fault::RotationMovesSessionInList if current => client.namespace.move_to_end_of_list(key),
        Fault::CommitAcceptsAnySecret => commit.secret = record.secret,
        Fault::ConflictBeforeSuperseded if is_stale(&commit, &record) => {
            commit.secret = record.secret;
        }
        Fault::RepeatedRotationTakesEffectAgain if record.secret == rotation.secret => {
            commit.secret = record.secret;
        }
        Fault::CommitIgnoresGuard => commit.guard = Guard::Any,
        Fault::CommitWritesEachChangeSeparately => {
            return write_each_change(client, key, commit).await;
        }
        Fault::RotationResetsAge if current => {
            let renewed = NewRecord {
                age: Duration::ZERO,
                authenticated: record.authenticated.map(|_| Duration::ZERO),
                ..record.into_new()
            };
            let _ = records.delete(key, Claim::Any).await?;
            let _ = records.create(key, renewed).await?;
        }
        Fault::RotationDeletesAndCreates if current => {
            round_trip().await;
            let _ = records.delete(key, Claim::Any).await?;
            round_trip().await;
            let _ = records.create(key, record.into_new()).await?;
        }
        Fault::RotationIsNotAtomic if current => {
            round_trip().await;
            if let Some(now) = records.load(key).await? {
                commit.secret = now.into_record().secret;
            }
        }
        Fault::RotationWritesStaleValues if current => {
            round_trip().await;
            commit = with_all_values(record, commit);
        }
        Fault::RotationIsSeparateFromChanges if current => {
            let alone = Commit {
                rotate: Some(rotation),
                guard: commit.guard,
                ..Commit::new(commit.secret)
            };
            let outcome = records.commit(key, alone).await?;
            if !matches!(outcome, Outcome::Done(_)) {
                return Ok(outcome);
            }
            round_trip().await;
            let rotate = matches!(commit.principal, PrincipalChange::Set(_)).then_some(rotation);
            return records
                .commit(
                    key,
                    Commit { secret: rotation.secret, rotate, guard: Guard::Any, ..commit },
                )
                .await;
        }
        _ => {}
    }
    answer(client, key, commit.rotate(rotation)).await
}

async fn answer(client: &Client, key: &StoreKey, commit: Commit) -> Result<Outcome, StoreError> {
    let records = &client.namespace.records;
    match records.commit(key, commit.clone()).await {
        Ok(Outcome::Done(mut committed)) => {
            match client.fault {
                Fault::CommitReturnsNoTtl => committed.ttl = Duration::ZERO,
                Fault::CommitReturnsNoAuthentication => committed.authenticated = None,
                Fault::AuthenticationAgeIsSessionAge => {
                    committed.authenticated = committed.authenticated.map(|_| committed.age);
                }
                Fault::AnonymousSessionsAuthenticate if commit.authenticated => {
                    committed.authenticated = Some(Duration::ZERO);
                }
                _ => {}
            }
            Ok(Outcome::Done(committed))
        }
        Ok(Outcome::Gone)
            if client.has(Fault::SupersededBeforeGone) && commit.guard != Guard::Any =>
        {
            Ok(Outcome::Superseded)
        }
        Err(StoreError::Rejected(Rejection::Overflow { name }))
            if client.has(Fault::AddSaturates) =>
        {
            records.commit(key, commit.change(name, Change::Set(Json::integer(i64::MAX)))).await
        }
        answer => answer,
    }
}

fn unchanged() -> Committed {
    let (age, ttl) = (Duration::ZERO, LONG);
    Committed {
        version: 1,
        added: BTreeMap::new(),
        age,
        authenticated: None,
        ttl,
        attributes: session_core::Attributes::default(),
    }
}

async fn write_each_change(
    client: &Client,
    key: &StoreKey,
    mut commit: Commit,
) -> Result<Outcome, StoreError> {
    for (name, change) in std::mem::take(&mut commit.changes) {
        let _ = client
            .namespace
            .records
            .commit(key, Commit::new(commit.secret).change(name, change))
            .await?;
        round_trip().await;
    }
    client.namespace.records.commit(key, commit).await
}

fn with_all_values(last_read: Record, mut commit: Commit) -> Commit {
    let values = last_read.data.into_iter().filter(|_| !commit.clear);
    let mut all: Changes = values.map(|(name, value)| (name, Change::Set(value))).collect();
    all.append(&mut commit.changes);
    Commit { clear: true, changes: all, ..commit }
}

async fn add_in_two_steps(
    client: &Client,
    key: &StoreKey,
    mut commit: Commit,
    last_read: &Record,
) -> Result<Outcome, StoreError> {
    round_trip().await;
    let mut added = Vec::new();
    for (name, change) in &mut commit.changes {
        if let Change::Add(by) = *change {
            let sum = last_read
                .data
                .get(name.as_str())
                .and_then(Json::as_integer)
                .unwrap_or(0)
                .wrapping_add(by);
            added.push((name.clone(), sum));
            *change = Change::Set(Json::integer(sum));
        }
    }
    let mut outcome = client.namespace.records.commit(key, commit).await?;
    if let Outcome::Done(committed) = &mut outcome {
        committed.added.extend(added);
    }
    Ok(outcome)
}
