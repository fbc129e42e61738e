//! The mistakes that a commit can make.

use std::time::Duration;

use session_core::{
    Change, Changes, Commit, Guard, Json, NewRecord, Outcome, PrincipalChange, Record, Rejection, SessionStore, StoreError, StoreKey,
};

use crate::{client::Client, fault::Fault};

pub(crate) async fn apply(client: &Client, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
    let records = &client.space.records;
    let rename = |change| match change {
        Change::Set(value) => Change::Set(client.value(value)),
        other => other,
    };
    commit.changes = commit.changes.into_iter().map(|(name, change)| (client.name(name), rename(change))).collect();
    let loaded = records.load(key).await?;
    match (client.fault, loaded) {
        (Fault::ReplacesAll, _) => commit.clear |= !commit.changes.is_empty(),
        (Fault::IgnoresGuard, _) => commit.guard = Guard::Any,
        (Fault::IgnoresRemove, _) => commit.changes.retain(|_, change| *change != Change::Remove),
        (Fault::EndsAtTheFirstRemoved, Some(record)) => {
            let first = record.data.iter().next().map(|(name, _)| name.clone());
            if let Some(first) = first.filter(|first| commit.changes.get(first) == Some(&Change::Remove)) {
                commit.changes.retain(|name, _| *name <= first);
            }
        }
        (Fault::KeepsOneValue, Some(record)) if record.data.iter().all(|(name, _)| commit.changes.get(name) == Some(&Change::Remove)) => {
            commit.changes.retain(|_, change| *change != Change::Remove);
        }
        (Fault::ClearsLast, _) if commit.clear => commit.changes.clear(),
        (Fault::ForgetsLifetime, _) => commit.lifetime = None,
        (Fault::AlwaysTouches, _) => commit.ttl = commit.ttl.or(Some(Duration::from_secs(600))),
        (Fault::NeverShortens, Some(record)) => commit.ttl = commit.ttl.map(|ttl| ttl.max(record.ttl)),
        (Fault::FirstWins, Some(record)) => commit.changes.retain(|name, _| record.data.get(name.as_str()).is_none()),
        (Fault::TouchIsAChange, Some(record)) if commit.principal == PrincipalChange::Keep => {
            commit.principal = record.principal.map_or(PrincipalChange::Unset, PrincipalChange::Set);
        }
        (Fault::AddNeedsValue, Some(record)) => {
            let missing =
                commit.changes.iter().find(|(name, change)| matches!(change, Change::Add(_)) && record.data.get(name.as_str()).is_none());
            if let Some((name, _)) = missing {
                return Err(Rejection::NotAnInteger { name: name.clone() }.into());
            }
        }
        (Fault::WritesChangeByChange, Some(_)) => return change_by_change(client, key, commit).await,
        (Fault::WritesStaleCopy, Some(record)) => {
            let read = client.read.lock().get(key).cloned().unwrap_or(record);
            round_trip().await;
            return records.commit(key, with_all_values(read, commit)).await;
        }
        (Fault::AddReadsThenWrites, Some(record)) => return add_by_set(client, key, commit, &record).await,
        (Fault::Revives, Some(record)) => {
            round_trip().await;
            return match records.commit(key, commit).await? {
                Outcome::Gone => records.create(key, renewed(record)).await.map(|_| Outcome::Gone),
                outcome => Ok(outcome),
            };
        }
        (Fault::Upserts, None) => drop(records.create(key, NewRecord::new(commit.ttl.unwrap_or(Duration::from_secs(600)))).await),
        (Fault::MovesTheDead, None) => {
            if let Some(target) = &commit.move_to {
                return records.create(target, NewRecord::new(Duration::from_secs(600))).await.map(|_| Outcome::Gone);
            }
        }
        (_, Some(record)) if commit.move_to.is_some() => return move_wrongly(client, key, commit, record).await,
        _ => {}
    }
    match records.commit(key, commit.clone()).await {
        Ok(Outcome::Done(mut committed)) if client.has(Fault::CommitTellsNoTtl) => {
            committed.ttl = Duration::ZERO;
            Ok(Outcome::Done(committed))
        }
        Err(StoreError::Rejected(Rejection::Overflow { name })) if client.has(Fault::AddSaturates) => {
            records.commit(key, commit.change(name, Change::Set(Json::integer(i64::MAX)))).await
        }
        answer => answer,
    }
}

async fn change_by_change(client: &Client, key: &StoreKey, mut commit: Commit) -> Result<Outcome, StoreError> {
    for (name, change) in std::mem::take(&mut commit.changes) {
        let _ = client.space.records.commit(key, Commit::new().change(name, change)).await?;
        round_trip().await;
    }
    client.space.records.commit(key, commit).await
}

fn with_all_values(read: Record, mut commit: Commit) -> Commit {
    let values = read.data.into_iter().filter(|_| !commit.clear);
    let mut all: Changes = values.map(|(name, value)| (name, Change::Set(value))).collect();
    all.append(&mut commit.changes);
    Commit { clear: true, changes: all, ..commit }
}

async fn add_by_set(client: &Client, key: &StoreKey, mut commit: Commit, read: &Record) -> Result<Outcome, StoreError> {
    round_trip().await;
    let mut added = Vec::new();
    for (name, change) in &mut commit.changes {
        if let Change::Add(by) = *change {
            let sum = read.data.get(name.as_str()).and_then(Json::as_integer).unwrap_or(0).wrapping_add(by);
            added.push((name.clone(), sum));
            *change = Change::Set(Json::integer(sum));
        }
    }
    let mut outcome = client.space.records.commit(key, commit).await?;
    if let Outcome::Done(committed) = &mut outcome {
        committed.added.extend(added);
    }
    Ok(outcome)
}

async fn move_wrongly(client: &Client, key: &StoreKey, mut commit: Commit, record: Record) -> Result<Outcome, StoreError> {
    let records = &client.space.records;
    let Some(target) = commit.move_to.clone() else { return Ok(Outcome::Conflict) };
    match client.fault {
        Fault::LeftoversBlock if client.space.creators.lock().contains_key(&target) => return Ok(Outcome::Conflict),
        Fault::MoveOverwrites => drop(records.delete(&target).await?),
        Fault::MoveKeepsOld => {
            commit.move_to = None;
            let _ = records.create(&target, renewed(record)).await?;
        }
        Fault::MovesAnywhere if !target.same_lineage(key) && target.is_storable() => {
            commit.move_to = None;
            let _ = records.create(&target, renewed(record)).await?;
            records.delete(key).await?;
        }
        Fault::MovesInSteps => {
            round_trip().await;
            let _ = records.create(&target, renewed(record)).await?;
            commit.move_to = None;
            let outcome = records.commit(&target, commit).await?;
            round_trip().await;
            records.delete(key).await?;
            return Ok(outcome);
        }
        Fault::MovesFirst => {
            let _ = records.commit(key, Commit { guard: commit.guard, move_to: commit.move_to.take(), ..Commit::new() }).await?;
            return records.commit(&target, commit).await;
        }
        _ => {}
    }
    records.commit(key, commit).await
}

fn renewed(record: Record) -> NewRecord {
    NewRecord { data: record.data, ttl: record.ttl, principal: record.principal, lifetime: record.lifetime }
}

/// The time between two steps of a store that needs several, long enough that others run in it.
async fn round_trip() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
