//! `side-node export NAME`

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt as _;
use serde::Serialize;
use side_ledger::Name;

use crate::api::client::{ApiError, Client, block_on};
use crate::cli::{Globals, GroupArgs};
use crate::daemon::offline;
use crate::error::CommandError;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node export node1 -o team.jsonl
  side-node export node1 --group team | gzip > team.jsonl.gz

A header, then one signed change a line. `side-node import` takes the file in, on any node of the group.
Works while the node is stopped, too.")]
pub struct ExportArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Into this file, which must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// What was exported.
#[derive(Debug, Serialize)]
struct Exported {
    file: String,
    changes: u64,
    bytes: u64,
}

/// Runs `export`.
pub fn run(globals: &Globals, args: ExportArgs) -> Result<(), CommandError> {
    let Some(path) = &args.output else {
        return match write(globals, &args, BufWriter::new(io::stdout())) {
            Ok(_) => Ok(()),
            Err(Failed::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error.into_command_error("stdout")),
        };
    };
    let shown = path.display().to_string();
    let failed = |e: &io::Error| CommandError::io(format!("cannot write {shown}"), e);
    // Beside it first: a file of that name is a whole one.
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| failed(&e))?;
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).open(&part).map_err(Failed::Write).and_then(
            |file| {
                let mut out = BufWriter::new(file);
                let written = write(globals, &args, &mut out)?;
                out.into_inner().map_err(|e| e.into_error())?.sync_all()?;
                std::fs::rename(&part, path)?;
                Ok(written)
            },
        );
    drop(file);
    let (changes, bytes) = written.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        let _ = std::fs::remove_file(path);
        error.into_command_error(&shown)
    })?;
    let exported = Exported { file: shown.clone(), changes, bytes };
    globals.output().result(&exported, || format!("{changes} changes, {bytes} bytes: {shown}"))
}

enum Failed {
    Write(io::Error),
    Read(CommandError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<CommandError> for Failed {
    fn from(error: CommandError) -> Self {
        Self::Read(error)
    }
}

impl Failed {
    fn into_command_error(self, to: &str) -> CommandError {
        match self {
            Self::Write(error) => CommandError::io(format!("cannot write {to}"), &error),
            Self::Read(error) => error,
        }
    }
}

/// Writes the export; how many changes and bytes it has.
fn write(globals: &Globals, args: &ExportArgs, mut out: impl Write + Send) -> Result<(u64, u64), Failed> {
    let root = globals.root()?;
    let home = root.node(args.name.as_str());
    home.require()?;
    let group = args.group.group.as_deref();
    let (mut lines, mut bytes) = (0u64, 0u64);
    let mut put = |piece: &[u8]| -> io::Result<()> {
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        bytes += piece.len() as u64;
        out.write_all(piece)
    };
    let client = group.map_or_else(|| Client::of(&home), |group| Client::of(&home).in_group(group));
    let passing = async {
        let mut file = client.export().await?;
        while let Some(piece) = file.next().await {
            let piece = piece.map_err(|e| ApiError::BrokeOff { harmless: true, why: e.to_string() })?;
            if let Err(error) = put(&piece) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    };
    match block_on(passing) {
        Ok(written) => written?,
        Err(ApiError::NotRunning) => offline::export(&root, &home, group, |line| -> Result<(), Failed> {
            put(line.as_bytes())?;
            Ok(put(b"\n")?)
        })?,
        Err(error) => return Err(CommandError::from(error).into()),
    }
    out.flush()?;
    Ok((lines.saturating_sub(1), bytes))
}
