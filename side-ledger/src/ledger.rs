//! The transactions of all members in the one order, and who is called what.
//!
//! Rules:
//! - A transaction enters by the *insert operation* that carries it, once its change is applied. What the document's list shows later does not matter:
//!   deleting or moving the list's elements changes no history.
//! - Entries stand in the one order, `(lamport, change id, offset)`, whatever the order of arrival. A late change may take a place in the middle.
//! - A list element that is no proper transaction is kept and shown as *malformed*, so that nothing that was signed disappears.
//! - A name belongs to whoever claimed it first in the one order. Until blocks fix that order a late change may come first, so a name that several
//!   keys claim is never resolved silently: looking it up is an error that lists the keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::ops::{ContainerNo, Elements, Kind, Ops, Parent, Run};
use bft_json_crdt::value::Value;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::block::{Epoch, SetNumber};
use crate::chain::MAX_HOPS;
use crate::genesis::{Limits, Rules};
use crate::names::Name;
use crate::transaction::{Known, MAX_TRANSACTIONS, SealersVote, TRANSACTIONS_KEY, Transaction, TransactionError};

/// Fewest hexadecimal digits of a key that are looked up as its prefix: fewer are more likely a slip.
pub const MIN_PREFIX_DIGITS: usize = 4;
/// How many hexadecimal digits of the key tell members of one name apart, as in `node1~ab12cd34`.
const SUFFIX_DIGITS: usize = 8;
/// Most keys that an error lists.
const MAX_LISTED: usize = 8;

/// The kind under which entries are shown that are no proper transactions.
pub const MALFORMED_KIND: &str = "malformed";

/// An entry's place in the one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The lamport number of the change.
    pub lamport: u64,
    /// The change.
    pub id: ChangeId,
    /// The offset of the insert in it.
    pub offset: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.lamport, self.id, self.offset)
    }
}

/// A text is not a [`Position`] as its `Display` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a place in the history is written as LAMPORT.CHANGE.OFFSET")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split('.');
        let (Some(lamport), Some(id), Some(offset), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        Ok(Self {
            lamport: lamport.parse().map_err(|_| PositionError)?,
            id: ChangeId::from_hex(id).ok_or(PositionError)?,
            offset: offset.parse().map_err(|_| PositionError)?,
        })
    }
}

/// An entry of the history, as it is shown and printed as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The change that carries it (hexadecimal in JSON).
    #[serde(with = "crate::ledger::hex_change")]
    pub id: ChangeId,
    /// The offset of its insert within the change.
    pub offset: u32,
    /// The change's lamport number: entries stand in the order of (lamport, id, offset).
    pub lamport: u64,
    /// Who signed it (hexadecimal in JSON).
    #[serde(with = "crate::ledger::hex_author")]
    pub author: AuthorId,
    /// What the author is called, if it claimed a name: `name`, or `name~key prefix` where another key claimed it first.
    pub name: Option<String>,
    /// The change's number on the author's own chain.
    pub seq: u64,
    /// The author's clock in milliseconds since 1970-01-01 UTC: a claim.
    pub time_ms: u64,
    /// The version of the transaction's kind; 0 for malformed ones.
    pub version: u64,
    /// The kind; [`MALFORMED_KIND`] for what is no proper transaction.
    pub kind: String,
    /// The body; for malformed ones the whole list element. Free text of a stranger: whoever prints it to a terminal must escape it.
    pub body: serde_json::Value,
    /// Why it is malformed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether there is a proof that the author forked its own chain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub equivocator: bool,
}

impl Entry {
    /// Its place in the one order.
    pub fn position(&self) -> Position {
        Position { lamport: self.lamport, id: self.id, offset: self.offset }
    }
}

/// Why a text names no member.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// Nobody is called so, and no key begins so.
    #[error("nobody here is called {0:?}, and no member's key begins so; `/peers` lists the members")]
    Unknown(String),
    /// Several keys answer to it.
    #[error("{text:?} may mean {}; take the key or a longer part of it", list(keys))]
    Ambiguous {
        /// What was looked up.
        text: String,
        /// The keys that answer to it, first claim first.
        keys: Vec<AuthorId>,
    },
}

fn list(keys: &[AuthorId]) -> String {
    let mut shown: Vec<String> = keys.iter().take(MAX_LISTED).map(AuthorId::to_string).collect();
    if keys.len() > MAX_LISTED {
        shown.push(format!("{} more", keys.len() - MAX_LISTED));
    }
    shown.join(" or ")
}

/// An author, interned.
type AuthorNo = u32;

#[derive(Debug, Clone)]
struct Stored {
    author: AuthorNo,
    seq: u64,
    time_ms: u64,
    content: Content,
}

/// Boxed where it is rare, so that a million notes cost little more than their text.
#[derive(Debug, Clone)]
enum Content {
    Note(Box<str>),
    Name(Name),
    Other(Box<Known>),
    Malformed(Box<(Value, TransactionError)>),
}

/// What a transaction does when a block seals it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// It took effect already: a note or a name.
    Commuting,
    /// It is no proper transaction.
    Malformed,
    /// What it says.
    Known(&'a Known),
}

/// The history of a group, kept up to date change by change. Cost of [`Ledger::absorb`]: O(log n) a transaction.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    note_bytes: u64,
    rules: Rules,
    entries: BTreeMap<Position, Stored>,
    authors: Vec<AuthorId>,
    numbers: HashMap<AuthorId, AuthorNo>,
    /// For each name all claims to it, in the one order.
    claims: BTreeMap<Name, BTreeMap<Position, AuthorNo>>,
    /// Each author's last claim in the one order.
    called: HashMap<AuthorNo, (Position, Name)>,
    /// Where votes on the sealers stand, by set and epoch.
    votes: BTreeSet<(SetNumber, Epoch, Position)>,
    equivocators: HashSet<AuthorId>,
    /// Whom transfers went to: keys that need no further check.
    payees: HashSet<AuthorId>,
    /// Where something is said about swaps: few among many notes.
    swaps: BTreeSet<Position>,
    /// Who has asked to become a voter.
    askers: HashSet<AuthorNo>,
    /// Each author's last proposal of a new key in the one order.
    proposals: BTreeMap<AuthorId, (Position, AuthorId)>,
    /// Which keys have taken which ones' places, and the other way round: a member goes on under its name.
    successors: HashMap<AuthorId, AuthorId>,
    predecessors: HashMap<AuthorId, AuthorId>,
}

impl Ledger {
    /// An empty history under the limits and the rules of the group's genesis.
    pub fn new(limits: &Limits, rules: Rules) -> Self {
        Self { note_bytes: limits.note_bytes, rules, ..Self::default() }
    }

    /// Says that a key has taken another one's place, by the chain: names follow. A name that the old one has claimed is the new one's, and what one of them is called both are.
    pub(crate) fn rotate(&mut self, old: AuthorId, new: AuthorId) {
        self.successors.insert(old, new);
        self.predecessors.insert(new, old);
    }

    /// Says that the old key is in its place again: the block that took it from there was taken back.
    pub(crate) fn rotate_back(&mut self, old: &AuthorId) {
        if let Some(new) = self.successors.remove(old) {
            self.predecessors.remove(&new);
        }
    }

    /// Takes in an applied change with its derived lamport number and its decoded operations; returns the places of the new entries. Taking in
    /// a change twice changes nothing.
    pub fn absorb(&mut self, lamport: u64, change: &Change, ops: &Ops) -> Vec<Position> {
        let header = change.header();
        let author = self.intern(header.author);
        let mut added = Vec::new();
        let Some(list) = transactions_list(ops) else { return added };
        let mut offset = 0u32;
        'runs: for run in &ops.runs {
            if let Run::Insert { list: into, elements, .. } = run
                && *into == list
            {
                let count = run.len();
                for nth in 0..count {
                    let element = match elements {
                        Elements::Values(values) => values.get(nth as usize),
                        Elements::Container(_) => None,
                    };
                    let full = added.len() == MAX_TRANSACTIONS;
                    let content = if full {
                        Content::Malformed(Box::new((Value::Null, TransactionError::TooMany)))
                    } else {
                        self.read(element)
                    };
                    let position = Position { lamport, id: change.id(), offset: offset.saturating_add(nth) };
                    match &content {
                        Content::Name(name) => self.claim(name, position, author),
                        Content::Other(known) => {
                            if let Known::Transfer(transfer) = &**known {
                                self.payees.insert(transfer.to);
                            }
                            if known.is_swap() {
                                self.swaps.insert(position);
                            }
                            if let Known::SealersVote(vote) = &**known {
                                self.votes.insert((vote.set, vote.epoch, position));
                            }
                            if let Known::VoterAsk(_) = &**known {
                                self.askers.insert(author);
                            }
                            if let Known::KeyRotate(rotate) = &**known {
                                let last = self.proposals.entry(header.author).or_insert((position, rotate.new));
                                if last.0 < position {
                                    *last = (position, rotate.new);
                                }
                            }
                        }
                        Content::Note(_) | Content::Malformed(_) => {}
                    }
                    self.entries.insert(position, Stored { author, seq: header.seq, time_ms: header.time_ms, content });
                    added.push(position);
                    if full {
                        break 'runs;
                    }
                }
            }
            offset = offset.saturating_add(run.len());
        }
        added
    }

    /// Starts over from the changes that are applied now. Needed where a replica dropped changes that were absorbed.
    pub fn rebuild<'a>(&mut self, changes: impl IntoIterator<Item = (u64, &'a Change, Ops)>) {
        let equivocators = std::mem::take(&mut self.equivocators);
        *self = Self { note_bytes: self.note_bytes, rules: self.rules, equivocators, ..Self::default() };
        for (lamport, change, ops) in changes {
            self.absorb(lamport, change, &ops);
        }
    }

    /// Marks an author of whom a proof shows that it forked its own chain. Returns whether that is news.
    pub fn flag_equivocator(&mut self, author: AuthorId) -> bool {
        self.equivocators.insert(author)
    }

    /// Whether there is a proof that `author` forked its own chain.
    pub fn is_equivocator(&self, author: &AuthorId) -> bool {
        self.equivocators.contains(author)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The authors of absorbed changes, in order of first arrival.
    pub fn authors(&self) -> &[AuthorId] {
        &self.authors
    }

    /// The entry at a place.
    pub fn get(&self, position: &Position) -> Option<Entry> {
        self.entries.get(position).map(|stored| self.show(position, stored))
    }

    /// All votes on who shall seal that were cast in a set of voters, sealed or not: epoch, voter, place and vote, in the order of epochs, then in the one
    /// order. Whether somebody may vote is not asked here.
    pub fn sealers_votes(
        &self,
        set: SetNumber,
    ) -> impl DoubleEndedIterator<Item = (Epoch, AuthorId, Position, &SealersVote)> {
        let first = Position { lamport: 0, id: ChangeId([0; 32]), offset: 0 };
        let range = self.votes.range((set, Epoch(0), first)..(SetNumber(set.0.saturating_add(1)), Epoch(0), first));
        range.filter_map(|(_, epoch, position)| {
            let stored = self.entries.get(position)?;
            match &stored.content {
                Content::Other(known) => match &**known {
                    Known::SealersVote(vote) => Some((*epoch, self.authors[stored.author as usize], *position, vote)),
                    _ => None,
                },
                _ => None,
            }
        })
    }

    /// The highest epoch of the latest set that this member has voted for. Whoever votes by the rules votes for ever higher ones.
    pub fn last_voted(&self, author: &AuthorId) -> Option<Epoch> {
        let number = *self.numbers.get(author)?;
        let own = |(_, epoch, position): &(SetNumber, Epoch, Position)| {
            self.entries.get(position).is_some_and(|stored| stored.author == number).then_some(*epoch)
        };
        self.votes.iter().rev().find_map(own)
    }

    /// Whether this member has ever asked to become a voter.
    pub fn has_asked(&self, author: &AuthorId) -> bool {
        self.numbers.get(author).is_some_and(|number| self.askers.contains(number))
    }

    /// Who has proposed a new key for itself: author, place and new key of its last proposal, sealed or not.
    pub fn proposals(&self) -> impl Iterator<Item = (&AuthorId, &Position, &AuthorId)> {
        self.proposals.iter().map(|(author, (position, new))| (author, position, new))
    }

    /// The place and the new key of an author's last proposal.
    pub fn proposal(&self, author: &AuthorId) -> Option<&(Position, AuthorId)> {
        self.proposals.get(author)
    }

    /// What stands in the history of an absorbed change: the places and the kinds, in order. Costs no copy of what is said.
    pub fn kinds_in(&self, lamport: u64, id: ChangeId) -> impl DoubleEndedIterator<Item = (Position, &str)> {
        let at = |offset| Position { lamport, id, offset };
        self.entries.range(at(0)..=at(u32::MAX)).map(|(position, stored)| {
            let kind = match &stored.content {
                Content::Note(_) => "note",
                Content::Name(_) => "name",
                Content::Malformed(_) => MALFORMED_KIND,
                Content::Other(known) => known.kind(),
            };
            (*position, kind)
        })
    }

    /// The transactions of an absorbed change, by offset.
    pub(crate) fn actions(&self, lamport: u64, id: ChangeId) -> impl Iterator<Item = (u32, Action<'_>)> {
        let at = |offset| Position { lamport, id, offset };
        self.entries.range(at(0)..=at(u32::MAX)).map(|(position, stored)| {
            let action = match &stored.content {
                Content::Note(_) | Content::Name(_) => Action::Commuting,
                Content::Malformed(_) => Action::Malformed,
                Content::Other(known) => Action::Known(known),
            };
            (position.offset, action)
        })
    }

    /// The entries after a place (from the beginning if there is none), in the one order. Take as many as a page has; the last one's
    /// [`Entry::position`] asks for the next page.
    pub fn after(&self, position: Option<&Position>) -> impl Iterator<Item = Entry> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = position.map_or(Unbounded, |position| Excluded(*position));
        self.entries.range((from, Unbounded)).map(|(position, stored)| self.show(position, stored))
    }

    /// What is said about swaps, in the one order. Costs by how much that is, not by the history.
    pub fn swaps(&self) -> impl DoubleEndedIterator<Item = Entry> + '_ {
        self.swaps.iter().filter_map(|position| self.get(position))
    }

    /// The last `count` entries, in the one order.
    pub fn latest(&self, count: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.entries.iter().rev().take(count).map(|(position, stored)| self.show(position, stored)).collect();
        entries.reverse();
        entries
    }

    /// What `author` is called: its last claim in the one order, with a part of its key behind `~` (which no name contains) if another member claimed
    /// that name first. A key that has claimed none is called like the one whose place it has taken.
    pub fn name_of(&self, author: &AuthorId) -> Option<String> {
        let (mut at, mut claim) = (author, None);
        for _ in 0..=MAX_HOPS {
            claim = self.numbers.get(at).and_then(|number| self.called.get(number));
            match self.predecessors.get(at) {
                Some(before) if claim.is_none() => at = before,
                _ => break,
            }
        }
        let (_, name) = claim?;
        if self.owner(name) == Some(self.latest_key(author)) {
            Some(name.to_string())
        } else {
            Some(format!("{name}~{}", &author.to_string()[..SUFFIX_DIGITS]))
        }
    }

    /// Whoever claimed `name` first in the one order. Good for display; where it matters who is meant, take [`Ledger::resolve`].
    pub fn owner(&self, name: &Name) -> Option<AuthorId> {
        let (_, number) = self.claims.get(name)?.first_key_value()?;
        Some(self.latest_key(&self.authors[*number as usize]))
    }

    /// The key that a member goes on under: itself, or the last one that has taken its place, over at most [`MAX_HOPS`] rotations.
    pub fn latest_key(&self, key: &AuthorId) -> AuthorId {
        let mut at = *key;
        for _ in 0..MAX_HOPS {
            match self.successors.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        at
    }

    /// The keys of all members that claimed `name`, first claim first.
    pub fn claimants(&self, name: &Name) -> Vec<AuthorId> {
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        for number in self.claims.get(name).into_iter().flat_map(BTreeMap::values) {
            let key = self.latest_key(&self.authors[*number as usize]);
            if seen.insert(key) {
                keys.push(key);
            }
        }
        keys
    }

    /// The key that `text` means: a whole key; a name in the local `registry`; a name that one key has claimed; `name~key prefix`; the beginning of
    /// one member's key.
    pub fn resolve(
        &self,
        text: &str,
        registry: impl FnOnce(&str) -> Option<AuthorId>,
    ) -> Result<AuthorId, ResolveError> {
        if let Ok(key) = AuthorId::from_hex(text) {
            return Ok(key);
        }
        if let Some(key) = registry(text) {
            return Ok(key);
        }
        let mut keys;
        if let Some((name, prefix)) = text.split_once('~') {
            keys = Name::new(name).map(|name| self.claimants(&name)).unwrap_or_default();
            let with_prefix = self.with_prefix(prefix);
            keys.retain(|key| with_prefix.contains(key));
        } else {
            keys = Name::new(text).map(|name| self.claimants(&name)).unwrap_or_default();
            // A name may look like the beginning of another member's key: that is ambiguous too.
            for key in self.with_prefix(text) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        match keys.as_slice() {
            [] => Err(ResolveError::Unknown(text.chars().take(crate::names::MAX_NAME_BYTES * 2).collect())),
            [key] => Ok(*key),
            _ => Err(ResolveError::Ambiguous { text: text.into(), keys }),
        }
    }

    fn with_prefix(&self, prefix: &str) -> Vec<AuthorId> {
        if prefix.len() < MIN_PREFIX_DIGITS || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Vec::new();
        }
        let prefix = prefix.to_ascii_lowercase();
        self.authors.iter().filter(|author| author.to_string().starts_with(&prefix)).copied().collect()
    }

    fn intern(&mut self, author: AuthorId) -> AuthorNo {
        *self.numbers.entry(author).or_insert_with(|| {
            self.authors.push(author);
            (self.authors.len() - 1) as AuthorNo
        })
    }

    fn read(&self, element: Option<&Value>) -> Content {
        let Some(value) = element else {
            return Content::Malformed(Box::new((Value::Null, TransactionError::Container)));
        };
        match Transaction::from_value(value).and_then(|transaction| match self.rules {
            Rules::First if transaction.is_about_keys() => Ok(Known::Unknown(transaction)),
            _ => transaction.known_with(self.note_bytes, Some(&self.payees)),
        }) {
            Ok(Known::Note(text)) => Content::Note(text.into()),
            Ok(Known::Name(name)) => Content::Name(name),
            Ok(other) => Content::Other(Box::new(other)),
            Err(error) => Content::Malformed(Box::new((value.clone(), error))),
        }
    }

    fn claim(&mut self, name: &Name, position: Position, author: AuthorNo) {
        self.claims.entry(name.clone()).or_default().insert(position, author);
        let called = self.called.entry(author).or_insert_with(|| (position, name.clone()));
        if called.0 < position {
            *called = (position, name.clone());
        }
    }

    fn show(&self, position: &Position, stored: &Stored) -> Entry {
        let author = self.authors[stored.author as usize];
        let (version, kind, body, problem) = match &stored.content {
            Content::Note(text) => (1, "note".to_owned(), serde_json::Value::from(&**text), None),
            Content::Name(name) => (1, "name".to_owned(), serde_json::json!({ "name": name.as_str() }), None),
            Content::Other(known) => {
                let transaction = known.transaction();
                (transaction.version, transaction.kind, (&transaction.body).into(), None)
            }
            Content::Malformed(malformed) => {
                (0, MALFORMED_KIND.to_owned(), (&malformed.0).into(), Some(malformed.1.to_string()))
            }
        };
        Entry {
            id: position.id,
            offset: position.offset,
            lamport: position.lamport,
            author,
            name: self.name_of(&author),
            seq: stored.seq,
            time_ms: stored.time_ms,
            version,
            kind,
            body,
            problem,
            equivocator: self.equivocators.contains(&author),
        }
    }
}

/// What a change says, without regard to its place in the history: its transactions other than notes, names and malformed ones, by offset.
pub fn said_in(change: &Change) -> Vec<(u32, Known)> {
    let Ok(ops) = Ops::decode(change.header().version, change.ops()) else { return Vec::new() };
    let mut ledger = Ledger::new(&Limits::default(), Rules::First);
    ledger.absorb(0, change, &ops);
    let known = |(position, stored): (Position, Stored)| match stored.content {
        Content::Other(known) => Some((position.offset, *known)),
        _ => None,
    };
    ledger.entries.into_iter().filter_map(known).collect()
}

/// The number of the root's list of transactions in the table of `ops`, if the change touches it.
fn transactions_list(ops: &Ops) -> Option<ContainerNo> {
    let at = ops.containers.iter().position(|entry| {
        entry.kind == Kind::List
            && matches!(&entry.parent, Parent::Key(ContainerNo::ROOT, key) if **key == *TRANSACTIONS_KEY)
    })?;
    Some(ContainerNo(at as u32 + 1))
}

macro_rules! hex_serde {
    ($module:ident, $type:ty, $read:expr) => {
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn serialize<S: serde::Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(value)
            }

            pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(&text).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits of a good value"))
            }
        }
    };
}
hex_serde!(hex_change, ChangeId, |text: &str| ChangeId::from_hex(text));
hex_serde!(hex_author, AuthorId, |text: &str| AuthorId::from_hex(text).ok());

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
