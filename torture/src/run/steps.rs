//! What a client does next.

use futures_util::future::{try_join, try_join_all};

use super::{
    board::Id,
    client::{CALM, Client, LONG, Trouble},
};
use crate::history::{Answer, Op, Rotate, Write};

impl Client {
    /// Makes one or a few calls of its choice. Says whether the store answered.
    pub(super) async fn step(&mut self) -> Result<bool, Trouble> {
        let place = self.place();
        let Some(id) = self.id(place) else {
            return Ok(answered(&self.renew(place, LONG).await?));
        };
        let calm = place < CALM;
        let answer = match self.rng.u16(..1000) {
            0..270 => self.load(&id).await?,
            270..400 => self.set(&id).await?,
            400..520 => self.add(&id).await?,
            520..560 => self.add_at_once(&id).await?,
            560..640 => self.update(&id).await?,
            640..670 => {
                self.commit(&id, Write { ttl: Some(LONG), ..Write::default() }, None).await?
            }
            670..750 => self.rotate(place, &id).await?,
            750..780 => self.rotate_at_once(place, &id).await?,
            780..800 => self.use_superseded(place, &id).await?,
            800..840 => self.list().await?,
            840..850 => self.create_twice(place).await?,
            850..860 => self.create_again(place, &id).await?,
            _ if calm => self.load(&id).await?,
            860..905 => self.sign_in(place, &id).await?,
            905..920 => self.sign_out(place, &id).await?,
            920..938 => self.shorten(&id).await?,
            938..958 => self.brief(place).await?,
            958..970 => self.delete(&id).await?,
            970..976 => self.delete_beside_rotation(place, &id).await?,
            976..982 => self.revoke(&id).await?,
            982..990 => self.revoke_beside_rotation(place, &id).await?,
            _ => self.load(&id).await?,
        };
        let over = matches!(answer, Answer::Absent | Answer::Gone | Answer::Deleted(_));
        if self.is_newest(place, &id) {
            if over && self.rng.u8(..100) < 70 {
                self.renew(place, LONG).await?;
            } else if answer == Answer::Superseded {
                self.adopt(place, &id).await?;
            }
        }
        Ok(answered(&answer))
    }

    async fn load(&self, id: &Id) -> Result<Answer, Trouble> {
        self.call(Op::Load { key: id.key.clone() }).await
    }

    async fn commit(
        &self,
        id: &Id,
        write: Write,
        rotate: Option<Rotate>,
    ) -> Result<Answer, Trouble> {
        self.call(Op::Commit {
            key: id.key.clone(),
            secret: id.secret.clone(),
            guard: None,
            write,
            rotate,
        })
        .await
    }

    /// A rotation whose answer was lost leaves a secret on the board that the session may not have.
    /// The record tells the right one.
    async fn adopt(&mut self, place: usize, id: &Id) -> Result<(), Trouble> {
        if let Answer::Found(seen) = self.load(id).await? {
            self.post(
                place,
                &Id { key: id.key.clone(), secret: seen.secret, generation: seen.generation },
            )?;
        }
        Ok(())
    }

    async fn set(&mut self, id: &Id) -> Result<Answer, Trouble> {
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

    async fn add(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let write = self.addition();
        self.commit(id, write, None).await
    }

    async fn add_at_once(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let writes: Vec<_> = (0..self.rng.u8(2..6)).map(|_| self.addition()).collect();
        last(try_join_all(writes.into_iter().map(|write| self.commit(id, write, None))).await?)
    }

    /// Reads, then writes under the version that was read.
    async fn update(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let answer = self.load(id).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let mut write = self.values();
        write.add = self.addition().add;
        let (key, secret) = (id.key.clone(), id.secret.clone());
        self.call(Op::Commit { key, secret, guard: Some(seen.version), write, rotate: None }).await
    }

    /// How long the former secret may still read: half of the rotations give it no time.
    fn grace(&mut self) -> Option<u64> {
        self.rng.bool().then(|| self.rng.u64(50..3_000))
    }

    async fn rotate(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let write = match self.rng.u8(..4) {
            0 => self.values(),
            1 => self.addition(),
            _ => Write::default(),
        };
        let grace = self.grace();
        self.move_on(place, id, write, grace).await
    }

    async fn sign_in(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let write = Write { principal: Some(Some(self.principal())), ..self.values() };
        self.move_on(place, id, write, None).await
    }

    async fn sign_out(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let write = Write { principal: Some(None), ..Write::default() };
        if self.rng.bool() {
            self.move_on(place, id, write, None).await
        } else {
            self.commit(id, write, None).await
        }
    }

    async fn move_on(
        &mut self,
        place: usize,
        id: &Id,
        write: Write,
        grace: Option<u64>,
    ) -> Result<Answer, Trouble> {
        let (next, rotate) = self.next_id(id, grace);
        let answer = self.commit(id, write, Some(rotate)).await?;
        // After a lost answer either secret may be the current one.
        if matches!(answer, Answer::Done { .. }) || (!answered(&answer) && self.rng.bool()) {
            self.post(place, &next)?;
        }
        Ok(answer)
    }

    /// Two to four rotations of one secret, of which one can win, beside an addition that must not
    /// be lost.
    async fn rotate_at_once(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
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
        self.post(place, &rotations[winner].1.0)?;
        Ok(answers[winner].clone())
    }

    /// Rotates, then writes, rotates and reads with the former secret.
    async fn use_superseded(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let grace = self.grace();
        let answer = self.move_on(place, id, Write::default(), grace).await?;
        if matches!(answer, Answer::Done { .. }) {
            let (write, (_, rotate)) = (self.values(), self.next_id(id, None));
            self.commit(id, write, None).await?;
            self.commit(id, Write::default(), Some(rotate)).await?;
            self.load(id).await?;
        }
        Ok(answer)
    }

    async fn create_twice(&mut self, place: usize) -> Result<Answer, Trouble> {
        let id = self.fresh_id();
        let other = Id { key: id.key.clone(), ..self.fresh_id() };
        let creations: Vec<_> = [&id, &other].map(|id| self.creation(id)).into();
        let answers = try_join_all(creations.into_iter().map(|op| self.call(op))).await?;
        // No client may end the session before both are through: a late creation could then rightly
        // make it again.
        if place >= CALM && answers.iter().all(answered) {
            let made = if answers[0] == Answer::New { &id } else { &other };
            self.post(place, made)?;
        }
        last(answers)
    }

    /// Creates a session that is there: a calm one, which no client ends.
    async fn create_again(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        if place >= CALM || !matches!(self.load(id).await?, Answer::Found(_)) {
            return self.load(id).await;
        }
        let other = Id { key: id.key.clone(), ..self.fresh_id() };
        let creation = self.creation(&other);
        self.call(creation).await
    }

    fn creation(&mut self, id: &Id) -> Op {
        let write = Write { ttl: Some(LONG), ..self.values() };
        Op::Create { key: id.key.clone(), secret: id.secret.clone(), write }
    }

    async fn shorten(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let ttl = self.rng.u64(50..1500);
        let write = if self.rng.bool() { self.values() } else { Write::default() };
        self.commit(id, Write { ttl: Some(ttl), ..write }, None).await
    }

    /// A new session that lives for a moment.
    async fn brief(&mut self, place: usize) -> Result<Answer, Trouble> {
        let ttl = self.rng.u64(50..1500);
        self.renew(place, ttl).await
    }

    /// Half of the deletions claim any session, the others one whose user signed in at the id's
    /// generation or before.
    fn deletion(&mut self, id: &Id) -> Op {
        Op::Delete { key: id.key.clone(), claim: self.rng.bool().then_some(id.generation) }
    }

    async fn delete(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let deletion = self.deletion(id);
        self.call(deletion).await
    }

    async fn delete_beside_rotation(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let (deletion, (next, rotate)) = (self.deletion(id), self.next_id(id, None));
        let write = if self.rng.bool() {
            Write { principal: Some(Some(self.principal())), ..Write::default() }
        } else {
            self.values()
        };
        let (_, rotated) =
            try_join(self.call(deletion), self.commit(id, write, Some(rotate))).await?;
        self.post(place, &next)?;
        Ok(rotated)
    }

    async fn list(&mut self) -> Result<Answer, Trouble> {
        let principal = self.principal();
        self.call(Op::List { principal }).await
    }

    async fn revoke(&mut self, id: &Id) -> Result<Answer, Trouble> {
        let except = (self.rng.u8(..3) == 0).then(|| id.key.clone());
        let principal = self.principal();
        self.call(Op::Revoke { principal, except }).await
    }

    /// Revokes the sessions of the user who is signed in while the session rotates.
    async fn revoke_beside_rotation(&mut self, place: usize, id: &Id) -> Result<Answer, Trouble> {
        let answer = self.load(id).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let Some(principal) = seen.principal.clone() else { return Ok(answer) };
        let (next, rotate) = self.next_id(id, None);
        let revoke = self.call(Op::Revoke { principal, except: None });
        let (_, rotated) =
            try_join(revoke, self.commit(id, Write::default(), Some(rotate))).await?;
        self.post(place, &next)?;
        Ok(rotated)
    }
}

fn answered(answer: &Answer) -> bool {
    !matches!(answer, Answer::Unknown(_))
}

fn last(answers: Vec<Answer>) -> Result<Answer, Trouble> {
    answers.into_iter().next_back().ok_or_else(|| "no call was made".into())
}
