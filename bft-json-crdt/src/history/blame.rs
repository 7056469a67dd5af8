//! Who wrote what shows, and what proves it.
//!
//! A character or list element belongs to the change that inserted it, whoever moved it since; a register's value to the change that wrote it. [`Authorship::evidence`]
//! is what a third party needs to check that, with no replica of its own: the change's header, its operations, and where its own signature is not good, the headers up
//! to a later change of the same author whose signature is. Of a compacted change the operations are gone: then it proves who signed it, not what it said.

use std::ops::Range;

use bytes::Bytes;

use super::{HistoryError, Past};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{ChangeId, Header, MAX_OPS_BYTES};
use crate::document::{ContainerIdx, Document, Shown};
use crate::encoding::{DecodeError, Reader, Write as _};
use crate::evidence::{EvidenceError, MAX_CHAIN, SignedChain, Voucher};
use crate::hash::{self, OPS_DOMAIN};
use crate::identity::AuthorId;
use crate::ops::{Elements, Kind, Ops, Run};
use crate::replica::Replica;
use crate::value::Value;

/// Under which signature a change stands, as far as the replica has noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its own. (A change that was loaded from a store may stand under a later one's alone; [`Authorship::evidence`] looks.)
    Own,
    /// Its own is not good: it is vouched for, through this later change of its author.
    Vouched(ChangeId),
}

/// A change as the origin of something that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorship {
    /// Who signed it.
    pub author: AuthorId,
    /// The change.
    pub change: ChangeId,
    /// Its number in the replica.
    pub index: ChangeIdx,
    /// Its number on the author's own chain.
    pub seq: u64,
    /// What the author claims that its clock showed, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Under which signature it stands.
    pub standing: Standing,
}

/// Who wrote a stretch of a list or text: elements or characters next to each other that successive units of one change inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// Their indexes.
    pub range: Range<usize>,
    /// The first one's unit: its number among the operations of the change ([`Evidence::content`] reads from there).
    pub offset: u32,
    /// The change.
    pub authorship: Authorship,
}

/// What proves that an author wrote a change. The fields are open: whoever takes evidence from elsewhere calls [`Evidence::verify`] before relying on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The change's header, and those after it on the author's chain up to one with a good signature: none if the change's own is good.
    pub chain: SignedChain,
    /// The change's operations, which its header has the hash of; `None` if they were [compacted](Replica::compact) away.
    pub ops: Option<Bytes>,
}

impl Replica {
    /// Who wrote each stretch of a range of a list or text as it shows now. The stretches follow one another and fill the range. Cost: O(log n), and the stretches.
    ///
    /// # Errors
    /// [`HistoryError::Kind`] for another container than a list or text, [`HistoryError::OutOfBounds`]; [`HistoryError::Unsigned`] if
    /// a change that is being gathered wrote some of it.
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn blame(&self, container: ContainerIdx, range: Range<usize>) -> Result<Vec<Blame>, HistoryError> {
        blame(self, self.document(), container, range, |change| change)
    }

    /// Who wrote what a register shows: for a multi-value register one for each value, in their order. Empty for one without a value, and for other containers.
    ///
    /// # Errors
    /// [`HistoryError::Unsigned`] if a change that is being gathered wrote it.
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn writers(&self, register: ContainerIdx) -> Result<Vec<Authorship>, HistoryError> {
        writers(self, self.document(), register, |change| change)
    }
}

impl Past {
    /// [`Replica::blame`] of this past: `container` is a handle of its own document.
    ///
    /// # Errors
    /// As [`Replica::blame`], and [`HistoryError::Stale`] if the past was not taken from this replica.
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn blame(
        &self,
        replica: &Replica,
        container: ContainerIdx,
        range: Range<usize>,
    ) -> Result<Vec<Blame>, HistoryError> {
        self.at_home(replica)?;
        blame(replica, &self.document, container, range, |change| self.numbers.theirs(change))
    }

    /// [`Replica::writers`] of this past.
    ///
    /// # Errors
    /// [`HistoryError::Stale`] if the past was not taken from this replica.
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn writers(&self, replica: &Replica, register: ContainerIdx) -> Result<Vec<Authorship>, HistoryError> {
        self.at_home(replica)?;
        writers(replica, &self.document, register, |change| self.numbers.theirs(change))
    }
}

fn blame(
    replica: &Replica,
    document: &Document,
    container: ContainerIdx,
    range: Range<usize>,
    theirs: impl Fn(ChangeIdx) -> ChangeIdx,
) -> Result<Vec<Blame>, HistoryError> {
    let (kind, len) = (document.kind(container), document.len(container));
    if !matches!(kind, Kind::List | Kind::Text) {
        return Err(HistoryError::Kind(kind));
    }
    if range.start > range.end || range.end > len {
        return Err(HistoryError::OutOfBounds { end: range.end, len });
    }
    let mut blames: Vec<Blame> = Vec::new();
    let mut at = range.start;
    for Shown { change, offset, len, .. } in document.shown_from(container, range.start) {
        if at >= range.end {
            break;
        }
        let (index, until) = (theirs(change), (at + len as usize).min(range.end));
        match blames.last_mut() {
            // The document may cut finer than need be.
            Some(last)
                if last.authorship.index == index && last.offset as usize + last.range.len() == offset as usize =>
            {
                last.range.end = until;
            }
            // Authors' stretches take turns, but mostly in a few changes.
            Some(last) if last.authorship.index == index => {
                let authorship = last.authorship;
                blames.push(Blame { range: at..until, offset, authorship });
            }
            _ => blames.push(Blame { range: at..until, offset, authorship: authorship(replica, index)? }),
        }
        at = until;
    }
    Ok(blames)
}

fn writers(
    replica: &Replica,
    document: &Document,
    register: ContainerIdx,
    theirs: impl Fn(ChangeIdx) -> ChangeIdx,
) -> Result<Vec<Authorship>, HistoryError> {
    let shown = match document.kind(register) {
        Kind::Register => 1,
        _ => usize::MAX,
    };
    // The greatest is the one that shows.
    let last = document.writes_of(register).rev().take(shown).map(|(change, _)| authorship(replica, theirs(change)));
    let mut writers: Vec<Authorship> = last.collect::<Result<_, _>>()?;
    writers.reverse();
    Ok(writers)
}

fn authorship(replica: &Replica, index: ChangeIdx) -> Result<Authorship, HistoryError> {
    let dag = replica.dag();
    if index.0 as usize >= dag.len() {
        return Err(HistoryError::Unsigned);
    }
    let tip = replica.voucher(index).and_then(|voucher| voucher.0.headers.last().map(|header| header.id()));
    Ok(Authorship {
        author: dag.author(index),
        change: dag.id(index),
        index,
        seq: dag.seq(index),
        time_ms: dag.record(index).time_ms,
        standing: tip.map_or(Standing::Own, Standing::Vouched),
    })
}

impl Authorship {
    /// What proves it to somebody else. Costs a signature check, and some more if the change's own signature is not good.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] if the replica does not hold the change; [`HistoryError::Unproven`] if neither its own signature nor one of the
    /// next few on its author's chain is good: a store held it under a later one.
    pub fn evidence(&self, replica: &Replica) -> Result<Evidence, HistoryError> {
        let index = replica.index_of(&self.change).ok_or(HistoryError::Unknown(self.change))?;
        let dag = replica.dag();
        let ops = dag.record(index).ops().map(Bytes::copy_from_slice);
        let own = SignedChain { headers: vec![dag.header(index)], signature: dag.signature(index) };
        if own.verify().is_ok() {
            return Ok(Evidence { chain: own, ops });
        }
        if let Some(Voucher(SignedChain { headers, signature })) = replica.voucher(index) {
            let chain = SignedChain { headers: own.headers.iter().cloned().chain(headers).collect(), signature };
            if chain.verify().is_ok() {
                return Ok(Evidence { chain, ops });
            }
        }
        let (branch, seq) = dag.position(index);
        let view = dag.branch(branch);
        let mut chain = own;
        for next in view.changes[(seq - view.first_seq) as usize + 1..].iter().take(MAX_CHAIN - 1) {
            chain.headers.push(dag.header(*next));
            chain.signature = dag.signature(*next);
            if chain.verify().is_ok() {
                return Ok(Evidence { chain, ops });
            }
        }
        Err(HistoryError::Unproven(self.change))
    }
}

impl Evidence {
    /// The change's header; whether its author signed it is for [`Evidence::verify`] to say.
    ///
    /// # Panics
    /// If somebody has emptied the chain.
    pub fn header(&self) -> &Header {
        &self.chain.headers[0]
    }

    /// Checks that the author signed the change, or a later one that stands upon it, and that the operations are those of the change. Needs no replica. Answers the
    /// change's id. Costs one signature check, and hashes.
    ///
    /// # Errors
    /// [`EvidenceError::Signature`], [`EvidenceError::Link`] or [`EvidenceError::Length`]; [`EvidenceError::OtherChange`] if the operations are another change's.
    pub fn verify(&self) -> Result<ChangeId, EvidenceError> {
        let id = self.chain.verify()?;
        match &self.ops {
            Some(ops) if hash::hash(OPS_DOMAIN, ops) != self.header().ops_hash => Err(EvidenceError::OtherChange),
            _ => Ok(id),
        }
    }

    /// What `len` units of the change from one on inserted: characters as a string, values as an array; `None` if some of them inserted something else, or
    /// the operations are not here.
    pub fn content(&self, offset: u32, len: u32) -> Option<Value> {
        let ops = Ops::decode(self.chain.headers.first()?.version, self.ops.as_ref()?).ok()?;
        let end = offset.checked_add(len)?;
        let (mut text, mut values) = (String::new(), Vec::new());
        let mut start = 0;
        for run in &ops.runs {
            let within = (offset.max(start), end.min(start + run.len()));
            if within.0 < within.1 {
                let (skip, take) = ((within.0 - start) as usize, (within.1 - within.0) as usize);
                match run {
                    Run::Text { characters, .. } => text.extend(characters.chars().skip(skip).take(take)),
                    Run::Insert { elements: Elements::Values(of), .. } => {
                        values.extend_from_slice(&of[skip..skip + take]);
                    }
                    _ => return None,
                }
            }
            start += run.len();
        }
        match (text.is_empty(), values.is_empty()) {
            _ if end > start => None,
            (false, true) => Some(Value::String(text)),
            (true, _) => Some(Value::Array(values)),
            (false, false) => None,
        }
    }

    /// `header chain ‖ 0`, or `header chain ‖ 1 ‖ operations` to the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.chain.write(&mut out);
        out.push(u8::from(self.ops.is_some()));
        out.put(self.ops.as_deref().unwrap_or_default());
        out
    }

    /// Reads bytes that hold evidence and nothing else. Judges the form only: see [`Evidence::verify`].
    ///
    /// # Errors
    /// The bytes break the form.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes);
        let chain = SignedChain::read(&mut reader)?;
        let ops = match (reader.byte()?, reader.rest()) {
            (0, []) => None,
            (0, _) => return Err(DecodeError::Trailing.into()),
            (1, ops) if ops.len() <= MAX_OPS_BYTES => Some(Bytes::copy_from_slice(ops)),
            _ => return Err(DecodeError::Rule("operations are there or not, and not too long").into()),
        };
        Ok(Self { chain, ops })
    }
}
