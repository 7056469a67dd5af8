//! Where members said that they are, on disk: a restarted node knows where to look. A convenience: what cannot be read is found again by other ways.

use std::fs;
use std::io;
use std::path::PathBuf;

use bft_json_crdt::encoding::{Reader, Write as _};
use side_ledger::GroupId;

use crate::home::{NodeHome, create_private_dir_all, replace_file};
use crate::net::p2p::Record;

/// Most bytes of a file: the records of a thousand members are less.
const MAX_BYTES: u64 = 4 << 20;

fn file(home: &NodeHome, group: &GroupId) -> PathBuf {
    home.path().join("peers").join(group.to_string())
}

/// What an earlier run kept. Signatures are not checked here.
pub(super) fn load(home: &NodeHome, group: &GroupId) -> Vec<Record> {
    let path = file(home, group);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() <= MAX_BYTES => {}
        Ok(_) => return Vec::new(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "cannot read where members are");
            }
            return Vec::new();
        }
    }
    let bytes = fs::read(&path).unwrap_or_default();
    let mut reader = Reader::new(&bytes);
    let mut records = Vec::new();
    while let Ok(record) = reader.blob() {
        let Ok(record) = Record::decode(record) else { break };
        records.push(record);
    }
    records
}

/// Keeps `records` for the next run.
pub(super) fn save(home: &NodeHome, group: &GroupId, records: &[Record]) -> io::Result<()> {
    let path = file(home, group);
    let mut bytes = Vec::new();
    for record in records {
        bytes.put_blob(record.bytes());
    }
    if let Some(folder) = path.parent() {
        create_private_dir_all(folder)?;
    }
    replace_file(&path, &bytes)
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;

    use super::*;
    use crate::home::Root;

    #[test]
    fn records_read_back_and_damage_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let home = Root::find(Some(folder.path().to_owned())).unwrap().node("node1");
        fs::create_dir(home.path()).unwrap();
        let group = GroupId([1; 32]);
        assert!(load(&home, &group).is_empty());
        let record = |n| Record::sign(&Keypair::from_seed(&[n; 32]), group, 1, vec!["a:1".parse().unwrap()]);
        let records = [record(1), record(2)];
        save(&home, &group, &records).unwrap();
        assert_eq!(load(&home, &group), records);
        assert!(load(&home, &GroupId([2; 32])).is_empty());
        let mut bytes = fs::read(file(&home, &group)).unwrap();
        bytes.truncate(bytes.len() - 1);
        fs::write(file(&home, &group), bytes).unwrap();
        assert_eq!(load(&home, &group), records[..1]);
    }
}
