//! Where the members of one group are, as they say under their signature: kept for members only, the newest of each, passed on to the others. Sans-IO.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use side_ledger::GroupId;
use side_ledger::address::HostPort;

use super::record::{Record, RecordError, decode_message, encode_message};
use crate::net::LinkId;

/// Most members whose addresses are kept.
const MAX_KEPT: usize = 1024;
/// Records that one link may have us check at once: those of all members, as after a long absence.
const CHECKS_AT_ONCE: u64 = MAX_KEPT as u64;
/// Records a second that one link may have us check after that. Members move seldom.
const CHECKS_PER_SECOND: u64 = 8;

/// What a link still has to be told, and what it may still cost.
#[derive(Debug)]
struct Told {
    queue: BTreeSet<AuthorId>,
    checks: u64,
    checks_at_ms: u64,
}

/// Where the members of one group are.
#[derive(Debug)]
pub struct Whereabouts {
    keypair: Keypair,
    group: GroupId,
    members: BTreeSet<AuthorId>,
    records: BTreeMap<AuthorId, Record>,
    links: BTreeMap<LinkId, Told>,
    /// What is known has changed since it was last kept.
    changed: bool,
    /// What is known has changed since it was last used.
    news: bool,
}

impl Whereabouts {
    /// Nothing is known. The own key is a member until the members are told.
    pub fn new(keypair: Keypair, group: GroupId) -> Self {
        let members = BTreeSet::from([keypair.author()]);
        Self { keypair, group, members, records: BTreeMap::new(), links: BTreeMap::new(), changed: false, news: false }
    }

    /// Whose addresses are kept. Those of others are forgotten.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = AuthorId>) {
        let own = self.keypair.author();
        let members: BTreeSet<AuthorId> = members.into_iter().chain([own]).collect();
        if members == self.members {
            return;
        }
        // A relay drops what is said while somebody is away, so whoever is new hears this node's word again.
        if members.iter().any(|key| !self.members.contains(key)) && self.records.contains_key(&own) {
            for told in self.links.values_mut() {
                told.queue.insert(own);
            }
        }
        self.members = members;
        let before = self.records.len();
        self.records.retain(|key, _| self.members.contains(key));
        self.changed |= self.records.len() != before;
    }

    /// Says where this node is reached, if that is news.
    pub fn set_own(&mut self, addresses: Vec<HostPort>, now_ms: u64) {
        let own = self.keypair.author();
        let before = self.records.get(&own);
        if before.is_some_and(|record| record.addresses() == addresses) || (before.is_none() && addresses.is_empty()) {
            return;
        }
        // A clock that was set back makes no record older than the last one.
        let made_ms = now_ms.max(before.map_or(0, |record| record.made_ms() + 1));
        let record = Record::sign(&self.keypair, self.group, made_ms, addresses);
        self.keep(record, None);
    }

    /// Takes in what an earlier run kept. What is not good is left out.
    pub fn load(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records.into_iter().take(MAX_KEPT) {
            if *record.group() == self.group && record.verify().is_ok() {
                self.members.insert(*record.key());
                self.keep(record, None);
            }
        }
        self.changed = false;
    }

    /// Takes in a record whose signature was checked, if its key is a member's and it is news.
    pub fn learn(&mut self, record: Record) {
        let known = self.records.get(record.key()).map(Record::made_ms);
        if self.members.contains(record.key()) && known.is_none_or(|known| known < record.made_ms()) {
            self.keep(record, None);
        }
    }

    /// Where this node says that it is, for whoever is not a member's link yet.
    pub fn own(&mut self, now_ms: u64) -> Record {
        let own = self.records.get(&self.keypair.author()).cloned();
        own.unwrap_or_else(|| Record::sign(&self.keypair, self.group, now_ms, Vec::new()))
    }

    fn keep(&mut self, record: Record, from: Option<LinkId>) {
        let key = *record.key();
        if self.records.len() >= MAX_KEPT && !self.records.contains_key(&key) {
            return;
        }
        self.records.insert(key, record);
        self.changed = true;
        self.news = true;
        for (link, told) in &mut self.links {
            if Some(*link) != from {
                told.queue.insert(key);
            }
        }
    }

    /// A link stands: it is told everything.
    pub fn link_up(&mut self, link: LinkId, now_ms: u64) {
        let queue = self.records.keys().copied().collect();
        self.links.insert(link, Told { queue, checks: CHECKS_AT_ONCE, checks_at_ms: now_ms });
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// A message came. Messages of other kinds are not ours and change nothing.
    pub fn receive(&mut self, link: LinkId, message: &[u8], now_ms: u64) -> Result<(), RecordError> {
        let Some(records) = decode_message(message)? else { return Ok(()) };
        for record in records {
            let key = *record.key();
            let known = self.records.get(&key).map(Record::made_ms);
            let is_news = known.is_none_or(|known| known < record.made_ms());
            // The own key's are from an earlier run of this node, or a copy of it; it says where it is now by itself.
            if *record.group() != self.group || !self.members.contains(&key) || !is_news {
                continue;
            }
            let Some(told) = self.links.get_mut(&link) else { return Ok(()) };
            if !told.may_check(now_ms) {
                continue;
            }
            record.verify()?;
            if key == self.keypair.author() {
                let addresses = self.records.get(&key).map(|own| own.addresses().to_vec()).unwrap_or_default();
                let made_ms = now_ms.max(record.made_ms() + 1);
                self.keep(Record::sign(&self.keypair, self.group, made_ms, addresses), None);
            } else {
                self.keep(record, Some(link));
            }
        }
        Ok(())
    }

    /// The next message for a link, if there is one.
    pub fn poll_send(&mut self, link: LinkId) -> Option<Bytes> {
        let told = self.links.get_mut(&link)?;
        told.queue.retain(|key| self.records.contains_key(key));
        let waiting: Vec<AuthorId> = told.queue.iter().copied().collect();
        let (message, count) = encode_message(waiting.iter().filter_map(|key| self.records.get(key)));
        if count == 0 {
            return None;
        }
        for key in &waiting[..count] {
            told.queue.remove(key);
        }
        Some(message.into())
    }

    /// Where a member says that it is.
    pub fn addresses(&self, key: &AuthorId) -> &[HostPort] {
        self.records.get(key).map_or(&[], Record::addresses)
    }

    /// Everything that is known.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Whether somebody is elsewhere than at the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether what is known has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

impl Told {
    fn may_check(&mut self, now_ms: u64) -> bool {
        let more = now_ms.saturating_sub(self.checks_at_ms).saturating_mul(CHECKS_PER_SECOND) / 1000;
        if more > 0 {
            self.checks = self.checks.saturating_add(more).min(CHECKS_AT_ONCE);
            self.checks_at_ms = now_ms;
        }
        let may = self.checks > 0;
        self.checks = self.checks.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([7; 32]);
    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn keypair(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn at(port: u16) -> Vec<HostPort> {
        vec![format!("127.0.0.1:{port}").parse().unwrap()]
    }

    fn node(n: u8) -> Whereabouts {
        let mut places = Whereabouts::new(keypair(n), GROUP);
        places.set_members((1..=3).map(|n| keypair(n).author()));
        places
    }

    fn message(record: &Record) -> Vec<u8> {
        encode_message([record]).0
    }

    #[test]
    fn the_newest_wins_and_is_passed_on_once() {
        let mut places = node(1);
        places.link_up(A, 0);
        places.link_up(B, 0);
        let old = Record::sign(&keypair(2), GROUP, 10, at(10));
        let new = Record::sign(&keypair(2), GROUP, 20, at(20));
        places.receive(A, &message(&new), 0).unwrap();
        places.receive(A, &message(&old), 0).unwrap();
        assert_eq!(places.addresses(&keypair(2).author()), at(20));
        assert_eq!(places.poll_send(A), None);
        assert_eq!(places.poll_send(B).unwrap(), message(&new));
        assert_eq!(places.poll_send(B), None);
        places.receive(B, &message(&new), 0).unwrap();
        assert_eq!(places.poll_send(A), None);
        // A link that comes up later is told what is known.
        places.link_down(A);
        places.link_up(A, 0);
        assert_eq!(places.poll_send(A).unwrap(), message(&new));
    }

    #[test]
    fn strangers_other_groups_and_wrong_signatures_are_not_kept() {
        let mut places = node(1);
        places.link_up(A, 0);
        places.receive(A, &message(&Record::sign(&keypair(9), GROUP, 1, at(1))), 0).unwrap();
        places.receive(A, &message(&Record::sign(&keypair(2), GroupId([8; 32]), 1, at(1))), 0).unwrap();
        let mut forged = Record::sign(&keypair(2), GROUP, 1, at(1)).bytes().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let forged = Record::decode(&forged).unwrap();
        assert_eq!(places.receive(A, &message(&forged), 0), Err(RecordError::Signature));
        assert!(matches!(places.receive(A, &[1, 200], 0), Err(RecordError::Malformed(_))));
        assert_eq!(places.receive(A, &[77, 1, 2, 3], 0), Ok(()));
        assert_eq!(places.records().count(), 0);
        assert!(!places.take_changed());
    }

    #[test]
    fn whoever_is_no_member_any_more_is_forgotten() {
        let mut places = node(1);
        places.link_up(A, 0);
        places.receive(A, &message(&Record::sign(&keypair(2), GROUP, 1, at(1))), 0).unwrap();
        assert!(places.take_changed());
        places.set_members([keypair(3).author()]);
        assert!(places.take_changed() && places.records().count() == 0);
        assert_eq!(places.poll_send(A), None);
    }

    #[test]
    fn the_own_record_is_made_when_it_is_news_and_never_older() {
        let mut places = node(1);
        places.link_up(A, 0);
        places.set_own(vec![], 50);
        assert_eq!(places.poll_send(A), None);
        places.set_own(at(1), 50);
        places.set_own(at(1), 60);
        let own = places.records().next().unwrap().clone();
        assert_eq!(own.made_ms(), 50);
        own.verify().unwrap();
        assert_eq!(places.poll_send(A).unwrap(), message(&own));
        places.set_own(at(2), 10);
        assert_eq!(places.records().next().unwrap().made_ms(), 51);
        // What an earlier run said comes back from others: this one has the last word.
        places.receive(A, &message(&Record::sign(&keypair(1), GROUP, 900, at(9))), 60).unwrap();
        let own = places.records().next().unwrap();
        assert_eq!((own.made_ms(), own.addresses()), (901, &at(2)[..]));
        assert!(places.poll_send(A).is_some());
    }

    #[test]
    fn whoever_is_new_hears_the_own_record_again() {
        let mut places = node(1);
        places.link_up(A, 0);
        places.set_own(at(1), 1);
        assert!(places.poll_send(A).is_some());
        places.set_members((1..=4).map(|n| keypair(n).author()));
        assert!(places.poll_send(A).is_some());
        places.set_members((1..=3).map(|n| keypair(n).author()));
        assert_eq!(places.poll_send(A), None);
    }

    #[test]
    fn checking_is_bounded_by_link() {
        let mut places = node(1);
        places.link_up(A, 0);
        let send = |places: &mut Whereabouts, n: u64, now| {
            places.receive(A, &message(&Record::sign(&keypair(2), GROUP, n, at(1))), now).unwrap();
            places.records().next().map_or(0, Record::made_ms)
        };
        for n in 1..=CHECKS_AT_ONCE {
            assert_eq!(send(&mut places, n, 0), n);
        }
        assert_eq!(send(&mut places, 5000, 0), CHECKS_AT_ONCE);
        assert_eq!(send(&mut places, 5001, 1000), 5001);
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_damage_is_left_out() {
        let mut first = node(1);
        first.link_up(A, 0);
        let record = Record::sign(&keypair(2), GROUP, 1, at(1));
        first.receive(A, &message(&record), 0).unwrap();
        let mut forged = Record::sign(&keypair(3), GROUP, 1, at(3)).bytes().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let mut second = node(1);
        second.load(first.records().cloned().chain([Record::decode(&forged).unwrap()]));
        assert_eq!(second.records().collect::<Vec<_>>(), [&record]);
        assert!(!second.take_changed());
    }
}
