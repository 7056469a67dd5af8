//! Reading an export, batch by batch, for a running node and for a stopped one.

use std::collections::{HashMap, HashSet, VecDeque};

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::replica::Incoming;
use side_ledger::Genesis;

use super::exchange::{ImportReport, Imported};
use crate::export::{
    Header, LineError, MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MAX_HEADER_LINE_BYTES, MAX_LINE_BYTES, read_change,
};

/// Most changes of strangers that are remembered in case that a member has built on them: of a joiner whose admission stands in blocks, which a file does not have, as
/// many as may come before some member's next change. Of more the oldest are forgotten.
const MAX_STRANGERS: usize = 16_384;
/// Most bytes of them.
const MAX_STRANGER_BYTES: usize = 64 << 20;

/// Most ids of waiting changes that are remembered; the replica keeps fewer. What waits beyond them counts as waiting, also if it comes to be applied.
const MAX_ASIDE: usize = 65_536;

/// An import in progress: lines go in, checked changes come out, and what became of them goes in.
///
/// A change on which a member has built is a part of a closed group, whoever wrote it, and those who build on it stand after it. So what a stranger wrote is remembered,
/// and handed in again when something that was taken in waits for it.
pub struct Importer {
    genesis: Genesis,
    report: ImportReport,
    /// What was handed in last, with the numbers of its lines.
    handed: Vec<(u64, Incoming)>,
    /// The ids of changes of this file that wait for others.
    aside: HashSet<String>,
    /// How many more there are.
    more_aside: u64,
    /// Ids that something of this file waits for.
    missing: Vec<String>,
    strangers: HashMap<String, (u64, Incoming)>,
    stranger_bytes: usize,
    /// Their ids in the order of their lines, and ids of such as were handed in again.
    oldest: VecDeque<String>,
    /// How many were forgotten.
    forgotten: u64,
}

impl Importer {
    /// An import into the group of this genesis.
    pub fn new(genesis: Genesis) -> Self {
        let report = ImportReport { group: genesis.id().to_string(), ..ImportReport::default() };
        Self {
            genesis,
            report,
            handed: Vec::new(),
            aside: HashSet::new(),
            more_aside: 0,
            missing: Vec::new(),
            strangers: HashMap::new(),
            stranger_bytes: 0,
            oldest: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Whether so many lines of so many bytes make a batch.
    pub fn is_enough(lines: usize, bytes: usize) -> bool {
        lines >= MAX_BATCH_CHANGES || bytes >= MAX_BATCH_BYTES
    }

    /// Reads lines, without their ends: the changes in them, up to the first line that is not good.
    pub fn read(&mut self, lines: Vec<Vec<u8>>) -> Vec<Incoming> {
        self.handed.clear();
        for line in lines {
            if self.is_over() {
                break;
            }
            match self.read_line(&line) {
                Ok(change) => {
                    self.report.lines += 1;
                    self.handed.extend(change.map(|change| (self.report.lines, change)));
                }
                Err(error) => self.report.problem = Some(format!("line {}: {error}", self.report.lines + 1)),
            }
        }
        self.handed()
    }

    /// Changes of strangers for which something waits, and those that they build on: to be handed in as those that were [read](Self::read), until there are none.
    pub fn again(&mut self) -> Vec<Incoming> {
        self.handed.clear();
        while !self.is_over() && self.handed.len() < MAX_BATCH_CHANGES {
            let Some(id) = self.missing.pop() else { break };
            let Some((line, incoming)) = self.strangers.remove(&id) else { continue };
            self.stranger_bytes -= incoming.change.bytes().len();
            let header = incoming.change.header();
            self.missing.extend(header.deps.iter().chain(&header.previous).map(ChangeId::to_string));
            self.handed.push((line, incoming));
        }
        self.handed()
    }

    fn handed(&self) -> Vec<Incoming> {
        self.handed.iter().map(|(_, change)| change.clone()).collect()
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Option<Incoming>, LineError> {
        if self.report.lines == 0 {
            if line.len() > MAX_HEADER_LINE_BYTES {
                return Err(LineError::TooLong(MAX_HEADER_LINE_BYTES));
            }
            self.report.expected = Header::read(line, &self.genesis)?.changes;
            return Ok(None);
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(LineError::TooLong(MAX_LINE_BYTES));
        }
        if self.report.lines > self.report.expected {
            return Err(LineError::Form(format!("the header speaks of {} changes", self.report.expected)));
        }
        read_change(line, &self.genesis).map(Some)
    }

    /// What became of the changes that were handed in.
    pub fn took(&mut self, imported: Imported) {
        let handed = std::mem::take(&mut self.handed);
        let at = |place: u64| usize::try_from(place).ok().and_then(|place| handed.get(place));
        self.report.new += imported.new;
        self.report.known += imported.known;
        self.missing.extend(imported.missing);
        for (_, waits) in imported.aside.into_iter().filter_map(at) {
            if self.aside.len() < MAX_ASIDE {
                self.aside.insert(waits.change.id().to_string());
            } else {
                self.more_aside += 1;
            }
        }
        self.report.new += imported.applied.iter().filter(|id| self.aside.remove(*id)).count() as u64;
        self.report.aside = self.aside.len() as u64 + self.more_aside;
        imported.strangers.into_iter().filter_map(at).for_each(|(line, change)| self.remember(*line, change));
        self.report.strangers = self.strangers.len() as u64 + self.forgotten;
        if let Some((place, why)) = imported.refused {
            let line = at(place).map_or(self.report.lines, |(line, _)| *line);
            self.report.lines = line - 1;
            self.report.problem = Some(format!("line {line}: {}", LineError::Refused(why)));
        }
    }

    fn remember(&mut self, line: u64, incoming: &Incoming) {
        let id = incoming.change.id().to_string();
        if self.strangers.insert(id.clone(), (line, incoming.clone())).is_some() {
            return;
        }
        self.stranger_bytes += incoming.change.bytes().len();
        self.oldest.push_back(id);
        if self.oldest.len() > 2 * MAX_STRANGERS {
            self.oldest.retain(|id| self.strangers.contains_key(id));
        }
        while self.strangers.len() > MAX_STRANGERS || self.stranger_bytes > MAX_STRANGER_BYTES {
            let Some(oldest) = self.oldest.pop_front() else { break };
            if let Some((_, oldest)) = self.strangers.remove(&oldest) {
                self.stranger_bytes -= oldest.change.bytes().len();
                self.forgotten += 1;
            }
        }
    }

    /// Whether nothing more is read.
    pub fn is_over(&self) -> bool {
        self.report.problem.is_some()
    }

    /// How it stands.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// What it came to. `cut` says that the last line had no end.
    pub fn end(self, cut: bool) -> ImportReport {
        let mut report = self.report;
        let have = report.lines.saturating_sub(1);
        report.complete = report.problem.is_none() && report.lines > 0 && have == report.expected;
        report.problem = match report.problem.take() {
            Some(problem) if cut && problem.starts_with(&format!("line {}:", report.lines + 1)) => {
                Some(format!("{problem} (the file ends in this line)"))
            }
            None if report.lines == 0 => Some("the file is empty".to_owned()),
            None if !report.complete => {
                Some(format!("the file ends after line {}: it has {have} of {} changes", report.lines, report.expected))
            }
            other => other,
        };
        report
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::causality::ChangeIdx;
    use bft_json_crdt::identity::Keypair;
    use bft_json_crdt::replica::Limits;
    use side_ledger::group::Group;
    use side_ledger::{Admission, GroupSpec, Name, Sealing};

    use super::*;
    use crate::export::ChangeLine;

    #[test]
    fn what_the_group_refuses_is_told_by_the_line_it_stands_in() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let genesis = Genesis::new(GroupSpec {
            name: Name::new("team").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![keypair.author()],
            admission: Admission::Open,
            allocation: [(keypair.author(), 1_000)].into(),
            sealing: Sealing::Leader { interval_ms: 1_000 },
            limits: side_ledger::Limits::default(),
        })
        .unwrap();
        let mut group = Group::open(genesis.clone(), Some(keypair.author()), Limits::default());
        for text in ["one", "two", "three", "four"] {
            group.note(text, &keypair, 5).unwrap();
        }
        let lines = group.replica().log(ChangeIdx(0)).map(|(_, incoming)| ChangeLine::of(&incoming, &genesis).line());
        let mut file = vec![Header::new(&genesis, 4).line().into_bytes()];
        file.extend(lines.map(String::into_bytes));
        // In batches of two lines, so that the first change of the second batch stands in line 3.
        let mut importer = Importer::new(genesis);
        assert_eq!(importer.read(file[..2].to_vec()).len(), 1);
        importer.took(Imported { new: 1, ..Imported::default() });
        assert_eq!(importer.read(file[2..4].to_vec()).len(), 2);
        importer.took(Imported { new: 1, refused: Some((1, "no member".to_owned())), ..Imported::default() });
        assert!(importer.is_over() && importer.read(file[4..].to_vec()).is_empty());
        let report = importer.end(false);
        assert_eq!(report.problem.as_deref(), Some("line 4: the group refuses it: no member"));
        assert_eq!((report.lines, report.new, report.complete), (3, 2, false));
    }
}
