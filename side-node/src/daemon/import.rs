//! Reading an export, batch by batch, for a running node and for a stopped one.

use bft_json_crdt::replica::Incoming;
use side_ledger::Genesis;

use super::exchange::{ImportReport, Imported};
use crate::export::{
    Header, LineError, MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MAX_HEADER_LINE_BYTES, MAX_LINE_BYTES, read_change,
};

/// An import in progress: lines go in, checked changes come out, and what became of them goes in.
#[derive(Debug)]
pub struct Importer {
    genesis: Genesis,
    report: ImportReport,
    /// The number of the line that the first change of the last batch stood in.
    first: u64,
}

impl Importer {
    /// An import into the group of this genesis.
    pub fn new(genesis: Genesis) -> Self {
        let report = ImportReport { group: genesis.id().to_string(), ..ImportReport::default() };
        Self { genesis, report, first: 1 }
    }

    /// Whether so many lines of so many bytes make a batch.
    pub fn is_enough(lines: usize, bytes: usize) -> bool {
        lines >= MAX_BATCH_CHANGES || bytes >= MAX_BATCH_BYTES
    }

    /// Reads lines, without their ends: the changes in them, up to the first line that is not good.
    pub fn read(&mut self, lines: Vec<Vec<u8>>) -> Vec<Incoming> {
        let mut changes = Vec::new();
        for line in lines {
            if self.is_over() {
                break;
            }
            match self.read_line(&line) {
                Ok(change) => {
                    self.report.lines += 1;
                    if changes.is_empty() {
                        self.first = self.report.lines;
                    }
                    changes.extend(change);
                }
                Err(error) => self.report.problem = Some(format!("line {}: {error}", self.report.lines + 1)),
            }
        }
        changes
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

    /// What became of the changes of the last batch.
    pub fn took(&mut self, imported: Imported) {
        self.report.new += imported.new;
        self.report.known += imported.known;
        self.report.aside += imported.aside;
        if let Some((place, why)) = imported.refused {
            let line = self.first + place;
            self.report.lines = line - 1;
            self.report.problem = Some(format!("line {line}: {}", LineError::Refused(why)));
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
