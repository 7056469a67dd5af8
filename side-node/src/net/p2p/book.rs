//! Who may connect and where they are: what the groups, the root's registry and the configuration say of peers, put together.
//!
//! The connection layer takes one address for a key, so a peer that does not come up is tried at its next address after a while. Addresses of a peer that
//! is connected never change under it: that would end the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::AuthorId;
use side_ledger::GroupId;
use side_ledger::address::{HostPort, NodeAddress};

/// Most keys that may connect: each has mailboxes, and windows of some megabytes if it uses them.
pub(super) const MAX_PEERS: usize = 127;
/// Most addresses of a key from one source.
pub(super) const MAX_ADDRESSES: usize = 8;
/// How long a peer is tried at one address.
const TRY_FOR: Duration = Duration::from_secs(3);

/// A node of this root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPeer {
    /// Its key.
    pub key: AuthorId,
    /// Its groups.
    pub groups: Vec<GroupId>,
    /// Where it listens.
    pub at: HostPort,
}

/// Where a peer is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trying {
    at: HostPort,
    since: Instant,
}

/// What is known of peers.
#[derive(Debug, Default)]
pub(super) struct Book {
    own: Option<AuthorId>,
    /// By group: its members, and where they say they are.
    members: BTreeMap<GroupId, BTreeMap<AuthorId, Vec<HostPort>>>,
    local: BTreeSet<LocalPeer>,
    fixed: Vec<NodeAddress>,
    trying: BTreeMap<AuthorId, Trying>,
    /// What was handed out last.
    tracked: BTreeMap<AuthorId, Option<HostPort>>,
    changed: bool,
}

/// A change of who may connect, or of where somebody is tried.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    /// The keys, with the address to dial where there is one; nothing where the keys are the same.
    pub(super) keys: Option<BTreeMap<AuthorId, Option<HostPort>>>,
    /// Keys that are known already and are tried elsewhere now.
    pub(super) moved: BTreeMap<AuthorId, HostPort>,
}

impl Book {
    pub(super) fn new(own: AuthorId) -> Self {
        Self { own: Some(own), ..Self::default() }
    }

    /// Takes up a group.
    pub(super) fn open(&mut self, group: GroupId) {
        self.members.entry(group).or_default();
        self.changed = true;
    }

    /// Gives up a group.
    pub(super) fn shut(&mut self, group: &GroupId) {
        self.members.remove(group);
        self.changed = true;
    }

    /// The members of a group, and where they say they are.
    pub(super) fn set_members(&mut self, group: GroupId, members: Vec<(AuthorId, Vec<HostPort>)>) {
        if let Some(known) = self.members.get_mut(&group) {
            *known = members
                .into_iter()
                .map(|(key, mut addresses)| {
                    addresses.truncate(MAX_ADDRESSES);
                    (key, addresses)
                })
                .collect();
            self.changed = true;
        }
    }

    /// The nodes of this root.
    pub(super) fn set_local(&mut self, local: impl IntoIterator<Item = LocalPeer>) {
        self.local = local.into_iter().collect();
        self.changed = true;
    }

    /// What the configuration says.
    pub(super) fn set_fixed(&mut self, fixed: Vec<NodeAddress>) {
        self.fixed = fixed;
        self.changed = true;
    }

    /// With whom there should be links about `group`.
    pub(super) fn peers_of(&self, group: &GroupId) -> BTreeSet<AuthorId> {
        let Some(members) = self.members.get(group) else { return BTreeSet::new() };
        let local = self.local.iter().filter(|peer| peer.groups.contains(group)).map(|peer| peer.key);
        let fixed = self.fixed.iter().map(|peer| peer.key);
        let keys = fixed.chain(local).chain(members.keys().copied());
        keys.filter(|key| Some(*key) != self.own && self.tracked.contains_key(key)).collect()
    }

    /// The groups that are taken up.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.members.keys()
    }

    /// Where a key may be, surest first: what the person wrote, what this machine knows, what the member says.
    pub(super) fn addresses(&self, key: &AuthorId) -> Vec<HostPort> {
        let fixed = self.fixed.iter().filter(|peer| peer.key == *key).map(|peer| &peer.at);
        let local = self.local.iter().filter(|peer| peer.key == *key).map(|peer| &peer.at);
        let said = self.members.values().filter_map(|members| members.get(key)).flatten();
        let mut all: Vec<HostPort> = Vec::new();
        for at in fixed.chain(local).chain(said) {
            if !all.contains(at) {
                all.push(at.clone());
            }
        }
        all
    }

    /// Who may connect, surest first, as many as there may be.
    fn keys(&self) -> BTreeSet<AuthorId> {
        let open: BTreeSet<&GroupId> = self.members.keys().collect();
        let fixed = self.fixed.iter().map(|peer| peer.key);
        let local = self.local.iter().filter(|peer| peer.groups.iter().any(|group| open.contains(group)));
        let members = self.members.values().flat_map(|members| members.keys().copied());
        let mut keys = BTreeSet::new();
        for key in fixed.chain(local.map(|peer| peer.key)).chain(members) {
            if keys.len() >= MAX_PEERS {
                break;
            }
            if Some(key) != self.own {
                keys.insert(key);
            }
        }
        keys
    }

    /// What has changed since the last call. `connected` are left where they are.
    pub(super) fn update(&mut self, now: Instant, connected: impl Fn(&AuthorId) -> bool) -> Update {
        let keys = if std::mem::take(&mut self.changed) { self.keys() } else { self.tracked.keys().copied().collect() };
        self.trying.retain(|key, _| keys.contains(key));
        let mut next = BTreeMap::new();
        let mut moved = BTreeMap::new();
        for key in keys {
            let before = self.tracked.get(&key);
            if connected(&key)
                && let Some(before) = before
            {
                if let Some(trying) = self.trying.get_mut(&key) {
                    trying.since = now;
                }
                next.insert(key, before.clone());
                continue;
            }
            let addresses = self.addresses(&key);
            let at = match self.trying.get(&key) {
                Some(trying) if addresses.contains(&trying.at) && now.duration_since(trying.since) < TRY_FOR => {
                    Some(trying.at.clone())
                }
                Some(trying) => {
                    let after = addresses.iter().position(|at| *at == trying.at).map_or(0, |place| place + 1);
                    addresses.get(after).or(addresses.first()).cloned()
                }
                None => addresses.first().cloned(),
            };
            match &at {
                Some(at) => match self.trying.get_mut(&key) {
                    Some(trying) if trying.at == *at && now.duration_since(trying.since) < TRY_FOR => {}
                    Some(trying) => *trying = Trying { at: at.clone(), since: now },
                    None => {
                        self.trying.insert(key, Trying { at: at.clone(), since: now });
                    }
                },
                None => {
                    self.trying.remove(&key);
                }
            }
            if let (Some(Some(before)), Some(at)) = (before, &at)
                && before != at
            {
                moved.insert(key, at.clone());
            }
            next.insert(key, at);
        }
        // A key that gets or loses its address changes what it is to the connection layer; one that moves does not.
        let same = next.len() == self.tracked.len()
            && next.iter().zip(&self.tracked).all(|((a, at), (b, was))| a == b && at.is_some() == was.is_some());
        self.tracked = next;
        if same {
            Update { keys: None, moved }
        } else {
            Update { keys: Some(self.tracked.clone()), moved: BTreeMap::new() }
        }
    }

    /// Where a key is tried.
    pub(super) fn tried(&self, key: &AuthorId) -> Option<&HostPort> {
        self.tracked.get(key).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;

    use super::*;

    const GROUP: GroupId = GroupId([1; 32]);
    const OTHER: GroupId = GroupId([2; 32]);

    fn key(n: u16) -> AuthorId {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&n.to_be_bytes());
        Keypair::from_seed(&seed).author()
    }

    fn at(port: u16) -> HostPort {
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn nobody(_: &AuthorId) -> bool {
        false
    }

    #[test]
    fn all_sources_come_together_and_the_own_key_does_not() {
        let now = Instant::now();
        let mut book = Book::new(key(0));
        book.open(GROUP);
        book.set_members(GROUP, vec![(key(0), vec![]), (key(1), vec![at(1)]), (key(2), vec![])]);
        book.set_members(OTHER, vec![(key(9), vec![at(9)])]);
        book.set_local([
            LocalPeer { key: key(1), groups: vec![GROUP], at: at(11) },
            LocalPeer { key: key(3), groups: vec![OTHER], at: at(3) },
        ]);
        book.set_fixed(vec![NodeAddress { key: key(4), at: at(4) }]);
        let keys = book.update(now, nobody).keys.unwrap();
        let expected = [(key(1), Some(at(11))), (key(2), None), (key(4), Some(at(4)))];
        assert_eq!(keys, expected.into_iter().collect());
        assert_eq!(book.peers_of(&GROUP), [key(1), key(2), key(4)].into_iter().collect());
        assert!(book.peers_of(&OTHER).is_empty());
        assert_eq!(book.update(now, nobody), Update::default());
        book.shut(&GROUP);
        assert_eq!(book.update(now, nobody).keys.unwrap().len(), 1);
    }

    #[test]
    fn addresses_are_tried_in_turn_but_not_under_a_connection() {
        let mut now = Instant::now();
        let mut book = Book::new(key(0));
        book.open(GROUP);
        book.set_members(GROUP, vec![(key(1), vec![at(1), at(2)])]);
        book.update(now, nobody);
        let mut seen = vec![book.tried(&key(1)).unwrap().port()];
        for _ in 0..4 {
            now += TRY_FOR;
            let update = book.update(now, nobody);
            assert_eq!(update.keys, None);
            seen.push(update.moved[&key(1)].port());
        }
        assert_eq!(seen, [1, 2, 1, 2, 1]);
        // Connected, whatever is said of it.
        book.set_members(GROUP, vec![(key(1), vec![at(7)])]);
        assert_eq!(book.update(now + TRY_FOR, |_| true), Update::default());
        assert_eq!(book.update(now + TRY_FOR, nobody).moved[&key(1)], at(7));
        // One address is tried again and again.
        assert_eq!(book.update(now + TRY_FOR * 3, nobody), Update::default());
    }

    #[test]
    fn there_is_a_bound_and_the_surest_are_kept() {
        let mut book = Book::new(key(0));
        book.open(GROUP);
        book.set_members(GROUP, (1..1000).map(|n| (key(n), vec![at(n); 100])).collect());
        book.set_fixed(vec![NodeAddress { key: key(5000), at: at(5000) }]);
        book.set_local([LocalPeer { key: key(6000), groups: vec![GROUP], at: at(6000) }]);
        let keys = book.update(Instant::now(), nobody).keys.unwrap();
        assert_eq!(keys.len(), MAX_PEERS);
        assert!(keys.contains_key(&key(5000)) && keys.contains_key(&key(6000)));
        assert_eq!(book.peers_of(&GROUP).len(), MAX_PEERS);
    }
}
