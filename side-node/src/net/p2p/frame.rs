//! The bytes of a link between two nodes, inside an encrypted connection (docs/protocol.md, section "Direct connections").
//!
//! ```text
//! frame = to (8 bytes: the receiver's number of this link, 0 where the sender does not know it) kind body
//!   0 hello   version, group (32 bytes), from (8 bytes: the sender's number of this link)
//!   1 data    seq (varint), then at least one piece: head (1 byte), bytes (length, bytes)
//!   2 credit  seen (varint: data frames), allowed (varint: cost since the start)
//!   3 ping    stamp (varint), sent (varint: data frames)
//!   4 pong    stamp (varint)
//!   5 close   reason (text)
//! head = stream (0 sync, 1 seal, 2 side) + 4 if the message begins here + 8 if it ends here
//! ```

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use side_ledger::GroupId;

use crate::net::Stream;

/// The version of the link protocol that this build speaks.
pub(super) const VERSION: u64 = 1;
/// Most bytes of a frame: large enough that its overhead is nothing, small enough that a sealed block does not wait long behind one.
pub(super) const MAX_FRAME: usize = 128 << 10;
/// Most bytes of the reason in a close frame.
pub(super) const MAX_REASON: usize = 200;
/// Most bytes that a piece takes beside its message: head and length.
pub(super) const PIECE_OVERHEAD: usize = 1 + 4;
/// Most bytes of a data frame before its first piece: to, kind and seq.
pub(super) const DATA_OVERHEAD: usize = 8 + 1 + 10;

const FIRST: u8 = 4;
const LAST: u8 = 8;

/// A part of a message, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) stream: Stream,
    /// The message begins here.
    pub(super) first: bool,
    /// The message ends here.
    pub(super) last: bool,
    pub(super) bytes: &'a [u8],
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Hello { version: u64, group: GroupId, from: u64 },
    Data { seq: u64, pieces: Pieces<'a> },
    Credit { seen: u64, allowed: u64 },
    Ping { stamp: u64, sent: u64 },
    Pong { stamp: u64 },
    Close { reason: &'a str },
}

/// A frame and the link that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) to: u64,
    pub(super) body: Body<'a>,
}

/// The pieces of a data frame, decoded one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.0);
        let piece = read_piece(&mut reader);
        // After a fault there is nothing to go on with.
        self.0 = if piece.is_ok() { reader.rest() } else { &[] };
        Some(piece)
    }
}

fn read_piece<'a>(reader: &mut Reader<'a>) -> Result<Piece<'a>, DecodeError> {
    let head = reader.byte()?;
    let stream = match head & 3 {
        0 => Stream::Sync,
        1 => Stream::Seal,
        2 => Stream::Side,
        _ => return Err(DecodeError::Rule("there is no such stream")),
    };
    if head & !(3 | FIRST | LAST) != 0 {
        return Err(DecodeError::Rule("a piece's head has unknown bits"));
    }
    let piece = Piece { stream, first: head & FIRST != 0, last: head & LAST != 0, bytes: reader.blob()? };
    if piece.bytes.is_empty() && !(piece.first && piece.last) {
        return Err(DecodeError::Rule("a part of a message is empty"));
    }
    Ok(piece)
}

impl<'a> Frame<'a> {
    /// Reads a frame. The pieces of a data frame are read when they are taken.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_FRAME {
            return Err(DecodeError::Rule("a frame is larger than any may be"));
        }
        let mut reader = Reader::new(bytes);
        let to = u64::from_be_bytes(reader.array()?);
        let body = match reader.byte()? {
            0 => Body::Hello {
                version: reader.varint()?,
                group: GroupId(reader.array()?),
                from: u64::from_be_bytes(reader.array()?),
            },
            1 => {
                let seq = reader.varint()?;
                if reader.is_empty() {
                    return Err(DecodeError::Rule("a data frame has no piece"));
                }
                return Ok(Self { to, body: Body::Data { seq, pieces: Pieces(reader.rest()) } });
            }
            2 => Body::Credit { seen: reader.varint()?, allowed: reader.varint()? },
            3 => Body::Ping { stamp: reader.varint()?, sent: reader.varint()? },
            4 => Body::Pong { stamp: reader.varint()? },
            5 => {
                let reason = reader.string()?;
                if reason.len() > MAX_REASON {
                    return Err(DecodeError::Rule("a reason is too long"));
                }
                Body::Close { reason }
            }
            _ => return Err(DecodeError::Rule("there is no such frame")),
        };
        reader.finish()?;
        if matches!(body, Body::Hello { from: 0, .. }) {
            return Err(DecodeError::Rule("0 is no number of a link"));
        }
        Ok(Self { to, body })
    }
}

fn start(to: u64, kind: u8, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.put(&to.to_be_bytes());
    out.put(&[kind]);
    out
}

pub(super) fn hello(to: u64, group: &GroupId, from: u64) -> Vec<u8> {
    let mut out = start(to, 0, 50);
    out.put_varint(VERSION);
    out.put(group.as_bytes());
    out.put(&from.to_be_bytes());
    out
}

pub(super) fn credit(to: u64, seen: u64, allowed: u64) -> Vec<u8> {
    let mut out = start(to, 2, 29);
    out.put_varint(seen);
    out.put_varint(allowed);
    out
}

pub(super) fn ping(to: u64, stamp: u64, sent: u64) -> Vec<u8> {
    let mut out = start(to, 3, 29);
    out.put_varint(stamp);
    out.put_varint(sent);
    out
}

pub(super) fn pong(to: u64, stamp: u64) -> Vec<u8> {
    let mut out = start(to, 4, 19);
    out.put_varint(stamp);
    out
}

pub(super) fn close(to: u64, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = start(to, 5, 11 + end);
    out.put_blob(&reason.as_bytes()[..end]);
    out
}

/// A data frame that is being filled.
pub(super) struct DataFrame(Vec<u8>);

impl DataFrame {
    pub(super) fn new(to: u64, seq: u64) -> Self {
        let mut out = start(to, 1, DATA_OVERHEAD + 64);
        out.put_varint(seq);
        Self(out)
    }

    /// How many bytes of a message still fit; 0 where a piece would be too small to be worth it.
    pub(super) fn room(&self) -> usize {
        MAX_FRAME.saturating_sub(self.0.len() + PIECE_OVERHEAD)
    }

    /// Adds a piece of at most [`DataFrame::room`] bytes.
    pub(super) fn add(&mut self, piece: Piece<'_>) {
        let stream = match piece.stream {
            Stream::Sync => 0,
            Stream::Seal => 1,
            Stream::Side => 2,
        };
        let head = stream | if piece.first { FIRST } else { 0 } | if piece.last { LAST } else { 0 };
        self.0.put(&[head]);
        self.0.put_blob(piece.bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let group = GroupId([9; 32]);
        let hello = hello(0, &group, 7);
        assert_eq!(
            hex::encode(&hello),
            format!("{}00 01{}{}", "00".repeat(8), "09".repeat(32), "0000000000000007").replace(' ', "")
        );
        assert_eq!(hex::encode(credit(7, 3, 300)), "00000000000000070203ac02");
        assert_eq!(hex::encode(ping(7, 5, 2)), "0000000000000007030502");
        assert_eq!(hex::encode(pong(7, 5)), "00000000000000070405");
        assert_eq!(hex::encode(close(7, "no")), "000000000000000705026e6f");
        let mut data = DataFrame::new(7, 1);
        data.add(Piece { stream: Stream::Sync, first: true, last: true, bytes: b"ab" });
        data.add(Piece { stream: Stream::Side, first: true, last: false, bytes: b"c" });
        assert_eq!(hex::encode(data.into_bytes()), "00000000000000070101 0c026162 060163".replace(' ', ""));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let bytes = close(1, &"\u{fc}".repeat(101));
        let Ok(Frame { body: Body::Close { reason }, .. }) = Frame::decode(&bytes) else { panic!() };
        assert_eq!(reason.chars().count(), 100);
        let bytes = close(1, &format!("a{}", "\u{fc}".repeat(101)));
        let Ok(Frame { body: Body::Close { reason }, .. }) = Frame::decode(&bytes) else { panic!() };
        assert_eq!(reason.len(), 199);
    }

    #[test]
    fn what_breaks_the_format_is_refused() {
        let long = vec![0; MAX_FRAME + 1];
        for bad in [&[][..], &[0; 8], &[0; 9], &long, &[0, 0, 0, 0, 0, 0, 0, 1, 6], &[0, 0, 0, 0, 0, 0, 0, 1, 1, 1]] {
            assert!(Frame::decode(bad).is_err());
        }
        let mut trailing = ping(1, 1, 0);
        trailing.push(0);
        assert_eq!(Frame::decode(&trailing), Err(DecodeError::Trailing));
        assert!(Frame::decode(&hello(1, &GroupId([0; 32]), 0)).is_err());
        for pieces in [&[3, 1, 0][..], &[16, 1, 0], &[4, 0], &[12, 2, 0]] {
            let mut pieces = Pieces(pieces);
            assert!(pieces.next().unwrap().is_err());
            assert_eq!(pieces.next(), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..7) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[8] = kind;
            }
            if let Ok(Frame { body: Body::Data { pieces, .. }, .. }) = Frame::decode(&bytes) {
                prop_assert!(pieces.take(1000).count() < 1000);
            }
        }
    }
}
