//! The calls that concern a principal.

use std::collections::HashMap;

use super::{session::Session, spans::Spans};
use crate::history::{Call, Op};

/// Lists and revocations by the name of the principal, in the order of their beginnings.
#[derive(Debug, Default)]
pub(super) struct Principals<'a> {
    lists: HashMap<&'a str, Vec<&'a Call>>,
    revocations: HashMap<&'a str, Vec<&'a Call>>,
}

impl<'a> Principals<'a> {
    pub(super) fn of(calls: &'a [Call]) -> Self {
        let mut all = Self::default();
        for call in calls {
            match &call.op {
                Op::List { principal } => all.lists.entry(principal).or_default().push(call),
                Op::Revoke { principal, .. } => {
                    all.revocations.entry(principal).or_default().push(call);
                }
                _ => {}
            }
        }
        all
    }

    /// Returns the lists of a principal that began at or after `from` and before `until`.
    pub(super) fn lists(&self, of: &str, from: u64, until: u64) -> &[&'a Call] {
        let all = self.lists.get(of).map_or(&[][..], Vec::as_slice);
        let until = all.partition_point(|call| call.begin < until);
        &all[all.partition_point(|call| call.begin < from).min(until)..until]
    }

    /// Returns the revocations of a principal that began at or before `until`.
    pub(super) fn revocations(&self, of: &str, until: u64) -> &[&'a Call] {
        let all = self.revocations.get(of).map_or(&[][..], Vec::as_slice);
        &all[..all.partition_point(|call| call.begin <= until)]
    }

    /// Whether the session may be alive and missing in its list, because a failover undid one of
    /// the two. That is possible if a call wrote or ended the session in one of the spans, or
    /// revoked its principal then.
    pub(super) fn may_be_unlisted(&self, session: &Session<'a>, undone: &Spans) -> bool {
        let written = || {
            session
                .effects
                .iter()
                .map(|effect| effect.call)
                .chain(session.deletions.iter().copied())
        };
        let names = || session.sign_ins().filter_map(|(.., signed_in)| signed_in.principal);
        written().any(|call| undone.overlap(call))
            || names().any(|name| {
                self.revocations(name, u64::MAX).iter().any(|call| undone.overlap(call))
            })
    }
}
