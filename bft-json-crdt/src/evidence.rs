//! Header chains under one signature: vouchers and equivocation proofs (docs/protocol.md, section 7).
//!
//! Along `previous`, a signature on a tip vouches for everything before it. A chain carries headers only, so evidence is small, and it is
//! judged without any context. The fields are open: whoever takes evidence from elsewhere calls `verify` before relying on it.

use thiserror::Error;

use crate::change::{Change, ChangeError, ChangeId, DocumentId, Header, MAX_HEADER_BYTES};
use crate::encoding::{DecodeError, Reader, Write};
use crate::hash::CHANGE_SIGNATURE_DOMAIN;
use crate::identity::{AuthorId, Signature};
use crate::verify;

/// Most headers in one half of a proof or in a voucher. Honest authors sign every change, so that short chains do. And long ones would harm: whoever passes
/// an honest author's changes on can spoil each signature and vouch for the change with the true headers behind it, and all others then
/// have to keep and pass on the vouchers too.
pub const MAX_CHAIN: usize = 8;

/// Why bytes or headers are no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// The bytes break the encoding.
    #[error(transparent)]
    Form(#[from] ChangeError),
    /// A chain has no header or more than [`MAX_CHAIN`].
    #[error("a chain has 1 to {MAX_CHAIN} headers, not {0}")]
    Length(usize),
    /// A header is not the author's next one in that document after the header before it.
    #[error("the headers are not linked by `previous`")]
    Link,
    /// The signature on the last header is not good.
    #[error("the signature on the tip is not good")]
    Signature,
    /// A voucher speaks of another change.
    #[error("the voucher speaks of another change")]
    OtherChange,
    /// The two branches do not begin with two changes of one author, document and seq, the lower id first.
    #[error("the two branches do not show a fork")]
    NoFork,
}

impl From<DecodeError> for EvidenceError {
    fn from(error: DecodeError) -> Self {
        Self::Form(error.into())
    }
}

/// A header chain and a signature on the id of its last header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChain {
    /// Each one's `previous` is the id of the one before. Invariant: never empty (decoding and [`SignedChain::of`] see to it).
    pub headers: Vec<Header>,
    /// Over the id of the last one.
    pub signature: Signature,
}

impl SignedChain {
    /// The chain of consecutive changes of one author, first to last, under the last one's own signature.
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Option<Self> {
        let mut signature = None;
        let headers = changes
            .into_iter()
            .map(|change| {
                signature = Some(change.signature());
                change.header().clone()
            })
            .collect();
        Some(Self { headers, signature: signature? })
    }

    /// Checks the chain's shape and links, all but the signature. Returns the ids of the first and the last header.
    pub fn check_links(&self) -> Result<(ChangeId, ChangeId), EvidenceError> {
        let [first, rest @ ..] = self.headers.as_slice() else { return Err(EvidenceError::Length(0)) };
        if self.headers.len() > MAX_CHAIN {
            return Err(EvidenceError::Length(self.headers.len()));
        }
        let first_id = first.id();
        let (mut before, mut id) = (first, first_id);
        for header in rest {
            let linked = header.author == before.author
                && header.document == before.document
                && header.seq == before.seq + 1
                && header.previous == Some(id);
            if !linked {
                return Err(EvidenceError::Link);
            }
            (before, id) = (header, header.id());
        }
        Ok((first_id, id))
    }

    /// Checks everything: links and signature. Returns the id of the first header. Costs a hash for each header and one signature check.
    pub fn verify(&self) -> Result<ChangeId, EvidenceError> {
        let (first, tip) = self.check_links()?;
        if !verify::verify(&self.headers[0].author, CHANGE_SIGNATURE_DOMAIN, &tip.0, &self.signature) {
            return Err(EvidenceError::Signature);
        }
        Ok(first)
    }

    /// Appends the encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.headers.len() as u64);
        for header in &self.headers {
            out.put_blob(&header.encode());
        }
        out.put(&self.signature.0);
    }

    /// Reads a chain off the front of `reader`: its form and the author's key are judged, not links and signature.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        let count = reader.count(1)?;
        if count == 0 || count > MAX_CHAIN {
            return Err(EvidenceError::Length(count));
        }
        let mut headers: Vec<Header> = Vec::new();
        for _ in 0..count {
            let bytes = reader.blob()?;
            if bytes.len() > MAX_HEADER_BYTES {
                return Err(DecodeError::Rule("a header is too long").into());
            }
            let mut inner = Reader::new(bytes);
            // One author a chain: the key is checked once.
            let known = headers.first().map(|first| first.author);
            let header = Header::read(&mut inner, |raw| known.filter(|author| author.as_bytes() == raw))?;
            inner.finish()?;
            if known.is_some_and(|author| author != header.author) {
                return Err(EvidenceError::Link);
            }
            headers.push(header);
        }
        Ok(Self { headers, signature: Signature(reader.array()?) })
    }
}

/// Vouches for the change that its first header names as `previous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher(pub SignedChain);

impl Voucher {
    /// Checks that this vouches for `change`.
    pub fn verify(&self, change: &Change) -> Result<(), EvidenceError> {
        let first = self.0.headers.first().ok_or(EvidenceError::Length(0))?;
        let header = change.header();
        let follows = first.previous == Some(change.id())
            && first.author == header.author
            && first.document == header.document
            && first.seq == header.seq + 1;
        if !follows {
            return Err(EvidenceError::OtherChange);
        }
        self.0.verify()?;
        Ok(())
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.write(&mut out);
        out
    }

    /// Reads bytes that hold a voucher and nothing else. Judges the form only: see [`Voucher::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes);
        let chain = SignedChain::read(&mut reader)?;
        reader.finish()?;
        Ok(Self(chain))
    }
}

/// Two signed chains whose first headers have the same author, document and seq and different ids, `a`'s id the lower: the author forked its
/// own chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquivocationProof {
    /// One branch.
    pub a: SignedChain,
    /// The other.
    pub b: SignedChain,
}

impl EquivocationProof {
    /// Puts two verified branches in order. Fails if they show no fork; signatures are not looked at.
    pub fn new(one: SignedChain, other: SignedChain) -> Result<Self, EvidenceError> {
        let ((first, _), (second, _)) = (one.check_links()?, other.check_links()?);
        let proof = if first < second { Self { a: one, b: other } } else { Self { a: other, b: one } };
        proof.check_fork(first.min(second), first.max(second))?;
        Ok(proof)
    }

    /// Checks everything, without context. Costs a hash for each header and two signature checks.
    pub fn verify(&self) -> Result<(), EvidenceError> {
        // The cheap checks first.
        let ((a, _), (b, _)) = (self.a.check_links()?, self.b.check_links()?);
        self.check_fork(a, b)?;
        self.a.verify()?;
        self.b.verify()?;
        Ok(())
    }

    fn check_fork(&self, a: ChangeId, b: ChangeId) -> Result<(), EvidenceError> {
        let (Some(first), Some(second)) = (self.a.headers.first(), self.b.headers.first()) else {
            return Err(EvidenceError::Length(0));
        };
        let fork =
            first.author == second.author && first.document == second.document && first.seq == second.seq && a < b;
        if fork { Ok(()) } else { Err(EvidenceError::NoFork) }
    }

    /// Whom it convicts, if it is good.
    pub fn author(&self) -> AuthorId {
        self.a.headers[0].author
    }

    /// In which document.
    pub fn document(&self) -> DocumentId {
        self.a.headers[0].document
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.a.write(&mut out);
        self.b.write(&mut out);
        out
    }

    /// Reads bytes that hold a proof and nothing else. Judges the form only: see [`EquivocationProof::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader::new(bytes);
        let a = SignedChain::read(&mut reader)?;
        let b = SignedChain::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { a, b })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;

    fn chain(keypair: &Keypair, after: Option<&Change>, salt: u64, len: u64) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for step in 0..len {
            let before = changes.last().or(after);
            let header = Header {
                version: 1,
                document: DocumentId([7; 32]),
                author: keypair.author(),
                seq: before.map_or(1, |change| change.header().seq + 1),
                previous: before.map(Change::id),
                deps: Vec::new(),
                time_ms: salt + step,
                ops_hash: [0; 32],
            };
            changes.push(Change::sign(keypair, header, &[0; 4]));
        }
        changes
    }

    #[test]
    fn a_voucher_vouches_for_exactly_its_change() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let changes = chain(&keypair, None, 0, 5);
        let voucher = Voucher(SignedChain::of(&changes[2..]).unwrap());
        assert_eq!(voucher.verify(&changes[1]), Ok(()));
        for other in [0, 2, 3, 4] {
            assert_eq!(voucher.verify(&changes[other]), Err(EvidenceError::OtherChange));
        }
        assert_eq!(Voucher::decode(&voucher.encode()), Ok(voucher.clone()));

        let mut broken = voucher.clone();
        broken.0.headers.remove(1);
        assert_eq!(broken.verify(&changes[1]), Err(EvidenceError::Link));
        let mut broken = voucher.clone();
        broken.0.signature = changes[3].signature();
        assert_eq!(broken.verify(&changes[1]), Err(EvidenceError::Signature));
        let mut broken = voucher.clone();
        broken.0.headers[1].time_ms += 1;
        assert_eq!(broken.verify(&changes[1]), Err(EvidenceError::Link));
        let mut trailing = voucher.encode();
        trailing.push(0);
        assert_eq!(Voucher::decode(&trailing), Err(DecodeError::Trailing.into()));
        assert_eq!(Voucher::decode(&[0; 65]), Err(EvidenceError::Length(0)));
        assert_eq!(SignedChain::of([]), None);
    }

    #[test]
    fn a_stranger_cannot_vouch() {
        let (victim, stranger) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let target = chain(&victim, None, 0, 1);
        let theirs = chain(&stranger, Some(&target[0]), 0, 1);
        let voucher = Voucher(SignedChain::of(&theirs).unwrap());
        assert_eq!(voucher.verify(&target[0]), Err(EvidenceError::OtherChange));
        // Nor by signing headers in the victim's name.
        let mut chain = SignedChain::of(&chain(&victim, Some(&target[0]), 0, 1)).unwrap();
        let id = chain.headers[0].id();
        chain.signature = stranger.sign(CHANGE_SIGNATURE_DOMAIN, &id.0);
        assert_eq!(Voucher(chain).verify(&target[0]), Err(EvidenceError::Signature));
    }

    #[test]
    fn a_proof_shows_a_fork_and_nothing_else_passes() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let trunk = chain(&keypair, None, 0, 2);
        let left = SignedChain::of(&chain(&keypair, Some(&trunk[1]), 10, 3)).unwrap();
        let right = SignedChain::of(&chain(&keypair, Some(&trunk[1]), 20, 1)).unwrap();
        let proof = EquivocationProof::new(left.clone(), right.clone()).unwrap();
        assert_eq!(EquivocationProof::new(right.clone(), left.clone()), Ok(proof.clone()));
        assert_eq!(proof.verify(), Ok(()));
        assert_eq!(proof.author(), keypair.author());
        assert_eq!(proof.document(), DocumentId([7; 32]));
        assert_eq!(EquivocationProof::decode(&proof.encode()), Ok(proof.clone()));

        let swapped = EquivocationProof { a: proof.b.clone(), b: proof.a.clone() };
        assert_eq!(swapped.verify(), Err(EvidenceError::NoFork));
        assert_eq!(EquivocationProof::new(left.clone(), left.clone()), Err(EvidenceError::NoFork));
        // Two changes of one straight chain.
        let later = SignedChain { headers: left.headers[1..].to_vec(), signature: left.signature };
        assert_eq!(EquivocationProof::new(left.clone(), later), Err(EvidenceError::NoFork));
        // Another document, another author.
        let mut elsewhere = right.clone();
        elsewhere.headers[0].document = DocumentId([8; 32]);
        assert_eq!(EquivocationProof::new(left.clone(), elsewhere), Err(EvidenceError::NoFork));
        let other = Keypair::from_seed(&[2; 32]);
        let other = SignedChain::of(&chain(&other, Some(&trunk[1]), 20, 1)).unwrap();
        assert_eq!(EquivocationProof::new(left.clone(), other), Err(EvidenceError::NoFork));
        // A signature of the other branch.
        let mut forged = proof.clone();
        std::mem::swap(&mut forged.a.signature, &mut forged.b.signature);
        assert_eq!(forged.verify(), Err(EvidenceError::Signature));
    }

    #[test]
    fn a_chain_is_bounded() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let changes = chain(&keypair, None, 0, MAX_CHAIN as u64 + 1);
        let longest = Voucher(SignedChain::of(&changes[1..]).unwrap());
        assert_eq!(longest.verify(&changes[0]), Ok(()));
        assert_eq!(Voucher::decode(&longest.encode()), Ok(longest));
        let beyond = Voucher(SignedChain::of(&changes).unwrap());
        assert_eq!(beyond.0.verify(), Err(EvidenceError::Length(MAX_CHAIN + 1)));
        assert_eq!(Voucher::decode(&beyond.encode()), Err(EvidenceError::Length(MAX_CHAIN + 1)));
    }
}
