//! The messages that two replicas exchange, and their bytes (docs/protocol.md, section 8).

use bytes::Bytes;

use crate::change::ChangeId;
use crate::encoding::{DecodeError, Reader, Write as _};

/// Most bytes of one message: a change of the largest size with its voucher fits, and a hostile peer can make a receiver hold no more.
pub const MAX_FRAME: usize = 4 << 20;
/// Least bytes of a change: a header without `previous` and deps, no operations, a signature. Shorter ones are refused before they take room.
const MIN_CHANGE_BYTES: usize = 1 + 32 + 32 + 1 + 1 + 1 + 32 + 1 + 64;
/// Most leaves in one summary message.
pub const MAX_SUMMARY_LEAVES: usize = 4096;
/// Most ids in one `get`.
pub const MAX_GET: usize = 256;
/// Most chains in one `probe`.
pub const MAX_PROBE_CHAINS: usize = 512;
/// Most ids in one chain of a probe: steps of 0, 1, 2, 4, … reach back 2⁶² changes.
pub const MAX_PROBE_IDS: usize = 64;

/// An author's key as it came, unchecked: it is only compared with keys that are known already.
pub type RawAuthor = [u8; 32];

/// One leaf of the tree that `previous` makes of an author's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: ChangeId,
}

/// A change as it travels, with its voucher if it needs one. The bytes are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The encoded change.
    pub change: Bytes,
    /// The encoded voucher.
    pub voucher: Option<Bytes>,
}

/// A sync message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What I have, in 32 bytes.
    Heads {
        /// `heads_digest`.
        digest: [u8; 32],
        /// How many changes are applied.
        changes: u64,
    },
    /// All leaves of each author's tree.
    Summary {
        /// Whether this is the last part.
        last: bool,
        /// The leaves by author.
        authors: Vec<(RawAuthor, Vec<Leaf>)>,
    },
    /// Changes in causal order.
    Changes(Vec<Packet>),
    /// How many `Changes` messages the sender of this has handled for good since the connection began.
    Ack(u64),
    /// Please send these.
    Get(Vec<ChangeId>),
    /// Which of these, first named first, do you hold? Each list lies on one chain, newest first.
    Probe(Vec<(RawAuthor, Vec<ChangeId>)>),
    /// For each list of a probe, in its order, the position of the first id that is held.
    ProbeReply(Vec<(RawAuthor, Option<u64>)>),
    /// An encoded equivocation proof.
    Evidence(Bytes),
    /// A message of a later protocol; it is ignored.
    Unknown(u64),
}

impl Message {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Message::Heads { digest, changes } => {
                out.put_varint(1);
                out.put(digest);
                out.put_varint(*changes);
            }
            Message::Summary { last, authors } => {
                out.put_varint(2);
                out.put_varint(u64::from(*last));
                out.put_varint(authors.len() as u64);
                for (author, leaves) in authors {
                    out.put(author);
                    out.put_varint(leaves.len() as u64);
                    for leaf in leaves {
                        out.put_varint(leaf.seq);
                        out.put(&leaf.id.0);
                    }
                }
            }
            Message::Changes(packets) => {
                let size: usize =
                    packets.iter().map(|p| p.change.len() + p.voucher.as_ref().map_or(0, Bytes::len) + 8).sum();
                out.reserve_exact(size + 8);
                out.put_varint(3);
                out.put_varint(packets.len() as u64);
                for packet in packets {
                    out.put_blob(&packet.change);
                    out.put_blob(packet.voucher.as_deref().unwrap_or_default());
                }
            }
            Message::Ack(frames) => {
                out.put_varint(4);
                out.put_varint(*frames);
            }
            Message::Get(ids) => {
                out.put_varint(5);
                put_ids(&mut out, ids);
            }
            Message::Probe(chains) => {
                out.put_varint(6);
                out.put_varint(chains.len() as u64);
                for (author, ids) in chains {
                    out.put(author);
                    put_ids(&mut out, ids);
                }
            }
            Message::ProbeReply(replies) => {
                out.put_varint(7);
                out.put_varint(replies.len() as u64);
                for (author, position) in replies {
                    out.put(author);
                    out.put_varint(position.map_or(0, |p| p.saturating_add(1)));
                }
            }
            Message::Evidence(proof) => {
                out.put_varint(8);
                out.put(proof);
            }
            Message::Unknown(tag) => out.put_varint(*tag),
        }
        out
    }

    /// Reads one message. `bytes` is shared, not copied.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_FRAME {
            return Err(DecodeError::Rule("the message exceeds the largest frame"));
        }
        let mut reader = Reader::new(bytes);
        let message = match reader.varint()? {
            1 => Message::Heads { digest: reader.array()?, changes: reader.varint()? },
            2 => {
                let last = match reader.varint()? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Rule("`last` is 0 or 1")),
                };
                let mut total = 0;
                let count = reader.count(33)?;
                let mut authors = Vec::with_capacity(count.min(MAX_SUMMARY_LEAVES));
                for _ in 0..count {
                    let author = reader.array()?;
                    let n = reader.count(33)?;
                    total += n.max(1);
                    if total > MAX_SUMMARY_LEAVES {
                        return Err(DecodeError::Rule("a summary message has too many leaves"));
                    }
                    let mut leaves = Vec::with_capacity(n);
                    for _ in 0..n {
                        leaves.push(Leaf { seq: reader.varint()?, id: ChangeId(reader.array()?) });
                    }
                    authors.push((author, leaves));
                }
                Message::Summary { last, authors }
            }
            3 => {
                let count = reader.count(MIN_CHANGE_BYTES)?;
                let mut packets = Vec::with_capacity(count.min(4096));
                for _ in 0..count {
                    let change = bytes.slice_ref(reader.blob()?);
                    let voucher = reader.blob()?;
                    let voucher = (!voucher.is_empty()).then(|| bytes.slice_ref(voucher));
                    packets.push(Packet { change, voucher });
                }
                Message::Changes(packets)
            }
            4 => Message::Ack(reader.varint()?),
            5 => Message::Get(read_ids(&mut reader, MAX_GET)?),
            6 => {
                let count = bounded(reader.count(33)?, MAX_PROBE_CHAINS)?;
                let mut chains = Vec::with_capacity(count);
                for _ in 0..count {
                    chains.push((reader.array()?, read_ids(&mut reader, MAX_PROBE_IDS)?));
                }
                Message::Probe(chains)
            }
            7 => {
                let count = bounded(reader.count(33)?, MAX_PROBE_CHAINS)?;
                let mut replies = Vec::with_capacity(count);
                for _ in 0..count {
                    replies.push((reader.array()?, reader.varint()?.checked_sub(1)));
                }
                Message::ProbeReply(replies)
            }
            8 => {
                let proof = bytes.slice_ref(reader.rest());
                return Ok(Message::Evidence(proof));
            }
            // Whatever a later protocol puts behind its tag is its own affair.
            tag => return Ok(Message::Unknown(tag)),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn put_ids(out: &mut Vec<u8>, ids: &[ChangeId]) {
    out.put_varint(ids.len() as u64);
    for id in ids {
        out.put(&id.0);
    }
}

fn read_ids(reader: &mut Reader<'_>, most: usize) -> Result<Vec<ChangeId>, DecodeError> {
    let count = bounded(reader.count(32)?, most)?;
    (0..count).map(|_| Ok(ChangeId(reader.array()?))).collect()
}

fn bounded(count: usize, most: usize) -> Result<usize, DecodeError> {
    if count > most { Err(DecodeError::Rule("a message lists too much")) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_round_trips() {
        let id = |n: u8| ChangeId([n; 32]);
        let messages = [
            Message::Heads { digest: [1; 32], changes: 300 },
            Message::Summary { last: false, authors: vec![] },
            Message::Summary {
                last: true,
                authors: vec![
                    ([2; 32], vec![Leaf { seq: 1, id: id(3) }, Leaf { seq: 900, id: id(4) }]),
                    ([5; 32], vec![]),
                ],
            },
            Message::Changes(vec![
                Packet { change: Bytes::from_static(&[b'a'; 165]), voucher: None },
                Packet { change: Bytes::from_static(&[b'b'; 200]), voucher: Some(Bytes::from_static(b"v")) },
            ]),
            Message::Ack(7),
            Message::Get(vec![id(1), id(2)]),
            Message::Probe(vec![([9; 32], vec![id(1)])]),
            Message::ProbeReply(vec![([9; 32], None), ([8; 32], Some(0)), ([7; 32], Some(12))]),
            Message::Evidence(Bytes::from_static(b"proof")),
        ];
        for message in messages {
            let bytes = Bytes::from(message.encode());
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
            for cut in 0..bytes.len() {
                // A cut message is an error or, for those that run to the end of the frame, another message; never a panic.
                let _ = Message::decode(&bytes.slice(..cut));
            }
        }
    }

    #[test]
    fn length_bombs_are_refused() {
        for tag in [2u64, 3, 5, 6, 7] {
            let mut bytes = Vec::new();
            bytes.put_varint(tag);
            if tag == 2 {
                bytes.put_varint(0);
            }
            bytes.put_varint(u64::MAX >> 8);
            assert_eq!(Message::decode(&bytes.into()), Err(DecodeError::Truncated), "tag {tag}");
        }
    }

    #[test]
    fn an_unknown_message_is_not_an_error() {
        assert_eq!(Message::decode(&Bytes::from_static(&[99, 1, 2, 3])), Ok(Message::Unknown(99)));
    }
}
