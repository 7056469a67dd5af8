//! Who wrote what shows, and what proves it.
//!
//! A character or list element belongs to the change that inserted it, whoever moved it since; a register's value to the change that wrote it. [`Authorship::evidence`]
//! is what a third party needs to check that, with no replica of its own: the change's bytes and, where its own signature is not good, headers up to a later one of
//! the same author that is.

use std::ops::Range;

use bytes::Bytes;

use super::{HistoryError, Past};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{Change, ChangeError, ChangeId, MAX_CHANGE_BYTES};
use crate::document::{ContainerIdx, Document, Shown};
use crate::encoding::{DecodeError, Reader, Write as _};
use crate::evidence::{EvidenceError, MAX_CHAIN, SignedChain, Voucher};
use crate::hash::CHANGE_SIGNATURE_DOMAIN;
use crate::identity::AuthorId;
use crate::ops::{Elements, Kind, Ops, Run};
use crate::replica::Replica;
use crate::value::Value;
use crate::verify;

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
    /// The change.
    pub change: Change,
    /// What vouches for it if its own signature is not good.
    pub voucher: Option<Voucher>,
}

impl Replica {
    /// Who wrote each stretch of a range of a list or text as it shows now. The stretches follow one another and fill the range. Cost: O(log n), and the stretches.
    ///
    /// # Errors
    /// [`HistoryError::Kind`] for another container than a list or text, [`HistoryError::OutOfBounds`].
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn blame(&self, container: ContainerIdx, range: Range<usize>) -> Result<Vec<Blame>, HistoryError> {
        blame(self, self.document(), container, range, |change| change)
    }

    /// Who wrote what a register shows: for a multi-value register one for each value, in their order. Empty for one without a value, and for other containers.
    ///
    /// # Panics
    /// If another document handed the container out.
    pub fn writers(&self, register: ContainerIdx) -> Vec<Authorship> {
        self.document().written_by(register).map(|change| authorship(self, change)).collect()
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
        Ok(self.document.written_by(register).map(|change| authorship(replica, self.numbers.theirs(change))).collect())
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
            _ => blames.push(Blame { range: at..until, offset, authorship: authorship(replica, index) }),
        }
        at = until;
    }
    Ok(blames)
}

fn authorship(replica: &Replica, index: ChangeIdx) -> Authorship {
    let dag = replica.dag();
    let tip = replica.voucher(index).and_then(|voucher| voucher.0.headers.last().map(|header| header.id()));
    Authorship {
        author: dag.author(index),
        change: dag.id(index),
        index,
        seq: dag.seq(index),
        time_ms: dag.record(index).time_ms,
        standing: tip.map_or(Standing::Own, Standing::Vouched),
    }
}

impl Authorship {
    /// What proves it to somebody else. Costs a signature check, and some more if the change's own signature is not good.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] if the replica does not hold the change; [`HistoryError::Unproven`] if neither its own signature nor one of the
    /// next few on its author's chain is good: a store held it under a later one.
    pub fn evidence(&self, replica: &Replica) -> Result<Evidence, HistoryError> {
        let index = replica.index_of(&self.change).ok_or(HistoryError::Unknown(self.change))?;
        let change = replica.change(index);
        let own = Evidence { change, voucher: None };
        if own.verify().is_ok() {
            return Ok(own);
        }
        let noted = Evidence { voucher: replica.voucher(index), ..own };
        if noted.verify().is_ok() {
            return Ok(noted);
        }
        let (branch, seq) = replica.dag().position(index);
        let view = replica.dag().branch(branch);
        let behind = &view.changes[(seq - view.first_seq) as usize + 1..];
        let behind: Vec<Change> = behind.iter().take(MAX_CHAIN - 1).map(|next| replica.change(*next)).collect();
        for len in 1..=behind.len() {
            let voucher = SignedChain::of(&behind[..len]).map(Voucher);
            let vouched = Evidence { change: noted.change.clone(), voucher };
            if vouched.verify().is_ok() {
                return Ok(vouched);
            }
        }
        Err(HistoryError::Unproven(self.change))
    }
}

impl Evidence {
    /// Checks that the change's author signed it, or a later change of its own that stands upon it. Needs no replica. Costs one signature check, and a hash for
    /// each header of the voucher.
    ///
    /// # Errors
    /// The signature is not good, or the voucher speaks of another change.
    pub fn verify(&self) -> Result<(), EvidenceError> {
        match &self.voucher {
            Some(voucher) => voucher.verify(&self.change),
            None => {
                let (author, id, signature) = (self.change.author(), self.change.id(), self.change.signature());
                let good = verify::verify(&author, CHANGE_SIGNATURE_DOMAIN, &id.0, &signature);
                if good { Ok(()) } else { Err(EvidenceError::Signature) }
            }
        }
    }

    /// What `len` units of the change from one on inserted: characters as a string, values as an array; `None` if some of them inserted something else.
    pub fn content(&self, offset: u32, len: u32) -> Option<Value> {
        let ops = Ops::decode(self.change.header().version, self.change.ops()).ok()?;
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

    /// `varint length ‖ change ‖ varint length ‖ voucher (length 0 = none)`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_blob(self.change.bytes());
        out.put_blob(&self.voucher.as_ref().map(Voucher::encode).unwrap_or_default());
        out
    }

    /// Reads bytes that hold evidence and nothing else. Judges the form only: see [`Evidence::verify`].
    ///
    /// # Errors
    /// The bytes break the form.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes);
        let change = reader.blob()?;
        if change.len() > MAX_CHANGE_BYTES {
            return Err(DecodeError::Rule("a change is too long").into());
        }
        let change =
            Change::decode(Bytes::copy_from_slice(change)).map_err(|error: ChangeError| EvidenceError::Form(error))?;
        let voucher = match reader.blob()? {
            [] => None,
            voucher => Some(Voucher::decode(voucher)?),
        };
        reader.finish()?;
        Ok(Self { change, voucher })
    }
}
