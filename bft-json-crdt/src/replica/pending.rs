//! Authenticated changes that are not part of the document: they wait for an ancestor, or for somebody to depend on them, or for a build that
//! understands them.
//!
//! Each of the three shelves has a quota. Where one is exceeded, the author who takes most of its bytes loses its oldest entry, so that a flood
//! harms whoever floods. An evicted change can be fetched again. Looking an entry up, finding who waits for an id, and evicting cost O(log n).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Limits;
use crate::change::{Change, ChangeId, Header};
use crate::evidence::{SignedChain, Voucher};
use crate::identity::AuthorId;

/// What an entry takes beyond its bytes: its header in memory, its places in the maps, and for each parent its place among those who wait.
/// Counted against the quotas so that many small changes cannot take more than few large ones.
const ENTRY_OVERHEAD: usize = 512;
const PARENT_OVERHEAD: usize = 128;

/// The headers that vouch for a change: those of `chain` from `skip` on. Changes that one tip vouches for share its chain.
#[derive(Debug, Clone)]
pub(super) struct Vouching {
    pub(super) chain: Arc<SignedChain>,
    pub(super) skip: usize,
}

impl Vouching {
    pub(super) fn voucher(&self) -> Voucher {
        Voucher(SignedChain { headers: self.chain.headers[self.skip..].to_vec(), signature: self.chain.signature })
    }
}

/// Why an entry is kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// It waits for an ancestor.
    Waiting,
    /// Its author is proven to have forked its chain.
    HeldBack,
    /// It or an ancestor is not understood.
    Unsupported,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) change: Change,
    pub(super) vouching: Option<Vouching>,
    pub(super) shelf: Shelf,
    /// This build does not understand its own operations.
    pub(super) foreign: bool,
    /// Held back, with all parents applied or available: can be applied as soon as somebody depends on it. Can be stale when an ancestor was
    /// evicted; whoever relies on it looks again.
    pub(super) available: bool,
    /// How many parents are still to come. Never above the truth; whoever finds it 0 counts again.
    pub(super) unresolved: u32,
}

impl Entry {
    fn cost(&self) -> usize {
        let vouching = self.vouching.as_ref().map_or(0, |vouching| {
            // A shared chain is as long as the changes that share it are many, or was paid for by the bytes of an explicit voucher.
            let header = |header: &Header| 256 + 32 * header.deps.len();
            256 + if vouching.skip == 0 { vouching.chain.headers.iter().map(header).sum() } else { 0 }
        });
        let parents = self.change.header().parents().count();
        self.change.bytes().len() + vouching + ENTRY_OVERHEAD + PARENT_OVERHEAD * parents
    }
}

/// The names of entries: ascending by arrival.
pub(super) type Key = u64;

/// One shelf's quota and who uses how much of it.
#[derive(Debug, Default)]
struct Shares {
    most_changes: usize,
    most_bytes: usize,
    changes: usize,
    bytes: usize,
    authors: HashMap<AuthorId, Share>,
    /// The authors by their bytes.
    greed: BTreeSet<(usize, AuthorId)>,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    /// Oldest first.
    entries: BTreeSet<(Key, usize)>,
}

impl Shares {
    fn new(most_changes: usize, most_bytes: usize) -> Self {
        Self { most_changes, most_bytes, ..Self::default() }
    }

    fn add(&mut self, author: AuthorId, key: Key, cost: usize) {
        let share = self.authors.entry(author).or_default();
        self.greed.remove(&(share.bytes, author));
        share.entries.insert((key, cost));
        share.bytes += cost;
        self.greed.insert((share.bytes, author));
        self.changes += 1;
        self.bytes += cost;
    }

    fn remove(&mut self, author: AuthorId, key: Key, cost: usize) {
        let Some(share) = self.authors.get_mut(&author) else { return };
        if !share.entries.remove(&(key, cost)) {
            return;
        }
        self.greed.remove(&(share.bytes, author));
        share.bytes -= cost;
        if share.entries.is_empty() {
            self.authors.remove(&author);
        } else {
            self.greed.insert((share.bytes, author));
        }
        self.changes -= 1;
        self.bytes -= cost;
    }

    /// What has to go, if the quota is exceeded.
    fn excess(&self) -> Option<Key> {
        if self.changes <= self.most_changes && self.bytes <= self.most_bytes {
            return None;
        }
        let (_, author) = self.greed.last()?;
        self.authors.get(author)?.entries.first().map(|(key, _)| *key)
    }
}

/// All that is kept aside.
#[derive(Debug)]
pub(super) struct Aside {
    entries: HashMap<Key, Entry>,
    by_id: HashMap<ChangeId, Key>,
    next: Key,
    /// (parent, who names it).
    waiters: BTreeSet<(ChangeId, Key)>,
    /// To find two changes of one author with one seq.
    by_seq: BTreeSet<(AuthorId, u64, ChangeId)>,
    waiting: Shares,
    held_back: Shares,
    unsupported: Shares,
}

impl Aside {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            entries: HashMap::new(),
            by_id: HashMap::new(),
            next: 0,
            waiters: BTreeSet::new(),
            by_seq: BTreeSet::new(),
            waiting: Shares::new(limits.waiting_changes, limits.waiting_bytes),
            held_back: Shares::new(limits.held_back_changes, limits.held_back_bytes),
            unsupported: Shares::new(limits.unsupported_changes, limits.unsupported_bytes),
        }
    }

    fn shares(&mut self, shelf: Shelf) -> &mut Shares {
        match shelf {
            Shelf::Waiting => &mut self.waiting,
            Shelf::HeldBack => &mut self.held_back,
            Shelf::Unsupported => &mut self.unsupported,
        }
    }

    /// How many entries stand on a shelf, and their cost in bytes.
    pub(super) fn usage(&self, shelf: Shelf) -> (usize, usize) {
        let shares = match shelf {
            Shelf::Waiting => &self.waiting,
            Shelf::HeldBack => &self.held_back,
            Shelf::Unsupported => &self.unsupported,
        };
        (shares.changes, shares.bytes)
    }

    pub(super) fn key(&self, id: &ChangeId) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    pub(super) fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    pub(super) fn by_id(&self, id: &ChangeId) -> Option<&Entry> {
        self.entries.get(self.by_id.get(id)?)
    }

    /// The entries that name a change.
    pub(super) fn waiters(&self, parent: &ChangeId) -> Vec<Key> {
        self.waiters.range((*parent, 0)..=(*parent, Key::MAX)).map(|(_, key)| *key).collect()
    }

    /// Another change than `id` of this author with this seq.
    pub(super) fn rival(&self, author: AuthorId, seq: u64, id: &ChangeId) -> Option<&Entry> {
        let all = (author, seq, ChangeId([0; 32]))..=(author, seq, ChangeId([0xff; 32]));
        let (_, _, rival) = self.by_seq.range(all).find(|(_, _, other)| other != id)?;
        self.by_id(rival)
    }

    /// Keeps an entry. Its id is not kept yet. The caller evicts afterwards.
    pub(super) fn insert(&mut self, entry: Entry) -> Key {
        let key = self.next;
        self.next += 1;
        let header = entry.change.header();
        self.waiters.extend(header.parents().map(|parent| (*parent, key)));
        self.by_seq.insert((header.author, header.seq, entry.change.id()));
        self.by_id.insert(entry.change.id(), key);
        let (author, cost) = (header.author, entry.cost());
        self.shares(entry.shelf).add(author, key, cost);
        self.entries.insert(key, entry);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        let header = entry.change.header();
        for parent in header.parents() {
            self.waiters.remove(&(*parent, key));
        }
        self.by_seq.remove(&(header.author, header.seq, entry.change.id()));
        self.by_id.remove(&entry.change.id());
        self.shares(entry.shelf).remove(entry.change.author(), key, entry.cost());
        Some(entry)
    }

    /// Puts an entry on another shelf.
    pub(super) fn reshelve(&mut self, key: Key, shelf: Shelf) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (from, author, cost) = (entry.shelf, entry.change.author(), entry.cost());
        entry.shelf = shelf;
        self.shares(from).remove(author, key, cost);
        self.shares(shelf).add(author, key, cost);
    }

    /// Holds back what waits of an author who was just proven to have forked its chain.
    pub(super) fn hold_back(&mut self, author: &AuthorId) {
        let keys: Vec<Key> = match self.waiting.authors.get(author) {
            Some(share) => share.entries.iter().map(|(key, _)| *key).collect(),
            None => return,
        };
        for key in keys {
            self.reshelve(key, Shelf::HeldBack);
        }
    }

    /// Brings every shelf back within its quota. Answers what was lost.
    pub(super) fn evict(&mut self) -> Vec<ChangeId> {
        let mut evicted = Vec::new();
        while let Some(key) =
            self.waiting.excess().or_else(|| self.held_back.excess()).or_else(|| self.unsupported.excess())
        {
            let Some(entry) = self.remove(key) else { unreachable!("shares name entries") };
            evicted.push(entry.change.id());
        }
        evicted
    }

    /// The entries that wait for an ancestor, in no particular order.
    pub(super) fn waiting_ids(&self) -> impl Iterator<Item = ChangeId> + '_ {
        let waiting = |entry: &&Entry| entry.shelf == Shelf::Waiting;
        self.entries.values().filter(waiting).map(|entry| entry.change.id())
    }

    /// Whether something of this author with this `seq` or a later one is kept aside.
    pub(super) fn holds_from(&self, author: AuthorId, seq: u64) -> bool {
        let (first, last) = (ChangeId([0; 32]), ChangeId([0xff; 32]));
        self.by_seq.range((author, seq, first)..=(author, u64::MAX, last)).next().is_some()
    }
}

/// Ids judged invalid: the last so many, first in, first out. Forgetting one costs a second judgement, which comes out alike.
#[derive(Debug)]
pub(super) struct Remembered<V> {
    most: usize,
    values: HashMap<ChangeId, V>,
    order: std::collections::VecDeque<ChangeId>,
}

impl<V: Copy> Remembered<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, values: HashMap::new(), order: std::collections::VecDeque::new() }
    }

    pub(super) fn get(&self, id: &ChangeId) -> Option<V> {
        self.values.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: ChangeId, value: V) {
        if self.values.insert(id, value).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.values.remove(&oldest);
            }
        }
    }
}
