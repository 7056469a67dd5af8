//! Who votes, who seals, and what the parameters are: the part of the ledger state that members decide (docs/protocol.md, section "Votes").
//!
//! Voters form numbered sets. Decisions about voters wait (*pending*) until the sealer closes the set, and each close carries out one of them, so that
//! what more than two thirds of one set know somebody among two thirds of the next knows too; everything else takes effect with the
//! block that seals the deciding vote. Which votes decide a switch of sealers is not told here: those count unsealed, and side-seal judges them.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::AuthorId;

use crate::accounts::Accounts;
use crate::block::{Epoch, SetNumber};
use crate::genesis::{Admission, GroupSpec, MAX_FOUNDERS, Rules, Sealing};
use crate::receipt::Reason;
use crate::transaction::vote::{MemberVote, Parameter, ParameterVote, Role};

/// Domain of the hash of this part of the state.
pub const GOVERNANCE_DOMAIN: &str = "side/1/governance";
/// Most voters in a set: votes of more no longer fit beside a block.
pub const MAX_VOTERS: usize = MAX_FOUNDERS;
/// On how much one voter may vote at a time, so that the state stays small.
pub const MAX_BALLOTS: usize = 16;
/// Most decided changes of a set: everybody may leave, and as many may come.
pub const MAX_PENDING: usize = 2 * MAX_VOTERS;
/// Most bytes of this part of the state: the sum of what its bounds allow.
pub const MAX_GOVERNANCE_BYTES: usize = 64 + 3 * 32 * MAX_VOTERS + 33 * MAX_PENDING + 74 * MAX_VOTERS * MAX_BALLOTS;

/// What is voted on by sealed votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// What a key is.
    Member(AuthorId),
    /// A parameter.
    Parameter(Parameter),
    /// Whether the key that this key's owner proposes takes its place.
    Rotation(AuthorId),
}

/// Who decides about the sealers of a set, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Electorate {
    /// The set.
    pub set: SetNumber,
    /// The voters, ascending.
    pub voters: Vec<AuthorId>,
    /// The voters that were not sealers when the set began, ascending; all voters if that would be nobody. A sealer neither confirms itself nor
    /// keeps the others from replacing it.
    pub electors: Vec<AuthorId>,
    /// How many of the voters have to hold a block for it to stay: more than two thirds.
    pub quorum: usize,
    /// How many of the electors it takes: more than two thirds of the voters, or all electors where these are fewer.
    pub needed: usize,
}

impl Electorate {
    fn new(set: SetNumber, voters: &BTreeSet<AuthorId>, office: &[AuthorId]) -> Self {
        let voters: Vec<AuthorId> = voters.iter().copied().collect();
        let mut electors: Vec<AuthorId> = voters.iter().filter(|key| !office.contains(key)).copied().collect();
        if electors.is_empty() {
            electors.clone_from(&voters);
        }
        let quorum = two_thirds(voters.len());
        let needed = quorum.min(electors.len());
        Self { set, voters, electors, quorum, needed }
    }

    /// Whether this key is an elector.
    pub fn elects(&self, key: &AuthorId) -> bool {
        self.electors.binary_search(key).is_ok()
    }
}

/// The least number that is more than two thirds of `count`.
pub fn two_thirds(count: usize) -> usize {
    2 * count / 3 + 1
}

/// This part of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governance {
    closed_group: bool,
    /// The set of voters that the next block is sealed under.
    pub set: SetNumber,
    /// The epoch: how often the sealers were switched. It never restarts, so that no set begins below what voters of an earlier one are bound to.
    pub epoch: Epoch,
    /// The voters of the set.
    pub voters: BTreeSet<AuthorId>,
    /// Who sealed when the set began.
    pub office: Vec<AuthorId>,
    /// Who seals now, ascending.
    pub sealers: Vec<AuthorId>,
    /// Decided changes of the set: whether a key will be a voter of the next one. Only real changes stand here.
    pub pending: BTreeMap<AuthorId, bool>,
    /// Open votes. Invariant: of voters of this set only, at most [`MAX_BALLOTS`] each.
    pub ballots: BTreeMap<(AuthorId, Subject), u64>,
    /// The least time between blocks, in milliseconds.
    pub interval_ms: u64,
    /// The most changes that one block seals.
    pub block_changes: u64,
    /// The block that is being executed ends the set.
    closing: bool,
}

impl Governance {
    /// What the genesis says.
    pub fn new(spec: &GroupSpec) -> Self {
        let (Sealing::Leader { interval_ms } | Sealing::Bft { interval_ms, .. }) = spec.sealing;
        let sealers = match spec.sealing {
            Sealing::Leader { .. } => spec.founders.iter().copied().take(1).collect(),
            Sealing::Bft { .. } => spec.founders.clone(),
        };
        Self {
            closed_group: spec.admission == Admission::Closed,
            set: SetNumber(0),
            epoch: Epoch(0),
            voters: spec.founders.iter().copied().collect(),
            office: Vec::clone(&sealers),
            sealers,
            pending: BTreeMap::new(),
            ballots: BTreeMap::new(),
            interval_ms,
            block_changes: spec.limits.block_changes,
            closing: false,
        }
    }

    /// Who decides about the sealers of this set.
    pub fn electorate(&self) -> Electorate {
        Electorate::new(self.set, &self.voters, &self.office)
    }

    /// The hash that the state root covers.
    pub fn hash(&self) -> [u8; 32] {
        hash(GOVERNANCE_DOMAIN, &self.encode())
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 33 * (self.voters.len() + 2 * self.sealers.len()));
        out.put_varint(self.set.0);
        out.put_varint(self.epoch.0);
        for keys in
            [self.voters.iter().collect::<Vec<_>>(), self.office.iter().collect(), self.sealers.iter().collect()]
        {
            out.put_varint(keys.len() as u64);
            keys.into_iter().for_each(|key| out.put(key.as_bytes()));
        }
        out.put_varint(self.pending.len() as u64);
        for (key, voter) in &self.pending {
            out.put(key.as_bytes());
            out.put_varint(u64::from(*voter));
        }
        out.put_varint(self.ballots.len() as u64);
        for ((voter, subject), choice) in &self.ballots {
            out.put(voter.as_bytes());
            match subject {
                Subject::Member(key) => {
                    out.put_varint(0);
                    out.put(key.as_bytes());
                }
                Subject::Parameter(parameter) => {
                    out.put_varint(1);
                    out.put_varint(*parameter as u64);
                }
                Subject::Rotation(key) => {
                    out.put_varint(2);
                    out.put(key.as_bytes());
                }
            }
            out.put_varint(*choice);
        }
        out.put_varint(self.interval_ms);
        out.put_varint(self.block_changes);
        out
    }

    /// Reads bytes that hold this part of the state of a group with this genesis and nothing else. There is one encoding; every other is refused.
    pub fn decode(bytes: &[u8], spec: &GroupSpec) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (set, epoch) = (SetNumber(safe(&mut reader)?), Epoch(safe(&mut reader)?));
        let voters = keys(&mut reader)?.into_iter().collect();
        let (office, sealers) = (keys(&mut reader)?, keys(&mut reader)?);
        let pending = ascending(&mut reader, 33, MAX_PENDING, |reader| {
            let key = key(reader)?;
            match reader.varint()? {
                0 => Ok((key, false)),
                1 => Ok((key, true)),
                _ => Err(DecodeError::Rule("a flag is neither 0 nor 1")),
            }
        })?;
        let ballots = ascending(&mut reader, 35, MAX_VOTERS * MAX_BALLOTS, |reader| {
            let voter = key(reader)?;
            let subject = match reader.varint()? {
                0 => Subject::Member(key(reader)?),
                1 => match reader.varint()? {
                    0 => Subject::Parameter(Parameter::IntervalMs),
                    1 => Subject::Parameter(Parameter::BlockChanges),
                    _ => return Err(DecodeError::Rule("an unknown parameter")),
                },
                2 => Subject::Rotation(key(reader)?),
                _ => return Err(DecodeError::Rule("an unknown subject of a vote")),
            };
            Ok(((voter, subject), reader.varint()?))
        })?;
        let (interval_ms, block_changes) = (reader.varint()?, reader.varint()?);
        reader.finish()?;
        let closed_group = spec.admission == Admission::Closed;
        Ok(Self {
            closed_group,
            set,
            epoch,
            voters,
            office,
            sealers,
            pending,
            ballots,
            interval_ms,
            block_changes,
            closing: false,
        })
    }

    /// Others seal from here on. Whoever is replaced leaves the set when it closes, and may ask to return.
    pub(crate) fn switch(&mut self, epoch: Epoch, sealers: &[AuthorId]) {
        for replaced in std::mem::replace(&mut self.sealers, sealers.to_vec()) {
            if !sealers.contains(&replaced) {
                self.set_voter(replaced, false);
            }
        }
        self.epoch = epoch;
    }

    /// A key is frozen: it cannot vote any more.
    pub(crate) fn freeze(&mut self, key: AuthorId) {
        self.set_voter(key, false);
    }

    /// An asker becomes a voter of the next set of an open group.
    pub(crate) fn ask(&mut self, author: AuthorId) -> Result<(), Reason> {
        if self.closed_group {
            return Err(Reason::NotOpen);
        }
        if self.will_vote(&author) {
            return Err(Reason::NoChange);
        }
        if self.next_count() >= MAX_VOTERS {
            return Err(Reason::VoterCount);
        }
        self.set_voter(author, true);
        Ok(())
    }

    /// A vote on what a key is.
    pub(crate) fn vote_member(
        &mut self,
        author: AuthorId,
        vote: &MemberVote,
        accounts: &mut Accounts,
    ) -> Result<(), Reason> {
        let role = match vote.role {
            // Everybody is a member of an open group.
            Role::None if !self.closed_group => Role::Member,
            role => role,
        };
        let present = if self.will_vote(&vote.key) {
            Role::Voter
        } else if !self.closed_group || accounts.get(&vote.key).member {
            Role::Member
        } else {
            Role::None
        };
        let subject = Subject::Member(vote.key);
        let needed = self.needed_about(&vote.key);
        if self.ballot(author, vote.set, subject, role as u64, role == present, needed)? {
            if role == Role::Voter && self.next_count() >= MAX_VOTERS {
                self.ballots.remove(&(author, subject));
                return Err(Reason::VoterCount);
            }
            self.ballots.retain(|(_, other), _| *other != subject);
            self.set_voter(vote.key, role == Role::Voter);
            if self.closed_group {
                accounts.update(&vote.key, |account| account.member = role != Role::None);
            }
        }
        Ok(())
    }

    /// A vote that the key which the owner of `old` proposes takes its place; tells whether it decides. Whether that can be is asked elsewhere.
    pub(crate) fn approve(&mut self, author: AuthorId, set: SetNumber, old: AuthorId) -> Result<bool, Reason> {
        let needed = self.needed_about(&old);
        self.ballot(author, set, Subject::Rotation(old), 1, false, needed)
    }

    /// How many have approved this key's rotation, and how many it takes.
    pub fn approvals(&self, old: &AuthorId) -> (usize, usize) {
        let given = self.ballots.keys().filter(|(_, subject)| *subject == Subject::Rotation(*old)).count();
        (given, self.needed_about(old))
    }

    /// What was approved of this key's rotation is void: its owner proposes another one.
    pub(crate) fn forget_approvals(&mut self, old: &AuthorId) {
        self.ballots.retain(|(_, subject), _| *subject != Subject::Rotation(*old));
    }

    /// Whether what this key is in the set can move to another key: not where nobody else votes, where it seals without a vote, or while the next close changes what it is.
    pub fn may_move(&self, key: &AuthorId) -> Result<(), Reason> {
        let votes = self.voters.contains(key);
        let stays = if votes { self.voters.len() > 1 } else { !self.sealers.contains(key) };
        if stays && !self.pending.contains_key(key) { Ok(()) } else { Err(Reason::Seat) }
    }

    /// Whether this key votes, seals, or is about to.
    pub(crate) fn has_seat(&self, key: &AuthorId) -> bool {
        self.voters.contains(key)
            || self.pending.contains_key(key)
            || self.sealers.contains(key)
            || self.office.contains(key)
    }

    /// Another key has taken this one's place. Its votes are void, and so are votes about it; if it votes, it leaves with the next close and the other one comes with the
    /// one after: the seat never counts twice, and each close changes one voter.
    pub(crate) fn rotate(&mut self, old: AuthorId, new: AuthorId) {
        self.ballots.retain(|(voter, subject), _| {
            *voter != old && ![Subject::Member(old), Subject::Rotation(old)].contains(subject)
        });
        if self.voters.contains(&old) {
            self.set_voter(old, false);
            self.set_voter(new, true);
        }
    }

    /// A vote on a parameter.
    pub(crate) fn vote_parameter(&mut self, author: AuthorId, vote: &ParameterVote) -> Result<(), Reason> {
        let present = match vote.parameter {
            Parameter::IntervalMs => self.interval_ms,
            Parameter::BlockChanges => self.block_changes,
        };
        let subject = Subject::Parameter(vote.parameter);
        let needed = two_thirds(self.voters.len());
        if self.ballot(author, vote.set, subject, vote.value, vote.value == present, needed)? {
            self.ballots.retain(|(_, other), _| *other != subject);
            match vote.parameter {
                Parameter::IntervalMs => self.interval_ms = vote.value,
                Parameter::BlockChanges => self.block_changes = vote.value,
            }
        }
        Ok(())
    }

    /// Whether a sealed vote of this author in this set is one.
    pub(crate) fn may_vote(&self, author: &AuthorId, set: SetNumber) -> Result<(), Reason> {
        if set != self.set {
            return Err(Reason::OtherSet);
        }
        if !self.voters.contains(author) {
            return Err(Reason::NotVoter);
        }
        Ok(())
    }

    /// The sealer ends the set with the block that is being executed.
    pub(crate) fn close(
        &mut self,
        author: &AuthorId,
        set: SetNumber,
        accounts: &Accounts,
        rules: Rules,
    ) -> Result<(), Reason> {
        if set != self.set {
            return Err(Reason::OtherSet);
        }
        if !self.sealers.contains(author) {
            return Err(Reason::NotSealer);
        }
        if self.pending.is_empty() || self.closing {
            return Err(Reason::NothingPending);
        }
        if self.next_change(accounts, rules).is_none() {
            return Err(Reason::VoterCount);
        }
        self.closing = true;
        Ok(())
    }

    /// The block is executed. If it closed the set, the next one begins.
    pub(crate) fn end_block(&mut self, accounts: &Accounts, rules: Rules) {
        if !std::mem::take(&mut self.closing) {
            return;
        }
        if let Some((key, voter)) = self.next_change(accounts, rules) {
            self.pending.remove(&key);
            if voter {
                self.voters.insert(key);
                self.hand_over(key, accounts);
            } else {
                self.voters.remove(&key);
            }
        }
        self.set.0 += 1;
        self.office.clone_from(&self.sealers);
        self.ballots.clear();
    }

    /// A key that comes in another one's place seals if that one did.
    fn hand_over(&mut self, new: AuthorId, accounts: &Accounts) {
        let Some(old) = accounts.get(&new).predecessor() else { return };
        if !self.sealers.contains(&new)
            && let Some(place) = self.sealers.iter().position(|sealer| *sealer == old)
        {
            self.sealers[place] = new;
            self.sealers.sort_unstable();
        }
    }

    /// How many votes about this key decide.
    fn needed_about(&self, key: &AuthorId) -> usize {
        let voters = self.voters.len();
        // Nobody needs its own consent to leave.
        if self.voters.contains(key) { two_thirds(voters).min((voters - 1).max(1)) } else { two_thirds(voters) }
    }

    /// Writes a ballot down and tells whether it decides.
    fn ballot(
        &mut self,
        author: AuthorId,
        set: SetNumber,
        subject: Subject,
        choice: u64,
        is_so: bool,
        needed: usize,
    ) -> Result<bool, Reason> {
        self.may_vote(&author, set)?;
        let key = (author, subject);
        if is_so {
            // Whoever is content with what is so takes its vote back.
            return if self.ballots.remove(&key).is_some() { Ok(false) } else { Err(Reason::NoChange) };
        }
        let open = self.ballots.keys().filter(|(voter, _)| *voter == author).count();
        if open >= MAX_BALLOTS && !self.ballots.contains_key(&key) {
            return Err(Reason::TooManyBallots);
        }
        self.ballots.insert(key, choice);
        let alike = self.ballots.iter().filter(|((_, other), value)| *other == subject && **value == choice).count();
        Ok(alike >= needed)
    }

    fn will_vote(&self, key: &AuthorId) -> bool {
        self.pending.get(key).copied().unwrap_or_else(|| self.voters.contains(key))
    }

    /// The change that the next close carries out: the first by key that leaves the set with a voter and not too many, those who leave before those who
    /// come, so that a sealer that failed does not stay while others join. Of those who come the keys in others' places go first: nobody else takes the seat. Of those who leave whoever
    /// was replaced or frozen goes first, and a rotated key first where no other voter would be left: it counts for nothing any more, and does not become the last one. (By the rules before
    /// [`Rules::FailedFirst`] it always goes first.)
    fn next_change(&self, accounts: &Accounts, rules: Rules) -> Option<(AuthorId, bool)> {
        let count = self.voters.len();
        let fits = |voter: bool| if voter { count < MAX_VOTERS } else { count > 1 };
        let is_rotated = |key: &AuthorId| accounts.get(key).successor().is_some();
        let moves = |key: &AuthorId, voter: bool| {
            if voter { accounts.get(key).predecessor().is_some() } else { is_rotated(key) }
        };
        let others_stay = || self.voters.iter().filter(|key| !is_rotated(key)).nth(1).is_some();
        let failed_first = rules >= Rules::FailedFirst && others_stay();
        let pending = self.pending.iter().map(|(key, voter)| (*key, *voter)).filter(|(_, voter)| fits(*voter));
        pending.min_by_key(|(key, voter)| (*voter, moves(key, *voter) == (failed_first && !*voter), *key))
    }

    fn next_count(&self) -> usize {
        let (more, less): (Vec<bool>, Vec<bool>) = self.pending.values().partition(|voter| **voter);
        self.voters.len() + more.len() - less.len()
    }

    fn set_voter(&mut self, key: AuthorId, voter: bool) {
        if self.voters.contains(&key) == voter {
            self.pending.remove(&key);
        } else {
            self.pending.insert(key, voter);
        }
    }
}

fn safe(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.varint()? {
        number if number <= MAX_SAFE => Ok(number),
        _ => Err(DecodeError::Rule("a number exceeds 2^53 - 1")),
    }
}

fn key(reader: &mut Reader<'_>) -> Result<AuthorId, DecodeError> {
    AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not acceptable"))
}

fn keys(reader: &mut Reader<'_>) -> Result<Vec<AuthorId>, DecodeError> {
    let keys: BTreeMap<AuthorId, ()> = ascending(reader, 32, MAX_VOTERS, |reader| Ok((key(reader)?, ())))?;
    Ok(keys.into_keys().collect())
}

/// At most `most` pairs of at least `least` bytes each, whose first parts strictly ascend.
fn ascending<K: Ord, V>(
    reader: &mut Reader<'_>,
    least: usize,
    most: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<(K, V), DecodeError>,
) -> Result<BTreeMap<K, V>, DecodeError> {
    let count = reader.count(least)?;
    if count > most {
        return Err(DecodeError::Rule("a list is too long"));
    }
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let (key, value) = read(reader)?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::Rule("a list does not strictly ascend"));
        }
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Rotation;
    use crate::genesis::{Limits, MAX_BLOCK_CHANGES, MAX_INTERVAL_MS};
    use crate::names::Name;
    use bft_json_crdt::identity::Keypair;

    fn spec(admission: Admission) -> GroupSpec {
        GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![Keypair::from_seed(&[1; 32]).author()],
            admission,
            allocation: BTreeMap::new(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: Limits::default(),
        }
    }

    #[test]
    fn what_members_decided_reads_back_as_itself_and_in_no_other_way() {
        let key = |seed: u8| Keypair::from_seed(&[seed; 32]).author();
        let spec = spec(Admission::Closed);
        let mut governance = Governance::new(&spec);
        governance.voters = (1..5).map(key).collect();
        governance.pending = [(key(9), true), (key(2), false)].into();
        for (subject, choice) in [
            (Subject::Member(key(9)), 2),
            (Subject::Parameter(Parameter::BlockChanges), 77),
            (Subject::Rotation(key(4)), 1),
        ] {
            governance.ballots.insert((key(3), subject), choice);
        }
        let bytes = governance.encode();
        assert_eq!(Governance::decode(&bytes, &spec), Ok(governance.clone()));
        for at in 0..bytes.len() {
            assert!(Governance::decode(&bytes[..at], &spec).is_err());
            for flip in [1u8, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(other) = Governance::decode(&changed, &spec) {
                    assert_eq!(other.encode(), changed, "a second encoding passed");
                    assert_ne!(other.hash(), governance.hash());
                }
            }
        }
    }

    #[test]
    fn the_largest_decisions_fit_their_bound() {
        let key = |seed: usize| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&(seed as u64).to_be_bytes());
            Keypair::from_seed(&bytes).author()
        };
        let mut governance = Governance::new(&spec(Admission::Open));
        let all: Vec<AuthorId> = (0..MAX_PENDING).map(key).collect();
        governance.pending = all.iter().map(|key| (*key, true)).collect();
        governance.voters = all.iter().copied().take(MAX_VOTERS).collect();
        (governance.office, governance.sealers) = (all[..MAX_VOTERS].to_vec(), all[..MAX_VOTERS].to_vec());
        for voter in &governance.voters {
            for subject in &all[..MAX_BALLOTS] {
                governance.ballots.insert((*voter, Subject::Member(*subject)), MAX_SAFE);
            }
        }
        (governance.set, governance.epoch) = (SetNumber(MAX_SAFE), Epoch(MAX_SAFE));
        (governance.interval_ms, governance.block_changes) = (MAX_INTERVAL_MS, MAX_BLOCK_CHANGES);
        assert!(governance.encode().len() <= MAX_GOVERNANCE_BYTES);
    }

    #[test]
    fn a_rotated_key_does_not_become_the_last_voter() {
        let key = |seed: u8| Keypair::from_seed(&[seed; 32]).author();
        let mut accounts = Accounts::default();
        accounts.update(&key(3), |account| account.rotation = Some(Rotation::Rotated(key(9))));
        accounts.update(&key(9), |account| account.rotation = Some(Rotation::Succeeds(key(3))));
        let mut governance = Governance::new(&spec(Admission::Open));
        governance.pending = [(key(1), false), (key(3), false), (key(9), true)].into();
        for (voters, failed_first) in [(&[1, 2, 3][..], 1), (&[1, 3], 3)] {
            governance.voters = voters.iter().map(|voter| key(*voter)).collect();
            let next = |rules| governance.next_change(&accounts, rules);
            assert_eq!(next(Rules::Rotation), Some((key(3), false)), "{voters:?}");
            assert_eq!(next(Rules::FailedFirst), Some((key(failed_first), false)), "{voters:?}");
        }
        governance.pending.retain(|_, voter| *voter);
        governance.pending.insert(key(4), true);
        assert_eq!(governance.next_change(&accounts, Rules::FailedFirst), Some((key(9), true)));
    }

    #[test]
    fn it_takes_more_than_two_thirds_or_all_the_others() {
        let key = |seed: usize| Keypair::from_seed(&[seed as u8; 32]).author();
        for (count, electors, needed) in [(1, 1, 1), (2, 1, 1), (3, 2, 2), (4, 3, 3), (5, 4, 4), (6, 5, 5), (7, 6, 5)] {
            let voters: BTreeSet<AuthorId> = (0..count).map(key).collect();
            let office = [key(0)];
            let electorate = Electorate::new(SetNumber(0), &voters, &office);
            assert_eq!((electorate.electors.len(), electorate.needed), (electors, needed), "{count} voters");
            assert_eq!(electorate.elects(&key(0)), count == 1);
            // Two quorums of electors share more electors than a third of the voters, wherever there are four voters or more.
            assert!(count < 4 || 3 * (2 * needed - electors) > count);
            let stranger = Electorate::new(SetNumber(0), &voters, &[key(99)]);
            assert_eq!(stranger.electors.len(), count);
        }
    }
}
