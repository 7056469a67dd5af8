//! The change: what is signed, hashed, sent and stored (docs/protocol.md, section 3).

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::encoding::{DecodeError, Reader, Write as _};
use crate::hash::{self, CHANGE_DOMAIN, CHANGE_SIGNATURE_DOMAIN, OPS_DOMAIN};
use crate::identity::{AuthorId, IdentityError, Keypair, Signature};

/// The version of `ops` that this build reads and writes.
pub const VERSION: u64 = 1;
/// Most entries in `deps`: bounds a header to about 1.2 kB. More heads are merged by a short chain of changes.
pub const MAX_DEPS: usize = 32;
/// Most bytes of `ops`: one change fits into a frame.
pub const MAX_OPS_BYTES: usize = 1 << 20;
/// Largest `seq` and `time_ms`: exact in every JSON reader.
pub const MAX_SAFE: u64 = (1 << 53) - 1;
/// Most bytes of a header: version, document, author, seq, previous, deps, time and hash.
pub const MAX_HEADER_BYTES: usize = 10 + 32 + 32 + 8 + 32 + 1 + 32 * MAX_DEPS + 8 + 32;
/// Most bytes of a whole change.
pub const MAX_CHANGE_BYTES: usize = MAX_HEADER_BYTES + 4 + MAX_OPS_BYTES + 64;

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads 64 hexadecimal digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..4]))
            }
        }
    };
}

hash_id!(
    /// A change's id: the hash of its header.
    ChangeId
);
hash_id!(
    /// A document's id. What it is the hash of is up to the layer above (a group's genesis, say).
    DocumentId
);

/// Why bytes are not a change. All of these are *malformed*: the sender is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The bytes break the encoding.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// The author's key is not acceptable.
    #[error(transparent)]
    Author(#[from] IdentityError),
}

/// What is hashed to the id and so signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version of `ops`.
    pub version: u64,
    /// The document that the change belongs to.
    pub document: DocumentId,
    /// Who wrote it.
    pub author: AuthorId,
    /// Its number on the author's own chain, from 1.
    pub seq: u64,
    /// The author's change before. Invariant: present exactly when `seq > 1`.
    pub previous: Option<ChangeId>,
    /// Other heads that the author had seen. Invariant: strictly ascending, at most [`MAX_DEPS`], without `previous`.
    pub deps: Vec<ChangeId>,
    /// The author's clock in milliseconds since 1970-01-01 UTC: a claim that orders nothing.
    pub time_ms: u64,
    /// The hash of the operations.
    pub ops_hash: [u8; 32],
}

/// A header's fields, wherever they are kept. They keep to the invariants of [`Header`].
pub(crate) struct HeaderFields<'a, D> {
    pub(crate) version: u64,
    pub(crate) document: &'a DocumentId,
    pub(crate) author: &'a AuthorId,
    pub(crate) seq: u64,
    pub(crate) previous: Option<ChangeId>,
    pub(crate) deps: D,
    pub(crate) time_ms: u64,
    pub(crate) ops_hash: &'a [u8; 32],
}

impl<D: ExactSizeIterator<Item = ChangeId>> HeaderFields<'_, D> {
    /// Appends the one encoding.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.put_varint(self.version);
        out.put(&self.document.0);
        out.put(self.author.as_bytes());
        out.put_varint(self.seq);
        if let Some(previous) = &self.previous {
            out.put(&previous.0);
        }
        out.put_varint(self.deps.len() as u64);
        for dep in self.deps {
            out.put(&dep.0);
        }
        out.put_varint(self.time_ms);
        out.put(self.ops_hash);
    }
}

impl Header {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + 32 * self.deps.len());
        HeaderFields {
            version: self.version,
            document: &self.document,
            author: &self.author,
            seq: self.seq,
            previous: self.previous,
            deps: self.deps.iter().copied(),
            time_ms: self.time_ms,
            ops_hash: &self.ops_hash,
        }
        .put(&mut out);
        out
    }

    /// Reads a header off the front of `reader`. `known_author` saves checking the key of an author that was checked before: it is
    /// called with the raw bytes and returns the checked key if it has it.
    pub fn read(
        reader: &mut Reader<'_>,
        known_author: impl FnOnce(&[u8; 32]) -> Option<AuthorId>,
    ) -> Result<Self, ChangeError> {
        let version = reader.varint()?;
        let document = DocumentId(reader.array()?);
        let author = reader.array()?;
        let author = match known_author(&author) {
            Some(author) => author,
            None => AuthorId::from_bytes(author)?,
        };
        let seq = reader.varint()?;
        if seq == 0 || seq > MAX_SAFE {
            return Err(DecodeError::Rule("seq is out of range").into());
        }
        let previous = if seq > 1 { Some(ChangeId(reader.array()?)) } else { None };
        let count = reader.count(32)?;
        if count > MAX_DEPS {
            return Err(DecodeError::Rule("too many deps").into());
        }
        let mut deps: Vec<ChangeId> = Vec::with_capacity(count);
        for _ in 0..count {
            let dep = ChangeId(reader.array()?);
            if deps.last().is_some_and(|last| *last >= dep) {
                return Err(DecodeError::Rule("deps are not strictly ascending").into());
            }
            if previous == Some(dep) {
                return Err(DecodeError::Rule("deps repeat previous").into());
            }
            deps.push(dep);
        }
        let time_ms = reader.varint()?;
        if time_ms > MAX_SAFE {
            return Err(DecodeError::Rule("time_ms is out of range").into());
        }
        let ops_hash = reader.array()?;
        Ok(Self { version, document, author, seq, previous, deps, time_ms, ops_hash })
    }

    /// Reads bytes that hold a header and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangeError> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader, |_| None)?;
        reader.finish()?;
        Ok(header)
    }

    /// The id of this header.
    pub fn id(&self) -> ChangeId {
        ChangeId(hash::hash(CHANGE_DOMAIN, &self.encode()))
    }

    /// `previous` and `deps`.
    pub fn parents(&self) -> impl Iterator<Item = &ChangeId> {
        self.previous.iter().chain(&self.deps)
    }
}

/// A well-formed change together with its bytes and its id. Cheap to clone. The operations' inner form and the signature have not been
/// judged; the header's form, the author's key and `ops_hash` have.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    bytes: Bytes,
    header: std::sync::Arc<Header>,
    id: ChangeId,
    ops_start: u32,
}

impl Change {
    /// Signs a change. The caller has made sure that `header` describes the next change of `keypair`'s author and that `ops` is valid;
    /// `header.ops_hash` is filled in here.
    pub fn sign(keypair: &Keypair, mut header: Header, ops: &[u8]) -> Self {
        header.ops_hash = hash::hash(OPS_DOMAIN, ops);
        let encoded = header.encode();
        let id = ChangeId(hash::hash(CHANGE_DOMAIN, &encoded));
        let signature = keypair.sign(CHANGE_SIGNATURE_DOMAIN, &id.0);
        Self::put_together(header, encoded, id, ops, &signature)
    }

    /// Puts a change together from parts that somebody else signed.
    pub fn from_parts(mut header: Header, ops: &[u8], signature: Signature) -> Self {
        header.ops_hash = hash::hash(OPS_DOMAIN, ops);
        let encoded = header.encode();
        let id = ChangeId(hash::hash(CHANGE_DOMAIN, &encoded));
        Self::put_together(header, encoded, id, ops, &signature)
    }

    /// Puts a change together again that was taken apart. `id` and the hash of the operations in `header` are what they were.
    pub(crate) fn reassemble(header: Header, id: ChangeId, ops: &[u8], signature: Signature) -> Self {
        let encoded = header.encode();
        Self::put_together(header, encoded, id, ops, &signature)
    }

    fn put_together(header: Header, encoded: Vec<u8>, id: ChangeId, ops: &[u8], signature: &Signature) -> Self {
        let (bytes, ops_start) = assemble(encoded, ops, &signature.0);
        Self { bytes: bytes.into(), header: header.into(), id, ops_start }
    }

    /// Reads bytes that hold one change and nothing else.
    pub fn decode(bytes: Bytes) -> Result<Self, ChangeError> {
        Self::decode_with(bytes, |_| None)
    }

    /// Like [`Change::decode`], with authors whose keys were checked before (see [`Header::read`]).
    pub fn decode_with(
        bytes: Bytes,
        known_author: impl FnOnce(&[u8; 32]) -> Option<AuthorId>,
    ) -> Result<Self, ChangeError> {
        let mut reader = Reader::new(&bytes);
        let header = Header::read(&mut reader, known_author)?;
        let header_len = bytes.len() - reader.remaining();
        let ops_len = reader.count(1)?;
        if ops_len > MAX_OPS_BYTES {
            return Err(DecodeError::Rule("ops are too long").into());
        }
        let ops_start = (bytes.len() - reader.remaining()) as u32;
        let ops = reader.bytes(ops_len)?;
        reader.array::<64>()?;
        reader.finish()?;
        if hash::hash(OPS_DOMAIN, ops) != header.ops_hash {
            return Err(DecodeError::Rule("ops_hash does not match the operations").into());
        }
        let id = ChangeId(hash::hash(CHANGE_DOMAIN, &bytes[..header_len]));
        Ok(Self { header: header.into(), id, ops_start, bytes })
    }

    /// The id.
    pub fn id(&self) -> ChangeId {
        self.id
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The author.
    pub fn author(&self) -> AuthorId {
        self.header.author
    }

    /// The encoded operations (see [`crate::ops`]).
    pub fn ops(&self) -> &[u8] {
        &self.bytes[self.ops_start as usize..self.bytes.len() - 64]
    }

    /// The signature, good or not.
    pub fn signature(&self) -> Signature {
        let mut signature = [0; 64];
        signature.copy_from_slice(&self.bytes[self.bytes.len() - 64..]);
        Signature(signature)
    }

    /// The whole change as it travels and is stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The bytes of a change, made of its encoded header, its operations and its signature; and where in them the operations begin.
pub(crate) fn assemble(mut header: Vec<u8>, ops: &[u8], signature: &[u8; 64]) -> (Vec<u8>, u32) {
    header.reserve_exact(ops.len() + 4 + 64);
    header.put_varint(ops.len() as u64);
    let ops_start = header.len() as u32;
    header.put(ops);
    header.put(signature);
    (header, ops_start)
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:?}, {:?} #{}, {} bytes)", self.id, self.header.author, self.header.seq, self.bytes.len())
    }
}
