//! The records of applied changes, one behind the other in pages: what a change carries and the graph does not know.
//!
//! ```text
//! record = varint length of ops ‖ varint (2 × number of deps + whether it was compacted) ‖ varint (own number − dep's number) each, in the header's order
//!          ‖ varint time_ms ‖ ops ‖ 64 signature
//! ```
//! A compacted record has the hash of its operations and their skeleton (see `crate::history`) in their place.
//!
//! Document, author, seq and `previous` come from the graph, the hash of the operations from the operations, so that a record is some ten bytes longer than
//! operations and signature. A record never spans pages. Every [`MARK`]th has its place noted; the others are found by stepping from there.

use crate::causality::ChangeIdx;
use crate::change::{MAX_OPS_BYTES, MAX_SAFE};
use crate::encoding::{Reader, Write as _};
use crate::hash::{self, OPS_DOMAIN};
use crate::identity::Signature;

/// Bytes of a page. Larger ones would waste more at the end of a short history (the last page grows as it fills), smaller ones more between records.
const PAGE: usize = 1 << 16;
/// Records for each noted place: half a byte a record, and at most so many steps to find one.
const MARK: usize = 16;
/// Most bytes of operations, or of a skeleton: it can be a little longer than what it is of, by what tells how much of the text is left.
const MAX_STORED: usize = 2 * MAX_OPS_BYTES;
const PROOF: &str = "records are read as they were written";

/// All records, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// Invariant: none is empty.
    pages: Vec<Vec<u8>>,
    /// Page and offset of every [`MARK`]th record.
    marks: Vec<(u32, u32)>,
    len: usize,
    /// What stands before the operations in the record that is being written; kept for its capacity.
    head: Vec<u8>,
}

/// One record, read.
#[derive(Debug, Clone)]
pub(crate) struct Record<'a> {
    number: u32,
    dep_count: usize,
    deps: Reader<'a>,
    /// The author's clock.
    pub(crate) time_ms: u64,
    /// The encoded operations; of a compacted change the hash of its operations and their skeleton. See [`Record::content`].
    stored: &'a [u8],
    compacted: bool,
    /// The signature, good or not.
    pub(crate) signature: &'a [u8; 64],
}

/// What a record has of a change's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// All of them, encoded.
    Whole(&'a [u8]),
    /// Their hash, and what compaction left of them.
    Compacted(&'a [u8; 32], &'a [u8]),
}

impl<'a> Record<'a> {
    /// The operations, or what is left of them.
    pub(crate) fn content(&self) -> Content<'a> {
        if !self.compacted {
            return Content::Whole(self.stored);
        }
        let (hash, skeleton) = self.stored.split_first_chunk().expect(PROOF);
        Content::Compacted(hash, skeleton)
    }

    /// The encoded operations, unless they were compacted away.
    pub(crate) fn ops(&self) -> Option<&'a [u8]> {
        (!self.compacted).then_some(self.stored)
    }

    /// The hash of the operations. Costs hashing them, but for a compacted change.
    pub(crate) fn ops_hash(&self) -> [u8; 32] {
        match self.content() {
            Content::Whole(ops) => hash::hash(OPS_DOMAIN, ops),
            Content::Compacted(hash, _) => *hash,
        }
    }

    /// The numbers of the deps, in the header's order (ascending by id).
    pub(crate) fn deps(&self) -> impl ExactSizeIterator<Item = ChangeIdx> + use<'a> {
        let (number, mut reader) = (self.number, self.deps.clone());
        (0..self.dep_count).map(move |_| ChangeIdx(number - reader.varint().expect(PROOF) as u32))
    }
}

impl Log {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.pages.iter().map(Vec::capacity).sum::<usize>()
            + self.pages.capacity() * size_of::<Vec<u8>>()
            + self.marks.capacity() * size_of::<(u32, u32)>()
            + self.head.capacity()
    }

    /// Appends the record of the next change.
    pub(super) fn push(&mut self, deps: &[ChangeIdx], time_ms: u64, content: Content<'_>, signature: &[u8; 64]) {
        let (hash, ops, compacted): (&[u8], _, _) = match content {
            Content::Whole(ops) => (&[], ops, 0),
            Content::Compacted(hash, skeleton) => (hash, skeleton, 1),
        };
        debug_assert!(ops.len() <= MAX_STORED && time_ms <= MAX_SAFE);
        let head = &mut self.head;
        head.clear();
        head.put_varint((hash.len() + ops.len()) as u64);
        head.put_varint(2 * deps.len() as u64 + compacted);
        for dep in deps {
            head.put_varint(self.len as u64 - u64::from(dep.0));
        }
        head.put_varint(time_ms);
        head.put(hash);
        let size = head.len() + ops.len() + 64;
        match self.pages.last_mut() {
            // Grows by doubling like any vector, but never beyond a page.
            Some(page) if page.len() + size <= PAGE => {
                if page.capacity() - page.len() < size {
                    let most = PAGE.max(page.capacity());
                    let wanted = (2 * page.capacity()).max(page.len() + size).min(most);
                    page.reserve_exact(wanted - page.len());
                }
            }
            Some(_) => self.pages.push(Vec::with_capacity(size.max(PAGE))),
            None => self.pages.push(Vec::with_capacity(size)),
        }
        let number = self.pages.len() - 1;
        let page = &mut self.pages[number];
        if self.len.is_multiple_of(MARK) {
            self.marks.push((number as u32, page.len() as u32));
        }
        page.put(&self.head);
        page.put(ops);
        page.put(signature);
        self.len += 1;
    }

    /// # Panics
    /// If there is no record of this number.
    pub(super) fn get(&self, number: u32) -> Record<'_> {
        let (page, start) = self.marks[number as usize / MARK];
        let (mut page, mut start) = (page as usize, start as usize);
        for _ in 0..number as usize % MARK {
            start += self.length_at(page, start);
            if start == self.pages[page].len() {
                (page, start) = (page + 1, 0);
            }
        }
        let mut reader = Reader::new(&self.pages[page][start..]);
        let ops_len = reader.varint().expect(PROOF) as usize;
        let flags = reader.varint().expect(PROOF);
        let (dep_count, compacted) = ((flags >> 1) as usize, flags & 1 == 1);
        let deps = reader.clone();
        for _ in 0..dep_count {
            reader.varint().expect(PROOF);
        }
        let time_ms = reader.varint().expect(PROOF);
        let stored = reader.bytes(ops_len).expect(PROOF);
        let signature = reader.rest().first_chunk().expect(PROOF);
        Record { number, dep_count, deps, time_ms, stored, compacted, signature }
    }

    fn length_at(&self, page: usize, start: usize) -> usize {
        let rest = &self.pages[page][start..];
        let mut reader = Reader::new(rest);
        let ops_len = reader.varint().expect(PROOF) as usize;
        let deps = reader.varint().expect(PROOF) >> 1;
        for _ in 0..=deps {
            reader.varint().expect(PROOF);
        }
        rest.len() - reader.remaining() + ops_len + 64
    }
}

impl From<&Record<'_>> for Signature {
    fn from(record: &Record<'_>) -> Self {
        Signature(*record.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again_in_small_and_large_pages() {
        let mut log = Log::default();
        let ops: Vec<Vec<u8>> =
            (0..400usize).map(|n| vec![n as u8; if n % 37 == 0 { 3 * PAGE / 2 } else { n * n % 3_000 }]).collect();
        let deps =
            |n: usize| (0..n % 5).filter(|d| d + 1 < n).map(|d| ChangeIdx((n - d - 1) as u32)).collect::<Vec<_>>();
        for (n, ops) in ops.iter().enumerate() {
            let hash = [n as u8; 32];
            let content = if n % 3 == 0 { Content::Compacted(&hash, ops) } else { Content::Whole(ops) };
            log.push(&deps(n), n as u64 * 1_000_000, content, &[n as u8; 64]);
        }
        for (n, ops) in ops.iter().enumerate().rev() {
            let record = log.get(n as u32);
            assert_eq!(record.deps().collect::<Vec<_>>(), deps(n));
            assert_eq!((record.time_ms, record.signature), (n as u64 * 1_000_000, &[n as u8; 64]));
            let hash = [n as u8; 32];
            let content = if n % 3 == 0 { Content::Compacted(&hash, ops) } else { Content::Whole(ops) };
            assert_eq!(record.content(), content);
            assert_eq!(record.ops(), (n % 3 != 0).then_some(&ops[..]));
        }
    }

    #[test]
    fn a_record_takes_little_beyond_operations_and_signature() {
        let mut log = Log::default();
        for n in 0..100_000u64 {
            log.push(&[], 1_700_000_000_000 + n, Content::Whole(&[7; 20]), &[1; 64]);
        }
        let each = log.heap_bytes() as f64 / 100_000.0 - 84.0;
        assert!(each < 10.0, "{each} bytes a record");
    }
}
