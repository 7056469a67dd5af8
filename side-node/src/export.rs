//! A group's signed changes as JSON lines: what `export` writes and `import` reads.
//!
//! ```text
//! {"side_export":1,"group":"…","group_name":"…","genesis":"…","changes":2}
//! {"id":"…","author":"…","seq":1,"time_ms":…,"parents":[],"transactions":[…],"change":"…"}
//! {"id":"…","author":"…","seq":2,"time_ms":…,"parents":["…"],"transactions":[…],"change":"…"}
//! ```
//! - A line has one spelling. What counts is `change`, the signed bytes in hexadecimal; everything before it is there to be read, follows from it, and is
//!   compared with it: a line that says something else than what was signed is refused, down to the last character.
//! - Changes stand after those that they name, so a file that was cut off is good as far as it goes. The header says how many there are.
//! - Nothing in a file is trusted: each signature is checked, whoever wrote the file.

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::evidence::Voucher;
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::ops::Ops;
use bft_json_crdt::replica::Incoming;
use bft_json_crdt::verify;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use side_ledger::ledger::Ledger;
use side_ledger::{Genesis, GroupId};
use thiserror::Error;

/// The version of the form.
pub const EXPORT_VERSION: u32 = 1;
/// Most bytes of a line. A change has about 1 MiB at most, twice that in hexadecimal; what it says is escaped at up to six characters a byte; a voucher is a
/// chain of headers.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// Most bytes of a header line: it holds a genesis in hexadecimal.
pub const MAX_HEADER_LINE_BYTES: usize = 1 << 20;
/// Most changes that are read, checked and taken in at a time.
pub const MAX_BATCH_CHANGES: usize = 256;
/// Most bytes of lines at a time.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// Why a line of a file is refused. The number of the line is told by whoever counts them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is not JSON of this form.
    #[error("it does not read: {0}")]
    Form(String),
    /// The file has another version.
    #[error("the file has version {0}, this program reads version {EXPORT_VERSION}")]
    Version(u64),
    /// The file is of another group.
    #[error("the file is of group {found}, not of {group}")]
    OtherGroup {
        /// What the file is of.
        found: String,
        /// What is wanted.
        group: GroupId,
    },
    /// The signed bytes are no change.
    #[error("its signed bytes are no change: {0}")]
    Change(String),
    /// The change belongs to another document.
    #[error("its change belongs to another group")]
    Foreign,
    /// The readable part does not say what was signed.
    #[error("what it says is not what was signed")]
    Spelling,
    /// Neither its signature nor a voucher is good.
    #[error("its signature is not good")]
    Signature,
    /// The group refuses the change.
    #[error("the group refuses it: {0}")]
    Refused(String),
    /// It is longer than any line can be.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`EXPORT_VERSION`].
    pub side_export: u32,
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// The encoding of the genesis, which hashes to the id.
    pub genesis: String,
    /// How many changes follow.
    pub changes: u64,
}

impl Header {
    /// The header of a file with so many changes.
    pub fn new(genesis: &Genesis, changes: u64) -> Self {
        Self {
            side_export: EXPORT_VERSION,
            group: genesis.id().to_string(),
            group_name: genesis.name().to_string(),
            genesis: hex::encode(genesis.bytes()),
            changes,
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialize")
    }

    /// Reads the first line of a file of this group.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn read(line: &[u8], genesis: &Genesis) -> Result<Self, LineError> {
        // The version first: a later form may have other fields.
        #[derive(Deserialize)]
        struct Version {
            side_export: u64,
        }
        let form = |e: serde_json::Error| LineError::Form(e.to_string());
        let Version { side_export } = serde_json::from_slice(line).map_err(form)?;
        if side_export != u64::from(EXPORT_VERSION) {
            return Err(LineError::Version(side_export));
        }
        let header: Self = serde_json::from_slice(line).map_err(form)?;
        if header.group != genesis.id().to_string() {
            let shown = header.group.chars().take(64).collect();
            return Err(LineError::OtherGroup { found: shown, group: genesis.id() });
        }
        if Self::new(genesis, header.changes).line().as_bytes() != line {
            return Err(LineError::Spelling);
        }
        Ok(header)
    }
}

/// What a transaction says, to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Its kind.
    pub kind: String,
    /// The version of the kind's body.
    pub version: u64,
    /// The body.
    pub body: serde_json::Value,
}

/// A line with a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLine {
    /// The change's id.
    pub id: String,
    /// Who signed it.
    pub author: String,
    /// Its number on the author's own chain.
    pub seq: u64,
    /// The author's clock, in milliseconds since 1970-01-01 UTC: a claim.
    pub time_ms: u64,
    /// The changes that it was made upon: the author's own before, then the others in the order of their ids.
    pub parents: Vec<String>,
    /// What it says.
    pub transactions: Vec<Said>,
    /// The signed bytes, in hexadecimal.
    pub change: String,
    /// What vouches for it where its own signature is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<String>,
}

impl ChangeLine {
    /// The line of a change. `genesis` says how long notes may be.
    pub fn of(incoming: &Incoming, genesis: &Genesis) -> Self {
        let Incoming { change, voucher } = incoming;
        let header = change.header();
        Self {
            id: change.id().to_string(),
            author: header.author.to_string(),
            seq: header.seq,
            time_ms: header.time_ms,
            parents: header.parents().map(ChangeId::to_string).collect(),
            transactions: said(change, genesis),
            change: hex::encode(change.bytes()),
            voucher: voucher.as_ref().map(|voucher| hex::encode(voucher.encode())),
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and JSON values always serialize")
    }
}

fn said(change: &Change, genesis: &Genesis) -> Vec<Said> {
    let Ok(ops) = Ops::decode(change.header().version, change.ops()) else { return Vec::new() };
    let mut ledger = Ledger::new(&genesis.spec().limits, genesis.rules());
    ledger.absorb(0, change, &ops);
    ledger.after(None).map(|entry| Said { kind: entry.kind, version: entry.version, body: entry.body }).collect()
}

/// Reads a line with a change of this group, and checks everything that does not depend on other changes: its spelling and its signature.
///
/// # Errors
/// [`LineError`].
pub fn read_change(line: &[u8], genesis: &Genesis) -> Result<Incoming, LineError> {
    let parsed: ChangeLine = serde_json::from_slice(line).map_err(|e| LineError::Form(e.to_string()))?;
    let bytes = |text: &str| hex::decode(text).map_err(|e| LineError::Change(e.to_string()));
    let change = Change::decode(Bytes::from(bytes(&parsed.change)?)).map_err(|e| LineError::Change(e.to_string()))?;
    let voucher = parsed.voucher.as_deref().map(bytes).transpose()?;
    let voucher =
        voucher.map(|bytes| Voucher::decode(&bytes).map_err(|e| LineError::Change(e.to_string()))).transpose()?;
    if change.header().document != genesis.id().document() {
        return Err(LineError::Foreign);
    }
    let incoming = Incoming { change, voucher };
    if ChangeLine::of(&incoming, genesis).line().as_bytes() != line {
        return Err(LineError::Spelling);
    }
    let Incoming { change, voucher } = &incoming;
    let good = match voucher {
        Some(voucher) => voucher.verify(change).is_ok(),
        None => verify::verify(&change.author(), CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature()),
    };
    if good { Ok(incoming) } else { Err(LineError::Signature) }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::evidence::SignedChain;
    use bft_json_crdt::identity::Keypair;
    use bft_json_crdt::replica::Limits;
    use side_ledger::group::Group;
    use side_ledger::{Admission, GroupSpec, Name, Sealing};

    use super::*;

    fn genesis(name: &str) -> Genesis {
        let founder = Keypair::from_seed(&[1; 32]).author();
        Genesis::new(GroupSpec {
            name: Name::new(name).unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![founder],
            admission: Admission::Open,
            allocation: [(founder, 1_000)].into(),
            sealing: Sealing::Leader { interval_ms: 1_000 },
            limits: side_ledger::Limits::default(),
        })
        .unwrap()
    }

    fn written(genesis: &Genesis) -> Vec<Incoming> {
        let keypair = Keypair::from_seed(&[1; 32]);
        let mut group = Group::open(genesis.clone(), Some(keypair.author()), Limits::default());
        for text in ["hello", "with \"quotes\" and ünïcode \u{202e}", "x"] {
            group.note(text, &keypair, 5).unwrap();
        }
        group.replica().log(bft_json_crdt::causality::ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
    }

    #[test]
    fn lines_read_back_and_keep_their_form() {
        let genesis = genesis("team");
        let header = Header::new(&genesis, 3);
        assert_eq!(Header::read(header.line().as_bytes(), &genesis), Ok(header.clone()));
        assert!(header.line().starts_with(r#"{"side_export":1,"group":""#), "{}", header.line());
        for incoming in written(&genesis) {
            let line = ChangeLine::of(&incoming, &genesis).line();
            let back = read_change(line.as_bytes(), &genesis).unwrap();
            assert_eq!(back.change, incoming.change);
        }
        let first = ChangeLine::of(&written(&genesis)[0], &genesis);
        assert_eq!(first.transactions, [Said { kind: "note".into(), version: 1, body: "hello".into() }]);
        assert!(first.line().starts_with(&format!(r#"{{"id":"{}","author":"#, first.id)));
    }

    #[test]
    fn a_line_with_any_byte_changed_is_refused() {
        let genesis = genesis("team");
        let header = Header::new(&genesis, 3).line();
        let changes: Vec<String> =
            written(&genesis).iter().map(|incoming| ChangeLine::of(incoming, &genesis).line()).collect();
        for at in 0..header.len() {
            for to in [header.as_bytes()[at] ^ 1, b' ', b'0', b'9'] {
                let mut line = header.clone().into_bytes();
                line[at] = to;
                // How many changes follow is a number that any other may stand for: it is held against the file's end.
                let number = at >= header.rfind(':').unwrap() && at < header.len() - 1;
                let read = Header::read(&line, &genesis);
                assert!(line == header.as_bytes() || read.is_err() || number, "byte {at} to {to}: {read:?}");
            }
        }
        for line in &changes {
            for at in 0..line.len() {
                for to in [line.as_bytes()[at] ^ 1, line.as_bytes()[at] ^ 0x20, b' ', b'0', b'f'] {
                    let mut changed = line.clone().into_bytes();
                    changed[at] = to;
                    let read = read_change(&changed, &genesis);
                    assert!(changed == line.as_bytes() || read.is_err(), "byte {at} to {to}: {read:?}");
                }
            }
            for end in 0..line.len() {
                assert!(read_change(&line.as_bytes()[..end], &genesis).is_err());
            }
        }
    }

    /// What a disk has damaged the signature of goes with the author's next header, and with nothing else.
    #[test]
    fn a_change_without_its_signature_is_taken_with_what_vouches_for_it_alone() {
        let genesis = genesis("team");
        let changes: Vec<Change> = written(&genesis).into_iter().map(|incoming| incoming.change).collect();
        let damaged = |number: usize| {
            let mut bytes = changes[number].bytes().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Change::decode(bytes.into()).unwrap()
        };
        let voucher = |numbers: std::ops::Range<usize>| SignedChain::of(&changes[numbers]).map(Voucher);
        let read = |change: Change, voucher: Option<Voucher>| {
            read_change(ChangeLine::of(&Incoming { change, voucher }, &genesis).line().as_bytes(), &genesis)
        };
        assert_eq!(read(damaged(0), None).unwrap_err(), LineError::Signature);
        for good in [voucher(1..2), voucher(1..3)] {
            let back = read(damaged(0), good.clone()).unwrap();
            assert_eq!((back.change.id(), back.voucher), (changes[0].id(), good));
        }
        // Of another change, and with a signature that is not good either.
        assert_eq!(read(damaged(0), voucher(2..3)).unwrap_err(), LineError::Signature);
        assert_eq!(read(damaged(1), voucher(1..2)).unwrap_err(), LineError::Signature);
        let mut forged = voucher(1..2).unwrap();
        forged.0.signature.0[0] ^= 1;
        assert_eq!(read(damaged(0), Some(forged.clone())).unwrap_err(), LineError::Signature);
        // A good signature does not make up for a bad voucher: a change has one spelling.
        assert_eq!(read(changes[0].clone(), Some(forged)).unwrap_err(), LineError::Signature);
    }

    #[test]
    fn another_groups_lines_are_refused() {
        let (ours, theirs) = (genesis("team"), genesis("other"));
        let header = Header::new(&theirs, 3).line();
        assert!(matches!(Header::read(header.as_bytes(), &ours), Err(LineError::OtherGroup { .. })));
        let line = ChangeLine::of(&written(&theirs)[0], &theirs).line();
        assert_eq!(read_change(line.as_bytes(), &ours).unwrap_err(), LineError::Foreign);
        let later = header.replace("\"side_export\":1", "\"side_export\":2");
        assert_eq!(Header::read(later.as_bytes(), &ours), Err(LineError::Version(2)));
    }
}
