//! Files that were made to harm: checksums right, contents wrong.

#![allow(clippy::disallowed_methods, reason = "what a hostile file costs is measured")]

use std::io::Write as _;
use std::time::{Duration, Instant};

use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{ArchiveError, LoadFault};

use super::load;
use crate::world::{DOCUMENT, key, note, writer};

const COLUMNS: usize = 29;
const RUN_COUNTS: usize = 5;
const FOREIGN_COUNTS: usize = 7;
const KEY_COUNTS: usize = 8;
const OP_KINDS: usize = 9;
const VALUES: usize = 27;
const CHARACTERS: usize = 28;

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

/// Makes the checksums of a file with one segment right again.
pub(super) fn seal(file: &mut [u8]) {
    let sum = crc(&file[62..]);
    file[54..58].copy_from_slice(&sum);
    let sum = crc(&file[49..58]);
    file[58..62].copy_from_slice(&sum);
}

/// A file with one segment.
fn file(body: &[u8]) -> Vec<u8> {
    let mut file = b"SIDE-REPLICA\x02".to_vec();
    file.put(&DOCUMENT.0);
    let sum = crc(&file);
    file.put(&sum);
    file.put(&[1]);
    file.put(&(body.len() as u32).to_be_bytes());
    file.put(&[0; 8]);
    file.put(body);
    seal(&mut file);
    file
}

/// A segment that a test writes by hand.
#[derive(Clone)]
struct Body {
    changes: u64,
    columns: [Vec<u8>; COLUMNS],
}

impl Body {
    /// Empty changes of one author, in columns.
    fn new(changes: u64) -> Self {
        let columns = std::array::from_fn(|n| if n < 9 && n != 3 { vec![0; changes as usize] } else { Vec::new() });
        Self { changes, columns }
    }

    /// The file; `deflated` as one compressed stream, otherwise as it is.
    fn file(&self, deflated: bool) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_varint(self.changes);
        body.put_varint(1);
        body.put(key(1).author().as_bytes());
        body.put(&[0, 0]);
        for column in &self.columns {
            body.put_varint(column.len() as u64);
        }
        body.put_varint(COLUMNS as u64);
        body.push(u8::from(deflated));
        let joined = self.columns.concat();
        body.put_blob(&if deflated { deflate(&joined) } else { joined });
        body.put(&vec![0; 64 * self.changes as usize]);
        file(&body)
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What loading says, within a time that has nothing to do with what the file claims.
fn refused(file: &[u8]) -> ArchiveError {
    let started = Instant::now();
    let error = load(file).err().expect("hostile");
    assert!(started.elapsed() < Duration::from_secs(10), "{error} after {:?}", started.elapsed());
    error
}

#[test]
fn what_the_tests_write_by_hand_is_well_formed() {
    // All that is wrong is that nobody signed.
    for deflated in [false, true] {
        match refused(&Body::new(3).file(deflated)) {
            ArchiveError::Load(error) => assert_eq!((error.position, error.fault), (2, LoadFault::Signature)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn counts_beyond_what_is_there_are_refused() {
    let form = ArchiveError::Damaged(49);
    assert_eq!(refused(&Body::new(8193).file(true)), form, "more changes than a segment holds");
    for column in [RUN_COUNTS, FOREIGN_COUNTS, KEY_COUNTS] {
        let mut body = Body::new(1);
        body.columns[column] = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(refused(&body.file(false)), form);
    }
    // Bytes that no change takes.
    let mut body = Body::new(1);
    body.columns[CHARACTERS] = vec![b'x'];
    assert_eq!(refused(&body.file(false)), form);
    // A column that is said to be larger than all columns may be.
    let mut body = Vec::new();
    body.put_varint(1);
    body.put(&[0, 0, 0]);
    body.put_varint(u64::MAX);
    body.put(&[0; 200]);
    assert_eq!(refused(&file(&body)), form);
    // Vouchers and proofs that are not there.
    for counts in [&[0, 0, 200, 200][..], &[0, 0, 0, 200, 200], &[200, 1, 0, 0, 0]] {
        assert_eq!(refused(&file(counts)), form);
    }
}

#[test]
fn decompression_bombs_are_refused() {
    // Sixteen million zeros in sixteen thousand bytes: more columns than one change can have.
    let mut body = Body::new(1);
    body.columns[CHARACTERS] = vec![0; 15 << 20];
    assert_eq!(refused(&body.file(true)), ArchiveError::Damaged(49));
    // Beyond the limit even before it is expanded.
    body.columns[CHARACTERS] = vec![0; 17 << 20];
    assert_eq!(refused(&body.file(true)), ArchiveError::Damaged(49));
    // A well-formed text that is too long for the file: a writer would have stored it plainly.
    let text = |len: usize| {
        let mut body = Body::new(1);
        body.columns[RUN_COUNTS] = vec![1];
        body.columns[6] = vec![1]; // one container,
        body.columns[KEY_COUNTS] = vec![1]; // under one key:
        body.columns[OP_KINDS] = vec![7];
        body.columns[10] = vec![6]; // a text
        body.columns[13] = vec![1];
        body.columns[14] = vec![0];
        body.columns[18] = vec![0];
        body.columns[19].put_varint(len as u64);
        body.columns[21] = vec![1];
        body.columns[22] = vec![0];
        body.columns[26] = vec![b'k'];
        body.columns[CHARACTERS] = vec![b'a'; len];
        body
    };
    let unsigned = |error| match error {
        ArchiveError::Load(error) => error.fault == LoadFault::Signature,
        _ => false,
    };
    assert!(unsigned(refused(&text(250_000).file(false))));
    assert!(unsigned(refused(&text(20_000).file(true))));
    assert_eq!(refused(&text(250_000).file(true)), ArchiveError::Damaged(49));
}

#[test]
fn what_repeats_itself_without_end_is_stored_plainly() {
    let alice = key(1);
    let mut replica = writer(&alice);
    for n in 0..3 {
        let write = |tx: &mut bft_json_crdt::document::Tx<_>| {
            let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
            tx.text_insert(text, 0, &"a".repeat(200_000)).unwrap();
        };
        replica.transact(&alice, n, write).unwrap();
    }
    let file = replica.save();
    assert!(file.len() > 600_000, "{}", file.len());
    assert_eq!(load(&file).unwrap().replica.digest(), replica.digest());
    // What repeats itself less is compressed.
    note(&mut replica, &alice, &(0..30_000).map(|n| n.to_string()).collect::<String>());
    let point = super::load(&file).unwrap().point.unwrap();
    assert!(replica.save_since(&point).unwrap().len() < 80_000);
}

#[test]
fn values_nested_without_end_are_refused_without_recursion() {
    let mut body = Body::new(1);
    body.columns[RUN_COUNTS] = vec![1];
    body.columns[6] = vec![1];
    body.columns[KEY_COUNTS] = vec![1];
    body.columns[OP_KINDS] = vec![2];
    body.columns[10] = vec![1];
    body.columns[13] = vec![1];
    body.columns[14] = vec![0];
    body.columns[18] = vec![0];
    body.columns[21] = vec![1];
    body.columns[26] = vec![b'k'];
    body.columns[VALUES] = [7, 1].repeat(400_000);
    body.columns[VALUES].push(0);
    match refused(&body.file(false)) {
        ArchiveError::Load(error) => assert!(matches!(error.fault, LoadFault::Malformed(_)), "{error}"),
        other => panic!("{other}"),
    }
    // One that is allowed, for comparison.
    body.columns[VALUES] = vec![7, 1, 0];
    assert!(matches!(refused(&body.file(false)), ArchiveError::Load(error) if error.fault == LoadFault::Signature));
}

#[test]
fn a_change_cannot_stand_twice_nor_refer_ahead() {
    let alice = key(1);
    let mut replica = writer(&alice);
    note(&mut replica, &alice, "one");
    // The first change's columns once more, as another first change.
    let mut body = Body::new(2);
    body.columns[1] = vec![0, 2];
    match refused(&body.file(false)) {
        ArchiveError::Load(error) => assert!(matches!(error.fault, LoadFault::Malformed(_)), "{error}"),
        other => panic!("{other}"),
    }
    for previous in [3, 100] {
        body.columns[1] = vec![0, previous];
        assert_eq!(refused(&body.file(false)), ArchiveError::Damaged(49));
    }
    // A dep before the file's beginning, and the one that `previous` names already.
    for (distance, fits) in [(1, false), (0, true)] {
        let mut body = Body::new(2);
        body.columns[2] = vec![0, 1];
        body.columns[3] = vec![distance];
        assert_eq!(matches!(refused(&body.file(false)), ArchiveError::Load(_)), fits);
    }
    assert_eq!(load(&replica.save()).unwrap().replica.view(), replica.view());
}

#[test]
fn segments_and_counts_of_millions_cost_what_the_file_is_long() {
    // Empty segments, thirteen bytes and four each.
    let mut many = b"SIDE-REPLICA\x02".to_vec();
    many.put(&DOCUMENT.0);
    let sum = crc(&many);
    many.put(&sum);
    for _ in 0..100_000 {
        let mut head = vec![1, 0, 0, 0, 4];
        head.put(&crc(&[0; 4]));
        let sum = crc(&head);
        many.put(&head);
        many.put(&sum);
        many.put(&[0; 4]);
    }
    let started = Instant::now();
    assert!(load(&many).unwrap().replica.is_empty());
    assert!(started.elapsed() < Duration::from_secs(10));
}
