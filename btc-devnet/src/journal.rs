//! Records on disk, one after the other: what a restart begins from.
//!
//! ```text
//! magic (16 bytes) │ length (u32, little-endian) │ first 4 bytes of the bytes' double SHA-256 │ bytes │ length │ …
//! ```
//! A crash can leave an unfinished record at the end. It was never acknowledged, so opening cuts it off. Anything wrong before
//! that is damage, and named.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bitcoin::hashes::{Hash, sha256d};

/// The most bytes of a record: a block cannot be larger than its weight limit.
const MAX_RECORD: u32 = 4_000_000;
/// Names the format and its version.
const MAGIC: &[u8; 16] = b"btc-devnet log 1";
const HEADER: usize = 8;

/// A file of records, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// A write failed, perhaps half-way: what came after it could not be read again, so nothing does.
    failed: bool,
}

impl Journal {
    /// Opens or creates the file and hands each record to `record`, in order.
    pub(crate) fn open(path: &Path, mut record: impl FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<Journal> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        if length < MAGIC.len() as u64 {
            // Creation itself was cut short, or has just happened.
            file.set_len(0)?;
            file.write_all(MAGIC)?;
            file.sync_all()?;
            sync_folder_of(path)?;
            return Ok(Journal { file, path: path.to_owned(), failed: false });
        }
        let mut reader = BufReader::new(&file);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged(path, "it is not a log of this program and version"));
        }
        let mut end = MAGIC.len() as u64;
        loop {
            let left = length - end;
            let mut header = [0; HEADER];
            if left < HEADER as u64 {
                break;
            }
            reader.read_exact(&mut header)?;
            let size = u32::from_le_bytes(header[..4].try_into().expect("four bytes"));
            let next = HEADER as u64 + u64::from(size);
            if size > MAX_RECORD {
                return Err(damaged(path, "a record is longer than a block can be"));
            }
            if left < next {
                break;
            }
            let mut bytes = vec![0; size as usize];
            reader.read_exact(&mut bytes)?;
            if checksum(&bytes) != header[4..] {
                if left == next {
                    break;
                }
                return Err(damaged(path, "a record's checksum is wrong"));
            }
            record(bytes)?;
            end += next;
        }
        drop(reader);
        if end < length {
            tracing::warn!(path = %path.display(), bytes = length - end, "cut off an unfinished record");
            file.set_len(end)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::End(0))?;
        Ok(Journal { file, path: path.to_owned(), failed: false })
    }

    /// Appends a record. After a failure every further call fails: open the file again. The record is safe from a crash of the machine after [`Self::sync`], from one of this process at once.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = u32::try_from(bytes.len()).ok().filter(|&size| size <= MAX_RECORD);
        let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the record is too long"))?;
        let mut record = Vec::with_capacity(HEADER + bytes.len());
        record.extend_from_slice(&size.to_le_bytes());
        record.extend_from_slice(&checksum(bytes));
        record.extend_from_slice(bytes);
        self.guard(|file| file.write_all(&record))
    }

    /// Waits until everything appended is on disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.guard(|file| file.sync_data())
    }

    fn guard(&mut self, work: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed; make room and start again"));
        }
        let outcome = work(&mut self.file);
        self.failed = outcome.is_err();
        outcome
    }

    /// Takes the place of `path`, at once and for good.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        sync_folder_of(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a name that was given to a file survive a crash of the machine.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = sha256d::Hash::hash(bytes).to_byte_array();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn damaged(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(path: &Path) -> io::Result<(Journal, Vec<Vec<u8>>)> {
        let mut records = Vec::new();
        let journal = Journal::open(path, |bytes| {
            records.push(bytes);
            Ok(())
        })?;
        Ok((journal, records))
    }

    #[test]
    fn a_cut_at_any_byte_loses_only_the_record_it_hits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let (mut journal, _) = records(&path).expect("a new log");
        let all: Vec<Vec<u8>> = vec![b"one".to_vec(), vec![], b"three".to_vec()];
        let mut ends = vec![journal.file.metadata().expect("a size").len()];
        for record in &all {
            journal.append(record).expect("room");
            ends.push(journal.file.metadata().expect("a size").len());
        }
        let whole = std::fs::read(&path).expect("the log");
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("room");
            let (mut journal, found) = records(&path).expect("a cut log opens");
            let expected = ends.iter().filter(|&&end| end <= cut as u64).count().saturating_sub(1);
            assert_eq!(found, all[..expected], "cut at {cut}");
            journal.append(b"next").expect("room");
            let (_, found) = records(&path).expect("it opens again");
            assert_eq!(found.last().map(Vec::as_slice), Some(&b"next"[..]), "cut at {cut}");
            assert_eq!(found.len(), expected + 1, "cut at {cut}");
        }
    }

    #[test]
    fn nothing_follows_a_failed_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let (mut journal, _) = records(&path).expect("a new log");
        journal.append(b"first").expect("room");
        // A file that is open for reading only refuses the write.
        journal.file = File::open(&path).expect("the log");
        journal.append(b"second").expect_err("it cannot be written");
        journal.file = OpenOptions::new().append(true).open(&path).expect("the log");
        journal.append(b"third").expect_err("the second is missing");
        assert_eq!(records(&path).expect("it opens").1, [b"first"]);
    }

    #[test]
    fn damage_before_the_end_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let (mut journal, _) = records(&path).expect("a new log");
        journal.append(b"first").expect("room");
        journal.append(b"second").expect("room");
        let mut bytes = std::fs::read(&path).expect("the log");
        bytes[MAGIC.len() + HEADER] ^= 1;
        std::fs::write(&path, &bytes).expect("room");
        let error = records(&path).expect_err("damage is an error");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(std::fs::read(&path).expect("the log"), bytes);
        std::fs::write(&path, b"something else entirely").expect("room");
        assert_eq!(records(&path).expect_err("another file").kind(), io::ErrorKind::InvalidData);
    }
}
