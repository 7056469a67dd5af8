//! What travels between a relay and its clients (docs/protocol.md, "Relay"): the leaf module that client and server share.
//!
//! ```text
//! websocket binary message = varint channel ‖ payload
//!   channel 0            control messages: challenge, hello, welcome, notice      (hello, control)
//!   channel 1, 2…        the sync messages of the group that the welcome gave this number
//!   channel 2³⁰ + 1, 2…  what members of that group say beside: where they are to be found
//!   channel 2³¹ + 1, 2…  its blocks
//! ```
//!
//! Rules: nothing here knows the server; decoding never panics and never allocates more than the input is long; every bound is a
//! named constant in [`limits`].

mod close;
mod control;
mod hello;
pub mod limits;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bytes::Bytes;

pub use close::CloseReason;
pub use control::{Control, Notice, NoticeCode};
pub use hello::{
    Carried, Challenge, GroupReply, HELLO_DOMAIN, Hello, HelloError, HelloGroup, WELCOME_DOMAIN, Welcome, WelcomeError,
};

/// The version of the relay protocol that this build speaks.
pub const RELAY_VERSION: u64 = 1;

/// What a message about a group belongs to. Lanes share a connection and nothing else: each keeps its order, on each a conversation of its own goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Changes: the messages of docs/protocol.md, section 8.
    Sync,
    /// Blocks: the messages of section 11.
    Seal,
    /// Small records that members tell one another, which the relay passes on within [`limits::MAX_SIDE_BYTES`] and does not read.
    Side,
}

/// Where a message belongs. 0 is the control channel; a welcome gives a number below [`Channel::NUMBERS`] to each group for the length of the connection, and a
/// group's [`Lane`]s lie that number above 0, 2³⁰ and 2³¹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub u32);

impl Channel {
    /// The channel of control messages.
    pub const CONTROL: Channel = Channel(0);
    /// A group's number is below this one: the bits above tell its lanes apart.
    pub const NUMBERS: u32 = 1 << 30;

    /// The channel of one lane of the group with this number.
    pub fn on(self, lane: Lane) -> Channel {
        Channel(self.0 % Self::NUMBERS + Self::base(lane))
    }

    /// The group's number and the lane; `None` for a channel that no lane has.
    pub fn lane(self) -> Option<(Channel, Lane)> {
        let lanes = [Lane::Sync, Lane::Side, Lane::Seal];
        let lane = lanes.into_iter().find(|lane| self.0 / Self::NUMBERS == Self::base(*lane) / Self::NUMBERS)?;
        Some((Channel(self.0 % Self::NUMBERS), lane))
    }

    const fn base(lane: Lane) -> u32 {
        match lane {
            Lane::Sync => 0,
            Lane::Side => Self::NUMBERS,
            Lane::Seal => 2 * Self::NUMBERS,
        }
    }

    /// Puts the channel before a payload.
    pub fn envelope(self, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(5 + payload.len());
        out.put_varint(u64::from(self.0));
        out.put(payload);
        out.into()
    }

    /// Takes a frame apart into its channel and payload, without copying.
    pub fn open(frame: &Bytes) -> Result<(Channel, Bytes), DecodeError> {
        let mut reader = Reader::new(frame);
        let channel = Channel(reader.varint_u32()?);
        let start = frame.len() - reader.remaining();
        Ok((channel, frame.slice(start..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_to_what_was_put_in() {
        for (channel, payload) in [(0, &b"x"[..]), (1, b""), (300, b"payload"), (u32::MAX, b"y")] {
            let frame = Channel(channel).envelope(payload);
            assert_eq!(Channel::open(&frame).unwrap(), (Channel(channel), Bytes::copy_from_slice(payload)));
        }
    }

    #[test]
    fn lanes_lie_side_by_side() {
        for number in [1, 7, Channel::NUMBERS - 1] {
            for lane in [Lane::Sync, Lane::Seal, Lane::Side] {
                assert_eq!(Channel(number).on(lane).lane(), Some((Channel(number), lane)));
            }
        }
        assert_eq!(Channel(3).on(Lane::Sync), Channel(3));
        assert_eq!(Channel(3).on(Lane::Seal), Channel((1 << 31) + 3));
        assert_eq!(Channel(3).on(Lane::Side), Channel((1 << 30) + 3));
        assert_eq!(Channel(u32::MAX).lane(), None);
    }

    #[test]
    fn an_envelope_without_a_channel_is_refused() {
        assert_eq!(Channel::open(&Bytes::new()), Err(DecodeError::Truncated));
        assert_eq!(Channel::open(&Bytes::from_static(&[0x80, 0x00])), Err(DecodeError::Varint));
        assert!(Channel::open(&Bytes::from_static(&[0xff; 9])).is_err());
    }
}
