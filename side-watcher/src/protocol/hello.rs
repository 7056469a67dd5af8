//! The signed hello: a connection speaks for one key and cannot be replayed to another relay or later (docs/protocol.md, "Relay").
//!
//! ```text
//! relay                                     client
//!   challenge {relay, nonce, expires}   →
//!                                       ←   hello {relay, nonce, expires, key, own nonce, groups} signed by the key
//!   welcome {groups, carried}           →                                                         signed by the relay
//! ```
//!
//! The hello repeats the relay's identity and nonce, so a relay that is shown a hello made for another one, or for another of its own
//! challenges, refuses it; the relay alone judges the expiry, by its own clock. The welcome is signed over the client's nonce, so that a
//! pinned identity is proven and not just claimed. Neither encrypts the connection: whoever sits in between can read and withhold, never
//! forge a change.

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::Hasher;
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::verify::verify;
use bytes::Bytes;
use thiserror::Error;

use super::limits::{MAX_GENESIS_BYTES, MAX_GROUP_NAME_BYTES, MAX_HELLO_GROUPS, MAX_LISTED_GROUPS};
use super::{Channel, CloseReason, RELAY_VERSION};

/// Domain of the signature over a hello.
pub const HELLO_DOMAIN: &str = "side/1/relay-hello";
/// Domain of the signature over a welcome, and of the hash of the hello inside it.
pub const WELCOME_DOMAIN: &str = "side/1/relay-welcome";

/// What a relay opens a connection with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The version of the relay protocol.
    pub version: u64,
    /// The relay's identity key.
    pub relay: AuthorId,
    /// Random, used for this connection alone.
    pub nonce: [u8; 32],
    /// When the relay stops to accept the answer: milliseconds since 1970-01-01 UTC by the relay's clock.
    pub expires_ms: u64,
}

impl Challenge {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.version);
        out.put(self.relay.as_bytes());
        out.put(&self.nonce);
        out.put_varint(self.expires_ms);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.varint()?;
        let relay = read_key(reader)?;
        let nonce = reader.array()?;
        let expires_ms = reader.varint()?;
        Ok(Self { version, relay, nonce, expires_ms })
    }
}

/// A group that a client wants to take part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloGroup {
    /// The group, which is also the document of its changes.
    pub group: DocumentId,
    /// The group's genesis, so that a relay that does not carry it yet can adopt it. May be empty.
    pub genesis: Bytes,
}

/// A client's answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The relay's identity, from the challenge.
    pub relay: AuthorId,
    /// The relay's nonce, from the challenge.
    pub nonce: [u8; 32],
    /// The expiry, from the challenge.
    pub expires_ms: u64,
    /// The key that this connection speaks for.
    pub key: AuthorId,
    /// The client's own nonce, so that the welcome cannot be an old one.
    pub own_nonce: [u8; 32],
    /// The groups to take part in, at most [`MAX_HELLO_GROUPS`].
    pub groups: Vec<HelloGroup>,
    /// By `key`, under [`HELLO_DOMAIN`], over everything before it.
    pub signature: Signature,
}

/// Why a relay refuses a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// It names another relay.
    #[error("this hello was made for another relay")]
    OtherRelay,
    /// It answers another challenge.
    #[error("this hello answers another challenge")]
    Replayed,
    /// It came after the expiry.
    #[error("the challenge has expired")]
    Expired,
    /// The signature is not good.
    #[error("the signature of the hello is not good")]
    Signature,
}

impl HelloError {
    /// The close code that tells the client.
    pub fn close_reason(self) -> CloseReason {
        match self {
            HelloError::OtherRelay => CloseReason::HelloOtherRelay,
            HelloError::Replayed => CloseReason::HelloReplayed,
            HelloError::Expired => CloseReason::HelloExpired,
            HelloError::Signature => CloseReason::HelloSignature,
        }
    }
}

impl Hello {
    /// Answers `challenge`. `own_nonce` comes from a secure random source; `sign` signs a message under a domain with the secret half of `key`.
    pub fn sign(
        challenge: &Challenge,
        key: AuthorId,
        own_nonce: [u8; 32],
        groups: Vec<HelloGroup>,
        sign: impl FnOnce(&str, &[u8]) -> Signature,
    ) -> Self {
        let mut hello = Self {
            relay: challenge.relay,
            nonce: challenge.nonce,
            expires_ms: challenge.expires_ms,
            key,
            own_nonce,
            groups,
            signature: Signature([0; 64]),
        };
        hello.signature = sign(HELLO_DOMAIN, &hello.signed_part());
        hello
    }

    /// Judges the answer to `challenge` at `now_ms` (milliseconds since 1970-01-01 UTC by the relay's clock). The caller uses a
    /// challenge once.
    pub fn check(&self, challenge: &Challenge, now_ms: u64) -> Result<(), HelloError> {
        if self.relay != challenge.relay {
            return Err(HelloError::OtherRelay);
        }
        if self.nonce != challenge.nonce || self.expires_ms != challenge.expires_ms {
            return Err(HelloError::Replayed);
        }
        if now_ms >= challenge.expires_ms {
            return Err(HelloError::Expired);
        }
        if !verify(&self.key, HELLO_DOMAIN, &self.signed_part(), &self.signature) {
            return Err(HelloError::Signature);
        }
        Ok(())
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.put(self.relay.as_bytes());
        out.put(&self.nonce);
        out.put_varint(self.expires_ms);
        out.put(self.key.as_bytes());
        out.put(&self.own_nonce);
        out.put_varint(self.groups.len() as u64);
        for group in &self.groups {
            out.put(&group.group.0);
            out.put_blob(&group.genesis);
        }
        out
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.signed_part());
        out.put(&self.signature.0);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let relay = read_key(reader)?;
        let nonce = reader.array()?;
        let expires_ms = reader.varint()?;
        let key = read_key(reader)?;
        let own_nonce = reader.array()?;
        let count = reader.count(33)?;
        if count > MAX_HELLO_GROUPS {
            return Err(DecodeError::Rule("too many groups in a hello"));
        }
        let mut groups: Vec<HelloGroup> = Vec::with_capacity(count);
        for _ in 0..count {
            let group = DocumentId(reader.array()?);
            let genesis = reader.blob()?;
            if genesis.len() > MAX_GENESIS_BYTES {
                return Err(DecodeError::Rule("a genesis is too long"));
            }
            if groups.iter().any(|g| g.group == group) {
                return Err(DecodeError::Rule("a group stands twice in a hello"));
            }
            groups.push(HelloGroup { group, genesis: Bytes::copy_from_slice(genesis) });
        }
        let signature = Signature(reader.array()?);
        Ok(Self { relay, nonce, expires_ms, key, own_nonce, groups, signature })
    }
}

/// What the relay says to a group that a hello asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupReply {
    /// 0: carried; its sync messages travel on this channel.
    Open(Channel),
    /// 1: not carried, and the hello brought no genesis.
    Unknown,
    /// 2: the genesis is malformed or is not that of the group.
    BadGenesis,
    /// 3: the relay, or this key, has adopted as many groups as it may.
    Quota,
    /// 4: the relay carries it but cannot serve it (its store is damaged, say).
    Unavailable,
    /// A number that this build does not know: not carried.
    Other(u64),
}

/// A group that a relay carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The group.
    pub group: DocumentId,
    /// The name in its genesis.
    pub name: String,
}

/// What a relay says to a hello that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// One reply for each group of the hello, in its order.
    pub replies: Vec<GroupReply>,
    /// How many groups the relay carries in all.
    pub carried_total: u64,
    /// The groups that it carries, at most [`MAX_LISTED_GROUPS`].
    pub carried: Vec<Carried>,
    /// By the relay's identity, under [`WELCOME_DOMAIN`], over the hash of the hello (its signed part) and everything before it.
    pub signature: Signature,
}

/// Why a client refuses a welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WelcomeError {
    /// The relay did not prove the identity that it claimed.
    #[error("the relay's signature is not good: it does not hold the key that it claims")]
    Signature,
    /// The number of replies is not the number of groups asked for.
    #[error("the relay answered for {got} groups and was asked for {asked}")]
    Count {
        /// Groups in the hello.
        asked: usize,
        /// Replies in the welcome.
        got: usize,
    },
}

impl Welcome {
    /// Accepts `hello`.
    pub fn sign(
        hello: &Hello,
        replies: Vec<GroupReply>,
        carried_total: u64,
        mut carried: Vec<Carried>,
        relay: &Keypair,
    ) -> Self {
        carried.truncate(MAX_LISTED_GROUPS);
        let mut welcome = Self { replies, carried_total, carried, signature: Signature([0; 64]) };
        welcome.signature = relay.sign(WELCOME_DOMAIN, &welcome.signed_part(hello));
        welcome
    }

    /// Judges the answer to `hello`.
    pub fn check(&self, hello: &Hello) -> Result<(), WelcomeError> {
        if !verify(&hello.relay, WELCOME_DOMAIN, &self.signed_part(hello), &self.signature) {
            return Err(WelcomeError::Signature);
        }
        if self.replies.len() != hello.groups.len() {
            return Err(WelcomeError::Count { asked: hello.groups.len(), got: self.replies.len() });
        }
        Ok(())
    }

    fn signed_part(&self, hello: &Hello) -> Vec<u8> {
        let mut hasher = Hasher::new(WELCOME_DOMAIN);
        hasher.update(&hello.signed_part());
        let mut out = hasher.finish().to_vec();
        self.write_body(&mut out);
        out
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        out.put_varint(self.replies.len() as u64);
        for reply in &self.replies {
            match reply {
                GroupReply::Open(channel) => {
                    out.put_varint(0);
                    out.put_varint(u64::from(channel.0));
                }
                GroupReply::Unknown => out.put_varint(1),
                GroupReply::BadGenesis => out.put_varint(2),
                GroupReply::Quota => out.put_varint(3),
                GroupReply::Unavailable => out.put_varint(4),
                GroupReply::Other(number) => out.put_varint(*number),
            }
        }
        out.put_varint(self.carried_total);
        out.put_varint(self.carried.len() as u64);
        for carried in &self.carried {
            out.put(&carried.group.0);
            out.put_blob(carried.name.as_bytes());
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.write_body(out);
        out.put(&self.signature.0);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(1)?;
        if count > MAX_HELLO_GROUPS {
            return Err(DecodeError::Rule("too many replies in a welcome"));
        }
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(match reader.varint()? {
                0 => match reader.varint_u32()? {
                    0 | Channel::NUMBERS.. => return Err(DecodeError::Rule("a group's number is from 1 to 2^30 - 1")),
                    channel => GroupReply::Open(Channel(channel)),
                },
                1 => GroupReply::Unknown,
                2 => GroupReply::BadGenesis,
                3 => GroupReply::Quota,
                4 => GroupReply::Unavailable,
                number => GroupReply::Other(number),
            });
        }
        let carried_total = reader.varint()?;
        let count = reader.count(33)?;
        if count > MAX_LISTED_GROUPS {
            return Err(DecodeError::Rule("too many groups listed in a welcome"));
        }
        let mut carried = Vec::with_capacity(count);
        for _ in 0..count {
            let group = DocumentId(reader.array()?);
            let name = reader.string()?;
            if name.len() > MAX_GROUP_NAME_BYTES {
                return Err(DecodeError::Rule("a group's name is too long"));
            }
            carried.push(Carried { group, name: name.to_owned() });
        }
        let signature = Signature(reader.array()?);
        Ok(Self { replies, carried_total, carried, signature })
    }
}

impl Challenge {
    /// A challenge of this build's version. `nonce` comes from a secure random source.
    pub fn new(relay: AuthorId, nonce: [u8; 32], expires_ms: u64) -> Self {
        Self { version: RELAY_VERSION, relay, nonce, expires_ms }
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<AuthorId, DecodeError> {
    AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not acceptable"))
}

#[cfg(test)]
mod tests {
    use super::super::Control;
    use super::*;

    const NOW: u64 = 1_000_000;

    fn keypair(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    fn challenge() -> Challenge {
        Challenge::new(keypair(1).author(), [9; 32], NOW + 10_000)
    }

    fn groups() -> Vec<HelloGroup> {
        vec![
            HelloGroup { group: DocumentId([3; 32]), genesis: Bytes::from_static(b"genesis") },
            HelloGroup { group: DocumentId([4; 32]), genesis: Bytes::new() },
        ]
    }

    fn hello(challenge: &Challenge) -> Hello {
        let client = keypair(2);
        Hello::sign(challenge, client.author(), [8; 32], groups(), |domain, message| client.sign(domain, message))
    }

    fn round_trip(control: Control) {
        let frame = control.encode();
        let (channel, payload) = Channel::open(&frame).unwrap();
        assert_eq!(channel, Channel::CONTROL);
        assert_eq!(Control::decode(&payload).unwrap(), control);
        for end in 1..payload.len() {
            assert!(Control::decode(&payload[..end]).is_err(), "cut at {end}");
        }
        let mut longer = payload.to_vec();
        longer.push(0);
        assert!(Control::decode(&longer).is_err());
    }

    #[test]
    fn an_honest_hello_is_accepted_and_everything_round_trips() {
        let challenge = challenge();
        let hello = hello(&challenge);
        assert_eq!(hello.check(&challenge, NOW), Ok(()));
        let carried = vec![Carried { group: DocumentId([3; 32]), name: "friends".into() }];
        let replies = vec![GroupReply::Open(Channel(1)), GroupReply::Unknown];
        let welcome = Welcome::sign(&hello, replies, 1, carried, &keypair(1));
        assert_eq!(welcome.check(&hello), Ok(()));
        round_trip(Control::Challenge(challenge));
        round_trip(Control::Hello(hello));
        round_trip(Control::Welcome(welcome));
    }

    #[test]
    fn a_hello_for_another_relay_a_replay_and_a_late_one_are_told_apart() {
        let challenge = challenge();
        let hello = hello(&challenge);
        let other = Challenge { relay: keypair(5).author(), ..challenge.clone() };
        assert_eq!(hello.check(&other, NOW), Err(HelloError::OtherRelay));
        let next = Challenge { nonce: [10; 32], ..challenge.clone() };
        assert_eq!(hello.check(&next, NOW), Err(HelloError::Replayed));
        let later = Challenge { expires_ms: NOW + 20_000, ..challenge.clone() };
        assert_eq!(hello.check(&later, NOW), Err(HelloError::Replayed));
        assert_eq!(hello.check(&challenge, challenge.expires_ms), Err(HelloError::Expired));
    }

    #[test]
    fn every_field_of_a_hello_is_signed() {
        let challenge = challenge();
        let good = hello(&challenge);
        let mut key = good.clone();
        key.key = keypair(6).author();
        let mut nonce = good.clone();
        nonce.own_nonce[0] ^= 1;
        let mut group = good.clone();
        group.groups[0].group.0[0] ^= 1;
        let mut genesis = good.clone();
        genesis.groups[1].genesis = Bytes::from_static(b"other");
        let mut fewer = good.clone();
        fewer.groups.pop();
        for bad in [key, nonce, group, genesis, fewer] {
            assert_eq!(bad.check(&challenge, NOW), Err(HelloError::Signature));
        }
    }

    #[test]
    fn a_relay_without_its_key_and_an_old_welcome_are_refused() {
        let challenge = challenge();
        let first = hello(&challenge);
        let replies = vec![GroupReply::Unknown, GroupReply::Unknown];
        let impostor = Welcome::sign(&first, replies.clone(), 0, vec![], &keypair(7));
        assert_eq!(impostor.check(&first), Err(WelcomeError::Signature));
        let client = keypair(2);
        let second = Hello::sign(&challenge, client.author(), [7; 32], groups(), |d, m| client.sign(d, m));
        let old = Welcome::sign(&first, replies, 0, vec![], &keypair(1));
        assert_eq!(old.check(&second), Err(WelcomeError::Signature));
        let short = Welcome::sign(&first, vec![GroupReply::Unknown], 0, vec![], &keypair(1));
        assert_eq!(short.check(&first), Err(WelcomeError::Count { asked: 2, got: 1 }));
    }

    #[test]
    fn a_hello_with_too_many_or_repeated_groups_is_malformed() {
        let challenge = challenge();
        let client = keypair(2);
        let many: Vec<_> = (0..=MAX_HELLO_GROUPS as u8)
            .map(|i| HelloGroup { group: DocumentId([i; 32]), genesis: Bytes::new() })
            .collect();
        let twice = vec![groups()[0].clone(), groups()[0].clone()];
        for groups in [many, twice] {
            let hello = Hello::sign(&challenge, client.author(), [8; 32], groups, |d, m| client.sign(d, m));
            let frame = Control::Hello(hello).encode();
            assert!(Control::decode(&frame[1..]).is_err());
        }
    }
}
