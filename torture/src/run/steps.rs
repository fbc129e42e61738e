//! What a client does next.

use futures_util::future::{try_join, try_join_all};

use super::client::{CALM, Client, LONG, Trouble};
use crate::history::{Answer, Op, Write};

impl Client {
    /// Makes one or a few calls of its choice. Says whether the store answered.
    pub(super) async fn step(&mut self) -> Result<bool, Trouble> {
        let place = self.place();
        let Some(key) = self.key(place) else {
            return Ok(answered(&self.renew(place, LONG).await?));
        };
        let calm = place < CALM;
        let answer = match self.rng.u16(..1000) {
            0..300 => self.call(Op::Load { key: key.clone() }).await?,
            300..440 => self.set(&key).await?,
            440..570 => self.add(&key).await?,
            570..610 => self.add_at_once(&key).await?,
            610..690 => self.update(&key).await?,
            690..720 => self.commit(&key, Write { ttl: Some(LONG), ..Write::default() }, None).await?,
            720..780 => self.rotate(place, &key).await?,
            780..800 => self.rotate_twice(place, &key).await?,
            800..840 => self.list().await?,
            840..850 => self.create_twice(place).await?,
            _ if calm => self.call(Op::Load { key: key.clone() }).await?,
            850..900 => self.sign_in(place, &key).await?,
            900..915 => self.commit(&key, Write { principal: Some(None), ..Write::default() }, None).await?,
            915..935 => self.shorten(&key).await?,
            935..960 => self.brief(place).await?,
            960..970 => self.call(Op::Delete { key: key.clone() }).await?,
            970..976 => self.revoke(&key).await?,
            976..982 => self.revoke_beside_rotation(place, &key).await?,
            _ => self.call(Op::Load { key: key.clone() }).await?,
        };
        let over = matches!(answer, Answer::Absent | Answer::Gone | Answer::Deleted(_));
        if over && self.is_newest(place, &key) && self.rng.u8(..100) < 70 {
            self.renew(place, LONG).await?;
        }
        Ok(answered(&answer))
    }

    async fn commit(&self, key: &str, write: Write, to: Option<&str>) -> Result<Answer, Trouble> {
        self.call(Op::Commit { key: key.to_owned(), guard: None, write, to: to.map(str::to_owned) }).await
    }

    async fn set(&mut self, key: &str) -> Result<Answer, Trouble> {
        let mut write = self.values();
        if self.rng.u8(..4) == 0 {
            let name = self.value_name();
            write.set.remove(&name);
            write.remove.push(name);
        }
        if self.rng.u8(..4) == 0 {
            write.add.insert(self.counter_name(), self.rng.i64(1..10));
        }
        self.commit(key, write, None).await
    }

    fn addition(&mut self) -> Write {
        let name = self.counter_name();
        Write { add: [(name, self.rng.i64(1..10))].into(), ..Write::default() }
    }

    async fn add(&mut self, key: &str) -> Result<Answer, Trouble> {
        let write = self.addition();
        self.commit(key, write, None).await
    }

    async fn add_at_once(&mut self, key: &str) -> Result<Answer, Trouble> {
        let writes: Vec<_> = (0..self.rng.u8(2..6)).map(|_| self.addition()).collect();
        last(try_join_all(writes.into_iter().map(|write| self.commit(key, write, None))).await?)
    }

    /// Reads, then writes under the version that was read.
    async fn update(&mut self, key: &str) -> Result<Answer, Trouble> {
        let answer = self.call(Op::Load { key: key.to_owned() }).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let mut write = self.values();
        write.add = self.addition().add;
        self.call(Op::Commit { key: key.to_owned(), guard: Some(seen.version), write, to: None }).await
    }

    async fn rotate(&mut self, place: usize, key: &str) -> Result<Answer, Trouble> {
        let write = if self.rng.bool() { self.values() } else { Write::default() };
        self.move_on(place, key, write).await
    }

    async fn sign_in(&mut self, place: usize, key: &str) -> Result<Answer, Trouble> {
        let write = Write { principal: Some(Some(self.principal())), ..self.values() };
        if self.rng.bool() { self.move_on(place, key, write).await } else { self.commit(key, write, None).await }
    }

    async fn move_on(&mut self, place: usize, key: &str, write: Write) -> Result<Answer, Trouble> {
        let to = self.next_key(key);
        let answer = self.commit(key, write, Some(&to)).await?;
        // One that may have moved is worth a look under either key.
        if matches!(answer, Answer::Done { .. }) || (!answered(&answer) && self.rng.bool()) {
            self.post(place, &to)?;
        }
        Ok(answer)
    }

    async fn rotate_twice(&mut self, place: usize, key: &str) -> Result<Answer, Trouble> {
        let moves: Vec<_> = (0..2).map(|_| (self.values(), self.next_key(key))).collect();
        let targets: Vec<_> = moves.iter().map(|(_, to)| to.clone()).collect();
        let answers = try_join_all(moves.into_iter().map(async |(write, to)| self.commit(key, write, Some(&to)).await)).await?;
        for (answer, to) in answers.iter().zip(targets) {
            if matches!(answer, Answer::Done { .. }) {
                self.post(place, &to)?;
            }
        }
        // Not the first: that one may have been refused because the other had won.
        Ok(answers.into_iter().find(|answer| matches!(answer, Answer::Done { .. })).unwrap_or(Answer::Conflict))
    }

    async fn create_twice(&mut self, place: usize) -> Result<Answer, Trouble> {
        let key = self.fresh_key();
        let writes: Vec<_> = (0..2).map(|_| Write { ttl: Some(LONG), ..self.values() }).collect();
        let answers = try_join_all(writes.into_iter().map(|write| self.call(Op::Create { key: key.clone(), write }))).await?;
        // Nobody is to end it before both are through: one that is late could then create it again, and rightly so.
        if place >= CALM && answers.iter().all(answered) {
            self.post(place, &key)?;
        }
        last(answers)
    }

    async fn shorten(&mut self, key: &str) -> Result<Answer, Trouble> {
        let ttl = self.rng.u64(50..1500);
        let write = if self.rng.bool() { self.values() } else { Write::default() };
        self.commit(key, Write { ttl: Some(ttl), ..write }, None).await
    }

    /// A new session that lives for a moment.
    async fn brief(&mut self, place: usize) -> Result<Answer, Trouble> {
        let ttl = self.rng.u64(50..1500);
        self.renew(place, ttl).await
    }

    async fn list(&mut self) -> Result<Answer, Trouble> {
        let principal = self.principal();
        self.call(Op::List { principal }).await
    }

    async fn revoke(&mut self, key: &str) -> Result<Answer, Trouble> {
        let except = (self.rng.u8(..3) == 0).then(|| key.to_owned());
        let principal = self.principal();
        self.call(Op::Revoke { principal, except }).await
    }

    /// Revokes whoever is signed in while the session moves.
    async fn revoke_beside_rotation(&mut self, place: usize, key: &str) -> Result<Answer, Trouble> {
        let answer = self.call(Op::Load { key: key.to_owned() }).await?;
        let Answer::Found(seen) = &answer else { return Ok(answer) };
        let Some(principal) = seen.principal.clone() else { return Ok(answer) };
        let to = self.next_key(key);
        let revoke = self.call(Op::Revoke { principal, except: None });
        let (_, moved) = try_join(revoke, self.commit(key, Write::default(), Some(&to))).await?;
        self.post(place, &to)?;
        Ok(moved)
    }
}

fn answered(answer: &Answer) -> bool {
    !matches!(answer, Answer::Unknown(_))
}

fn last(answers: Vec<Answer>) -> Result<Answer, Trouble> {
    answers.into_iter().next_back().ok_or_else(|| "no call was made".into())
}
