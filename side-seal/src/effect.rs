//! What the engines of both modes give: effects to be carried out in their order, events to be shown, records to be kept, reasons for refusing.

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;
use serde::Serialize;
use side_ledger::block::{BlockId, Epoch, Height, Rank, SetNumber};
use side_ledger::chain::Fault;
use thiserror::Error;

use crate::bft::evidence::{Evidence, Offence};
use crate::bft::proposal::Proposal;
use crate::bft::request::Reply;
use crate::bft::run::FinalRun;
use crate::message::Message;
use crate::signed::{DoubleSeal, SignedBlock, SignedError};
use crate::warrant::WarrantFault;

/// What is to be on disk before whatever follows it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A block.
    Block(SignedBlock),
    /// A proof that a sealer sealed twice.
    Double(DoubleSeal),
    /// A proposed block that this sealer has voted for: without it nobody could build upon it once all had stopped.
    Proposal(Proposal),
    /// Final blocks with their certificate.
    Final(FinalRun),
    /// A proof that a sealer voted against itself.
    Evidence(Evidence),
    /// This node takes no part up to this epoch: an older life of it may have voted there.
    Abstain(Epoch),
}

impl Record {
    /// The bytes, as a store keeps them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Block(signed) => {
                out.put_varint(0);
                out.put(&signed.encode());
            }
            Self::Double(proof) => {
                out.put_varint(1);
                out.put(&proof.encode());
            }
            Self::Proposal(proposal) => {
                out.put_varint(2);
                proposal.write(&mut out);
            }
            Self::Final(run) => {
                out.put_varint(3);
                run.write(&mut out);
            }
            Self::Evidence(evidence) => {
                out.put_varint(4);
                evidence.write(&mut out);
            }
            Self::Abstain(epoch) => {
                out.put_varint(5);
                out.put_varint(epoch.0);
            }
        }
        out
    }

    /// Reads bytes that hold a record and nothing else. Signatures are checked, but for those of certificates and evidence.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignedError> {
        let mut reader = Reader::new(bytes);
        let record = match reader.varint()? {
            0 => return SignedBlock::decode(reader.rest()).map(Self::Block),
            1 => return DoubleSeal::decode(reader.rest()).map(Self::Double),
            2 => Self::Proposal(Proposal::read(&mut reader)?),
            3 => Self::Final(FinalRun::read(&mut reader)?),
            4 => Self::Evidence(Evidence::read(&mut reader)?),
            5 => Self::Abstain(Epoch(reader.varint()?)),
            _ => return Err(DecodeError::Rule("an unknown kind of record").into()),
        };
        reader.finish()?;
        Ok(record)
    }
}

/// What happened, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The chain has this block at its end now. In BFT mode it is final.
    Extended(Height, BlockId),
    /// This block is no longer on the chain: what it sealed is pending again unless a later event seals it.
    Returned(Height, BlockId),
    /// A block of the present or a certified sealer does not come to what it says.
    Refused(BlockId, Refusal),
    /// A sealer sealed one rank twice.
    Doubled(AuthorId, Rank),
    /// A sealer voted against itself (BFT mode).
    Offended(Guilt),
}

/// What a sealer is proven to have done, for whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guilt {
    /// Who did it.
    #[serde(serialize_with = "as_hex")]
    pub sealer: AuthorId,
    /// What.
    pub offence: Offence,
    /// In which epoch.
    pub epoch: Epoch,
    /// At which height (a double seal), in which view of the epoch (else).
    pub place: u64,
}

fn as_hex<S: serde::Serializer>(key: &AuthorId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write it to disk and wait until it is there.
    Keep(Record),
    /// Tell everybody.
    Tell(Message),
    /// Ask whoever the event came from, or anybody.
    Ask(Message),
    /// Show it.
    Show(Event),
    /// Hand it to the agreement that asked (BFT mode; see [`crate::bft`]).
    Reply(Reply),
}

/// Why a block is not taken. Its sender, or its sealer, is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It belongs to another group.
    #[error("it belongs to another group")]
    Group,
    /// It follows a block that was refused.
    #[error("the block follows one that was refused")]
    Parent,
    /// Its recovery, set or epoch is not what follows from the block before.
    #[error("the block's recovery, set or epoch does not follow")]
    Seat,
    /// Whoever signed it is not the sealer there.
    #[error("the block is signed by somebody who is not the sealer")]
    Signer,
    /// What it brings along does not entitle it.
    #[error("the block brings no good warrant: {0}")]
    Warrant(#[from] WarrantFault),
    /// It does not continue from where its votes say.
    #[error("the block does not continue from where its votes say")]
    Start,
    /// The ledger refuses it.
    #[error(transparent)]
    Ledger(Fault),
    /// Its certificate of finality is not one of the epoch's sealers (BFT mode).
    #[error("the block's certificate of finality is not one of its sealers")]
    Certificate,
    /// The proof against a sealer is not one.
    #[error("the proof against a sealer is not one")]
    Evidence,
    /// It is final and contradicts what is final here, or comes to something else here: more than a third of the sealers lie, or a build is broken (BFT
    /// mode). This node stops following.
    #[error("a final block contradicts what is final here")]
    Contradiction,
    /// Its time lies too far ahead of the clock (BFT mode).
    #[error("the block's time lies too far ahead")]
    Ahead,
    /// The mode of the group has no such message.
    #[error("the group is sealed in another mode")]
    Mode,
    /// There are too many blocks beside the chain.
    #[error("too many blocks are kept beside the chain")]
    Full,
}

/// Who seals, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Office {
    /// The set of voters.
    pub set: SetNumber,
    /// The epoch within the set.
    pub epoch: Epoch,
    /// Who seals.
    pub sealers: Vec<AuthorId>,
    /// How many voters there are.
    pub voters: usize,
    /// How many of the electors it takes to replace the sealer.
    pub needed: usize,
    /// How many electors there are: the voters other than whoever sealed when the set began.
    pub electors: usize,
}

/// Why no vote can be given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VoteError {
    /// This node has no key, or it is no elector.
    #[error("this node is not among those who decide about the sealer")]
    NotElector,
    /// That key is no voter's, and only those seal (BFT mode).
    #[error("that key is not a voter's, and only voters seal")]
    NotSealer,
    /// That key seals already.
    #[error("that key seals already")]
    SealsAlready,
    /// Another key has taken that one's seat.
    #[error("another key has taken that one's place")]
    Retired,
    /// It has voted so, and that can still succeed: voting again would only split the votes.
    #[error("this node has voted so already: {have} of {needed} votes are here")]
    Waiting {
        /// How many votes there are.
        have: usize,
        /// How many it takes.
        needed: usize,
    },
    /// No epoch is left in this set.
    #[error("no epoch is left in this set of voters")]
    NoEpoch,
}
