//! The engine of the leader mode: it keeps the blocks that it hears of, extends the group's chain by the best of them, seals when it is this node's
//! turn, and follows the voters to another sealer.
//!
//! ```text
//! tree    the signed blocks that are known
//! judge   whether a block may extend the chain where it stands, and where an epoch starts
//! adopt   what arrives becomes the chain, if its rank is higher
//! office  sealing and voting
//! past    what this node may have sealed and must not seal again
//! quota   who may fill what is bounded
//! words   how far the voters' words reach
//! ```
//! Rules:
//! - Blocks rank by (recovery, set, epoch, height). The chain follows the highest rank whose every block is good.
//! - A block of a further epoch brings the votes it starts from and continues from the block that follows from them ([`crate::warrant::start`]).
//! - Epochs go on across sets. A set is in force until the first block of the next; that one brings the words of voters of the set in force that they hold its
//!   last block, or begins an epoch that they voted for: or a sealer whom the others are replacing could end the set on its own and outrank them.
//! - A voter that has voted for an epoch gives its word for no block of a lower one. It follows the chain all the same.
//! - A node whose copy may have been older than what it has told seals in no epoch in which it may have sealed already: it waits for the voters to begin another.
//! - Of a sealer that sealed one rank twice nothing more of that epoch is taken, but for the first block of a later set: it shows that the set in force is over. Voters
//!   give no word for what such a sealer made.
//! - Effects are to be carried out in their order; what is kept must be on disk before what follows it goes out.

mod adopt;
mod judge;
mod office;
mod past;
mod quota;
mod tree;
mod words;

use std::collections::BTreeMap;

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::block::{BlockId, Epoch, Height, Recovery, SetNumber};
use side_ledger::chain::Sealed;
use side_ledger::governance::Electorate;
use side_ledger::group::Group;

pub use self::office::{MAX_EPOCH_JUMP, NEAR};
use self::past::Past;
use self::quota::Beside;
use self::tree::Tree;
use crate::effect::{Effect, Office, Record, Refusal};
use crate::message::{ANSWER_BYTES, MAX_BLOCKS, MAX_HAVE, Message};
use crate::signed::{DoubleSeal, Hold, SignedBlock};

/// Most blocks that are kept although what they follow is not here: asking brings them again.
pub const MAX_ORPHANS: usize = 256;
/// Most blocks that are asked for at a time, of those that the latest ones wait for.
const MAX_ASKS: usize = 4;
/// Most places for known blocks beside the chain, a place for each kibibyte begun: those of a chain that was left, and what a lying sealer makes. Everybody who votes or
/// seals has an equal share, so that nobody takes another's.
pub const MAX_ASIDE: usize = 16_384;
/// The least share, also where so many vote that all shares together are more: the first block of an epoch fits that brings the votes of the largest set.
pub const MIN_ASIDE_OF_ONE: usize = 512;
/// Most places of all strangers together. Honest ones are sealers of sets that are not known here yet, while changes are missing: an answer's worth at a time.
pub const MAX_ASIDE_OF_STRANGERS: usize = 1_024;
/// Most proofs that are kept, one for each sealer and epoch.
pub const MAX_PROOFS: usize = 1024;
/// Most of them against one key: those of the present epoch and of the nearest ones.
pub const MAX_PROOFS_OF_ONE: usize = 16;

/// Whoever decides about the sealers now: the electors of the set that the last block was sealed under.
fn in_force(group: &Group) -> &Electorate {
    group.chain().tip().map_or(group.chain().electorate(), |tip| &tip.electorate)
}

/// Names what is proven against a sealer.
type Seat = (AuthorId, Recovery, SetNumber, Epoch);

fn seat(signed: &SignedBlock) -> Seat {
    let rank = signed.block().rank();
    (signed.signer(), rank.recovery, rank.set, rank.epoch)
}

/// The engine. See the [module](self).
pub struct Leader {
    keypair: Option<Keypair>,
    /// Whether this node seals when it is its turn. Not before a node that may have forgotten blocks has learnt them again.
    may_seal: bool,
    tree: Tree,
    /// Each voter's highest word.
    holds: BTreeMap<AuthorId, Hold>,
    proofs: BTreeMap<Seat, DoubleSeal>,
    past: Past,
    /// Counted when it is asked for.
    beside: Option<Beside>,
    /// When the last block was sealed here, by this node's clock.
    sealed_ms: Option<u64>,
}

impl Leader {
    /// An engine without blocks. With a key pair it seals, votes and gives its word where it is asked to.
    pub fn new(keypair: Option<Keypair>) -> Self {
        Self {
            keypair,
            may_seal: true,
            tree: Tree::default(),
            holds: BTreeMap::new(),
            proofs: BTreeMap::new(),
            past: Past::default(),
            beside: None,
            sealed_ms: None,
        }
    }

    /// Takes in what was kept, in the order in which it was, after the group has loaded its changes. Nothing of it is to be kept or told again, so no
    /// effects come out.
    pub fn restore(&mut self, group: &mut Group, records: impl IntoIterator<Item = Record>) {
        let mut effects = Vec::new();
        for record in records {
            match record {
                Record::Block(signed) => {
                    self.insert(group, signed, &mut effects);
                    // Block by block, as they came: what a sealer had sealed before it was convicted stays on the chain, and whoever gave its word for it keeps it.
                    self.advance(group, &mut effects);
                    effects.clear();
                }
                Record::Double(proof) => self.convict(group, proof, &mut effects),
                Record::Abstain(epoch) => self.past.abstain(epoch),
                // Of another mode.
                Record::Proposal(_) | Record::Final(_) | Record::Evidence(_) => {}
            }
        }
        self.advance(group, &mut effects);
    }

    /// A message came. An error is the sender's fault; effects may have come before it.
    pub fn hear(&mut self, group: &mut Group, message: Message) -> (Vec<Effect>, Option<Refusal>) {
        let mut effects = Vec::new();
        let mut fault = None;
        match message {
            Message::Blocks(blocks) => {
                for signed in blocks {
                    if Some(signed.signer()) == self.me() && signed.block().group == group.id() {
                        // Also if it is refused, or what it follows is not here.
                        self.past.sealed(signed.block().rank());
                    }
                    let mut offered = self.offer(group, signed.clone(), &mut effects);
                    if offered == Err(Refusal::Full) {
                        // What came before it may become the chain, and then this one stands upon its end.
                        self.advance(group, &mut effects);
                        offered = self.offer(group, signed, &mut effects);
                    }
                    if let Err(refusal) = offered {
                        fault = Some(refusal);
                        break;
                    }
                }
                self.advance(group, &mut effects);
                self.ask_missing(group, &mut effects);
            }
            Message::Hold(hold) => fault = self.hear_hold(group, hold, &mut effects).err(),
            Message::Double(proof) => {
                if proof.blocks()[0].block().group == group.id() {
                    self.convict(group, proof, &mut effects);
                } else {
                    fault = Some(Refusal::Group);
                }
            }
            // Answered by `answer`, to whoever asked.
            Message::Ask { .. } => {}
            Message::Proposal(_) | Message::Final(_) | Message::Evidence(_) => fault = Some(Refusal::Mode),
        }
        (effects, fault)
    }

    /// The group has more changes: blocks that waited for them may become the chain. Also to be called where the group put blocks back.
    pub fn changed(&mut self, group: &mut Group) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.advance(group, &mut effects);
        effects
    }

    /// What is to be asked for, of anybody: an answer may have been lost with its link.
    pub fn wanted(&self, group: &Group) -> Vec<Message> {
        let mut effects = Vec::new();
        self.ask_missing(group, &mut effects);
        let asks = effects.into_iter().filter_map(|effect| match effect {
            Effect::Ask(message) => Some(message),
            _ => None,
        });
        asks.collect()
    }

    /// What a node that has just connected is told.
    pub fn greet(&self, group: &Group) -> Vec<Message> {
        let tip = self.tree.get(&group.chain().tip_id()).map(|signed| Message::Blocks(vec![signed.clone()]));
        let proofs = self.proofs.values().cloned().map(Message::Double);
        // Whoever may not give its word does not repeat it either: it may have voted since.
        let silent = self.me().filter(|_| !self.may_seal);
        let holds = self.holds.values().filter(|hold| Some(hold.voter) != silent);
        tip.into_iter().chain(holds.copied().map(Message::Hold)).chain(proofs).collect()
    }

    /// The answer to [`Message::Ask`]: what leads to the block from what the asker has, lowest first. Whoever wants the group's origin is told the last block, or
    /// that there is none: a node that may have forgotten blocks asks so.
    pub fn answer(&self, group: &Group, want: &BlockId, have: &[BlockId]) -> Option<Message> {
        let chain = group.chain();
        if *want == BlockId::origin(group.id()) {
            return Some(Message::Blocks(self.tree.get(&chain.tip_id()).cloned().into_iter().collect()));
        }
        let wanted = self.tree.get(want)?;
        let mut ids: Vec<BlockId> = Vec::new();
        // Beside the chain step by step, on the chain by height.
        let mut at = wanted;
        while !self.on_chain(group, at) && !have.contains(&at.id()) && ids.len() < MAX_ASIDE {
            ids.push(at.id());
            match self.tree.get(&at.block().parent) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if self.on_chain(group, at) && !have.contains(&at.id()) {
            let top = at.block().height.0;
            let height = |id: &BlockId| {
                let signed = self.tree.get(id).filter(|signed| self.on_chain(group, signed))?;
                Some(signed.block().height.0).filter(|height| *height < top)
            };
            let low = have.iter().take(MAX_HAVE).filter_map(height).max().unwrap_or(0);
            // The lowest ones suffice: the asker asks again.
            let high = top.min(low + MAX_BLOCKS as u64);
            if high < top {
                ids.clear();
            }
            ids.extend((low + 1..=high).rev().filter_map(|height| chain.at(Height(height))).map(|sealed| sealed.id));
        }
        let mut bytes = 0;
        let mut blocks = Vec::new();
        for signed in ids.iter().rev().take(MAX_BLOCKS).filter_map(|id| self.tree.get(id)) {
            blocks.push(signed.clone());
            bytes += signed.encode().len();
            if bytes >= ANSWER_BYTES {
                break;
            }
        }
        Some(Message::Blocks(blocks))
    }

    /// How many voters of its set hold the block at this height of the chain, or one after it.
    pub fn holders(&self, group: &Group, height: Height) -> usize {
        let Some(sealed) = group.chain().at(height) else { return 0 };
        sealed.electorate.voters.iter().filter(|voter| self.holds_at(group, voter, height)).count()
    }

    /// Whether more than two thirds of the voters hold the block at this height: no switch by honest voters drops it any more.
    pub fn is_held(&self, group: &Group, height: Height) -> bool {
        let quorum = group.chain().at(height).map(|sealed| sealed.electorate.quorum);
        quorum.is_some_and(|quorum| self.holders(group, height) >= quorum)
    }

    /// Each voter's highest word, in the order of their keys.
    pub fn words(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Who seals and who decides about it.
    pub fn office(&self, group: &Group) -> Office {
        let (governance, electorate) = (group.chain().governance(), in_force(group));
        Office {
            set: electorate.set,
            epoch: governance.epoch,
            sealers: governance.sealers.clone(),
            voters: electorate.voters.len(),
            needed: electorate.needed,
            electors: electorate.electors.len(),
        }
    }

    /// The proofs against sealers that are held.
    pub fn proofs(&self) -> impl Iterator<Item = &DoubleSeal> {
        self.proofs.values()
    }

    /// How many blocks wait for others that are not here. At most [`MAX_ORPHANS`].
    pub fn waiting(&self) -> usize {
        self.tree.waiting()
    }

    /// A block that is known, on the chain or beside it.
    pub fn block(&self, id: &BlockId) -> Option<&SignedBlock> {
        self.tree.get(id)
    }

    fn holds_at(&self, group: &Group, voter: &AuthorId, height: Height) -> bool {
        self.holds.get(voter).is_some_and(|hold| {
            hold.rank.height >= height
                && group.chain().at(hold.rank.height).is_some_and(|sealed| sealed.id == hold.block)
        })
    }

    fn on_chain(&self, group: &Group, signed: &SignedBlock) -> bool {
        group.chain().at(signed.block().height).is_some_and(|sealed: &Sealed| sealed.id == signed.id())
    }

    /// Where this node's own votes bind it: to no epoch below this one.
    fn bound(&self, group: &Group) -> Epoch {
        let own = self.keypair.as_ref().and_then(|keypair| group.ledger().last_voted(&keypair.author()));
        own.unwrap_or_default()
    }
}
