//! One interface over both modes of sealing. Which one a group has is told by its genesis.

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::block::{Block, BlockId, Epoch, Height, Rank};
use side_ledger::genesis::{Genesis, Sealing};
use side_ledger::group::Group;
use side_ledger::transaction::SealersVote;

use crate::bft::Bft;
use crate::bft::certificate::Certificate;
use crate::bft::evidence::Offence;
use crate::bft::request::Request;
use crate::bft::seat::Seat;
use crate::effect::{Effect, Guilt, Office, Record, Refusal, VoteError};
use crate::leader::Leader;
use crate::message::Message;

/// The engine of a group: events and the time go in, effects come out, to be carried out in their order.
pub enum Engine {
    /// One sealer, whom the voters can replace.
    Leader(Box<Leader>),
    /// Four or more sealers agree on each block.
    Bft(Box<Bft>),
}

impl Engine {
    /// The engine of the group of `genesis`, without blocks. With a key pair it takes part where that is asked for.
    pub fn new(genesis: &Genesis, keypair: Option<Keypair>) -> Self {
        match genesis.spec().sealing {
            Sealing::Leader { .. } => Self::Leader(Box::new(Leader::new(keypair))),
            Sealing::Bft { .. } => Self::Bft(Box::new(Bft::new(keypair))),
        }
    }

    /// Takes in what was kept, in the order in which it was, after the group has loaded its changes. Nothing of it is to be kept or told again.
    pub fn restore(&mut self, group: &mut Group, records: impl IntoIterator<Item = Record>) {
        match self {
            Self::Leader(leader) => leader.restore(group, records),
            Self::Bft(bft) => bft.restore(group, records),
        }
    }

    /// Says whether this node seals, proposes and votes on blocks. A node whose disk may be older than what it has told must not. Afterwards it seals (in BFT mode: takes
    /// part) only in the epochs after the present one, also after a restart.
    pub fn set_sealing(&mut self, group: &Group, may_seal: bool) -> Vec<Effect> {
        match self {
            Self::Leader(leader) => leader.set_sealing(group, may_seal),
            Self::Bft(bft) => bft.set_sealing(group, may_seal),
        }
    }

    /// The owner says that nothing was forgotten. In BFT mode nobody knows what the agreement has voted, so there it is as if it had been learnt.
    pub fn trust(&mut self, group: &Group) -> Vec<Effect> {
        match self {
            Self::Leader(leader) => {
                leader.trust();
                Vec::new()
            }
            Self::Bft(bft) => bft.set_sealing(group, true),
        }
    }

    /// Others show something of this rank under this node's signature that it has forgotten. In BFT mode nothing of a rank is under its signature alone.
    pub fn shown(&mut self, rank: Rank) {
        if let Self::Leader(leader) = self {
            leader.shown(rank);
        }
    }

    /// Whether this node is the sealer and waits for the voters to begin another epoch, since it may have sealed in this one what it has forgotten (leader mode).
    pub fn abstains(&self, group: &Group) -> bool {
        match self {
            Self::Leader(leader) => leader.abstains(group),
            Self::Bft(_) => false,
        }
    }

    /// A message came. An error is the sender's fault; effects may have come before it. Asks are answered by [`Engine::answer`].
    pub fn hear(&mut self, group: &mut Group, message: Message) -> (Vec<Effect>, Option<Refusal>) {
        match self {
            Self::Leader(leader) => leader.hear(group, message),
            Self::Bft(bft) => bft.hear(group, message),
        }
    }

    /// Whether a message is to be kept and heard once it is not early any more: see [`Bft::is_early`].
    pub fn is_early(&self, group: &Group, message: &Message) -> bool {
        match self {
            Self::Leader(_) => false,
            Self::Bft(bft) => bft.is_early(group, message),
        }
    }

    /// The group has more changes. Also to be called where the group put blocks back.
    pub fn changed(&mut self, group: &mut Group) -> Vec<Effect> {
        match self {
            Self::Leader(leader) => leader.changed(group),
            Self::Bft(bft) => bft.changed(group),
        }
    }

    /// When to call [`Engine::tick`] next, in ms, if nothing else happens before. To be asked again after every other call.
    pub fn deadline(&self, group: &Group) -> Option<u64> {
        match self {
            Self::Leader(leader) => leader.deadline(group),
            Self::Bft(bft) => bft.deadline(group),
        }
    }

    /// Time has passed: seals, proposes or asks if it is time to. In leader mode also to be called after votes came.
    pub fn tick(&mut self, group: &mut Group, now_ms: u64) -> Vec<Effect> {
        match self {
            Self::Leader(leader) => leader.tick(group, now_ms),
            Self::Bft(bft) => bft.tick(group, now_ms),
        }
    }

    /// What a node that has just connected is told.
    pub fn greet(&self, group: &Group) -> Vec<Message> {
        match self {
            Self::Leader(leader) => leader.greet(group),
            Self::Bft(bft) => bft.greet(),
        }
    }

    /// The answer to [`Message::Ask`], for whoever asked.
    pub fn answer(&self, group: &Group, want: &BlockId, have: &[BlockId]) -> Option<Message> {
        match self {
            Self::Leader(leader) => leader.answer(group, want, have),
            Self::Bft(bft) => bft.answer(group, want, have),
        }
    }

    /// Who seals and who decides about it.
    pub fn office(&self, group: &Group) -> Office {
        match self {
            Self::Leader(leader) => leader.office(group),
            Self::Bft(bft) => bft.office(group),
        }
    }

    /// The height of the last final block; `None` in leader mode, where nothing is final.
    pub fn final_height(&self, group: &Group) -> Option<Height> {
        match self {
            Self::Leader(_) => None,
            Self::Bft(bft) => Some(bft.final_height(group)),
        }
    }

    /// How many voters (in BFT mode: sealers) are known to hold the block at this height, or one after it.
    pub fn holders(&self, group: &Group, height: Height) -> usize {
        match self {
            Self::Leader(leader) => leader.holders(group, height),
            Self::Bft(bft) => bft.holders(height),
        }
    }

    /// Up to which height of the chain this voter has given its word; 0 if it has given none. In BFT mode nobody gives any beside the certificates.
    pub fn word_of(&self, group: &Group, voter: &AuthorId) -> Height {
        match self {
            Self::Leader(leader) => leader.word_of(group, voter),
            Self::Bft(_) => Height(0),
        }
    }

    /// The height of the last block that nobody drops any more.
    pub fn held_height(&self, group: &Group) -> Height {
        match self {
            Self::Leader(leader) => leader.held_height(group),
            Self::Bft(bft) => bft.final_height(group),
        }
    }

    /// What is to be asked for, of anybody: an answer may have been lost with its link. In BFT mode ticks ask again.
    pub fn wanted(&self, group: &Group) -> Vec<Message> {
        match self {
            Self::Leader(leader) => leader.wanted(group),
            Self::Bft(_) => Vec::new(),
        }
    }

    /// Who signed a known block. In BFT mode nobody does alone.
    pub fn signer(&self, id: &BlockId) -> Option<AuthorId> {
        match self {
            Self::Leader(leader) => leader.block(id).map(|signed| signed.signer()),
            Self::Bft(_) => None,
        }
    }

    /// Whether nobody drops the block at this height any more: more than two thirds hold it; in BFT mode it is final.
    pub fn is_held(&self, group: &Group, height: Height) -> bool {
        match self {
            Self::Leader(leader) => leader.is_held(group, height),
            Self::Bft(bft) => height.0 > 0 && height <= bft.final_height(group),
        }
    }

    /// A block that is known, on the chain or beside it.
    pub fn block(&self, id: &BlockId) -> Option<&Block> {
        match self {
            Self::Leader(leader) => leader.block(id).map(|signed| signed.block()),
            Self::Bft(bft) => bft.block(id),
        }
    }

    /// What is proven against sealers.
    pub fn proofs(&self) -> Vec<Guilt> {
        match self {
            Self::Leader(leader) => leader
                .proofs()
                .map(|proof| Guilt {
                    sealer: proof.signer(),
                    offence: Offence::DoubleSeal,
                    epoch: proof.rank().epoch,
                    place: proof.rank().height.0,
                })
                .collect(),
            Self::Bft(bft) => bft.proofs().collect(),
        }
    }

    /// The vote that somebody else shall seal (in BFT mode: that an epoch shall begin that this sealer leads first), to be written into the group as a
    /// transaction.
    pub fn vote(&self, group: &Group, sealer: AuthorId) -> Result<SealersVote, VoteError> {
        match self {
            Self::Leader(leader) => leader.vote(group, sealer),
            Self::Bft(bft) => bft.vote(group, sealer),
        }
    }

    /// The vote that this node writes unasked: for a further epoch that begins as the present one did, where this node or another sealer takes no part in the present
    /// one. Never in leader mode.
    pub fn renewal(&self, group: &Group) -> Option<SealersVote> {
        match self {
            Self::Leader(_) => None,
            Self::Bft(bft) => bft.renewal(group),
        }
    }

    /// The epoch up to which this sealer takes no part, because an older life of it may have voted there; `None` if it may take part in the present one, or is no
    /// sealer of it. Never in leader mode.
    pub fn stays_out(&self, group: &Group) -> Option<Epoch> {
        match self {
            Self::Leader(_) => None,
            Self::Bft(bft) => bft.stays_out(group),
        }
    }

    /// Whether this node has stopped following, since what is final contradicts itself. Never in leader mode.
    pub fn is_halted(&self) -> bool {
        match self {
            Self::Leader(_) => false,
            Self::Bft(bft) => bft.is_halted(),
        }
    }

    /// Whether this node should write `set.close` now.
    pub fn wants_close(&self, group: &Group) -> bool {
        match self {
            Self::Leader(leader) => leader.wants_close(group),
            Self::Bft(bft) => bft.wants_close(group),
        }
    }

    /// The epoch for which this node is to run simplex now; never in leader mode. Ask after each call that may have extended the chain.
    pub fn seat(&self, group: &Group) -> Option<Seat> {
        match self {
            Self::Leader(_) => None,
            Self::Bft(bft) => bft.seat(group),
        }
    }

    /// The certificate of the highest view of the present epoch, for simplex to begin with.
    pub fn latest(&self) -> Option<&Certificate> {
        match self {
            Self::Leader(_) => None,
            Self::Bft(bft) => bft.latest(),
        }
    }

    /// The agreement (simplex) asks or tells something. In leader mode nothing does.
    pub fn request(&mut self, group: &mut Group, request: Request, now_ms: u64) -> (Vec<Effect>, Option<Refusal>) {
        match self {
            Self::Leader(_) => (Vec::new(), Some(Refusal::Mode)),
            Self::Bft(bft) => bft.request(group, request, now_ms),
        }
    }

    /// The key that a node goes on under which signs with `key`: the one that has taken its place, once that has all of it in a block that is final, or held by more
    /// than two thirds of the voters. Such a block stays, so nobody needs the old key any more.
    ///
    /// That need not be the last block: where the new key votes and every voter's word is needed, no later one is held before the node goes on.
    pub fn successor(&self, group: &Group, key: &AuthorId) -> Option<AuthorId> {
        let chain = group.chain();
        let new = chain.replaced(key)?;
        let stands = match self {
            Self::Leader(leader) => {
                leader.is_held(group, chain.height()) || chain.seat_had_moved(key, leader.held_height(group))
            }
            Self::Bft(bft) => bft.final_height(group) >= chain.height(),
        };
        stands.then_some(new)
    }

    /// The number of the present epoch.
    pub fn epoch(&self, group: &Group) -> Epoch {
        self.office(group).epoch
    }
}
