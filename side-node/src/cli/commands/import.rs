//! `side-node import NAME FILE`

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use side_ledger::Name;

use crate::api::client::{ApiError, Client, block_on};
use crate::cli::{Globals, GroupArgs};
use crate::daemon::exchange::ImportReport;
use crate::daemon::offline;
use crate::error::CommandError;
use crate::export::MAX_LINE_BYTES;

/// Bytes that are read from the file at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node import node2 team.jsonl
  gunzip < team.jsonl.gz | side-node import node2 -

Every signature is checked, and what is new is on disk before it counts. A line that is not good ends the import: its
number is told, and what stands before it is in. Importing again skips what is there already. Works while the node is
stopped, too.")]
pub struct ImportArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// A file that `export` wrote; `-` for standard input
    pub file: PathBuf,
    /// Into which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `import`.
pub fn run(globals: &Globals, args: ImportArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(args.name.as_str());
    home.require()?;
    let group = args.group.group.as_deref();
    let shown = args.file.display().to_string();
    let open = || -> Result<(Box<dyn BufRead + Send>, Option<u64>), CommandError> {
        if args.file.as_os_str() == "-" {
            return Ok((Box::new(BufReader::new(io::stdin())), None));
        }
        let file = File::open(&args.file).map_err(|e| CommandError::io(format!("cannot read {shown}"), &e))?;
        let size = file.metadata().ok().map(|metadata| metadata.len());
        Ok((Box::new(BufReader::with_capacity(PIECE_BYTES, file)), size))
    };
    let (file, size) = open()?;
    let progress = Progress::new(size, !globals.json && io::stderr().is_terminal());
    let client = group.map_or_else(|| Client::of(&home), |group| Client::of(&home).in_group(group));
    // Whether a node runs is known before the file is touched, which may be a pipe.
    let running = match block_on(client.groups()) {
        Ok(_) => true,
        Err(ApiError::NotRunning) => false,
        Err(error) => return Err(error.into()),
    };
    let report = match running {
        true => block_on(client.import(stream::iter(Pieces { file, progress: progress.clone() })))?,
        false => {
            let mut file = file;
            offline::import(&root, &home, group, || next_line(&mut file, &progress))?
        }
    };
    progress.end();
    match &report.problem {
        None => globals.output().result(&report, || text(&report)),
        Some(problem) => Err(CommandError::user(format!(
            "cannot import all of {shown}: {problem}. Changes that are in from before it: {}, of them new: {}",
            report.new + report.known,
            report.new
        ))
        .hint("get the file anew and import it again: what is in already is skipped")),
    }
}

fn text(report: &ImportReport) -> String {
    let mut text = format!("{} changes: {} new, {} were here before", report.expected, report.new, report.known);
    if report.aside > 0 {
        text.push_str(&format!(
            "; {} wait for changes that the file does not have: they come with the next import or from other nodes",
            report.aside
        ));
    }
    if report.strangers > 0 {
        text.push_str(&format!(
            "; {} left out: their authors are no members as far as this node knows. Who was voted in stands in blocks, which come from other nodes: start it with \
             `side-node run`, then import again",
            report.strangers
        ));
    }
    text
}

/// The next line of a file without its end, and whether it had one.
fn next_line(file: &mut Box<dyn BufRead + Send>, progress: &Progress) -> Result<Option<(Vec<u8>, bool)>, CommandError> {
    let mut line = Vec::new();
    // One byte more than a line can have: it is refused by its length.
    let read = file.take(MAX_LINE_BYTES as u64 + 2).read_until(b'\n', &mut line);
    progress.more(read.map_err(|e| CommandError::io("cannot read the file", &e))? as u64);
    let ended = line.last() == Some(&b'\n');
    if ended {
        line.pop();
    }
    Ok(Some((line, ended)).filter(|(line, ended)| *ended || !line.is_empty()))
}

/// A file in pieces.
struct Pieces {
    file: Box<dyn BufRead + Send>,
    progress: Progress,
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.file.fill_buf() {
            Ok([]) => None,
            Ok(piece) => {
                let piece = Bytes::copy_from_slice(piece);
                self.file.consume(piece.len());
                self.progress.more(piece.len() as u64);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// How far a file is read, on a terminal.
#[derive(Clone)]
struct Progress {
    read: Arc<AtomicU64>,
    size: Option<u64>,
    shown: bool,
}

impl Progress {
    fn new(size: Option<u64>, shown: bool) -> Self {
        Self { read: Arc::default(), size, shown }
    }

    fn more(&self, bytes: u64) {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        // About once a MiB.
        if self.shown && before >> 20 != (before + bytes) >> 20 {
            let read = (before + bytes) >> 20;
            let of = self.size.map_or_else(String::new, |size| format!(" of {}", size >> 20));
            let _ = write!(io::stderr(), "\r\u{1b}[K  {read}{of} MiB read\r").and_then(|()| io::stderr().flush());
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K").and_then(|()| io::stderr().flush());
        }
    }
}
