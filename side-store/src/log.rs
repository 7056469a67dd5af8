//! Room for the write-ahead log, set aside when a database is opened for long.
//!
//! A commit that makes the file longer has the file system write down its new length and where its blocks lie, in a journal of its own, before the flush returns. One into blocks that
//! are there already is a write and a flush. SQLite overwrites its log from the start after each checkpoint, so only the first round grows: that one is taken ahead.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::sqlite::JOURNAL_BYTES;

/// How many bytes are set aside: SQLite checkpoints with the commit that brings the log to 1,000 pages of 4,096 bytes and a frame header of 24 each, and that commit may go
/// beyond.
pub const RESERVED_BYTES: u64 = 1_000 * (4_096 + 24) + (256 << 10);
const _: () = assert!(RESERVED_BYTES < JOURNAL_BYTES as u64, "a checkpoint would give it back");

/// The log of the database at `path`.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Writes zeros behind what is in the log, and flushes them. To a reader of the log they are no frames: their page number is 0 and their salt is not the log's
/// (<https://www.sqlite.org/fileformat2.html#walformat>). Nobody may be writing to it meanwhile. After an error the log is as it was.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    let mut log = OpenOptions::new().write(true).open(log_of(path))?;
    let length = log.seek(SeekFrom::End(0))?;
    let missing = RESERVED_BYTES.saturating_sub(length);
    fill(&mut log, missing).inspect_err(|_| drop(log.set_len(length)))
}

fn fill(log: &mut File, mut bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while bytes > 0 {
        let part = bytes.min(ZEROS.len() as u64);
        log.write_all(&ZEROS[..part as usize])?;
        bytes -= part;
    }
    log.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_filled_up_once_and_keeps_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("side.sqlite");
        assert!(reserve(&database).is_err(), "there is no log");
        assert!(!log_of(&database).exists(), "and none is made: it would be of another database");
        std::fs::write(log_of(&database), [7; 100]).unwrap();
        for _ in 0..2 {
            reserve(&database).unwrap();
            let log = std::fs::read(log_of(&database)).unwrap();
            assert_eq!(log.len() as u64, RESERVED_BYTES);
            assert!(log[..100] == [7; 100] && log[100..].iter().all(|byte| *byte == 0));
        }
        std::fs::write(log_of(&database), vec![7; RESERVED_BYTES as usize + 1]).unwrap();
        reserve(&database).unwrap();
        assert_eq!(std::fs::metadata(log_of(&database)).unwrap().len(), RESERVED_BYTES + 1);
    }
}
