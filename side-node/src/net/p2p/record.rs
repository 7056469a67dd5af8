//! Where a member says that it is reached, under its signature (docs/protocol.md, section "Direct connections").
//!
//! ```text
//! record  = 32 group, 32 key, varint made_ms, varint n ≤ 8, n × string HOST:PORT, 64 signature over everything before
//! message = varint 1, then 1 to 16 records: varint length, record
//! ```

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::verify::verify;
use side_ledger::GroupId;
use side_ledger::address::HostPort;
use thiserror::Error;

use super::book::MAX_ADDRESSES;

/// Domain of a record's signature.
const DOMAIN: &str = "side/1/addresses";
/// What a message of records begins with on [`crate::net::Stream::Side`].
pub(super) const KIND: u64 = 1;
/// Most records in a message.
const MAX_RECORDS: usize = 16;
/// Most bytes of a message: what a relay passes on.
const MAX_MESSAGE_BYTES: usize = 16_000;
const SIGNATURE_BYTES: usize = 64;

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It breaks the format.
    #[error("a record of addresses is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Its signature is wrong.
    #[error("a record of addresses has a wrong signature")]
    Signature,
}

/// Where one member of a group is reached; its format is good, its signature may not have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    group: GroupId,
    key: AuthorId,
    made_ms: u64,
    addresses: Vec<HostPort>,
    bytes: Vec<u8>,
}

impl Record {
    /// Signs where `keypair`'s node is reached in `group`: at most eight addresses, best first. `made_ms` orders the records of one key.
    pub fn sign(keypair: &Keypair, group: GroupId, made_ms: u64, mut addresses: Vec<HostPort>) -> Self {
        addresses.truncate(MAX_ADDRESSES);
        let made_ms = made_ms.min(MAX_SAFE);
        let mut bytes = Vec::new();
        bytes.put(group.as_bytes());
        bytes.put(keypair.author().as_bytes());
        bytes.put_varint(made_ms);
        bytes.put_varint(addresses.len() as u64);
        for address in &addresses {
            bytes.put_blob(address.to_string().as_bytes());
        }
        let signature = keypair.sign(DOMAIN, &bytes);
        bytes.put(&signature.0);
        Self { group, key: keypair.author(), made_ms, addresses, bytes }
    }

    /// Reads a record. The signature is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let group = GroupId(reader.array()?);
        let key = AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not one"))?;
        let made_ms = reader.varint()?;
        if made_ms > MAX_SAFE {
            return Err(DecodeError::Rule("a time is out of range"));
        }
        let count = reader.count(1)?;
        if count > MAX_ADDRESSES {
            return Err(DecodeError::Rule("a record has more than eight addresses"));
        }
        let mut addresses: Vec<HostPort> = Vec::with_capacity(count);
        for _ in 0..count {
            let address = reader.string()?.parse().map_err(|_| DecodeError::Rule("an address is not one"))?;
            if addresses.contains(&address) {
                return Err(DecodeError::Rule("an address stands twice"));
            }
            addresses.push(address);
        }
        reader.array::<SIGNATURE_BYTES>()?;
        reader.finish()?;
        Ok(Self { group, key, made_ms, addresses, bytes: bytes.to_vec() })
    }

    /// Checks the signature.
    pub fn verify(&self) -> Result<(), RecordError> {
        let (signed, signature) = self.bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(DecodeError::Truncated)?;
        if verify(&self.key, DOMAIN, signed, &Signature(*signature)) { Ok(()) } else { Err(RecordError::Signature) }
    }

    /// The group.
    pub fn group(&self) -> &GroupId {
        &self.group
    }

    /// Who signed it.
    pub fn key(&self) -> &AuthorId {
        &self.key
    }

    /// When it says that it was made. It orders the records of one key and says nothing else.
    pub fn made_ms(&self) -> u64 {
        self.made_ms
    }

    /// Where the member is reached, best first.
    pub fn addresses(&self) -> &[HostPort] {
        &self.addresses
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message of as many of `records` as fit, and how many those are.
pub(crate) fn encode_message<'a>(records: impl IntoIterator<Item = &'a Record>) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    out.put_varint(KIND);
    let mut count = 0;
    for record in records {
        if count >= MAX_RECORDS || out.len() + record.bytes.len() + 4 > MAX_MESSAGE_BYTES {
            break;
        }
        out.put_blob(&record.bytes);
        count += 1;
    }
    (out, count)
}

/// Reads a message; nothing where it is of another kind, which is not ours to judge.
pub(crate) fn decode_message(bytes: &[u8]) -> Result<Option<Vec<Record>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.varint()? != KIND {
        return Ok(None);
    }
    let mut records = Vec::new();
    while !reader.is_empty() {
        if records.len() >= MAX_RECORDS {
            return Err(DecodeError::Rule("a message has too many records"));
        }
        records.push(Record::decode(reader.blob()?)?);
    }
    if records.is_empty() {
        return Err(DecodeError::Rule("a message has no record"));
    }
    Ok(Some(records))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: GroupId = GroupId([7; 32]);

    fn keypair() -> Keypair {
        Keypair::from_seed(&[1; 32])
    }

    fn addresses() -> Vec<HostPort> {
        vec!["127.0.0.1:4001".parse().unwrap(), "node.example:4001".parse().unwrap()]
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let record = Record::sign(&keypair(), GROUP, 300, addresses());
        let expected = format!(
            "{}{}ac02 02 0e{} 11{}{}",
            hex::encode(GROUP.0),
            keypair().author(),
            hex::encode("127.0.0.1:4001"),
            hex::encode("node.example:4001"),
            hex::encode(&record.bytes()[record.bytes().len() - 64..])
        );
        assert_eq!(hex::encode(record.bytes()), expected.replace(' ', ""));
        assert_eq!(Record::decode(record.bytes()), Ok(record.clone()));
        record.verify().unwrap();
        let (message, count) = encode_message([&record]);
        assert_eq!(count, 1);
        assert_eq!(message[0], 1);
        assert_eq!(decode_message(&message), Ok(Some(vec![record])));
        assert_eq!(decode_message(&[2, 9, 9]), Ok(None));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let record = Record::sign(&keypair(), GROUP, 5, addresses());
        for at in 0..record.bytes().len() {
            let mut bytes = record.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(Record::decode(&bytes).map_or(true, |record| record.verify().is_err()), "{at}");
        }
    }

    #[test]
    fn a_message_keeps_within_what_a_relay_passes_on() {
        let long: Vec<HostPort> = (1..=8)
            .map(|n| format!("{}.{}.{}.x:{n}", "a".repeat(63), "b".repeat(63), "c".repeat(63)).parse().unwrap())
            .collect();
        let records: Vec<Record> =
            (0..100).map(|n| Record::sign(&Keypair::from_seed(&[n; 32]), GROUP, 1, long.clone())).collect();
        let (message, count) = encode_message(&records);
        assert!(message.len() <= 16_384 && (1..=MAX_RECORDS).contains(&count), "{count}");
        assert_eq!(decode_message(&message).unwrap().unwrap(), records[..count]);
        let small: Vec<Record> =
            (0..100).map(|n| Record::sign(&Keypair::from_seed(&[n; 32]), GROUP, 1, vec![])).collect();
        assert_eq!(encode_message(&small).1, MAX_RECORDS);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind: bool) {
            if kind && !bytes.is_empty() {
                bytes[0] = 1;
            }
            let _ = decode_message(&bytes);
            let _ = Record::decode(&bytes);
        }
    }
}
