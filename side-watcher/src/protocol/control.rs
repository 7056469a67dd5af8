//! The control channel: which message is which, and the notices a relay sends while a connection runs.

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bytes::Bytes;

use super::limits::MAX_NOTICE_BYTES;
use super::{Challenge, Channel, Hello, Welcome};

/// A control message. Each is `varint kind ‖ body` on channel 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Kind 1, relay to client, opens the connection.
    Challenge(Challenge),
    /// Kind 2, client to relay, answers the challenge.
    Hello(Hello),
    /// Kind 3, relay to client, accepts the hello.
    Welcome(Welcome),
    /// Kind 4, relay to client, at any time afterwards.
    Notice(Notice),
    /// A kind that this build does not know: to be ignored.
    Unknown(u64),
}

/// Something that a client should know and need not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub code: NoticeCode,
    /// Which channel it speaks of; the control channel if of the whole connection.
    pub channel: Channel,
    /// One line for a person.
    pub text: String,
}

/// What a notice says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeCode {
    /// 1: the client fell behind the live stream. Nothing is lost: what it lacks follows from the relay's store.
    Lagging,
    /// 2: the client has caught up with the live stream again.
    CaughtUp,
    /// 3: the relay's disk takes nothing at the moment: changes are forwarded but not acknowledged.
    NotDurable,
    /// 4: the relay stores no more of this group: changes are neither forwarded nor acknowledged.
    GroupFull,
    /// A code that this build does not know.
    Unknown(u64),
}

impl NoticeCode {
    /// The number that travels.
    pub fn code(self) -> u64 {
        match self {
            NoticeCode::Lagging => 1,
            NoticeCode::CaughtUp => 2,
            NoticeCode::NotDurable => 3,
            NoticeCode::GroupFull => 4,
            NoticeCode::Unknown(code) => code,
        }
    }

    fn from_code(code: u64) -> Self {
        match code {
            1 => NoticeCode::Lagging,
            2 => NoticeCode::CaughtUp,
            3 => NoticeCode::NotDurable,
            4 => NoticeCode::GroupFull,
            code => NoticeCode::Unknown(code),
        }
    }
}

impl Control {
    /// The whole frame, channel number included.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        out.put_varint(u64::from(Channel::CONTROL.0));
        match self {
            Control::Challenge(challenge) => {
                out.put_varint(1);
                challenge.write(&mut out);
            }
            Control::Hello(hello) => {
                out.put_varint(2);
                hello.write(&mut out);
            }
            Control::Welcome(welcome) => {
                out.put_varint(3);
                welcome.write(&mut out);
            }
            Control::Notice(notice) => {
                out.put_varint(4);
                out.put_varint(notice.code.code());
                out.put_varint(u64::from(notice.channel.0));
                out.put_blob(notice.text.as_bytes());
            }
            Control::Unknown(kind) => out.put_varint(*kind),
        }
        out.into()
    }

    /// Reads the payload of a frame on channel 0.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let control = match reader.varint()? {
            1 => Control::Challenge(Challenge::read(&mut reader)?),
            2 => Control::Hello(Hello::read(&mut reader)?),
            3 => Control::Welcome(Welcome::read(&mut reader)?),
            4 => {
                let code = NoticeCode::from_code(reader.varint()?);
                let channel = Channel(reader.varint_u32()?);
                let text = reader.string()?;
                if text.len() > MAX_NOTICE_BYTES {
                    return Err(DecodeError::Rule("a notice is too long"));
                }
                Control::Notice(Notice { code, channel, text: text.to_owned() })
            }
            kind => return Ok(Control::Unknown(kind)),
        };
        reader.finish()?;
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_round_trip() {
        for code in [
            NoticeCode::Lagging,
            NoticeCode::CaughtUp,
            NoticeCode::NotDurable,
            NoticeCode::GroupFull,
            NoticeCode::Unknown(77),
        ] {
            let notice = Control::Notice(Notice { code, channel: Channel(3), text: "behind".into() });
            let frame = notice.encode();
            let (channel, payload) = Channel::open(&frame).unwrap();
            assert_eq!(channel, Channel::CONTROL);
            assert_eq!(Control::decode(&payload).unwrap(), notice);
        }
    }

    #[test]
    fn an_unknown_control_message_is_not_an_error() {
        assert_eq!(Control::decode(&[99, 1, 2, 3]), Ok(Control::Unknown(99)));
        assert_eq!(Control::decode(&[]), Err(DecodeError::Truncated));
    }
}
