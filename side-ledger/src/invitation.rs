//! Everything that a newcomer needs to join a group, as one text: `side://…` (docs/protocol.md, section "Invitation").
//!
//! The text is for people to paste, so a lost or changed character is told apart from other faults: a checksum covers everything.
//! An invitation to an open group is no secret; one that carries a one-time secret is.

use std::fmt;
use std::str::FromStr;

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use thiserror::Error;

use crate::address::{self, AddressError, NodeAddress};
use crate::base64url::{self, Base64Error};
use crate::block::{BlockId, Epoch, Height, Rank, Recovery, SetNumber};
use crate::genesis::{Genesis, GenesisError, GroupId, MAX_GENESIS_BYTES};

/// What an invitation begins with.
pub const SCHEME: &str = "side://";
/// Domain of the checksum.
pub const INVITATION_DOMAIN: &str = "side/1/invitation";
/// The version of the invitation format that this build reads and writes.
pub const INVITATION_VERSION: u64 = 1;
/// Most addresses in an invitation: a newcomer tries them all.
pub const MAX_ADDRESSES: usize = 8;
/// Most bytes of an address.
pub const MAX_ADDRESS_BYTES: usize = 255;
/// Bytes of the checksum: enough for slips of the hand, it is no protection against an author.
const CHECKSUM_BYTES: usize = 4;
/// Most bytes before they are written as text.
const MAX_BYTES: usize = 16 + MAX_GENESIS_BYTES + MAX_ADDRESSES * (MAX_ADDRESS_BYTES + 2) + 33 + 97 + CHECKSUM_BYTES;

/// Why a text is not an invitation, or parts do not make one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvitationError {
    /// It does not begin with `side://`.
    #[error("an invitation begins with `{SCHEME}`; paste the whole text that `invite` printed")]
    Scheme,
    /// It is longer than any invitation.
    #[error("the text is too long for an invitation; paste only what `invite` printed")]
    TooLong,
    /// A character does not belong there.
    #[error(
        "the character {character:?} (number {number}) does not belong to an invitation; paste it without quotes and line breaks"
    )]
    Character {
        /// The character.
        character: char,
        /// Its number in the text, from 1.
        number: usize,
    },
    /// The checksum is wrong.
    #[error("a part of the invitation is missing or changed (its checksum is wrong); copy the whole text again")]
    Checksum,
    /// A later version of Side wrote it.
    #[error("this invitation was made by a newer version of Side (invitation version {0}); update this one")]
    Version(u64),
    /// The bytes break the encoding.
    #[error("the invitation is malformed: {0}")]
    Encoding(#[from] DecodeError),
    /// The genesis in it is not acceptable.
    #[error("the invitation's group is not acceptable: {0}")]
    Genesis(#[from] GenesisError),
    /// There are more than [`MAX_ADDRESSES`].
    #[error("an invitation has at most {MAX_ADDRESSES} addresses, not {0}")]
    Addresses(usize),
    /// An address stands twice.
    #[error("the address {0} stands twice in the invitation")]
    DuplicateAddress(String),
    /// An address is neither a node's nor a relay's.
    #[error("{address:?} is no address of a node or a relay: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A block that a newcomer may trust because whoever invited it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The block's rank.
    pub rank: Rank,
    /// The block's id.
    pub block: BlockId,
    /// The state after it.
    pub state_root: [u8; 32],
}

/// A secret that lets its holder in once. Never printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinSecret(pub [u8; 32]);

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

/// A checked invitation. `Display` writes the text, `FromStr` reads it; there is one text for an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    genesis: Genesis,
    addresses: Vec<String>,
    secret: Option<JoinSecret>,
    checkpoint: Option<Checkpoint>,
}

impl Invitation {
    /// An invitation to the group of `genesis` through the nodes (`p2p://`) and relays (`ws://`, `wss://`) at `addresses`, best first; may be empty where
    /// the newcomer knows one.
    pub fn new(genesis: Genesis, addresses: Vec<String>) -> Result<Self, InvitationError> {
        check_addresses(&addresses)?;
        Ok(Self { genesis, addresses, secret: None, checkpoint: None })
    }

    /// With a secret that lets its holder in once.
    pub fn with_secret(self, secret: JoinSecret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Without the secret: it is of use to one newcomer only.
    pub fn without_secret(self) -> Self {
        Self { secret: None, ..self }
    }

    /// With a block to start from.
    pub fn with_checkpoint(self, checkpoint: Checkpoint) -> Result<Self, InvitationError> {
        check_checkpoint(&checkpoint)?;
        Ok(Self { checkpoint: Some(checkpoint), ..self })
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.genesis.id()
    }

    /// What the group is founded on. Its hash is the group's id, so nobody on the way can have replaced it without changing the group.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Nodes and relays to try, best first.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The nodes among the addresses.
    pub fn nodes(&self) -> impl Iterator<Item = NodeAddress> + '_ {
        self.addresses.iter().filter_map(|address| address.parse().ok())
    }

    /// The relays among the addresses.
    pub fn relays(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(String::as_str).filter(|address| !address.starts_with(address::SCHEME))
    }

    /// The secret that lets its holder in once.
    pub fn secret(&self) -> Option<JoinSecret> {
        self.secret
    }

    /// The block to start from.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(INVITATION_VERSION);
        out.put_blob(self.genesis.bytes());
        out.put_varint(self.addresses.len() as u64);
        for address in &self.addresses {
            out.put_blob(address.as_bytes());
        }
        out.put_varint(self.secret.is_some().into());
        if let Some(secret) = &self.secret {
            out.put(&secret.0);
        }
        out.put_varint(self.checkpoint.is_some().into());
        if let Some(Checkpoint { rank, block, state_root }) = &self.checkpoint {
            for number in [rank.recovery.0, rank.set.0, rank.epoch.0, rank.height.0] {
                out.put_varint(number);
            }
            out.put(&block.0);
            out.put(state_root);
        }
        let checksum = hash(INVITATION_DOMAIN, &out);
        out.put(&checksum[..CHECKSUM_BYTES]);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, InvitationError> {
        let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InvitationError::Checksum)?;
        if hash(INVITATION_DOMAIN, bytes)[..CHECKSUM_BYTES] != *checksum {
            return Err(InvitationError::Checksum);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.varint()?;
        if version != INVITATION_VERSION {
            return Err(InvitationError::Version(version));
        }
        let genesis = Genesis::decode(reader.blob()?)?;
        let count = reader.count(1)?;
        if count > MAX_ADDRESSES {
            return Err(InvitationError::Addresses(count));
        }
        let addresses = (0..count).map(|_| reader.string().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        check_addresses(&addresses)?;
        let secret = if read_flag(&mut reader)? { Some(JoinSecret(reader.array()?)) } else { None };
        let checkpoint = if read_flag(&mut reader)? {
            let rank = Rank {
                recovery: Recovery(reader.varint()?),
                set: SetNumber(reader.varint()?),
                epoch: Epoch(reader.varint()?),
                height: Height(reader.varint()?),
            };
            let checkpoint = Checkpoint { rank, block: BlockId(reader.array()?), state_root: reader.array()? };
            check_checkpoint(&checkpoint)?;
            Some(checkpoint)
        } else {
            None
        };
        reader.finish()?;
        Ok(Self { genesis, addresses, secret, checkpoint })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        f.write_str(&base64url::encode(&self.encode()))
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    /// Reads the text. White space around it is ignored.
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        let body = text.strip_prefix(SCHEME).ok_or(InvitationError::Scheme)?;
        if body.len() > MAX_BYTES.div_ceil(3) * 4 {
            return Err(InvitationError::TooLong);
        }
        let bytes = base64url::decode(body).map_err(|error| match error {
            Base64Error::Character(at) => InvitationError::Character {
                // Everything before `at` was of the one-byte alphabet, so `at` is a character's start.
                character: body[at..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER),
                number: SCHEME.len() + at + 1,
            },
            Base64Error::End => InvitationError::Checksum,
        })?;
        Self::decode(&bytes)
    }
}

fn read_flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.varint()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Rule("a flag is 0 or 1")),
    }
}

fn check_checkpoint(checkpoint: &Checkpoint) -> Result<(), InvitationError> {
    let Rank { recovery, set, epoch, height } = checkpoint.rank;
    if [recovery.0, set.0, epoch.0, height.0].into_iter().any(|number| number > MAX_SAFE) || height.0 == 0 {
        return Err(DecodeError::Rule("a checkpoint's number is out of range").into());
    }
    Ok(())
}

fn check_addresses(addresses: &[String]) -> Result<(), InvitationError> {
    if addresses.len() > MAX_ADDRESSES {
        return Err(InvitationError::Addresses(addresses.len()));
    }
    for (at, address) in addresses.iter().enumerate() {
        check_address(address)?;
        if addresses[..at].contains(address) {
            return Err(InvitationError::DuplicateAddress(address.clone()));
        }
    }
    Ok(())
}

/// Checks that `address` is one as invitations carry them: a node's, `p2p://KEY@HOST:PORT`, or a relay's websocket URL: `ws://` or `wss://`, a host,
/// printable ASCII, no user name in it.
pub fn check_address(address: &str) -> Result<(), InvitationError> {
    let refuse = |reason| {
        let shown = address.chars().take(MAX_ADDRESS_BYTES).collect();
        Err(InvitationError::Address { address: shown, reason })
    };
    if address.len() > MAX_ADDRESS_BYTES {
        return refuse("it is too long");
    }
    if !address.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("it has characters that do not belong into a URL");
    }
    if address.starts_with(address::SCHEME) {
        return match address.parse::<NodeAddress>() {
            Ok(_) => Ok(()),
            Err(AddressError::Key) => refuse("it has no key before the @"),
            Err(_) => refuse("after the key it needs a host and a port"),
        };
    }
    let Some(rest) = address.strip_prefix("ws://").or_else(|| address.strip_prefix("wss://")) else {
        return refuse("it begins with none of p2p://, ws:// and wss://");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    if host.is_empty() || host.starts_with(':') {
        return refuse("it names no host");
    }
    if host.contains('@') {
        return refuse("it carries a user name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::{Admission, GroupSpec, Limits, Sealing};
    use crate::names::Name;
    use bft_json_crdt::identity::Keypair;
    use proptest::prelude::*;

    fn genesis() -> Genesis {
        Genesis::new(GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1,
            nonce: [2; 32],
            founders: vec![Keypair::from_seed(&[1; 32]).author()],
            admission: Admission::Open,
            allocation: Default::default(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: Limits::default(),
        })
        .unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let rank = Rank { recovery: Recovery(0), set: SetNumber(1), epoch: Epoch(2), height: Height(300) };
        Checkpoint { rank, block: BlockId([5; 32]), state_root: [6; 32] }
    }

    fn full() -> Invitation {
        Invitation::new(genesis(), vec!["wss://relay.example:443/side".into(), "ws://127.0.0.1:8080".into()])
            .unwrap()
            .with_secret(JoinSecret([7; 32]))
            .with_checkpoint(checkpoint())
            .unwrap()
    }

    #[test]
    fn the_golden_invitation_keeps_its_text() {
        assert_eq!(full().to_string(), include_str!("../tests/golden/invitation.txt").trim_end());
    }

    #[test]
    fn nodes_and_relays_are_told_apart_and_the_golden_text_of_both_stays() {
        let node = format!("p2p://{}@127.0.0.1:4001", Keypair::from_seed(&[1; 32]).author());
        let invitation = Invitation::new(genesis(), vec![node.clone(), "ws://127.0.0.1:8080".into()]).unwrap();
        assert_eq!(invitation.nodes().map(|node| node.to_string()).collect::<Vec<_>>(), [node]);
        assert_eq!(invitation.relays().collect::<Vec<_>>(), ["ws://127.0.0.1:8080"]);
        assert_eq!(invitation.to_string(), include_str!("../tests/golden/invitation-p2p.txt").trim_end());
    }

    #[test]
    fn a_common_invitation_fits_one_line_of_a_terminal_in_canonical_mode() {
        // Linux terminals cut typed lines at 4,095 bytes.
        assert!(full().to_string().len() < 512);
    }

    #[test]
    fn every_lost_or_changed_character_is_told() {
        let text = full().to_string();
        for cut in SCHEME.len()..text.len() {
            assert_eq!(text[..cut].parse::<Invitation>(), Err(InvitationError::Checksum), "cut at {cut}");
        }
        for at in SCHEME.len()..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(changed.parse::<Invitation>(), Err(InvitationError::Checksum), "changed at {at}");
        }
    }

    #[test]
    fn slips_get_an_error_that_helps() {
        let text = full().to_string();
        assert_eq!(format!("  {text}\n").parse(), Ok(full()));
        assert_eq!("https://side".parse::<Invitation>(), Err(InvitationError::Scheme));
        assert_eq!(
            format!("{text}\"").parse::<Invitation>(),
            Err(InvitationError::Character { character: '"', number: text.len() + 1 })
        );
        assert!(matches!(
            "side://AAAA\u{fc}".parse::<Invitation>(),
            Err(InvitationError::Character { character: '\u{fc}', .. })
        ));
        assert_eq!(format!("{SCHEME}{}", "A".repeat(1 << 20)).parse::<Invitation>(), Err(InvitationError::TooLong));
        assert_eq!(SCHEME.parse::<Invitation>(), Err(InvitationError::Checksum));
        // A later version, its checksum good.
        let mut bytes = vec![2];
        bytes.put(&hash(INVITATION_DOMAIN, &[2])[..CHECKSUM_BYTES]);
        let newer = format!("{SCHEME}{}", base64url::encode(&bytes));
        assert_eq!(newer.parse::<Invitation>(), Err(InvitationError::Version(2)));
    }

    #[test]
    fn addresses_are_checked() {
        let key = Keypair::from_seed(&[1; 32]).author();
        let node = format!("p2p://{key}@node.example:4001");
        for good in ["ws://127.0.0.1:8080", "wss://a", "ws://[::1]:80/path?x=1", &node] {
            assert_eq!(check_address(good), Ok(()));
        }
        assert!(check_address("p2p://node.example:4001").unwrap_err().to_string().contains("no key"));
        assert!(check_address(&format!("p2p://{key}@")).unwrap_err().to_string().contains("a host and a port"));
        for bad in ["", "http://a", "ws://", "ws:///x", "ws://:80", "ws://a b", "ws://a\n", "ws://u:p@h", "ws://\u{fc}"]
        {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
        assert!(check_address(&format!("ws://{}", "a".repeat(255))).is_err());
        let twice = vec!["ws://a".to_owned(); 2];
        assert!(matches!(Invitation::new(genesis(), twice), Err(InvitationError::DuplicateAddress(_))));
        let many = (0..9).map(|n| format!("ws://a{n}")).collect();
        assert_eq!(Invitation::new(genesis(), many), Err(InvitationError::Addresses(9)));
    }

    #[test]
    fn the_secret_is_not_printed_by_debug() {
        assert!(!format!("{:?}", full()).contains("7, 7"));
    }

    proptest! {
        #[test]
        fn invitations_read_back_as_themselves(
            hosts in proptest::collection::btree_set("[a-z]{1,20}(:[0-9]{1,4})?(/[a-z]{0,9})?", 0..=MAX_ADDRESSES),
            secret: Option<[u8; 32]>,
            with_checkpoint: bool,
        ) {
            let addresses = hosts.iter().map(|host| format!("ws://{host}")).collect();
            let mut invitation = Invitation::new(genesis(), addresses).unwrap();
            if let Some(secret) = secret {
                invitation = invitation.with_secret(JoinSecret(secret));
            }
            if with_checkpoint {
                invitation = invitation.with_checkpoint(checkpoint()).unwrap();
            }
            prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }

        #[test]
        fn hostile_bytes_with_a_good_checksum_never_panic_and_have_one_text(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
            at in 0usize..400,
            byte: u8,
            from_good: bool,
        ) {
            if from_good {
                bytes = full().encode();
                bytes.truncate(bytes.len() - CHECKSUM_BYTES);
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let checksum = hash(INVITATION_DOMAIN, &bytes);
            bytes.put(&checksum[..CHECKSUM_BYTES]);
            if let Ok(invitation) = Invitation::decode(&bytes) {
                prop_assert_eq!(invitation.encode(), bytes);
            }
        }

        #[test]
        fn hostile_texts_never_panic(text in "\\PC{0,100}", prefix: bool) {
            let text = if prefix { format!("{SCHEME}{text}") } else { text };
            let _ = text.parse::<Invitation>();
        }
    }
}
