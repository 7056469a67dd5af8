//! What a group is founded on. The hash of a genesis is the group's id, and the id of the document that its members write
//! (docs/protocol.md, section "Genesis").

use std::collections::BTreeMap;
use std::fmt;

use bft_json_crdt::change::{DocumentId, MAX_SAFE};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::{AuthorId, IdentityError};
use serde::Serialize;
use thiserror::Error;

use crate::block::{BlockId, Height};
use crate::names::{Name, NameError};
use crate::transaction::MAX_NOTE_BYTES;

/// Domain of a group's id.
pub const GENESIS_DOMAIN: &str = "side/1/genesis";
/// The version of the genesis format of a group that begins with nothing before it.
pub const GENESIS_VERSION: u64 = 1;
/// The version of the genesis format of a group that goes on from another one. A build that does not know it refuses the group.
pub const ORIGIN_VERSION: u64 = 2;
/// The version of the genesis format of a group in which keys can be rotated, whether it goes on from another one or not.
pub const RULES_VERSION: u64 = 3;
/// The version of the genesis format of a group in which those who failed leave the voters first. The latest.
pub const FAILED_FIRST_VERSION: u64 = 4;
/// Most founders: they are the first voters, and votes of more no longer fit a block.
pub const MAX_FOUNDERS: usize = 256;
/// Most keys with an allocation, so that a genesis stays a message, not a download.
pub const MAX_ALLOCATIONS: usize = 512;
/// Fewest founders of a group with Byzantine agreement: with fewer it tolerates no fault and only seems to.
pub const MIN_BFT_FOUNDERS: usize = 4;
/// Shortest time between blocks: below it a timer costs more than what it seals.
pub const MIN_INTERVAL_MS: u64 = 10;
/// Longest time between blocks: a day.
pub const MAX_INTERVAL_MS: u64 = 86_400_000;
/// Most changes that one block may seal.
pub const MAX_BLOCK_CHANGES: u64 = 1_000_000;
/// Most bytes of a genesis: the sum of what its bounds allow.
pub const MAX_GENESIS_BYTES: usize = 384 + 32 * MAX_FOUNDERS + 42 * MAX_ALLOCATIONS;

/// A group's id: the hash of its genesis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub [u8; 32]);

impl GroupId {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The document that the group's members write: the same 32 bytes.
    pub fn document(&self) -> DocumentId {
        DocumentId(self.0)
    }

    /// The group of a document.
    pub fn from_document(document: DocumentId) -> Self {
        Self(document.0)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        DocumentId::from_hex(text).map(Self::from_document)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupId({})", hex::encode(&self.0[..4]))
    }
}

impl Serialize for GroupId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whose changes a store keeps and a relay carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Anybody's. For development and friends: one person may come with any number of keys.
    Open,
    /// The founders', and what a change of an admitted key depends on.
    Closed,
}

/// Who seals blocks, to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Sealing {
    /// One sealer on a timer: the founder with the lowest key, until the members choose another.
    Leader {
        /// Time between blocks in milliseconds, [`MIN_INTERVAL_MS`] to [`MAX_INTERVAL_MS`].
        interval_ms: u64,
    },
    /// All founders agree on each block, faults of less than a third of them tolerated.
    Bft {
        /// The least time between blocks in milliseconds, [`MIN_INTERVAL_MS`] to [`MAX_INTERVAL_MS`].
        interval_ms: u64,
        /// How many views one leader stays: 0 for as long as it is live, otherwise at most [`MAX_SAFE`].
        term: u64,
    },
}

/// What every member of the group must agree on how much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Limits {
    /// Most bytes of a note, 1 to [`MAX_NOTE_BYTES`].
    pub note_bytes: u64,
    /// Most changes that one block seals, 1 to [`MAX_BLOCK_CHANGES`].
    pub block_changes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { note_bytes: MAX_NOTE_BYTES as u64, block_changes: 10_000 }
    }
}

/// The parts of a genesis, before they are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// What the group is called. A label for people: the id alone tells groups apart.
    pub name: Name,
    /// When it was founded, in milliseconds since 1970-01-01 UTC, at most [`MAX_SAFE`].
    pub created_ms: u64,
    /// 32 random bytes, so that two groups that are founded alike differ.
    pub nonce: [u8; 32],
    /// The first members and voters, 1 to [`MAX_FOUNDERS`], none twice.
    pub founders: Vec<AuthorId>,
    /// Whose changes are kept.
    pub admission: Admission,
    /// What each key owns at the beginning, in the group's smallest unit, above zero each; at most [`MAX_ALLOCATIONS`] keys.
    pub allocation: BTreeMap<AuthorId, u64>,
    /// Who seals blocks.
    pub sealing: Sealing,
    /// The limits.
    pub limits: Limits,
}

/// Where a group goes on from: the last block of another one. It says so, and proves nothing: whoever holds the other group compares the allocation with the accounts after
/// that block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The other group.
    pub group: GroupId,
    /// The height of its last block, at least 1, at most [`MAX_SAFE`].
    pub height: Height,
    /// That block.
    pub block: BlockId,
    /// The state after it.
    pub state_root: [u8; 32],
}

/// Which rules with an effect a group has beyond those that every group has. A build that does not know a rule would come to another state, so it refuses the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// Those that every group has.
    #[default]
    First,
    /// A member can have a new key in the place of its old one.
    Rotation,
    /// And of those who leave the voters a key that is rotated goes last: after a sealer that was replaced, or whoever is frozen or voted out.
    FailedFirst,
}

impl Rules {
    /// The rules of groups that are founded now.
    pub const LATEST: Self = Self::FailedFirst;

    /// Whether keys can be rotated.
    pub fn rotates(self) -> bool {
        self >= Self::Rotation
    }
}

/// Why something is not a genesis.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// The bytes break the encoding.
    #[error("these bytes are not a genesis: {0}")]
    Encoding(#[from] DecodeError),
    /// A later version of Side wrote it.
    #[error("this group was founded by a newer version of Side (genesis version {0}); update this one")]
    Version(u64),
    /// A founder's or owner's key is not acceptable.
    #[error("a key in the genesis is not acceptable: {0}")]
    Key(#[from] IdentityError),
    /// The group's name is not acceptable.
    #[error("the group's name is not acceptable: {0}")]
    Name(#[from] NameError),
    /// There is no founder, or there are more than [`MAX_FOUNDERS`].
    #[error("a group has 1 to {MAX_FOUNDERS} founders, not {0}")]
    Founders(usize),
    /// A founder stands in it twice.
    #[error("the founder {0} stands twice in the genesis")]
    DuplicateFounder(AuthorId),
    /// More than [`MAX_ALLOCATIONS`] keys own something.
    #[error("at most {MAX_ALLOCATIONS} keys can have an allocation, not {0}")]
    Allocations(usize),
    /// An allocation is zero, or all together exceed 64 bits.
    #[error("each allocation is above zero, and their sum is below 2^64")]
    Amount,
    /// Byzantine agreement with fewer than [`MIN_BFT_FOUNDERS`] founders.
    #[error(
        "Byzantine agreement takes at least {MIN_BFT_FOUNDERS} founders, not {0}: fewer tolerate no fault; choose the leader mode"
    )]
    TooFewForBft(usize),
    /// A number is outside of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
}

/// What a group is founded on: checked, with its one encoding and the id that follows from it. It never changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    spec: GroupSpec,
    origin: Option<Origin>,
    rules: Rules,
    bytes: Vec<u8>,
    id: GroupId,
}

impl Genesis {
    /// Checks `spec` (and sorts its founders). The group has the first rules and begins with nothing before it.
    pub fn new(spec: GroupSpec) -> Result<Self, GenesisError> {
        Self::founded(spec, None, Rules::First)
    }

    /// The same for a group with these rules that goes on from another one, if it does.
    pub fn founded(mut spec: GroupSpec, origin: Option<Origin>, rules: Rules) -> Result<Self, GenesisError> {
        spec.founders.sort_unstable();
        check(&spec)?;
        check_origin(origin.as_ref())?;
        let bytes = encode(&spec, origin.as_ref(), rules);
        debug_assert!(bytes.len() <= MAX_GENESIS_BYTES);
        let id = GroupId(hash(GENESIS_DOMAIN, &bytes));
        Ok(Self { spec, origin, rules, bytes, id })
    }

    /// Reads bytes that hold a genesis and nothing else. There is one encoding; every other is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, GenesisError> {
        let mut reader = Reader::new(bytes);
        let version = reader.varint()?;
        let rules = match version {
            GENESIS_VERSION | ORIGIN_VERSION => Rules::First,
            RULES_VERSION => Rules::Rotation,
            FAILED_FIRST_VERSION => Rules::FailedFirst,
            other => return Err(GenesisError::Version(other)),
        };
        let spec = read(&mut reader)?;
        let has_origin = match rules {
            Rules::First => version == ORIGIN_VERSION,
            Rules::Rotation | Rules::FailedFirst => match reader.varint()? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::Rule("a flag is neither 0 nor 1").into()),
            },
        };
        let origin = has_origin.then(|| read_origin(&mut reader)).transpose()?;
        reader.finish()?;
        check(&spec)?;
        check_origin(origin.as_ref())?;
        Ok(Self { id: GroupId(hash(GENESIS_DOMAIN, bytes)), bytes: bytes.to_vec(), spec, origin, rules })
    }

    /// The one encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The group's name.
    pub fn name(&self) -> &Name {
        &self.spec.name
    }

    /// Its parts. Founders ascend.
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// The group that this one goes on from, if there is one.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Its rules.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Whether `key` is a founder's.
    pub fn is_founder(&self, key: &AuthorId) -> bool {
        self.spec.founders.binary_search(key).is_ok()
    }
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Genesis({} {:?})", self.spec.name, self.id)
    }
}

fn check(spec: &GroupSpec) -> Result<(), GenesisError> {
    if spec.created_ms > MAX_SAFE {
        return Err(GenesisError::Range("the time of foundation"));
    }
    let founders = spec.founders.len();
    if founders == 0 || founders > MAX_FOUNDERS {
        return Err(GenesisError::Founders(founders));
    }
    if let Some(pair) = spec.founders.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GenesisError::DuplicateFounder(pair[0]));
    }
    if spec.allocation.len() > MAX_ALLOCATIONS {
        return Err(GenesisError::Allocations(spec.allocation.len()));
    }
    let mut sum = 0u64;
    for &amount in spec.allocation.values() {
        sum = sum.checked_add(amount).filter(|_| amount > 0).ok_or(GenesisError::Amount)?;
    }
    let (Sealing::Leader { interval_ms } | Sealing::Bft { interval_ms, .. }) = spec.sealing;
    if !(MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&interval_ms) {
        return Err(GenesisError::Range("the time between blocks"));
    }
    if let Sealing::Bft { term, .. } = spec.sealing {
        if founders < MIN_BFT_FOUNDERS {
            return Err(GenesisError::TooFewForBft(founders));
        }
        if term > MAX_SAFE {
            return Err(GenesisError::Range("a leader's term"));
        }
    }
    if !(1..=MAX_NOTE_BYTES as u64).contains(&spec.limits.note_bytes) {
        return Err(GenesisError::Range("the length of a note"));
    }
    if !(1..=MAX_BLOCK_CHANGES).contains(&spec.limits.block_changes) {
        return Err(GenesisError::Range("the number of changes in a block"));
    }
    Ok(())
}

fn check_origin(origin: Option<&Origin>) -> Result<(), GenesisError> {
    match origin {
        Some(origin) if origin.height.0 == 0 || origin.height.0 > MAX_SAFE => {
            Err(GenesisError::Range("the height that the group goes on from"))
        }
        _ => Ok(()),
    }
}

fn encode(spec: &GroupSpec, origin: Option<&Origin>, rules: Rules) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + 32 * spec.founders.len() + 42 * spec.allocation.len());
    out.put_varint(match (rules, origin) {
        (Rules::First, None) => GENESIS_VERSION,
        (Rules::First, Some(_)) => ORIGIN_VERSION,
        (Rules::Rotation, _) => RULES_VERSION,
        (Rules::FailedFirst, _) => FAILED_FIRST_VERSION,
    });
    out.put_blob(spec.name.as_str().as_bytes());
    out.put_varint(spec.created_ms);
    out.put(&spec.nonce);
    out.put_varint(spec.founders.len() as u64);
    for founder in &spec.founders {
        out.put(founder.as_bytes());
    }
    out.put_varint(match spec.admission {
        Admission::Open => 0,
        Admission::Closed => 1,
    });
    out.put_varint(spec.allocation.len() as u64);
    for (key, amount) in &spec.allocation {
        out.put(key.as_bytes());
        out.put_varint(*amount);
    }
    match spec.sealing {
        Sealing::Leader { interval_ms } => {
            out.put_varint(0);
            out.put_varint(interval_ms);
        }
        Sealing::Bft { interval_ms, term } => {
            out.put_varint(1);
            out.put_varint(interval_ms);
            out.put_varint(term);
        }
    }
    out.put_varint(spec.limits.note_bytes);
    out.put_varint(spec.limits.block_changes);
    if rules > Rules::First {
        out.put_varint(u64::from(origin.is_some()));
    }
    if let Some(origin) = origin {
        out.put(&origin.group.0);
        out.put_varint(origin.height.0);
        out.put(&origin.block.0);
        out.put(&origin.state_root);
    }
    out
}

fn read_origin(reader: &mut Reader<'_>) -> Result<Origin, GenesisError> {
    Ok(Origin {
        group: GroupId(reader.array()?),
        height: Height(reader.varint()?),
        block: BlockId(reader.array()?),
        state_root: reader.array()?,
    })
}

fn read(reader: &mut Reader<'_>) -> Result<GroupSpec, GenesisError> {
    let name = Name::new(reader.string()?)?;
    let created_ms = reader.varint()?;
    let nonce = reader.array()?;
    let count = reader.count(32)?;
    if count > MAX_FOUNDERS {
        return Err(GenesisError::Founders(count));
    }
    let mut founders: Vec<AuthorId> = Vec::with_capacity(count);
    for _ in 0..count {
        let founder = AuthorId::from_bytes(reader.array()?)?;
        if founders.last().is_some_and(|last| *last > founder) {
            return Err(DecodeError::Rule("founders do not ascend").into());
        }
        founders.push(founder);
    }
    let admission = match reader.varint()? {
        0 => Admission::Open,
        1 => Admission::Closed,
        _ => return Err(DecodeError::Rule("the kind of admission is unknown").into()),
    };
    let count = reader.count(33)?;
    if count > MAX_ALLOCATIONS {
        return Err(GenesisError::Allocations(count));
    }
    let mut allocation = BTreeMap::new();
    for _ in 0..count {
        let key = AuthorId::from_bytes(reader.array()?)?;
        if allocation.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::Rule("allocations do not strictly ascend").into());
        }
        allocation.insert(key, reader.varint()?);
    }
    let sealing = match reader.varint()? {
        0 => Sealing::Leader { interval_ms: reader.varint()? },
        1 => Sealing::Bft { interval_ms: reader.varint()?, term: reader.varint()? },
        _ => return Err(DecodeError::Rule("the kind of sealing is unknown").into()),
    };
    let limits = Limits { note_bytes: reader.varint()?, block_changes: reader.varint()? };
    Ok(GroupSpec { name, created_ms, nonce, founders, admission, allocation, sealing, limits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bft_json_crdt::identity::Keypair;

    fn key(seed: u8) -> AuthorId {
        Keypair::from_seed(&[seed; 32]).author()
    }

    fn spec() -> GroupSpec {
        GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1_700_000_000_000,
            nonce: [9; 32],
            founders: vec![key(3), key(1), key(2), key(4)],
            admission: Admission::Closed,
            allocation: [(key(1), 1_000), (key(9), u64::MAX - 1_000)].into(),
            sealing: Sealing::Bft { interval_ms: 500, term: 0 },
            limits: Limits::default(),
        }
    }

    fn small() -> GroupSpec {
        GroupSpec {
            founders: vec![key(1)],
            allocation: [(key(1), 300)].into(),
            admission: Admission::Open,
            sealing: Sealing::Leader { interval_ms: 1000 },
            ..spec()
        }
    }

    #[test]
    fn a_genesis_reads_back_as_itself() {
        for sealing in [Sealing::Leader { interval_ms: 1000 }, Sealing::Bft { interval_ms: 10, term: 7 }] {
            let genesis = Genesis::new(GroupSpec { sealing, ..spec() }).unwrap();
            assert_eq!(Genesis::decode(genesis.bytes()).unwrap(), genesis);
            assert!(genesis.spec().founders.is_sorted());
            assert!(genesis.is_founder(&key(3)) && !genesis.is_founder(&key(9)));
        }
    }

    #[test]
    fn the_golden_genesis_keeps_its_bytes_and_id() {
        let genesis = Genesis::new(small()).unwrap();
        let expected = include_str!("../tests/golden/genesis.hex");
        let mut lines = expected.lines();
        assert_eq!(hex::encode(genesis.bytes()), lines.next().unwrap());
        assert_eq!(genesis.id().to_string(), lines.next().unwrap());
    }

    fn origin() -> Origin {
        Origin { group: GroupId([5; 32]), height: Height(300), block: BlockId([6; 32]), state_root: [7; 32] }
    }

    #[test]
    fn a_group_that_goes_on_from_another_one_says_from_which_and_from_where() {
        let golden = Genesis::founded(small(), Some(origin()), Rules::First).unwrap();
        let mut lines = include_str!("../tests/golden/genesis-origin.hex").lines();
        assert_eq!(hex::encode(golden.bytes()), lines.next().unwrap());
        assert_eq!(golden.id().to_string(), lines.next().unwrap());

        let genesis = Genesis::founded(spec(), Some(origin()), Rules::First).unwrap();
        let read = Genesis::decode(genesis.bytes()).unwrap();
        assert_eq!((read.origin(), read.id()), (Some(&origin()), genesis.id()));
        let without = Genesis::new(spec()).unwrap();
        assert_eq!((without.origin(), without.bytes()[0]), (None, 1));
        let others = [
            Origin { group: GroupId([4; 32]), ..origin() },
            Origin { height: Height(301), ..origin() },
            Origin { block: BlockId([4; 32]), ..origin() },
            Origin { state_root: [4; 32], ..origin() },
        ];
        for other in others {
            let other = Genesis::founded(spec(), Some(other), Rules::First).unwrap();
            assert!(other.id() != genesis.id() && other.id() != without.id());
        }
        for height in [0, MAX_SAFE + 1] {
            let wrong = Origin { height: Height(height), ..origin() };
            let wrong = Genesis::founded(spec(), Some(wrong), Rules::First);
            assert_eq!(wrong, Err(GenesisError::Range("the height that the group goes on from")));
        }
        for cut in 0..genesis.bytes().len() {
            assert!(Genesis::decode(&genesis.bytes()[..cut]).is_err(), "a prefix of {cut} bytes passed");
        }
        // The one version for the other's bytes.
        let (mut longer, mut shorter) = (without.bytes().to_vec(), genesis.bytes().to_vec());
        (longer[0], shorter[0]) = (2, 1);
        assert!(Genesis::decode(&longer).is_err() && Genesis::decode(&shorter).is_err());
    }

    #[test]
    fn every_part_changes_the_id() {
        let base = Genesis::new(spec()).unwrap().id();
        let variants = [
            GroupSpec { name: Name::new("friend5").unwrap(), ..spec() },
            GroupSpec { created_ms: 1, ..spec() },
            GroupSpec { nonce: [8; 32], ..spec() },
            GroupSpec { founders: vec![key(1), key(2), key(4), key(5)], ..spec() },
            GroupSpec { admission: Admission::Open, ..spec() },
            GroupSpec { allocation: BTreeMap::new(), ..spec() },
            GroupSpec { sealing: Sealing::Leader { interval_ms: 500 }, ..spec() },
            GroupSpec { limits: Limits { note_bytes: 1, ..Limits::default() }, ..spec() },
        ];
        for variant in variants {
            assert_ne!(Genesis::new(variant).unwrap().id(), base);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut GroupSpec)| {
            let mut spec = spec();
            change(&mut spec);
            Genesis::new(spec).unwrap_err()
        };
        assert_eq!(refused(|s| s.founders.clear()), GenesisError::Founders(0));
        assert_eq!(refused(|s| s.founders.push(key(1))), GenesisError::DuplicateFounder(key(1)));
        assert_eq!(refused(|s| s.founders.truncate(3)), GenesisError::TooFewForBft(3));
        assert_eq!(refused(|s| s.allocation = [(key(1), 0)].into()), GenesisError::Amount);
        assert_eq!(refused(|s| s.allocation = [(key(1), 1), (key(2), u64::MAX)].into()), GenesisError::Amount);
        assert!(matches!(refused(|s| s.created_ms = MAX_SAFE + 1), GenesisError::Range(_)));
        assert!(matches!(refused(|s| s.sealing = Sealing::Leader { interval_ms: 1 }), GenesisError::Range(_)));
        assert!(matches!(refused(|s| s.limits.note_bytes = 0), GenesisError::Range(_)));
        assert!(matches!(refused(|s| s.limits.block_changes = u64::MAX), GenesisError::Range(_)));
    }

    #[test]
    fn bytes_that_are_not_the_one_encoding_are_refused() {
        let genesis = Genesis::new(spec()).unwrap();
        let good = genesis.bytes();
        for cut in 0..good.len() {
            assert!(Genesis::decode(&good[..cut]).is_err(), "a prefix of {cut} bytes passed");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(Genesis::decode(&longer), Err(DecodeError::Trailing.into()));
        let mut newer = good.to_vec();
        newer[0] = 5;
        assert_eq!(Genesis::decode(&newer), Err(GenesisError::Version(5)));
        // Founders in another order: swap the first two keys.
        let founders = 1 + 1 + 7 + 6 + 32 + 1;
        let mut swapped = good.to_vec();
        let (first, second) = swapped[founders..founders + 64].split_at_mut(32);
        first.swap_with_slice(second);
        assert!(Genesis::decode(&swapped).is_err());
    }

    #[test]
    fn the_rules_stand_in_the_genesis_and_those_without_keep_their_bytes() {
        let mut lines = String::new();
        let kinds = [Rules::Rotation, Rules::FailedFirst].map(|rules| [(rules, None), (rules, Some(origin()))]);
        for (rules, origin) in kinds.into_iter().flatten() {
            let genesis = Genesis::founded(small(), origin, rules).unwrap();
            assert!(genesis.bytes().len() <= MAX_GENESIS_BYTES);
            lines += &format!("{}\n{}\n", hex::encode(genesis.bytes()), genesis.id());
            let read = Genesis::decode(genesis.bytes()).unwrap();
            assert_eq!((read.origin(), read.rules(), read.id()), (origin.as_ref(), rules, genesis.id()));
            let before = Genesis::founded(small(), origin, Rules::First).unwrap();
            assert_eq!(before.rules(), Rules::First);
            assert_ne!(before.id(), genesis.id());
            for cut in 0..genesis.bytes().len() {
                assert!(Genesis::decode(&genesis.bytes()[..cut]).is_err(), "a prefix of {cut} bytes passed");
            }
        }
        assert_eq!(lines, include_str!("../tests/golden/genesis-rules.hex"));
    }

    #[test]
    fn no_single_changed_byte_gives_the_same_id_or_a_panic() {
        let founded = |rules| Genesis::founded(spec(), Some(origin()), rules).unwrap();
        for genesis in
            [Genesis::new(spec()).unwrap(), founded(Rules::First), founded(Rules::Rotation), founded(Rules::LATEST)]
        {
            for (at, flip) in (0..genesis.bytes().len()).flat_map(|at| [1u8, 0x80, 0xff].map(|flip| (at, flip))) {
                let mut bytes = genesis.bytes().to_vec();
                bytes[at] ^= flip;
                if let Ok(other) = Genesis::decode(&bytes) {
                    assert_ne!(other.id(), genesis.id());
                    let again = Genesis::founded(other.spec().clone(), other.origin().copied(), other.rules()).unwrap();
                    assert_eq!(again.bytes(), bytes, "a second encoding passed");
                }
            }
        }
    }
}
