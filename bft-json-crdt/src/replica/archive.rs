//! The whole replica as one file.
//!
//! ```text
//! "SIDE-REPLICA" ‖ version (1) ‖ 32 document ‖ varint number of changes
//!   ‖ changes in causal order, each: varint length ‖ change ‖ varint voucher length ‖ voucher (length 0 = none)
//!   ‖ varint number of proofs ‖ proofs, each: varint length ‖ proof
//! ```
//! Reading takes no more memory than the file is long, and checks all that loading from a store checks.

use bytes::Bytes;

use super::{ArchiveError, Incoming, Limits, Replica};
use crate::causality::ChangeIdx;
use crate::change::{Change, DocumentId, MAX_CHANGE_BYTES};
use crate::encoding::{Reader, Write as _};
use crate::evidence::{EquivocationProof, Voucher};
use crate::identity::AuthorId;

const MAGIC: &[u8; 12] = b"SIDE-REPLICA";
const VERSION: u8 = 1;
/// Changes that are handed to [`Replica::load`] at a time, so that no second copy of the history is held decoded.
const PIECE: usize = 4096;

impl Replica {
    /// The whole replica as bytes: applied changes in causal order with their vouchers, and proofs. What is kept aside is left out: it can be
    /// fetched again.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put(MAGIC);
        out.put(&[VERSION]);
        out.put(&self.id.0);
        out.put_varint(self.len() as u64);
        for number in 0..self.len() as u32 {
            out.put_blob(&self.bytes(ChangeIdx(number)));
            out.put_blob(&self.voucher(ChangeIdx(number)).map(|voucher| voucher.encode()).unwrap_or_default());
        }
        out.put_varint(self.proofs.len() as u64);
        for proof in self.proofs.values() {
            out.put_blob(&proof.encode());
        }
        out
    }

    /// Reads what [`Replica::save`] wrote.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn load_archive(bytes: &Bytes, limits: Limits, writer: Option<AuthorId>) -> Result<Self, ArchiveError> {
        let mut reader = Reader::new(bytes);
        let damaged = |reader: &Reader<'_>| ArchiveError::Damaged(bytes.len() - reader.remaining());
        let magic: [u8; 12] = reader.array().map_err(|_| ArchiveError::Magic)?;
        let version = reader.byte().map_err(|_| ArchiveError::Magic)?;
        if magic != *MAGIC || version != VERSION {
            return Err(ArchiveError::Magic);
        }
        let document = DocumentId(reader.array().map_err(|_| damaged(&reader))?);
        let mut replica = Self::new(document, limits);
        replica.set_writer(writer);
        let count = reader.count(1).map_err(|_| damaged(&reader))?;
        let mut known: Option<AuthorId> = None;
        let mut piece: Vec<Incoming> = Vec::new();
        for position in 0..count {
            let change = reader.blob().map_err(|_| damaged(&reader))?;
            if change.len() > MAX_CHANGE_BYTES {
                return Err(damaged(&reader));
            }
            // Its own allocation: the file's buffer need not live on. Authors take turns, but often write in a row.
            let change = Change::decode_with(Bytes::copy_from_slice(change), |raw| {
                known.or_else(|| replica.author(raw)).filter(|author| author.as_bytes() == raw)
            })
            .map_err(|_| damaged(&reader))?;
            known = Some(change.author());
            let voucher = match reader.blob().map_err(|_| damaged(&reader))? {
                [] => None,
                voucher => Some(Voucher::decode(voucher).map_err(|_| damaged(&reader))?),
            };
            piece.push(Incoming { change, voucher });
            if piece.len() == PIECE || position + 1 == count {
                let first = position + 1 - piece.len();
                replica.load(std::mem::take(&mut piece)).map_err(|mut error| {
                    error.position += first;
                    error
                })?;
            }
        }
        let count = reader.count(1).map_err(|_| damaged(&reader))?;
        for _ in 0..count {
            let proof = reader.blob().map_err(|_| damaged(&reader))?;
            let proof = EquivocationProof::decode(proof).map_err(|_| damaged(&reader))?;
            replica.apply_proof(proof).ok_or_else(|| damaged(&reader))?;
        }
        reader.finish().map_err(|_| ArchiveError::Damaged(bytes.len()))?;
        Ok(replica)
    }
}
