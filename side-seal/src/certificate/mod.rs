//! What shows that a block is the group's to somebody who holds no other block (docs/protocol.md, section "Certificates").
//!
//! A [`Follower`] knows the set of voters in force and who seals, at first from the genesis or from a checkpoint that it trusts. It follows the members from set to
//! set by [`Step`]s: of all blocks only those that end a set or begin an epoch, each with the voters' words or votes. What the voters are after a set ended is
//! opened from the state root of its last block.
//!
//! ```text
//! follow   the follower: what a step and a seal have to be
//! prove    the steps and the seal of a block of one's own chain
//! ```
//! What it rests on: of no set a third of the voters lie, in BFT mode of no epoch a third of the sealers. Of an epoch in leader mode whose voters named blocks of a forked chain it is not
//! checked at which of them it had to begin; the words for what was sealed since say that its voters did.

mod follow;
mod prove;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::{AuthorId, Signature};
use bytes::Bytes;
use side_ledger::block::{Block, Height};
use side_ledger::chain::StateParts;
use side_ledger::genesis::GroupSpec;
use side_ledger::governance::{Governance, MAX_GOVERNANCE_BYTES, MAX_VOTERS};
use side_ledger::group::Group;
use thiserror::Error;

pub use self::follow::Follower;
pub use self::prove::{ProveError, can_anchor, held_at, seal_of, steps};
use crate::bft::certificate::Certificate;
use crate::signed::{Hold, SignedBlock, SignedError};
use crate::warrant::WarrantFault;

/// Most blocks between a block and one that a voter's word names: a word for a block covers those before, and busy groups seal before all words are in.
pub const MAX_LINKS: usize = 64;
/// Most steps: one for each change of a voter and one for a switch of the sealer between two of them. A group that has had more hands out checkpoints.
pub const MAX_STEPS: usize = 4096;

/// Most bytes of a change that counts as a vote for the sealers of an epoch in BFT mode: one that names as many as there can be takes less than 24,000.
pub const MAX_SEALERS_VOTE_BYTES: usize = 32 << 10;
/// Most bytes of a certificate of finality: a bit and a signature for each sealer.
pub const MAX_CERTIFICATE_BYTES: usize = 256 + 72 * MAX_VOTERS;

/// Why something does not show that a block is the group's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateFault {
    /// It is of the other mode of sealing.
    #[error("it belongs to another mode of sealing than the group's")]
    Sealing,
    /// The certificate of finality is not one of the epoch's sealers for this block.
    #[error("the certificate does not show that the block is final")]
    Final,
    /// The checkpoint's state is not what it is said to be.
    #[error("the state is not that of its block")]
    State,
    /// The checkpoint is the last block of its set: who had to confirm it cannot be told from the state after it.
    #[error("this block is the last of its set of voters; a later one serves as a checkpoint")]
    LastOfSet,
    /// It belongs to another group.
    #[error("a block, or a word about one, belongs to another group")]
    Group,
    /// A block's recovery, set, epoch or height is not what follows from the blocks before.
    #[error("a block's rank does not follow from the blocks before it")]
    Rank,
    /// Whoever signed a block was not the sealer.
    #[error("a block is signed by somebody who is not the sealer")]
    Signer,
    /// A block does not follow the one it has to.
    #[error("a block does not follow the one before")]
    Parent,
    /// The votes or words beside a block do not carry it.
    #[error(transparent)]
    Warrant(#[from] WarrantFault),
    /// The set of voters that follows is not made from the one before by one voter's coming or going.
    #[error("the next set of voters does not follow from the one before")]
    NextSet,
}

/// What members had decided after a block, opened from the block's state root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What the state root is the hash of.
    pub state: StateParts,
    /// What members had decided.
    pub governance: Governance,
}

impl Opening {
    /// Whether this is the state of a block with this state root.
    pub fn check(&self, state_root: &[u8; 32]) -> Result<(), CertificateFault> {
        let good = self.state.root() == *state_root && self.state.governance == self.governance.hash();
        if good { Ok(()) } else { Err(CertificateFault::State) }
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.state.write(out);
        out.put_blob(&self.governance.encode());
    }

    /// Reads one of a group with this genesis.
    pub fn read(reader: &mut Reader<'_>, spec: &GroupSpec) -> Result<Self, DecodeError> {
        let state = StateParts::read(reader)?;
        let bytes = reader.blob()?;
        if bytes.len() > MAX_GOVERNANCE_BYTES {
            return Err(DecodeError::Rule("decisions are too long"));
        }
        Ok(Self { state, governance: Governance::decode(bytes, spec)? })
    }

    /// That of the chain's block at a height; `None` if there is none.
    pub fn of(group: &Group, height: Height) -> Option<Self> {
        let state = group.chain().at(height)?.state;
        Some(Self { state, governance: group.chain().governance_after(height)?.clone() })
    }
}

/// What leads from one set of voters or sealer to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The first block of an epoch of the set, with the votes for it. Epochs before it that sealed nothing of interest are left out: votes stand for themselves.
    Epoch(SignedBlock),
    /// The last block of a set, without warrant.
    Close {
        /// The block.
        last: SignedBlock,
        /// The state after it, with the next set.
        opening: Box<Opening>,
        /// What carries it.
        authority: Authority,
    },
    /// The votes for an epoch of the set in BFT mode, in the order of their voters' keys.
    Votes(Vec<Bytes>),
    /// The last block of a set in BFT mode.
    Ended {
        /// The block.
        last: Box<Block>,
        /// The state after it, with the next set.
        opening: Box<Opening>,
        /// It is final.
        certificate: Certificate,
    },
}

/// What carries the last block of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The words of voters of the set that they hold it, in the order of their keys.
    Words(Vec<Hold>),
    /// It is what an epoch starts from that they voted for: the first block of the epoch and of the next set, with the votes.
    Epoch(SignedBlock),
}

mod tag {
    pub(super) const EPOCH: u64 = 0;
    pub(super) const CLOSE: u64 = 1;
    pub(super) const VOTES: u64 = 2;
    pub(super) const ENDED: u64 = 3;
    pub(super) const BY_WORDS: u64 = 0;
    pub(super) const BY_EPOCH: u64 = 1;
    pub(super) const HELD: u64 = 0;
    pub(super) const FINAL: u64 = 1;
}

impl Step {
    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Epoch(signed) => {
                out.put_varint(tag::EPOCH);
                out.put_blob(&signed.encode());
            }
            Self::Close { last, opening, authority } => {
                out.put_varint(tag::CLOSE);
                last.write_bare(out);
                opening.write(out);
                match authority {
                    Authority::Words(holds) => {
                        out.put_varint(tag::BY_WORDS);
                        write_holds(holds, out);
                    }
                    Authority::Epoch(signed) => {
                        out.put_varint(tag::BY_EPOCH);
                        out.put_blob(&signed.encode());
                    }
                }
            }
            Self::Votes(votes) => {
                out.put_varint(tag::VOTES);
                out.put_varint(votes.len() as u64);
                votes.iter().for_each(|vote| out.put_blob(vote));
            }
            Self::Ended { last, opening, certificate } => {
                out.put_varint(tag::ENDED);
                write_block(last, out);
                opening.write(out);
                out.put_blob(&certificate.encode());
            }
        }
    }

    /// Reads one of a group with this genesis. Signatures of blocks and words are checked, votes are not.
    pub fn read(reader: &mut Reader<'_>, spec: &GroupSpec) -> Result<Self, SignedError> {
        match reader.varint()? {
            tag::EPOCH => Ok(Self::Epoch(SignedBlock::decode(reader.blob()?)?)),
            tag::CLOSE => {
                let last = SignedBlock::read_bare(reader)?;
                let opening = Box::new(Opening::read(reader, spec)?);
                let authority = match reader.varint()? {
                    tag::BY_WORDS => Authority::Words(read_holds(reader)?),
                    tag::BY_EPOCH => Authority::Epoch(SignedBlock::decode(reader.blob()?)?),
                    _ => return Err(DecodeError::Rule("an unknown kind of authority").into()),
                };
                Ok(Self::Close { last, opening, authority })
            }
            tag::VOTES => {
                let count = bounded(reader, MAX_VOTERS)?;
                let votes = (0..count).map(|_| {
                    let vote = reader.blob()?;
                    if vote.len() > MAX_SEALERS_VOTE_BYTES {
                        return Err(DecodeError::Rule("a vote is too long").into());
                    }
                    Ok(Bytes::copy_from_slice(vote))
                });
                votes.collect::<Result<_, SignedError>>().map(Self::Votes)
            }
            tag::ENDED => {
                let last = Box::new(Block::decode(reader.blob()?)?);
                let opening = Box::new(Opening::read(reader, spec)?);
                Ok(Self::Ended { last, opening, certificate: read_certificate(reader)? })
            }
            _ => Err(DecodeError::Rule("an unknown kind of step").into()),
        }
    }
}

/// What shows that a block is held by enough voters, or final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Leader mode: the sealer's signature and the voters' words.
    Held {
        /// The block under its sealer's signature, without warrant.
        signed: SignedBlock,
        /// Blocks that follow on it, up to the last that a word names. At most [`MAX_LINKS`].
        links: Vec<Block>,
        /// The words, in the order of the voters' keys.
        holds: Vec<Hold>,
    },
    /// BFT mode.
    Final {
        /// The block.
        block: Box<Block>,
        /// It is final.
        certificate: Certificate,
    },
}

impl Seal {
    /// The block.
    pub fn block(&self) -> &Block {
        match self {
            Self::Held { signed, .. } => signed.block(),
            Self::Final { block, .. } => block,
        }
    }

    /// Appends the one encoding, without the block.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Held { signed, links, holds } => {
                out.put_varint(tag::HELD);
                out.put(signed.signer().as_bytes());
                out.put(&signed.signature().0);
                out.put_varint(links.len() as u64);
                links.iter().for_each(|link| write_block(link, out));
                write_holds(holds, out);
            }
            Self::Final { certificate, .. } => {
                out.put_varint(tag::FINAL);
                out.put_blob(&certificate.encode());
            }
        }
    }

    /// Reads what shows it of this block. Signatures of the sealer and of words are checked.
    pub fn read(reader: &mut Reader<'_>, block: &Block) -> Result<Self, SignedError> {
        match reader.varint()? {
            tag::HELD => {
                let signer = AuthorId::from_bytes(reader.array()?)?;
                let signed = SignedBlock::from_parts(block.clone(), signer, Signature(reader.array()?))?;
                let count = bounded(reader, MAX_LINKS)?;
                let links = (0..count).map(|_| Ok(Block::decode(reader.blob()?)?));
                let links = links.collect::<Result<Vec<_>, SignedError>>()?;
                Ok(Self::Held { signed, links, holds: read_holds(reader)? })
            }
            tag::FINAL => Ok(Self::Final { block: Box::new(block.clone()), certificate: read_certificate(reader)? }),
            _ => Err(DecodeError::Rule("an unknown kind of seal").into()),
        }
    }
}

/// Appends a block that was decoded or sealed, so that it has an encoding.
pub(crate) fn write_block(block: &Block, out: &mut Vec<u8>) {
    out.put_blob(&block.encode().expect("a block has an encoding: it was decoded or sealed"));
}

/// Reads how many of something follow.
pub(crate) fn bounded(reader: &mut Reader<'_>, most: usize) -> Result<usize, DecodeError> {
    let count = reader.count(1)?;
    if count > most { Err(DecodeError::Rule("a list is too long")) } else { Ok(count) }
}

fn read_certificate(reader: &mut Reader<'_>) -> Result<Certificate, DecodeError> {
    let bytes = reader.blob()?;
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(DecodeError::Rule("a certificate is too long"));
    }
    Certificate::decode(bytes)
}

fn write_holds(holds: &[Hold], out: &mut Vec<u8>) {
    out.put_varint(holds.len() as u64);
    holds.iter().for_each(|hold| hold.write(out));
}

fn read_holds(reader: &mut Reader<'_>) -> Result<Vec<Hold>, SignedError> {
    let count = bounded(reader, MAX_VOTERS)?;
    (0..count).map(|_| Hold::read(reader)).collect()
}

/// How it stands with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is final. In leader mode nothing is.
    pub is_final: bool,
    /// How many said that they hold it; in BFT mode how many sealers finalized it.
    pub holders: usize,
    /// How many voters its set has; in BFT mode how many sealers its epoch.
    pub voters: usize,
    /// How many it takes for no switch by honest voters to drop the block.
    pub quorum: usize,
}
