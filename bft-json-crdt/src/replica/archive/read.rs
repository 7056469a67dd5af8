//! From segments to a replica (docs/format.md, section 2).

use std::collections::BTreeSet;

use super::columns::{Column, Readers};
use super::regenerate::{self, Own, Regenerator};
use super::segment::Unpacker;
use super::{ArchiveError, CHANGE_WEIGHT, MAX_EXPANSION, MAX_SEGMENT_CHANGES, MAX_SEGMENT_WEIGHT, Replica};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::MAX_DEPS;
use crate::dag::Content;
use crate::encoding::{DecodeError, Reader};
use crate::evidence::{EquivocationProof, EvidenceError, MAX_CHAIN, SignedChain, Voucher};
use crate::identity::{AuthorId, IdentityError, Signature};
use crate::ops::OpsError;
use crate::replica::parts::{self, Parts};
use crate::replica::{LoadError, LoadFault, Malformed};

/// What the segments read so far have in common.
#[derive(Default)]
pub(super) struct Segments {
    authors: Vec<AuthorState>,
    proofs: Vec<EquivocationProof>,
    unpacker: Unpacker,
    scratch: regenerate::Scratch,
    parts: parts::Scratch,
}

struct AuthorState {
    id: AuthorId,
    last: Option<ChangeIdx>,
}

/// Why a segment cannot be read.
enum Fault {
    /// The bytes break the form.
    Form,
    /// A change is unusable.
    Load(LoadError),
}

impl From<DecodeError> for Fault {
    fn from(_: DecodeError) -> Self {
        Self::Form
    }
}

impl From<EvidenceError> for Fault {
    fn from(_: EvidenceError) -> Self {
        Self::Form
    }
}

impl From<IdentityError> for Fault {
    fn from(_: IdentityError) -> Self {
        Self::Form
    }
}

impl Segments {
    /// Takes a segment in that begins at byte `at` of the file. No signatures of changes are checked, only vouchers.
    pub(super) fn read(&mut self, replica: &mut Replica, body: &[u8], at: usize) -> Result<(), ArchiveError> {
        self.segment(replica, body).map_err(|fault| match fault {
            Fault::Form => ArchiveError::Damaged(at),
            Fault::Load(error) => error.into(),
        })
    }

    /// Gives back the buffers that only [`Self::read`] needs.
    pub(super) fn release(&mut self) {
        self.unpacker = Unpacker::default();
        self.scratch = regenerate::Scratch::default();
        self.parts = parts::Scratch::default();
    }

    /// Takes the proofs in, after all changes. `at` is where the file ends.
    pub(super) fn finish(&mut self, replica: &mut Replica, at: usize) -> Result<(), ArchiveError> {
        for proof in &self.proofs {
            replica.apply_proof(proof.clone()).ok_or(ArchiveError::Damaged(at))?;
        }
        Ok(())
    }

    /// The authors, as the file numbers them.
    pub(super) fn authors(&self) -> impl Iterator<Item = AuthorId> + '_ {
        self.authors.iter().map(|author| author.id)
    }

    /// The authors whom the file's proofs convict.
    pub(super) fn proven(&self) -> BTreeSet<AuthorId> {
        self.proofs.iter().map(EquivocationProof::author).collect()
    }

    fn segment(&mut self, replica: &mut Replica, body: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(body);
        let changes = reader.count(64)?;
        let authors = reader.count(32)?;
        if changes > MAX_SEGMENT_CHANGES || authors > changes {
            return Err(Fault::Form);
        }
        for _ in 0..authors {
            // Costs a decompression of a point for each author, once a file.
            let id = AuthorId::from_bytes(reader.array()?)?;
            self.authors.push(AuthorState { id, last: None });
        }
        let mut vouchers = Vec::new();
        for _ in 0..reader.count(2)? {
            vouchers.push((reader.varint_u32()?, read_voucher(&mut reader)?));
        }
        for _ in 0..reader.count(1)? {
            self.proofs.push(EquivocationProof::decode(reader.blob()?)?);
        }
        if changes > 0 {
            self.changes(replica, &mut reader, changes, body.len())?;
        }
        reader.finish()?;
        for (number, voucher) in vouchers {
            let known = |number: &u64| *number < replica.len() as u64;
            let voucher = match voucher {
                Shown::Whole(voucher) => voucher,
                Shown::Numbers(steps, signature) => {
                    let mut shown = u64::from(number);
                    let mut headers = Vec::with_capacity(steps.len());
                    for step in steps {
                        shown = shown.saturating_add(step).saturating_add(1);
                        headers
                            .push(replica.dag.header(ChangeIdx(Some(shown).filter(known).ok_or(Fault::Form)? as u32)));
                    }
                    Voucher(SignedChain { headers, signature })
                }
            };
            let index = ChangeIdx(Some(u64::from(number)).filter(known).ok_or(Fault::Form)? as u32);
            replica
                .load_voucher(index, voucher)
                .map_err(|fault| Fault::Load(LoadError { position: number as usize, fault }))?;
        }
        Ok(())
    }

    fn changes(
        &mut self,
        replica: &mut Replica,
        reader: &mut Reader<'_>,
        changes: usize,
        length: usize,
    ) -> Result<(), Fault> {
        let columns = self.unpacker.read(reader)?;
        let mut regenerator = Regenerator::new(Readers::new(columns), &mut self.scratch)?;
        let most = MAX_SEGMENT_WEIGHT.min(MAX_EXPANSION * length);
        let (mut time, mut weight) = (0u64, 0);
        let mut deps: Vec<ChangeIdx> = Vec::new();
        for _ in 0..changes {
            let number = replica.len() as u32;
            let columns = &mut regenerator.columns;
            let author = usize::try_from(columns.varint(Column::Authors)?).ok();
            let author = author.and_then(|author| self.authors.get_mut(author)).ok_or(Fault::Form)?;
            let previous = match columns.varint(Column::Previous)? {
                0 => author.last,
                beyond if beyond == u64::from(number) + 1 => None,
                distance => Some(ChangeIdx(back(number, distance)?)),
            };
            // Whether it is the author's is judged with the rest of the change.
            let seq = previous.map_or(1, |previous| replica.dag.seq(previous) + 1);
            read_deps(columns, replica, number, &mut deps)?;
            let step = columns.at(Column::Times).zigzag()?;
            time = time.wrapping_add(step as u64);
            let load = |fault| Fault::Load(LoadError { position: number as usize, fault });
            regenerator.ops(&replica.dag, Own { number, seq, previous }).map_err(|fault| match fault {
                regenerate::Fault::Columns => Fault::Form,
                regenerate::Fault::Ops(OpsError::Malformed(fault)) => load(Malformed::Ops(fault).into()),
                regenerate::Fault::Ops(OpsError::Unsupported(_)) => load(LoadFault::Unsupported),
            })?;
            let (bytes, ops) = regenerator.made();
            weight += CHANGE_WEIGHT + 32 * deps.len() + bytes.len();
            if weight > most {
                return Err(Fault::Form);
            }
            let parts = Parts {
                author: author.id,
                previous,
                deps: &deps,
                time_ms: time,
                content: Content::Whole(bytes),
                signature: Signature(reader.array()?),
            };
            replica.load_parts(&parts, Some(ops), &mut self.parts).map_err(load)?;
            author.last = Some(ChangeIdx(number));
        }
        Ok(regenerator.finish()?)
    }
}

/// The headers of a voucher.
enum Shown {
    /// Written out.
    Whole(Voucher),
    /// Those of changes in the file.
    Numbers(Vec<u64>, Signature),
}

fn read_voucher(reader: &mut Reader<'_>) -> Result<Shown, Fault> {
    let count = reader.count(1)?;
    if count == 0 {
        return Ok(Shown::Whole(Voucher::decode(reader.blob()?)?));
    }
    if count >= MAX_CHAIN {
        return Err(Fault::Form);
    }
    let steps = (0..count).map(|_| reader.varint()).collect::<Result<_, _>>()?;
    Ok(Shown::Numbers(steps, Signature(reader.array()?)))
}

/// The number that lies `distance` ≥ 1 before `number`.
fn back(number: u32, distance: u64) -> Result<u32, Fault> {
    u64::from(number).checked_sub(distance).map(|number| number as u32).ok_or(Fault::Form)
}

/// The deps of change `number`, in the order of their ids.
fn read_deps(
    columns: &mut Readers<'_>,
    replica: &Replica,
    number: u32,
    deps: &mut Vec<ChangeIdx>,
) -> Result<(), Fault> {
    deps.clear();
    let count = columns.count(Column::DepCounts, Column::Deps)?;
    if count > MAX_DEPS {
        return Err(Fault::Form);
    }
    let mut distance = 0u64;
    for _ in 0..count {
        distance = distance.saturating_add(columns.varint(Column::Deps)?).saturating_add(1);
        deps.push(ChangeIdx(back(number, distance)?));
    }
    deps.sort_unstable_by_key(|dep| replica.dag.id(*dep));
    Ok(())
}
