//! The steps of a client, chosen at random.

use futures_util::future::{try_join, try_join_all};

use super::{
    client::{Client, LONG, STABLE_SLOTS},
    error::BoxError,
    shared_keys::SessionId,
};
use crate::history::{Answer, Op, Rotate, Write};

impl Client {
    /// Makes one call, or a few that belong together. Returns whether the store answered.
    pub(super) async fn step(&mut self) -> Result<bool, BoxError> {
        let slot = self.slot();
        let Some(id) = self.id(slot) else {
            return Ok(answered(&self.create_at(slot, LONG).await?));
        };
        let stable = slot < STABLE_SLOTS;
        let answer = match self.rng.u16(..1000) {
            0..270 => self.load(&id).await?,
            270..400 => self.set(&id).await?,
            400..520 => self.add(&id).await?,
            520..560 => self.add_at_once(&id).await?,
            560..640 => self.update(&id).await?,
            640..670 => {
                self.commit(&id, Write { ttl: Some(LONG), ..Write::default() }, None).await?
            }
            670..750 => self.rotate(slot, &id).await?,
            750..780 => self.rotate_at_once(slot, &id).await?,
            780..800 => self.use_superseded(slot, &id).await?,
            800..840 => self.list().await?,
            840..850 => self.create_twice(slot).await?,
            850..860 => self.create_again(slot, &id).await?,
            _ if stable => self.load(&id).await?,
            860..905 => self.sign_in(slot, &id).await?,
            905..920 => self.sign_out(slot, &id).await?,
            920..938 => self.shorten(&id).await?,
            938..958 => self.create_short_lived(slot).await?,
            958..970 => self.delete(&id).await?,
            970..976 => self.delete_beside_rotation(slot, &id).await?,
            976..982 => self.revoke(&id).await?,
            982..990 => self.revoke_beside_rotation(slot, &id).await?,
            _ => self.load(&id).await?,
        };
        let over = matches!(answer, Answer::Absent | Answer::Gone | Answer::Deleted(_));
        if self.is_newest(slot, &id) {
            if over && self.rng.u8(..100) < 70 {
                self.create_at(slot, LONG).await?;
            } else if answer == Answer::Superseded {
                self.adopt_current_secret(slot, &id).await?;
            }
        }
        Ok(answered(&answer))
    }

    async fn load(&self, id: &SessionId) -> Result<Answer, BoxError> {
        self.call(Op::Load { key: id.key.clone() }).await
    }

    async fn commit(
        &self,
        id: &SessionId,
        write: Write,
        rotate: Option<Rotate>,
    ) -> Result<Answer, BoxError> {
        self.call(Op::Commit {
            key: id.key.clone(),
            secret: id.secret.clone(),
            guard: None,
            write,
            rotate,
        })
        .await
    }

    /// After a lost answer to a rotation, the shared file may hold a secret that the session does
    /// not have. This reads the record and publishes the current secret.
    async fn adopt_current_secret(&mut self, slot: usize, id: &SessionId) -> Result<(), BoxError> {
        if let Answer::Found(seen) = self.load(id).await? {
            self.publish(
                slot,
                &SessionId {
                    key: id.key.clone(),
                    secret: seen.secret,
                    generation: seen.generation,
                },
            )?;
        }
        Ok(())
    }

    async fn set(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let mut write = self.values();
        if self.rng.u8(..4) == 0 {
            let name = self.value_name();
            write.set.remove(&name);
            write.remove.push(name);
        }
        if self.rng.u8(..4) == 0 {
            write.add.insert(self.counter_name(), self.rng.i64(1..10));
        }
        self.commit(id, write, None).await
    }

    fn addition(&mut self) -> Write {
        let name = self.counter_name();
        Write { add: [(name, self.rng.i64(1..10))].into(), ..Write::default() }
    }

    async fn add(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let write = self.addition();
        self.commit(id, write, None).await
    }

    async fn add_at_once(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let writes: Vec<_> = (0..self.rng.u8(2..6)).map(|_| self.addition()).collect();
        last(try_join_all(writes.into_iter().map(|write| self.commit(id, write, None))).await?)
    }

    /// Reads the session, then commits under the version that it read.
    async fn update(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let answer = self.load(id).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let mut write = self.values();
        write.add = self.addition().add;
        let (key, secret) = (id.key.clone(), id.secret.clone());
        self.call(Op::Commit { key, secret, guard: Some(seen.version), write, rotate: None }).await
    }

    /// Returns how long the former secret may still read. Half of the rotations have no grace.
    fn grace(&mut self) -> Option<u64> {
        self.rng.bool().then(|| self.rng.u64(50..3_000))
    }

    async fn rotate(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        let write = match self.rng.u8(..4) {
            0 => self.values(),
            1 => self.addition(),
            _ => Write::default(),
        };
        let grace = self.grace();
        self.rotate_with(slot, id, write, grace).await
    }

    async fn sign_in(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        let write = Write { principal: Some(Some(self.principal())), ..self.values() };
        self.rotate_with(slot, id, write, None).await
    }

    async fn sign_out(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        let write = Write { principal: Some(None), ..Write::default() };
        if self.rng.bool() {
            self.rotate_with(slot, id, write, None).await
        } else {
            self.commit(id, write, None).await
        }
    }

    async fn rotate_with(
        &mut self,
        slot: usize,
        id: &SessionId,
        write: Write,
        grace: Option<u64>,
    ) -> Result<Answer, BoxError> {
        let (next, rotate) = self.next_id(id, grace);
        let answer = self.commit(id, write, Some(rotate)).await?;
        // After a lost answer either secret may be the current one.
        if matches!(answer, Answer::Done { .. }) || (!answered(&answer) && self.rng.bool()) {
            self.publish(slot, &next)?;
        }
        Ok(answer)
    }

    /// Sends two to four rotations of one secret, of which one can win, and an addition that must
    /// not be lost.
    async fn rotate_at_once(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        let rotations: Vec<_> =
            (0..self.rng.u8(2..5)).map(|_| (self.values(), self.grace())).collect();
        let rotations: Vec<_> =
            rotations.into_iter().map(|(write, grace)| (write, self.next_id(id, grace))).collect();
        let addition = self.addition();
        let calls = rotations.iter().map(async |(write, (_, rotate))| {
            self.commit(id, write.clone(), Some(rotate.clone())).await
        });
        let (answers, _) = try_join(try_join_all(calls), self.commit(id, addition, None)).await?;
        let winner = answers.iter().position(|answer| matches!(answer, Answer::Done { .. }));
        let Some(winner) = winner else { return last(answers) };
        self.publish(slot, &rotations[winner].1.0)?;
        Ok(answers[winner].clone())
    }

    /// Rotates, then writes, rotates and reads with the former secret.
    async fn use_superseded(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        let grace = self.grace();
        let answer = self.rotate_with(slot, id, Write::default(), grace).await?;
        if matches!(answer, Answer::Done { .. }) {
            let (write, (_, rotate)) = (self.values(), self.next_id(id, None));
            self.commit(id, write, None).await?;
            self.commit(id, Write::default(), Some(rotate)).await?;
            self.load(id).await?;
        }
        Ok(answer)
    }

    async fn create_twice(&mut self, slot: usize) -> Result<Answer, BoxError> {
        let id = self.fresh_id();
        let other = SessionId { key: id.key.clone(), ..self.fresh_id() };
        let creations: Vec<_> = [&id, &other].map(|id| self.creation(id)).into();
        let answers = try_join_all(creations.into_iter().map(|op| self.call(op))).await?;
        // The id is published after both answers. Otherwise a client could end the session early,
        // and the second creation would be right to make it again.
        if slot >= STABLE_SLOTS && answers.iter().all(answered) {
            let made = if answers[0] == Answer::New { &id } else { &other };
            self.publish(slot, made)?;
        }
        last(answers)
    }

    /// Creates a session that exists: one in a stable slot, which no client ends.
    async fn create_again(&mut self, slot: usize, id: &SessionId) -> Result<Answer, BoxError> {
        if slot >= STABLE_SLOTS || !matches!(self.load(id).await?, Answer::Found(_)) {
            return self.load(id).await;
        }
        let other = SessionId { key: id.key.clone(), ..self.fresh_id() };
        let creation = self.creation(&other);
        self.call(creation).await
    }

    fn creation(&mut self, id: &SessionId) -> Op {
        let write = Write { ttl: Some(LONG), ..self.values() };
        Op::Create { key: id.key.clone(), secret: id.secret.clone(), write }
    }

    async fn shorten(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let ttl = self.rng.u64(50..1500);
        let write = if self.rng.bool() { self.values() } else { Write::default() };
        self.commit(id, Write { ttl: Some(ttl), ..write }, None).await
    }

    /// Creates a session with a short life.
    async fn create_short_lived(&mut self, slot: usize) -> Result<Answer, BoxError> {
        let ttl = self.rng.u64(50..1500);
        self.create_at(slot, ttl).await
    }

    /// Half of the deletions claim any session. The others claim the generation of the id.
    fn deletion(&mut self, id: &SessionId) -> Op {
        Op::Delete { key: id.key.clone(), claim: self.rng.bool().then_some(id.generation) }
    }

    async fn delete(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let deletion = self.deletion(id);
        self.call(deletion).await
    }

    async fn delete_beside_rotation(
        &mut self,
        slot: usize,
        id: &SessionId,
    ) -> Result<Answer, BoxError> {
        let (deletion, (next, rotate)) = (self.deletion(id), self.next_id(id, None));
        let write = if self.rng.bool() {
            Write { principal: Some(Some(self.principal())), ..Write::default() }
        } else {
            self.values()
        };
        let (_, rotated) =
            try_join(self.call(deletion), self.commit(id, write, Some(rotate))).await?;
        self.publish(slot, &next)?;
        Ok(rotated)
    }

    async fn list(&mut self) -> Result<Answer, BoxError> {
        let principal = self.principal();
        self.call(Op::List { principal }).await
    }

    async fn revoke(&mut self, id: &SessionId) -> Result<Answer, BoxError> {
        let except = (self.rng.u8(..3) == 0).then(|| id.key.clone());
        let principal = self.principal();
        self.call(Op::Revoke { principal, except }).await
    }

    /// Revokes the sessions of the signed-in user while the session rotates.
    async fn revoke_beside_rotation(
        &mut self,
        slot: usize,
        id: &SessionId,
    ) -> Result<Answer, BoxError> {
        let answer = self.load(id).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let Some(principal) = seen.principal.clone() else { return Ok(answer) };
        let (next, rotate) = self.next_id(id, None);
        let revoke = self.call(Op::Revoke { principal, except: None });
        let (_, rotated) =
            try_join(revoke, self.commit(id, Write::default(), Some(rotate))).await?;
        self.publish(slot, &next)?;
        Ok(rotated)
    }
}

fn answered(answer: &Answer) -> bool {
    !matches!(answer, Answer::Unknown(_))
}

fn last(answers: Vec<Answer>) -> Result<Answer, BoxError> {
    answers.into_iter().next_back().ok_or_else(|| "a step made no call".into())
}
