//! What travels between a relay and its clients (docs/protocol.md, "Relay"): the leaf module that client and server share.
//!
//! ```text
//! websocket binary message = varint channel ‖ payload
//!   channel 0      control messages: challenge, hello, welcome, notice      (hello, control)
//!   channel 1, 2…  the sync messages of the group that the welcome gave this number
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

/// A number that a welcome gives to a group for the length of the connection. 0 is the control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub u32);

impl Channel {
    /// The channel of control messages.
    pub const CONTROL: Channel = Channel(0);

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
    fn an_envelope_without_a_channel_is_refused() {
        assert_eq!(Channel::open(&Bytes::new()), Err(DecodeError::Truncated));
        assert_eq!(Channel::open(&Bytes::from_static(&[0x80, 0x00])), Err(DecodeError::Varint));
        assert!(Channel::open(&Bytes::from_static(&[0xff; 9])).is_err());
    }
}
