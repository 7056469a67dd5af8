//! A compacted replica as one file, which only its own store believes.
//!
//! Skeletons ([`crate::history`]) do not hash to what the headers say, so nothing in a file but an authentication code can tell that they are what they were. The code is
//! HMAC-SHA256 (RFC 2104) under a key of the store's own; it is checked before anything else is looked at. Everything else is still checked as for any file: ids are
//! made again by hashing headers, operations are judged, each author's leaf has to have a good signature or a voucher.
//!
//! ```text
//! "SIDE-COMPACT" ‖ version (1) ‖ 32 document
//!   ‖ varint number of floor heads ‖ 32 each
//!   ‖ varint number of authors ‖ 32 each, in the order of their first changes
//!   ‖ varint number of changes ‖ in causal order, each:
//!       varint author ‖ varint own number − previous's number (0 = none) ‖ varint number of deps ‖ varint own number − dep's number each, in the header's order
//!       ‖ varint time_ms ‖ 0 ‖ varint length ‖ operations
//!                     or ‖ 1 ‖ 32 ops_hash ‖ varint length ‖ skeleton
//!       ‖ 64 signature ‖ varint length ‖ voucher (length 0 = none)
//!   ‖ varint number of proofs ‖ varint length ‖ proof each
//!   ‖ 32 code over everything before
//! ```

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::parts::{Parts, Scratch};
use super::{LoadError, LoadOptions, Replica};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{ChangeId, DocumentId, MAX_DEPS};
use crate::dag::Content;
use crate::encoding::{Reader, Write as _};
use crate::evidence::{EquivocationProof, Voucher};
use crate::history::{Floor, Version};
use crate::identity::{AuthorId, Signature};

const MAGIC: &[u8; 12] = b"SIDE-COMPACT";
const VERSION: u8 = 1;
const CODE: usize = 32;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// Why a file of a compacted replica cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompactedError {
    /// It is no such file, or of a version that this build does not know.
    #[error("not a compacted replica of a version that this build knows")]
    Magic,
    /// The authentication code is not this key's: the file was changed, or is another store's.
    #[error("the file was not written under this key, or was changed since")]
    Code,
    /// It breaks the form at this byte: whoever has the key wrote it so.
    #[error("the file is damaged near byte {0}")]
    Damaged(usize),
    /// A change in it is unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// HMAC-SHA256 (RFC 2104).
fn code(key: &[u8; 32], data: &[u8]) -> [u8; CODE] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(data).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// Compares in time that does not tell where two codes differ.
fn same(a: &[u8; CODE], b: &[u8; CODE]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

impl Replica {
    /// The whole replica as bytes, compacted or not, under an authentication code with this key, which the store keeps to itself. What is kept aside is left out.
    pub fn save_compacted(&self, key: &[u8; 32]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put(MAGIC);
        out.put(&[VERSION]);
        out.put(&self.id.0);
        out.put_varint(self.floor.version.heads().len() as u64);
        self.floor.version.heads().iter().for_each(|head| out.put(&head.0));
        let authors: BTreeMap<AuthorId, u64> = self.dag.authors().zip(0..).collect();
        out.put_varint(authors.len() as u64);
        self.dag.authors().for_each(|author| out.put(author.as_bytes()));
        out.put_varint(self.len() as u64);
        for number in 0..self.len() as u32 {
            let index = ChangeIdx(number);
            let record = self.dag.record(index);
            out.put_varint(authors[&self.dag.author(index)]);
            out.put_varint(self.dag.previous(index).map_or(0, |previous| u64::from(number - previous.0)));
            out.put_varint(record.deps().len() as u64);
            record.deps().for_each(|dep| out.put_varint(u64::from(number - dep.0)));
            out.put_varint(record.time_ms);
            match record.content() {
                Content::Whole(ops) => {
                    out.push(0);
                    out.put_blob(ops);
                }
                Content::Compacted(hash, skeleton) => {
                    out.push(1);
                    out.put(hash);
                    out.put_blob(skeleton);
                }
            }
            out.put(record.signature);
            out.put_blob(&self.voucher(index).map(|voucher| voucher.encode()).unwrap_or_default());
        }
        out.put_varint(self.proofs.len() as u64);
        self.proofs.values().for_each(|proof| out.put_blob(&proof.encode()));
        let code = code(key, &out);
        out.put(&code);
        out
    }

    /// Reads what [`Replica::save_compacted`] wrote under this key. Numbers of changes are as they were. `whole_part` of the options says nothing here: the file is
    /// whole, or not believed.
    ///
    /// # Errors
    /// See [`CompactedError`].
    pub fn load_compacted(file: &[u8], key: &[u8; 32], options: &LoadOptions) -> Result<Self, CompactedError> {
        let (body, found) = file.split_last_chunk::<CODE>().ok_or(CompactedError::Magic)?;
        if !body.starts_with(MAGIC) || body.get(MAGIC.len()) != Some(&VERSION) {
            return Err(CompactedError::Magic);
        }
        if !same(found, &code(key, body)) {
            return Err(CompactedError::Code);
        }
        let mut reader = Reader::new(&body[MAGIC.len() + 1..]);
        let loaded = Self::read_compacted(&mut reader, options);
        let at = body.len() - reader.remaining();
        loaded.map_err(|fault| fault.unwrap_or(CompactedError::Damaged(at)))
    }

    /// `None` is damage where the reader stands.
    fn read_compacted(reader: &mut Reader<'_>, options: &LoadOptions) -> Result<Self, Option<CompactedError>> {
        let mut replica = Self::new(DocumentId(reader.array().map_err(|_| None)?), options.limits);
        replica.set_writer(options.writer);
        let heads = reader.count(32).map_err(|_| None)?;
        let heads: Result<Vec<_>, _> = (0..heads).map(|_| reader.array().map(ChangeId)).collect();
        let version = Version::new(heads.map_err(|_| None)?);
        let count = reader.count(32).map_err(|_| None)?;
        let mut authors = Vec::with_capacity(count);
        for _ in 0..count {
            let key = reader.array().map_err(|_| None)?;
            authors.push(AuthorId::from_bytes(key).map_err(|_| None)?);
        }
        let count = reader.count(1).map_err(|_| None)?;
        let (mut scratch, mut deps) = (Scratch::default(), Vec::new());
        for number in 0..count {
            replica.read_change(reader, number as u32, &authors, &mut deps, &mut scratch)?;
        }
        replica.set_floor(version).ok_or(None)?;
        replica.check_loaded(0, options.check).map_err(|error| Some(error.into()))?;
        // Nothing is proven before: what a proven author wrote would be held back.
        let count = reader.count(1).map_err(|_| None)?;
        for _ in 0..count {
            let proof = EquivocationProof::decode(reader.blob().map_err(|_| None)?).map_err(|_| None)?;
            replica.apply_proof(proof).ok_or(None)?;
        }
        if reader.remaining() == 0 { Ok(replica) } else { Err(None) }
    }

    fn read_change(
        &mut self,
        reader: &mut Reader<'_>,
        number: u32,
        authors: &[AuthorId],
        deps: &mut Vec<ChangeIdx>,
        scratch: &mut Scratch,
    ) -> Result<(), Option<CompactedError>> {
        let fault = |fault| Some(LoadError { position: number as usize, fault }.into());
        let varint = |reader: &mut Reader<'_>| reader.varint().map_err(|_| None);
        let back =
            |distance: u64| u32::try_from(distance).ok().and_then(|back| number.checked_sub(back)).map(ChangeIdx);
        let author = usize::try_from(varint(reader)?).ok().and_then(|author| authors.get(author)).ok_or(None)?;
        let previous = match varint(reader)? {
            0 => None,
            distance => Some(back(distance).ok_or(None)?),
        };
        deps.clear();
        let count = reader.count(1).ok().filter(|count| *count <= MAX_DEPS).ok_or(None)?;
        for _ in 0..count {
            deps.push(back(varint(reader)?).ok_or(None)?);
        }
        let time_ms = varint(reader)?;
        let hash: [u8; 32];
        let content = match reader.byte().map_err(|_| None)? {
            0 => Content::Whole(reader.blob().map_err(|_| None)?),
            1 => {
                hash = reader.array().map_err(|_| None)?;
                Content::Compacted(&hash, reader.blob().map_err(|_| None)?)
            }
            _ => return Err(None),
        };
        let signature = Signature(reader.array().map_err(|_| None)?);
        let parts = Parts { author: *author, previous, deps, time_ms, content, signature };
        let (index, _) = self.load_parts(&parts, None, scratch).map_err(fault)?;
        match reader.blob().map_err(|_| None)? {
            [] => {}
            voucher => {
                let voucher = Voucher::decode(voucher).map_err(|_| None)?;
                self.load_voucher(index, voucher).map_err(fault)?;
            }
        }
        Ok(())
    }

    /// `None` unless exactly what the version holds is compacted.
    fn set_floor(&mut self, version: Version) -> Option<()> {
        let heads: Option<Vec<ChangeIdx>> = version.heads().iter().map(|id| self.dag.lookup(id)).collect();
        self.floor = Floor { cut: self.dag.clock_of(heads?), version };
        let as_said = |index: ChangeIdx| self.dag.is_compacted(index) == self.is_compacted(index);
        (0..self.len() as u32).map(ChangeIdx).all(as_said).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Check;

    #[test]
    fn the_code_is_hmac_sha256() {
        // RFC 4231, test case 1: a key of twenty bytes is the same as one with zeros behind it.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex::encode(code(&key, b"Hi There")), expected);
    }

    #[test]
    fn hostile_bytes_under_the_right_key_are_refused_without_harm() {
        use crate::identity::Keypair;
        use crate::replica::Limits;

        let (key, keypair) = ([3; 32], Keypair::from_seed(&[1; 32]));
        let mut replica = Replica::new(DocumentId([5; 32]), Limits::default());
        for round in 0..4 {
            let written = replica.transact(&keypair, round, |tx| {
                let text = tx.child(crate::document::ContainerIdx::ROOT, "t", crate::ops::Kind::Text).unwrap();
                let len = tx.document().len(text);
                tx.text_delete(text, 0, len / 2).unwrap();
                tx.text_insert(text, 0, "hello").unwrap();
            });
            written.unwrap();
        }
        let frontier = Version::from(replica.id(ChangeIdx(2)));
        replica.compact(&crate::history::Frontier::Final(frontier)).unwrap();
        let file = replica.save_compacted(&key);
        let options = LoadOptions { check: Check::Tips, ..LoadOptions::default() };
        let view = replica.view();
        let (mut refused, body) = (0, file.len() - CODE);
        for at in MAGIC.len() + 1..body {
            for flip in [1, 0x80, 0xff] {
                let mut bad = file[..body].to_vec();
                bad[at] ^= flip;
                let code = code(&key, &bad);
                bad.put(&code);
                match Replica::load_compacted(&bad, &key, &options) {
                    // A kept character, or a signature below a tip: nothing but the code speaks for them.
                    Ok(other) => other.document.debug_check(),
                    Err(_) => refused += 1,
                }
            }
            let mut cut = file[..at].to_vec();
            let code = code(&key, &cut);
            cut.put(&code);
            assert!(Replica::load_compacted(&cut, &key, &options).is_err());
        }
        assert!(refused > body, "{refused} of {}", 3 * body);
        assert_eq!(Replica::load_compacted(&file, &key, &options).unwrap().view(), view);
    }
}
