//! Who is let in at the door, and who is known in each group: members, those who came with a secret of this node, guests of an open group, and those whom
//! the node was itself referred to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::identity::AuthorId;
use side_ledger::address::HostPort;
use side_ledger::{Admission, GroupId};

use crate::clock;
use crate::daemon::invited::{Invited, SpendError};
use crate::net::join::Refused;
use crate::net::join::server::Host;
use crate::net::p2p::{GroupPeers, Record, Whereabouts};

/// Most guests of an open group: whoever comes without a secret and has written nothing yet. The oldest make room.
const MAX_GUESTS: usize = 32;
/// Most keys that this node was referred to when it came itself.
const MAX_HINTS: usize = 32;

pub(super) fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one step.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is known in one group, and where.
pub(super) struct Known {
    admission: Admission,
    peers: GroupPeers,
    pub(super) whereabouts: Whereabouts,
    members: BTreeSet<AuthorId>,
    /// Who came with a secret of this node.
    let_in: BTreeSet<AuthorId>,
    /// Who came without one, the oldest first.
    guests: VecDeque<AuthorId>,
    /// Whom the invitation and the member that let this node in have named.
    hints: BTreeMap<AuthorId, Vec<HostPort>>,
    /// Addresses on this machine are only of use to a node that is reached on this machine only: elsewhere they would lead to something else.
    loopback: bool,
}

impl Known {
    pub(super) fn new(admission: Admission, peers: GroupPeers, whereabouts: Whereabouts, loopback: bool) -> Self {
        Self {
            admission,
            peers,
            whereabouts,
            members: BTreeSet::new(),
            let_in: BTreeSet::new(),
            guests: VecDeque::new(),
            hints: BTreeMap::new(),
            loopback,
        }
    }

    pub(super) fn peers(&self) -> &GroupPeers {
        &self.peers
    }

    pub(super) fn set_members(&mut self, members: BTreeSet<AuthorId>) {
        if members != self.members {
            self.members = members;
            self.guests.retain(|guest| !self.members.contains(guest));
            self.refresh();
        }
    }

    pub(super) fn set_let_in(&mut self, keys: BTreeSet<AuthorId>) {
        self.let_in = keys;
        self.refresh();
    }

    pub(super) fn hint(&mut self, key: AuthorId, addresses: &[HostPort]) {
        if self.hints.len() < MAX_HINTS || self.hints.contains_key(&key) {
            let known = self.hints.entry(key).or_default();
            for at in addresses {
                if !known.contains(at) {
                    known.push(at.clone());
                }
            }
            self.refresh();
        }
    }

    fn keys(&self) -> BTreeSet<AuthorId> {
        let others = self.let_in.iter().chain(&self.guests).chain(self.hints.keys());
        self.members.iter().chain(others).copied().collect()
    }

    /// Tells the network who may connect, and where they are.
    pub(super) fn refresh(&mut self) {
        let keys = self.keys();
        self.whereabouts.set_members(keys.iter().copied());
        let useful = |at: &&HostPort| self.loopback || !at.socket().is_some_and(|socket| socket.ip().is_loopback());
        let place = |key: AuthorId| {
            let said = self.whereabouts.addresses(&key).iter();
            let mut addresses: Vec<HostPort> = said.filter(useful).cloned().collect();
            for at in self.hints.get(&key).into_iter().flatten() {
                if !addresses.contains(at) {
                    addresses.push(at.clone());
                }
            }
            (key, addresses)
        };
        self.peers.set_peers(keys.into_iter().map(place).collect());
    }

    /// Lets a key in as a guest of an open group, or as whom it is known already.
    fn admit(&mut self, key: &AuthorId) -> Result<(), Refused> {
        if self.members.contains(key) || self.let_in.contains(key) {
            return Ok(());
        }
        if self.admission == Admission::Closed {
            return Err(no("this group takes nobody in without a secret of this node or a vote of its members"));
        }
        self.guests.retain(|guest| guest != key);
        if self.guests.len() >= MAX_GUESTS {
            self.guests.pop_front();
        }
        self.guests.push_back(*key);
        Ok(())
    }

    /// Takes in where a newcomer is; where others are, as far as it helps to begin.
    fn welcome(&mut self, record: &Record) -> Vec<Record> {
        self.whereabouts.set_members(self.keys());
        self.whereabouts.learn(record.clone());
        self.refresh();
        self.whereabouts.records().filter(|known| known.key() != record.key()).cloned().collect()
    }
}

fn no(reason: &str) -> Refused {
    Refused { reason: reason.to_owned(), later: false }
}

/// Decides about newcomers.
pub(super) struct Doorkeeper {
    groups: Mutex<BTreeMap<GroupId, Arc<Mutex<Known>>>>,
    invited: Arc<Mutex<Invited>>,
}

impl Doorkeeper {
    pub(super) fn new(invited: Arc<Mutex<Invited>>) -> Self {
        Self { groups: Mutex::default(), invited }
    }

    /// Takes up a group: whoever came with a secret in an earlier run may still connect.
    pub(super) fn open(&self, group: GroupId, known: Known) -> Arc<Mutex<Known>> {
        let known = Arc::new(Mutex::new(known));
        let came = lock(&self.invited).let_in(&group).collect();
        lock(&known).set_let_in(came);
        lock(&self.groups).insert(group, known.clone());
        known
    }

    /// Gives up a group, unless it was taken up again.
    pub(super) fn shut(&self, group: &GroupId, known: &Arc<Mutex<Known>>) {
        let mut groups = lock(&self.groups);
        if groups.get(group).is_some_and(|current| Arc::ptr_eq(current, known)) {
            groups.remove(group);
        }
    }
}

impl Host for Doorkeeper {
    fn let_in(
        &self,
        group: &GroupId,
        key: &AuthorId,
        token: Option<&AuthorId>,
        record: Record,
    ) -> Result<Vec<Record>, Refused> {
        let known = lock(&self.groups).get(group).cloned();
        let known = known.ok_or_else(|| no("this node is not in that group"))?;
        if let Some(token) = token {
            let spent = lock(&self.invited).spend(group, token, key, clock::now_ms());
            match spent {
                Ok(()) => {
                    let came = lock(&self.invited).let_in(group).collect();
                    let mut known = lock(&known);
                    known.set_let_in(came);
                    return Ok(known.welcome(&record));
                }
                // Whoever needs no secret may have an old one.
                Err(SpendError::Refused(refusal)) => {
                    let mut known = lock(&known);
                    known.admit(key).map_err(|_| no(&refusal.to_string()))?;
                    return Ok(known.welcome(&record));
                }
                Err(SpendError::Disk(error)) => {
                    tracing::error!(%error, "cannot note that a secret is spent");
                    return Err(Refused { reason: "this node's disk does not take it".to_owned(), later: true });
                }
            }
        }
        let mut known = lock(&known);
        known.admit(key)?;
        Ok(known.welcome(&record))
    }
}
