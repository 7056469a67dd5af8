//! bft-json-crdt beside the fast CRDTs that trust their peers. Programs: `peers` (the table), `curves` (cost against size), `agree` (diamond-types as
//! an oracle for text), `signatures` (checking them, beside the libraries' own batch checks).
//!
//! ```text
//! measure   CPU time over all threads, peak heap       trace, generate   what is played: recordings, or such as them
//! engine    what every engine does                     engines           ours, diamond-types, loro, yrs, automerge, cola
//! sync      a few missing changes in a long history
//! ```

pub mod engine;
pub mod engines;
pub mod generate;
pub mod measure;
pub mod sync;
pub mod trace;

use std::fs;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

/// Replaces what stands between the markers of this name in a Markdown file.
///
/// # Panics
/// If the file or a marker is not there.
pub fn write_between(path: &Path, name: &str, report: &str) {
    let marks = (format!("<!-- {name}: printed by the program -->\n"), format!("<!-- /{name} -->"));
    let text = fs::read_to_string(path).expect("the file to write to");
    let (before, rest) = text.split_once(&marks.0).expect("the first marker");
    let (_, after) = rest.split_once(&marks.1).expect("the second marker");
    fs::write(path, format!("{before}{}\n{report}\n{}{after}", marks.0, marks.1)).expect("the file can be written");
}
