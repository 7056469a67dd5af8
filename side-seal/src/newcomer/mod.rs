//! The state first: how somebody who has no history yet comes to the ledger state of a block that is the group's, from its invitation's checkpoint or the genesis
//! (docs/protocol.md, section "Catch-up by state").
//!
//! ```text
//!  newcomer ── ask ──▶ member      from the checkpoint
//!           ◀─ state ─             steps, block, seal, decisions, roots of the pieces of the accounts: checked before anything is believed
//!           ── want ─▶
//!           ◀─ piece ─             checked against its root, whoever sends it
//! ```
//! Rules:
//! - One member is asked at a time. Whoever answers with something that is not good is charged, and another one is asked; what was good stays.
//! - While the history is missing the state is asked for again, and of its pieces only those that have changed. So the first cost follows the state, and the next ones what has changed of it.
//! - Nothing here executes a block: what is shown is what the voters' words or a certificate of finality vouch for. Once the history is here, executing it has to come to the same
//!   block ([`Newcomer::compare`]); until then the node neither seals nor votes.

mod message;
mod serve;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bft_json_crdt::identity::AuthorId;
use side_ledger::accounts::Account;
use side_ledger::block::{Block, BlockId};
use side_ledger::genesis::Genesis;
use side_ledger::governance::Governance;
use side_ledger::group::Group;
use side_ledger::invitation::Checkpoint;
use side_ledger::merkle::Hash;
use side_ledger::snapshot::{PIECE, Piece};
use thiserror::Error;

pub use self::message::{MAX_WANTED, StateMessage, StateOffer};
pub use self::serve::serve;
use crate::certificate::{CertificateFault, Follower, Standing};
use crate::signed::SignedError;

/// After how long without an answer another member is asked, in ms.
pub const PATIENCE_MS: u64 = 5_000;
/// After how long the state is asked for again while the history is missing, in ms.
pub const REFRESH_MS: u64 = 2_000;
/// How often a state may move on while not one piece of it comes, before another member is asked.
pub const MAX_MOVED: u32 = 8;

/// Why an answer is not good. Its sender is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateFault {
    /// The bytes are no message.
    #[error(transparent)]
    Message(#[from] SignedError),
    /// The block is not shown to be the group's.
    #[error("the state's block is not shown to be the group's: {0}")]
    Certificate(#[from] CertificateFault),
    /// The opening of the checkpoint is missing, or there is one where none was asked for.
    #[error("the state does not begin where it was asked to")]
    Anchor,
    /// The block lies below the checkpoint.
    #[error("the state is older than the checkpoint")]
    Old,
    /// The pieces are not those of the state.
    #[error("the pieces are not those of the state")]
    Manifest,
    /// A piece is not what its root says.
    #[error("a piece of the state is not what it has to be")]
    Piece,
}

/// A ledger state that is the group's, as a newcomer shows it.
#[derive(Debug, Clone)]
pub struct View {
    /// The block.
    pub block: Block,
    /// Its id.
    pub id: BlockId,
    /// How it stands with it.
    pub standing: Standing,
    /// What members had decided after it.
    pub governance: Governance,
    /// How many changes were sealed up to it: what the history has to have at least.
    pub changes: u64,
    accounts: HashMap<AuthorId, Account>,
}

impl View {
    /// What the ledger knows of a key.
    pub fn account(&self, key: &AuthorId) -> Account {
        self.accounts.get(key).copied().unwrap_or_default()
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// All accounts, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (&AuthorId, &Account)> {
        self.accounts.iter()
    }
}

/// What one's own chain says about the state that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// It has not come so far.
    Behind,
    /// It came to the same block, and so to the same state root.
    Same,
    /// It has another block there.
    Other(BlockId),
}

/// A state that is being fetched. Its block is the group's, and its pieces' roots are those of the block.
#[derive(Debug)]
struct Target {
    offer: StateOffer,
    id: BlockId,
    standing: Standing,
}

/// Who is asked now.
#[derive(Debug)]
struct Source {
    member: u64,
    /// When it last said something good, or was asked.
    since: u64,
    doing: Doing,
}

#[derive(Debug)]
enum Doing {
    /// It was asked for the state, beginning with this block.
    Asking(BlockId),
    /// It was asked for these pieces.
    Fetching(BTreeSet<usize>),
}

/// The newcomer. A value: what comes from members and the time go in, messages for members come out. See the [module](self).
#[derive(Debug)]
pub struct Newcomer {
    genesis: Genesis,
    checkpoint: Option<Checkpoint>,
    /// Members that can be asked, by the caller's numbers.
    members: BTreeSet<u64>,
    /// Those that could not serve from the checkpoint; they are asked from the genesis.
    from_genesis: BTreeSet<u64>,
    source: Option<Source>,
    /// Who was asked in vain since the last rest.
    tried: BTreeSet<u64>,
    target: Option<Target>,
    /// Good pieces of the target, or of a state before it that has the same.
    pieces: BTreeMap<usize, (Hash, Piece)>,
    /// Pieces that came since the view was made, and keys of those that went.
    fetched: Vec<usize>,
    dropped: Vec<AuthorId>,
    /// How often the target has moved on since the last good piece came.
    moved: u32,
    view: Option<View>,
    /// When to ask for the state again.
    refresh_ms: u64,
}

/// What is to be sent to whom.
pub type Post = (u64, Vec<u8>);

impl Newcomer {
    /// Somebody who knows the genesis and, from its invitation, a block.
    pub fn new(genesis: Genesis, checkpoint: Option<Checkpoint>) -> Self {
        Self {
            genesis,
            checkpoint,
            members: BTreeSet::new(),
            from_genesis: BTreeSet::new(),
            source: None,
            tried: BTreeSet::new(),
            target: None,
            pieces: BTreeMap::new(),
            fetched: Vec::new(),
            dropped: Vec::new(),
            moved: 0,
            view: None,
            refresh_ms: 0,
        }
    }

    /// The last state that is whole.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// How many pieces of the state that was asked for last are here, and how many it has.
    pub fn progress(&self) -> Option<(usize, usize)> {
        self.target.as_ref().map(|target| (self.pieces.len(), target.offer.manifest.0.len()))
    }

    /// Whether the first state is being fetched, so that nothing else should be in its way.
    pub fn comes_first(&self) -> bool {
        self.view.is_none() && self.source.is_some()
    }

    /// A member can be asked.
    pub fn joined(&mut self, member: u64, now_ms: u64) -> Option<Post> {
        self.members.insert(member);
        if self.view.is_none() && self.source.is_none() { self.ask(member, now_ms) } else { None }
    }

    /// A member is gone.
    pub fn left(&mut self, member: u64, now_ms: u64) -> Option<Post> {
        self.members.remove(&member);
        self.from_genesis.remove(&member);
        let asked = self.source.as_ref().is_some_and(|source| source.member == member);
        if asked { self.ask_another(member, now_ms) } else { None }
    }

    /// When to call [`Newcomer::tick`] next, if nothing happens before.
    pub fn deadline(&self) -> Option<u64> {
        match &self.source {
            Some(source) => Some(source.since.saturating_add(PATIENCE_MS)),
            None => (!self.members.is_empty()).then_some(self.refresh_ms),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Option<Post> {
        match &self.source {
            Some(source) if now_ms >= source.since.saturating_add(PATIENCE_MS) => {
                let member = source.member;
                self.ask_another(member, now_ms)
            }
            None if now_ms >= self.refresh_ms => {
                let first = *self.members.first()?;
                self.ask(first, now_ms)
            }
            _ => None,
        }
    }

    /// A member answered. An error is its fault, and whatever else it says is not listened to; another one is asked.
    pub fn hear(&mut self, member: u64, bytes: &[u8], now_ms: u64) -> (Option<Post>, Option<StateFault>) {
        if self.source.as_ref().is_none_or(|source| source.member != member) {
            // It comes too late: somebody else was asked.
            return (None, None);
        }
        match self.take(member, bytes, now_ms) {
            Ok(post) => (post, None),
            Err(fault) => {
                self.members.remove(&member);
                (self.ask_another(member, now_ms), Some(fault))
            }
        }
    }

    /// What one's own chain says about the last state that was shown. Equal blocks have equal state roots, and the chain has executed its own.
    pub fn compare(&self, group: &Group) -> Agreement {
        let Some(view) = &self.view else { return Agreement::Behind };
        match group.chain().at(view.block.height) {
            None => Agreement::Behind,
            Some(sealed) if sealed.id == view.id => Agreement::Same,
            Some(sealed) => Agreement::Other(sealed.id),
        }
    }

    fn take(&mut self, member: u64, bytes: &[u8], now_ms: u64) -> Result<Option<Post>, StateFault> {
        let Some(Source { doing, .. }) = &mut self.source else { return Ok(None) };
        // What was not asked for is not even read: reading checks signatures.
        let tag = StateMessage::tag(bytes);
        match doing {
            Doing::Asking(from) => {
                let from = *from;
                match tag {
                    Some(StateMessage::STATE) => {
                        let StateMessage::State(offer) = StateMessage::decode(bytes, self.genesis.spec())? else {
                            return Ok(None);
                        };
                        self.take_state(from, *offer)?;
                        Ok(self.fetch(member, now_ms))
                    }
                    Some(StateMessage::NOTHING) => {
                        let nothing = StateMessage::decode(bytes, self.genesis.spec())?;
                        Ok(self.take_nothing(member, from, &nothing, now_ms))
                    }
                    _ => Ok(None),
                }
            }
            Doing::Fetching(wanted) => match StateMessage::decode(bytes, self.genesis.spec())? {
                StateMessage::Piece { block, number, bytes } => {
                    let Some(target) = self.target.as_ref().filter(|target| target.id == block) else {
                        return Ok(None);
                    };
                    if !wanted.remove(&number) {
                        return Ok(None);
                    }
                    let (root, piece) = target.check(number, &bytes)?;
                    let done = wanted.is_empty();
                    self.pieces.insert(number, (root, piece));
                    self.fetched.push(number);
                    self.moved = 0;
                    if let Some(source) = &mut self.source {
                        source.since = now_ms;
                    }
                    Ok(if done { self.fetch(member, now_ms) } else { None })
                }
                StateMessage::Nothing(about) if self.target.as_ref().is_some_and(|target| target.id == about) => {
                    // The state has moved on. What is the same in the next one stays.
                    self.moved += 1;
                    Ok(if self.moved < MAX_MOVED { self.ask(member, now_ms) } else { self.ask_another(member, now_ms) })
                }
                _ => Ok(None),
            },
        }
    }

    /// Takes in the state of a block.
    fn take_state(&mut self, from: BlockId, offer: StateOffer) -> Result<(), StateFault> {
        let checkpoint = self.checkpoint.filter(|checkpoint| checkpoint.block == from);
        let mut follower = match (checkpoint, &offer.anchor) {
            (None, None) => Follower::genesis(&self.genesis),
            (Some(checkpoint), Some(opening)) => Follower::checkpoint(&self.genesis, &checkpoint, opening)?,
            _ => return Err(StateFault::Anchor),
        };
        for step in &offer.steps {
            follower.step(step)?;
        }
        let standing = follower.judge(&offer.seal)?;
        let block = offer.seal.block();
        offer.opening.check(&block.state_root)?;
        if !offer.manifest.check(&offer.opening.state) {
            return Err(StateFault::Manifest);
        }
        if self.checkpoint.is_some_and(|checkpoint| block.rank() < checkpoint.rank) {
            return Err(StateFault::Old);
        }
        // A member may be behind the one that was asked before.
        if self.target.as_ref().is_none_or(|target| block.rank() >= target.offer.seal.block().rank()) {
            let roots = &offer.manifest.0;
            self.pieces.retain(|number, (root, piece)| {
                let same = roots.get(*number) == Some(root);
                if !same {
                    self.dropped.extend(piece.0.iter().map(|(key, _)| *key));
                }
                same
            });
            let id = block.id().map_err(|_| StateFault::Manifest)?;
            self.target = Some(Target { offer, id, standing });
        }
        Ok(())
    }

    /// A member has nothing of what it was asked for.
    fn take_nothing(&mut self, member: u64, from: BlockId, nothing: &StateMessage, now_ms: u64) -> Option<Post> {
        let StateMessage::Nothing(about) = nothing else { return None };
        if self.view.as_ref().is_some_and(|view| view.id == *about) {
            self.rest(now_ms);
            None
        } else if *about != from {
            None
        } else if *about == BlockId::origin(self.genesis.id()) {
            self.ask_another(member, now_ms)
        } else {
            self.from_genesis.insert(member);
            self.ask(member, now_ms)
        }
    }

    /// Asks a member for the state.
    fn ask(&mut self, member: u64, now_ms: u64) -> Option<Post> {
        let checkpoint = self.checkpoint.as_ref().filter(|_| !self.from_genesis.contains(&member));
        let from = checkpoint.map_or(BlockId::origin(self.genesis.id()), |checkpoint| checkpoint.block);
        let known = self.view.as_ref().map(|view| view.id);
        self.source = Some(Source { member, since: now_ms, doing: Doing::Asking(from) });
        Some((member, StateMessage::Ask { from, known }.encode()))
    }

    /// Asks somebody else than this one; once everybody was asked in vain, nobody for a while.
    fn ask_another(&mut self, member: u64, now_ms: u64) -> Option<Post> {
        self.tried.insert(member);
        match self.members.iter().find(|other| !self.tried.contains(other)).copied() {
            Some(next) => self.ask(next, now_ms),
            None => {
                self.rest(now_ms);
                None
            }
        }
    }

    fn rest(&mut self, now_ms: u64) {
        (self.source, self.moved) = (None, 0);
        self.tried.clear();
        self.refresh_ms = now_ms.saturating_add(REFRESH_MS);
    }

    /// Asks for pieces that are missing, or shows the state once it is whole.
    fn fetch(&mut self, member: u64, now_ms: u64) -> Option<Post> {
        let target = self.target.as_ref()?;
        let count = target.offer.manifest.0.len();
        let numbers: Vec<usize> =
            (0..count).filter(|number| !self.pieces.contains_key(number)).take(MAX_WANTED).collect();
        if numbers.is_empty() {
            self.show(now_ms);
            return None;
        }
        let doing = Doing::Fetching(numbers.iter().copied().collect());
        self.source = Some(Source { member, since: now_ms, doing });
        Some((member, StateMessage::Want { block: target.id, numbers }.encode()))
    }
}

impl Newcomer {
    /// The target is whole: it is what is shown from now on. Costs by what has changed.
    fn show(&mut self, now_ms: u64) {
        let Some(target) = &self.target else { return };
        let mut accounts = self.view.take().map(|view| view.accounts).unwrap_or_default();
        for key in self.dropped.drain(..) {
            accounts.remove(&key);
        }
        let fetched = self.fetched.drain(..).filter_map(|number| self.pieces.get(&number));
        accounts.extend(fetched.flat_map(|(_, piece)| piece.0.iter().copied()));
        self.view = Some(View {
            block: target.offer.seal.block().clone(),
            id: target.id,
            standing: target.standing,
            governance: target.offer.opening.governance.clone(),
            changes: target.offer.opening.state.changes,
            accounts,
        });
        self.rest(now_ms);
    }
}

impl Target {
    /// A piece, if it is the one with this number.
    fn check(&self, number: usize, bytes: &[u8]) -> Result<(Hash, Piece), StateFault> {
        let root = *self.offer.manifest.0.get(number).ok_or(StateFault::Piece)?;
        let piece = Piece::decode(bytes).ok().filter(|piece| piece.root() == root).ok_or(StateFault::Piece)?;
        let left = self.offer.opening.state.accounts.saturating_sub((number * PIECE) as u64);
        // A root does not tell of how many leaves it is.
        if piece.0.len() as u64 == left.min(PIECE as u64) { Ok((root, piece)) } else { Err(StateFault::Piece) }
    }
}
