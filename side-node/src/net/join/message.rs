//! The bytes of the conversation at the door. Each message is `u16 length (big-endian), bytes`, save that the first begins with "SJ".

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::verify::verify;
use side_ledger::GroupId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::net::p2p::Record;

/// What a newcomer says first; the door tells newcomers from peers by the first byte.
pub(super) const MAGIC: [u8; 2] = *b"SJ";
/// The version of the conversation.
pub(super) const VERSION: u64 = 1;
/// Most bytes of a message: an answer with some records of addresses.
pub(super) const MAX_MESSAGE: usize = 16 << 10;
/// Most records in an answer.
pub(super) const MAX_RECORDS: usize = 16;
/// Most bytes of records in an answer.
pub(super) const MAX_RECORD_BYTES: usize = 12 << 10;
/// Most bytes of a reason.
const MAX_REASON: usize = 200;

const MEMBER_DOMAIN: &str = "side/1/join-member";
const TOKEN_DOMAIN: &str = "side/1/join-token";
const NEWCOMER_DOMAIN: &str = "side/1/join-newcomer";
const ANSWER_DOMAIN: &str = "side/1/join-answer";
const TRANSCRIPT_DOMAIN: &str = "side/1/join";

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For people to read.
    pub reason: String,
    /// Whether asking again may help.
    pub later: bool,
}

/// What was said so far, all of it.
#[derive(Debug, Clone)]
pub(super) struct Transcript(Vec<u8>);

impl Transcript {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.put_blob(bytes);
    }

    fn digest(&self) -> [u8; 32] {
        hash(TRANSCRIPT_DOMAIN, &self.0)
    }

    /// What a signature of `domain` covers after `unsigned` was said.
    fn sign(&self, keypair: &Keypair, domain: &str, unsigned: &[u8]) -> Signature {
        keypair.sign(domain, &[&self.digest()[..], unsigned].concat())
    }

    /// A newcomer's signature, for a claim that is made by hand.
    #[cfg(test)]
    pub(super) fn sign_for_test(&self, newcomer: &Keypair, unsigned: &[u8]) -> [u8; 64] {
        self.sign(newcomer, NEWCOMER_DOMAIN, unsigned).0
    }

    fn verify(&self, key: &AuthorId, domain: &str, unsigned: &[u8], signature: &[u8; 64]) -> bool {
        verify(key, domain, &[&self.digest()[..], unsigned].concat(), &Signature(*signature))
    }
}

fn key(reader: &mut Reader<'_>) -> Result<AuthorId, DecodeError> {
    AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not one"))
}

/// The newcomer's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Knock {
    pub(super) group: GroupId,
    pub(super) key: AuthorId,
    pub(super) nonce: [u8; 32],
}

impl Knock {
    pub(super) fn encode(&self, transcript: &mut Transcript) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_varint(VERSION);
        out.put(self.group.as_bytes());
        out.put(self.key.as_bytes());
        out.put(&self.nonce);
        transcript.add(&out);
        out
    }

    /// How many bytes it has.
    pub(super) const BYTES: usize = 2 + 1 + 96;

    pub(super) fn decode(bytes: &[u8], transcript: &mut Transcript) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(DecodeError::Rule("it does not begin as a newcomer does"));
        }
        if reader.varint()? != VERSION {
            return Err(DecodeError::Rule("it speaks another version"));
        }
        let group = GroupId(reader.array()?);
        let knock = Self { group, key: key(&mut reader)?, nonce: reader.array()? };
        reader.finish()?;
        transcript.add(bytes);
        Ok(knock)
    }
}

/// The member says who it is.
pub(super) struct Greeting {
    pub(super) key: AuthorId,
}

impl Greeting {
    pub(super) fn encode(member: &Keypair, nonce: &[u8; 32], transcript: &mut Transcript) -> Vec<u8> {
        let mut out = member.author().as_bytes().to_vec();
        out.put(nonce);
        let signature = transcript.sign(member, MEMBER_DOMAIN, &out);
        out.put(&signature.0);
        transcript.add(&out);
        out
    }

    pub(super) fn decode(bytes: &[u8], transcript: &mut Transcript) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let key = key(&mut reader)?;
        reader.array::<32>()?;
        let unsigned = &bytes[..64];
        let signature = reader.array()?;
        reader.finish()?;
        if !transcript.verify(&key, MEMBER_DOMAIN, unsigned, &signature) {
            return Err(DecodeError::Rule("the member's signature is wrong"));
        }
        transcript.add(bytes);
        Ok(Self { key })
    }
}

/// The newcomer proves what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// The token of the secret that it holds.
    pub(super) token: Option<AuthorId>,
    /// Where it is reached.
    pub(super) record: Record,
}

impl Claim {
    pub(super) fn encode(
        newcomer: &Keypair,
        secret: Option<&Keypair>,
        record: &Record,
        transcript: &mut Transcript,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(secret.is_some().into());
        if let Some(secret) = secret {
            out.put(secret.author().as_bytes());
            out.put(&transcript.sign(secret, TOKEN_DOMAIN, secret.author().as_bytes()).0);
        }
        out.put_blob(record.bytes());
        let signature = transcript.sign(newcomer, NEWCOMER_DOMAIN, &out);
        out.put(&signature.0);
        transcript.add(&out);
        out
    }

    /// Reads and checks it all: after this the newcomer has its key and, where there is a token, its secret.
    pub(super) fn decode(bytes: &[u8], knock: &Knock, transcript: &mut Transcript) -> Result<Self, DecodeError> {
        let (unsigned, signature) = bytes.split_last_chunk::<64>().ok_or(DecodeError::Truncated)?;
        if !transcript.verify(&knock.key, NEWCOMER_DOMAIN, unsigned, signature) {
            return Err(DecodeError::Rule("the newcomer's signature is wrong"));
        }
        let mut reader = Reader::new(unsigned);
        let token = match reader.varint()? {
            0 => None,
            1 => {
                let token = key(&mut reader)?;
                if !transcript.verify(&token, TOKEN_DOMAIN, token.as_bytes(), &reader.array()?) {
                    return Err(DecodeError::Rule("the secret's signature is wrong"));
                }
                Some(token)
            }
            _ => return Err(DecodeError::Rule("a flag is 0 or 1")),
        };
        let record = Record::decode(reader.blob()?)?;
        reader.finish()?;
        if record.group() != &knock.group || record.key() != &knock.key || record.verify().is_err() {
            return Err(DecodeError::Rule("the newcomer's addresses are not its own"));
        }
        transcript.add(bytes);
        Ok(Self { token, record })
    }
}

/// What the member says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Result<Vec<Record>, Refused>);

impl Answer {
    pub(super) fn encode(&self, member: &Keypair, transcript: &Transcript) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.0 {
            Ok(records) => {
                out.put_varint(0);
                let mut fits = 0;
                let mut bytes = 0;
                for record in records.iter().take(MAX_RECORDS) {
                    bytes += record.bytes().len() + 4;
                    if bytes > MAX_RECORD_BYTES {
                        break;
                    }
                    fits += 1;
                }
                out.put_varint(fits as u64);
                for record in &records[..fits] {
                    out.put_blob(record.bytes());
                }
            }
            Err(Refused { reason, later }) => {
                out.put_varint(if *later { 2 } else { 1 });
                let mut end = reason.len().min(MAX_REASON);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                out.put_blob(&reason.as_bytes()[..end]);
            }
        }
        let signature = transcript.sign(member, ANSWER_DOMAIN, &out);
        out.put(&signature.0);
        out
    }

    pub(super) fn decode(bytes: &[u8], member: &AuthorId, transcript: &Transcript) -> Result<Self, DecodeError> {
        let (unsigned, signature) = bytes.split_last_chunk::<64>().ok_or(DecodeError::Truncated)?;
        if !transcript.verify(member, ANSWER_DOMAIN, unsigned, signature) {
            return Err(DecodeError::Rule("the member's signature is wrong"));
        }
        let mut reader = Reader::new(unsigned);
        let answer = match reader.varint()? {
            0 => {
                let count = reader.count(1)?;
                if count > MAX_RECORDS {
                    return Err(DecodeError::Rule("an answer has too many records"));
                }
                Ok((0..count).map(|_| Record::decode(reader.blob()?)).collect::<Result<_, _>>()?)
            }
            code @ (1 | 2) => {
                let reason = reader.string()?;
                if reason.len() > MAX_REASON {
                    return Err(DecodeError::Rule("a reason is too long"));
                }
                Err(Refused { reason: reason.to_owned(), later: code == 2 })
            }
            _ => return Err(DecodeError::Rule("there is no such answer")),
        };
        reader.finish()?;
        Ok(Self(answer))
    }
}

/// Reads a message with its length before it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_MESSAGE {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message with its length before it.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    stream.flush().await
}
