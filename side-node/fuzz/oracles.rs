//! What must hold for any bytes whatever, one function for each format of this crate. Fuzz targets and the test that replays seeds and crashers share them. Each
//! panics where a promise is broken and answers whether the bytes were accepted.

use side_ledger::Genesis;
use side_node::daemon::exchange::Imported;
use side_node::daemon::import::Importer;
use side_node::export::{ChangeLine, Header};

/// A file of an export, read into the group that its own header names. What is taken of it stands in the one spelling, and it is good as a whole, or up to a
/// line that is told.
pub(crate) fn import(data: &[u8]) -> bool {
    let lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
    let bare: Vec<Vec<u8>> = lines.iter().map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec()).collect();
    let named = bare.first().and_then(|line| serde_json::from_slice::<Header>(line).ok());
    let bytes = named.and_then(|header| hex::decode(header.genesis).ok());
    let Some(genesis) = bytes.and_then(|bytes| Genesis::decode(&bytes).ok()) else { return false };

    let mut importer = Importer::new(genesis.clone());
    let mut taken = 0;
    for (number, line) in bare.iter().enumerate() {
        for change in importer.read(vec![line.clone()]) {
            assert!(number > 0, "the header is no change");
            assert_eq!(ChangeLine::of(&change, &genesis).line().as_bytes(), line, "a line has one spelling");
            taken += 1;
            importer.took(Imported { new: 1, ..Imported::default() });
        }
    }
    let report = importer.end(lines.last().is_some_and(|line| !line.ends_with(b"\n")));
    assert_eq!((report.new, report.lines), (taken, if report.lines == 0 { 0 } else { taken + 1 }));
    assert!(report.lines <= bare.len() as u64);
    // Whoever is not told that a file is whole is told what is wrong with it.
    assert_eq!(report.complete, report.problem.is_none(), "{report:?}");
    assert!(!report.complete || (report.expected == taken && report.lines == bare.len() as u64));
    report.complete
}
