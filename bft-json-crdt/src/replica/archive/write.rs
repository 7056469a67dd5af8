//! From a replica to segments (docs/format.md, section 2).

use super::columns::Column;
use super::segment::{self, Packer};
use super::transpose::Transposer;
use super::{CHANGE_WEIGHT, MAX_EXPANSION, MAX_SEGMENT_CHANGES, Replica, SEGMENT_WEIGHT, SavePoint};
use crate::causality::{Causality as _, ChangeIdx};
use crate::encoding::Write as _;
use crate::evidence::{EquivocationProof, Voucher};

/// Saving says so among its panics.
const WHOLE: &str = "an archive holds whole changes, and this one was compacted";

/// What is known of an author while a file is written.
struct AuthorState {
    number: u32,
    last: Option<ChangeIdx>,
}

impl Replica {
    /// Appends all that has come since `point`, in one segment at least.
    pub(super) fn put_segments(&self, out: &mut Vec<u8>, point: &SavePoint) {
        let mut writer = Writer {
            replica: self,
            // Authors are numbered by their first changes, so those that the file knows come first.
            known_authors: point.authors,
            authors: Vec::new(),
            transposer: Transposer::new(),
            packer: Packer::new(),
            signatures: Vec::new(),
            body: Vec::new(),
        };
        let proofs: Vec<&EquivocationProof> =
            self.proofs.values().filter(|proof| !point.proven.contains(&proof.author())).collect();
        let mut late: Vec<ChangeIdx> = self.late_vouchers[point.late_vouchers..]
            .iter()
            .filter_map(|id| self.dag.lookup(id))
            .filter(|index| index.0 < point.changes)
            .collect();
        let mut next = point.changes;
        loop {
            let end = writer.end_of_segment(next);
            let last = end as usize == self.len();
            writer.segment(next, end, &std::mem::take(&mut late), if last { &proofs } else { &[] });
            segment::put_segment(out, &writer.body, last);
            if last {
                return;
            }
            next = end;
        }
    }
}

struct Writer<'a> {
    replica: &'a Replica,
    known_authors: u32,
    /// By number.
    authors: Vec<Option<AuthorState>>,
    transposer: Transposer,
    packer: Packer,
    signatures: Vec<u8>,
    body: Vec<u8>,
}

fn weight(replica: &Replica, index: ChangeIdx) -> usize {
    let record = replica.dag.record(index);
    CHANGE_WEIGHT + 32 * record.deps().len() + record.ops().expect(WHOLE).len()
}

impl Writer<'_> {
    /// Up to which change a segment goes that begins with change `first`.
    fn end_of_segment(&self, first: u32) -> u32 {
        let most = self.replica.len().min(first as usize + MAX_SEGMENT_CHANGES) as u32;
        let (mut end, mut sum) = (first, 0);
        while end < most && sum < SEGMENT_WEIGHT {
            sum += weight(self.replica, ChangeIdx(end));
            end += 1;
        }
        end
    }

    fn segment(&mut self, first: u32, end: u32, late: &[ChangeIdx], proofs: &[&EquivocationProof]) {
        let (replica, dag) = (self.replica, &self.replica.dag);
        self.body.clear();
        self.body.put_varint(u64::from(end - first));
        let authors = (first..end).map(|number| dag.author_of(ChangeIdx(number)) + 1).max().unwrap_or(0);
        self.body.put_varint(u64::from(authors.saturating_sub(self.known_authors)));
        for author in self.known_authors..authors {
            self.body.put(dag.author_numbered(author).as_bytes());
        }
        self.known_authors = self.known_authors.max(authors);
        let vouchers: Vec<(ChangeIdx, Voucher)> = late
            .iter()
            .copied()
            .chain((first..end).map(ChangeIdx))
            .filter_map(|index| Some((index, replica.voucher(index)?)))
            .collect();
        self.body.put_varint(vouchers.len() as u64);
        for (index, voucher) in vouchers {
            self.voucher(index, &voucher, end);
        }
        self.body.put_varint(proofs.len() as u64);
        for proof in proofs {
            self.body.put_blob(&proof.encode());
        }
        if first == end {
            return;
        }
        self.transposer.clear();
        self.signatures.clear();
        let (mut time, mut sum) = (0, 0);
        for number in first..end {
            self.change(ChangeIdx(number), first, &mut time);
            sum += weight(replica, ChangeIdx(number));
        }
        let head = self.body.len();
        for plainly in [false, true] {
            self.body.truncate(head);
            self.packer.put(&mut self.body, self.transposer.columns.all(), plainly);
            self.body.put(&self.signatures);
            if sum <= MAX_EXPANSION * self.body.len() {
                break;
            }
        }
    }

    /// Appends a voucher: by the numbers of the changes whose headers it shows, if the file holds them by then.
    fn voucher(&mut self, index: ChangeIdx, voucher: &Voucher, end: u32) {
        let dag = &self.replica.dag;
        let shown: Option<Vec<u32>> =
            voucher.0.headers.iter().map(|header| Some(dag.lookup(&header.id())?.0)).collect();
        self.body.put_varint(index.0.into());
        match shown.filter(|shown| shown.iter().all(|number| *number < end)) {
            Some(shown) => {
                self.body.put_varint(shown.len() as u64);
                let mut before = index.0;
                for number in shown {
                    self.body.put_varint(u64::from(number - before) - 1);
                    before = number;
                }
                self.body.put(&voucher.0.signature.0);
            }
            None => {
                self.body.put_varint(0);
                self.body.put_blob(&voucher.encode());
            }
        }
    }

    fn change(&mut self, index: ChangeIdx, first: u32, time: &mut u64) {
        let dag = &self.replica.dag;
        let record = dag.record(index);
        let number = dag.author_of(index);
        if self.authors.len() <= number as usize {
            self.authors.resize_with(number as usize + 1, || None);
        }
        let author = self.authors[number as usize]
            .get_or_insert_with(|| AuthorState { number, last: dag.last_before(number, first) });
        let previous = dag.previous(index);
        let code = match previous {
            _ if previous == author.last => 0,
            Some(previous) => index.0 - previous.0,
            None => index.0 + 1,
        };
        author.last = Some(index);
        self.transposer.put(Column::Authors, author.number.into());
        self.transposer.put(Column::Previous, code.into());
        let mut deps: Vec<u32> = record.deps().map(|dep| index.0 - dep.0).collect();
        deps.sort_unstable();
        self.transposer.put(Column::DepCounts, deps.len() as u64);
        let mut before = 0;
        for distance in deps {
            self.transposer.put(Column::Deps, u64::from(distance - before) - 1);
            before = distance;
        }
        let step = record.time_ms.wrapping_sub(*time) as i64;
        self.transposer.put(Column::Times, ((step << 1) ^ (step >> 63)) as u64);
        *time = record.time_ms;
        self.transposer.ops(dag, index, record.ops().expect(WHOLE));
        self.signatures.put(record.signature);
    }
}
