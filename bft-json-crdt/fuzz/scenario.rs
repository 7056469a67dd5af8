//! How bytes become a story: three members write changes, each truly signed, with whatever operations and parents the bytes say. And the small replica that
//! a session under test speaks for.

use bft_json_crdt::change::{Change, DocumentId, Header, VERSION};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Ops;
use bft_json_crdt::replica::{Limits, Replica};

/// The document of all stories.
pub(crate) const DOCUMENT: DocumentId = DocumentId([0xd0; 32]);
/// How many members write.
pub(crate) const MEMBERS: u8 = 3;
/// Most changes of a story: enough for forks upon forks, and a run stays a matter of milliseconds.
pub(crate) const MAX_STORY: usize = 24;
/// Most other parents that a record lists one by one.
pub(crate) const MAX_LISTED: u8 = 6;
/// As a number of other parents: the last change of each other member.
pub(crate) const LAST_OF_OTHERS: u8 = MAX_LISTED + 1;
/// Most unit operations of one change: more only costs time.
const MAX_STORY_UNITS: u32 = 2048;

/// A member's key.
pub(crate) fn key(member: u8) -> Keypair {
    Keypair::from_seed(&[member + 1; 32])
}

/// A replica that cannot write.
pub(crate) fn reader() -> Replica {
    Replica::new(DOCUMENT, Limits::default())
}

/// Takes a story apart. Each record is `member ‖ previous ‖ number of others ‖ others ‖ length of operations (2) ‖ operations`, in single bytes that are
/// taken modulo what exists:
/// - previous: 0 for the member's last change, 1 for none (a fork, unless it is the first), otherwise one of its changes, counted from 2;
/// - others: numbers of earlier changes; [`LAST_OF_OTHERS`] as their number stands for the last change of each other member;
/// - operations: an encoding in which the first byte of a foreign id is the number of an earlier change. What does not decode is no operations.
pub(crate) fn changes(data: &[u8]) -> Vec<Change> {
    let keys: Vec<Keypair> = (0..MEMBERS).map(key).collect();
    let mut story: Vec<Change> = Vec::new();
    let mut bytes = Cursor(data);
    while story.len() < MAX_STORY {
        let Some(change) = next_change(&mut bytes, &keys, &story) else { break };
        story.push(change);
    }
    story
}

fn next_change(bytes: &mut Cursor<'_>, keys: &[Keypair], story: &[Change]) -> Option<Change> {
    let keypair = &keys[usize::from(bytes.byte()? % MEMBERS)];
    let own: Vec<&Change> = story.iter().filter(|change| change.author() == keypair.author()).collect();
    let previous = match usize::from(bytes.byte()?) {
        0 => own.last(),
        1 => None,
        number => own.get((number - 2) % own.len().max(1)),
    };
    let mut deps = Vec::new();
    match bytes.byte()? % (LAST_OF_OTHERS + 1) {
        LAST_OF_OTHERS => {
            for other in keys.iter().filter(|other| other.author() != keypair.author()) {
                deps.extend(story.iter().rfind(|change| change.author() == other.author()).map(Change::id));
            }
        }
        count => {
            for _ in 0..count {
                let number = usize::from(bytes.byte()?);
                deps.extend(story.get(number % story.len().max(1)).map(Change::id));
            }
        }
    }
    deps.sort_unstable();
    deps.dedup();
    deps.retain(|dep| previous.is_none_or(|previous| previous.id() != *dep));
    let len = u16::from_be_bytes([bytes.byte()?, bytes.byte()?]);
    let ops = operations(bytes.up_to(len.into()), story).unwrap_or_default();
    let header = Header {
        version: VERSION,
        document: DOCUMENT,
        author: keypair.author(),
        seq: previous.map_or(1, |previous| previous.header().seq + 1),
        previous: previous.map(|previous| previous.id()),
        deps,
        // No two changes of a story are the same.
        time_ms: story.len() as u64,
        ops_hash: [0; 32],
    };
    Some(Change::sign(keypair, header, &ops.encode().expect("what was decoded can be encoded")))
}

/// Operations that can be applied somewhere, their foreign ids replaced by those of earlier changes.
fn operations(bytes: &[u8], story: &[Change]) -> Option<Ops> {
    let mut ops = Ops::decode(VERSION, bytes).ok()?;
    for id in &mut ops.foreign {
        *id = story.get(usize::from(id.0[0]) % story.len().max(1))?.id();
    }
    // Two that became one break the form.
    let ops = Ops::decode(VERSION, &ops.encode().ok()?).ok()?;
    (ops.units() <= MAX_STORY_UNITS).then_some(ops)
}

/// The replica that a session under test speaks for: two members know each other, one of them is alone in a branch of its own.
pub(crate) fn small_replica() -> Replica {
    let mut replica = reader();
    let story = [0u8, 0, 0, 0, 0, 1, 0, LAST_OF_OTHERS, 0, 0, 0, 0, LAST_OF_OTHERS, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    replica.apply_batch(changes(&story).into_iter().map(Into::into).collect());
    replica
}

/// Takes apart frames, each after its length in two bytes. The last may be short.
pub(crate) fn frames(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut bytes = Cursor(data);
    std::iter::from_fn(move || {
        let len = u16::from_be_bytes([bytes.byte()?, bytes.byte()?]);
        Some(bytes.up_to(len.into()))
    })
}

/// What is left of the input.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn up_to(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
