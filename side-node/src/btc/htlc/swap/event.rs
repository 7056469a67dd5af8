//! What a swap is told, and what it asks for: events, observations of the chain, effects, messages and notices.

use std::fmt;

use bitcoin::absolute::Height;
use bitcoin::consensus::encode;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::margins::FeeRates;
use super::super::secrets::Preimage;
use super::super::terms::{Acceptance, Offer};

/// Most outputs at a lock's script that one observation carries. Anyone can pay there, so that a hostile payer could make many.
pub const MAX_LOCKS_SEEN: usize = 32;
/// Most bytes of a transaction that is taken in: what relays pass on as standard (400,000 weight units).
pub const MAX_TRANSACTION_BYTES: usize = 400_000;

/// Names a swap: the id of the offer that it grew from, as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwapId([u8; 32]);

impl SwapId {
    /// The id of the swap that grows from this offer.
    pub fn of(offer: &Offer) -> Self {
        Self(offer.id())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SwapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SwapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwapId({self})")
    }
}

impl std::str::FromStr for SwapId {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for SwapId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SwapId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A transaction that serializes as the hex of its consensus encoding, at most [`MAX_TRANSACTION_BYTES`]. `Debug` shows its id alone, since the witness of
/// a claim that is not broadcast yet holds the preimage.
#[derive(Clone, PartialEq, Eq)]
pub struct RawTransaction(pub Transaction);

impl fmt::Debug for RawTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawTransaction({})", self.0.compute_txid())
    }
}

impl Serialize for RawTransaction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode::serialize_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for RawTransaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > 2 * MAX_TRANSACTION_BYTES {
            return Err(de::Error::custom("the transaction is longer than what is relayed"));
        }
        encode::deserialize_hex(&text).map(Self).map_err(de::Error::custom)
    }
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Known to the servers, in no block yet.
    Mempool,
    /// In the block of this height of the best chain. Only to be said when headers and a merkle proof show it.
    Confirmed(Height),
}

impl Place {
    /// Confirmations, seen from this tip: 1 in the tip itself, 0 in the mempool.
    pub fn depth(self, tip: Height) -> u32 {
        match self {
            Self::Mempool => 0,
            Self::Confirmed(height) => (tip.to_consensus_u32() + 1).saturating_sub(height.to_consensus_u32()),
        }
    }
}

/// An output at the lock's script, and what spends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSeen {
    /// The whole transaction that makes the output: script and amount are read from it, never taken on trust.
    pub transaction: Transaction,
    /// Which of its outputs.
    pub vout: u32,
    /// Where it stands.
    pub place: Place,
    /// What spends the output, in a block or the mempool.
    pub spend: Option<SpendSeen>,
}

impl LockSeen {
    /// The output's name.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint::new(self.transaction.compute_txid(), self.vout)
    }
}

/// A transaction that spends the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendSeen {
    /// The whole transaction.
    pub transaction: Transaction,
    /// Where it stands.
    pub place: Place,
}

/// How many servers said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Servers {
    /// One server is configured: what it withholds or delays stays unknown.
    Single,
    /// All configured servers, two or more, answered and say the same of tip, lock and spend.
    Agree,
    /// They say different things, or one of them did not answer.
    Disagree,
}

/// What the driver knows of the chain at one moment, after checking it.
///
/// Contract: `tip` is the tip of the verified chain with the most work; every [`Place::Confirmed`] was proved against it; `locks` are all
/// outputs at the swap's script that any server knows, each at most once, at most [`MAX_LOCKS_SEEN`] (confirmed ones first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Height of the tip.
    pub tip: Height,
    /// Median time past of the tip (BIP113), in Unix seconds.
    pub median_time: u32,
    /// Every output at the lock's script.
    pub locks: Vec<LockSeen>,
    /// Fee rates as estimated by the servers, the highest of them.
    pub fees: FeeRates,
    /// How far this is agreed upon.
    pub servers: Servers,
}

/// What happens to a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The counterparty accepted our offer.
    Accepted(Acceptance),
    /// Our wallet made and signed the funding transaction (payer only). It was not broadcast yet: the swap does that, once it is durable.
    /// Another one may replace it (a higher fee) as long as it is unconfirmed.
    Funded(Transaction),
    /// Our wallet has a transaction that pays into this lock, and this state does not know of it: it was made after the backup that the state comes from
    /// (payer only). It counts as our funding from now on, whatever the time left: it is a fact.
    Recalled(Transaction),
    /// The chain, looked at anew.
    Observed(Observation),
    /// The preimage became known to us: from the other leg's chain, or from whoever asked us to claim.
    Learned {
        /// The preimage.
        preimage: Preimage,
        /// Whether others know it already, as when it was read from a chain: then holding it back protects nothing.
        public: bool,
    },
    /// The operator's word.
    Command(Command),
    /// The counterparty withdrew before anything was locked.
    Cancelled,
    /// Time passed without news of the chain: what was made is broadcast again.
    Tick,
}

/// What an operator can ask for. The rules hold for operators too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Claim now. It is done unasked as soon as the rules allow it; asking tells why they do not.
    Claim,
    /// Take back as soon as the chain allows it, even against a late claim.
    Refund,
    /// Stop: nothing is locked or revealed any more. Refused once coins are at stake.
    GiveUp,
}

/// What is to be done, after the new state is durable. Doing an effect twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand this transaction to every configured server. A refusal is not an error here: it may be known already, or its parent
    /// not yet; it is tried again.
    Broadcast(Transaction),
    /// Send this to the counterparty through the group.
    Publish(Message),
    /// The preimage is known now: the other leg of an atomic swap wants it.
    Revealed(Preimage),
    /// Tell the operator.
    Notify(Notice),
}

/// What goes to the counterparty. Nothing in it is secret, and nothing in it is believed: the chain is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// A swap is offered.
    Offer {
        /// The terms with holes.
        offer: Offer,
    },
    /// The holes are filled.
    Accept {
        /// Which swap.
        swap: SwapId,
        /// What fills them.
        acceptance: Acceptance,
    },
    /// The funding transaction is on its way.
    Funded {
        /// Which swap.
        swap: SwapId,
        /// Its id.
        txid: Txid,
    },
    /// Withdrawn before anything was locked.
    Cancel {
        /// Which swap.
        swap: SwapId,
    },
}

/// A line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// The words, without a full stop at the end.
    pub text: String,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Goes as planned.
    Info,
    /// Not as planned; nothing is lost.
    Warning,
    /// Coins are at stake and time runs.
    Urgent,
}

/// Which side of the lock we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Funds the lock; can take it back from the timeout on.
    Payer,
    /// Claims with the preimage.
    Payee,
}

/// Where a swap stands. It is reckoned anew from each observation, so that it goes back when the chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Offered; the other side has not answered.
    Offered,
    /// Both agree; nothing is on the chain.
    Accepted,
    /// The funding transaction is made or seen, in no block yet.
    Funding,
    /// The lock is in a block and unspent.
    Locked,
    /// A claim is made or seen, in no block yet.
    Claiming,
    /// A claim is in a block, not yet buried.
    Claimed,
    /// A refund is made or seen, in no block yet.
    Refunding,
    /// A refund is in a block, not yet buried.
    Refunded,
    /// It ended.
    Done(Outcome),
}

impl Stage {
    /// Whether nothing remains to be watched.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// How a swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The payee has the coins, buried.
    Claimed,
    /// The payer has the coins back, buried.
    Refunded,
    /// One side withdrew before anything was locked.
    Cancelled,
    /// The timeout passed and nothing had been locked.
    Expired,
}

/// Why the preimage is not shown, or a lock not funded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nothing at the script, or not in a block yet.
    NotLocked,
    /// Every output at the script holds less than agreed.
    Underpaid {
        /// The most that one holds.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        found: Amount,
        /// What was agreed.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        agreed: Amount,
    },
    /// The lock is not buried as deep as its amount deserves.
    NotDeep {
        /// Confirmations so far.
        have: u32,
        /// Confirmations needed.
        need: u32,
    },
    /// The servers disagree: the lock may be a fiction of one of them.
    ServersDisagree,
    /// Too few blocks are left before the refund becomes possible.
    TooLate {
        /// Blocks left.
        left: u32,
        /// Blocks needed.
        need: u32,
    },
    /// Fees are so high that the claim would cost too large a part of the amount, or might never get in.
    FeesTooHigh {
        /// What a claim for the next block costs.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        fee: Amount,
        /// The most that may be paid.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        most: Amount,
    },
    /// The preimage is not known to us.
    NoPreimage,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocked => f.write_str("the lock is in no block yet"),
            Self::Underpaid { found, agreed } => write!(f, "the lock holds {found}, agreed were {agreed}"),
            Self::NotDeep { have, need } => write!(f, "the lock has {have} of {need} confirmations"),
            Self::ServersDisagree => f.write_str("the servers disagree about the chain"),
            Self::TooLate { left, need } => write!(f, "{left} blocks are left before the refund, {need} are needed"),
            Self::FeesTooHigh { fee, most } => write!(f, "getting in would cost {fee}, at most {most} may be paid"),
            Self::NoPreimage => f.write_str("the preimage is not known yet"),
        }
    }
}
