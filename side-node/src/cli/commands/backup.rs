//! `side-node backup NAME FILE` and `side-node backup check FILE`

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use side_ledger::Name;

use super::ask_node;
use crate::api::control::Verb;
use crate::backup::make::{Step, exists, make};
use crate::backup::restore::{Checked, check};
use crate::cli::Globals;
use crate::error::CommandError;
use crate::output::{printable, short};
use crate::secrets::kdf::Cost;

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  side-node backup node1 /media/stick/node1.backup
  side-node backup check /media/stick/node1.backup
  side-node restore /media/stick/node1.backup           on the machine where the node is to live from now on

Works while the node runs or not. In the file are the key, the wallet's words, the configuration, the groups, everything that is stored, the swaps and the wallets; all of it
under a passphrase, which is asked for twice or read from --passphrase-file. Without the passphrase nobody can read the file: keep it elsewhere, and keep it.

A swap that begins after the backup is not in it. Make another one when a swap has begun."
)]
pub struct BackupArgs {
    /// The node
    #[arg(required = true, value_name = "NODE")]
    pub name: Option<Name>,
    /// The file to be made: nothing is ever overwritten
    #[arg(required = true)]
    pub file: Option<PathBuf>,
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
}

/// What can be done with a backup.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Read a backup to its end and everything in it, without restoring anything
    Check(CheckArgs),
}

/// Arguments of `backup check`.
#[derive(Debug, Args)]
#[command(after_help = "Example: side-node backup check /media/stick/node1.backup")]
pub struct CheckArgs {
    /// The backup
    pub file: PathBuf,
}

/// Runs `backup`.
pub fn run(globals: &Globals, args: BackupArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let mut progress = Progress::new(globals.json);
    if let Some(BackupCommand::Check(args)) = args.command {
        let checked = check(&args.file, root.keyring().sources(), &mut |step| progress.show(step));
        progress.end();
        let checked = checked?;
        return globals.output().result(&checked, || format!("{}\nthe backup is good", describe(&checked)));
    }
    let (Some(name), Some(file)) = (&args.name, args.file) else {
        let name = args.name.as_ref().map_or("NODE", Name::as_str);
        return Err(CommandError::usage("a backup needs a node and a file")
            .hint(format!("side-node backup {name} FILE, where FILE is to be made")));
    };
    let home = root.node(name.as_str());
    home.require()?;
    // Before anybody types a passphrase.
    if file.exists() {
        return Err(exists(&file));
    }
    let passphrase = root.keyring().sources().get_new(&format!("the backup {}", file.display()))?;
    let mut copy =
        |to: &Path| ask_node::<serde_json::Value>(&root, &home, None, Verb::Backup { to: to.to_owned() }).map(drop);
    let made = make(&root, &home, &file, &passphrase, Cost::USUAL, &mut copy, &mut |step| progress.show(step));
    progress.end();
    let made = made?;
    globals.output().result(&made, || {
        format!(
            "made {} ({} bytes) with everything of {}\n  key    {}\nnext: side-node backup check {}",
            made.file, made.bytes, made.node, made.key, made.file
        )
    })
}

/// A backup in words.
pub(super) fn describe(backup: &Checked) -> String {
    let groups = if backup.groups == 1 { "group" } else { "groups" };
    let own = if backup.locked { ", locked with the node's own passphrase" } else { "" };
    format!(
        "{}: node {}, made {} by version {}\n  key    {}{own}\n  holds  {} {groups}, {} changes\n  files  {}",
        backup.file,
        backup.node,
        when(backup.made_ms),
        printable(&backup.program),
        short(&backup.key),
        backup.groups,
        backup.changes,
        backup.contents.join(", ")
    )
}

fn when(made_ms: u64) -> String {
    let ago = crate::clock::now_ms().saturating_sub(made_ms) / 1000;
    match ago {
        0..120 => format!("{ago} s ago"),
        120..7200 => format!("{} min ago", ago / 60),
        7200..172_800 => format!("{} h ago", ago / 3600),
        _ => format!("{} days ago", ago / 86_400),
    }
}

/// A line on the terminal that rewrites itself; nothing elsewhere.
pub(super) struct Progress {
    quiet: bool,
    /// What was shown last, so that a line is written when it changes.
    shown: Option<u64>,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        Self { quiet: json || !stderr().is_terminal(), shown: None }
    }

    pub(super) fn show(&mut self, step: Step<'_>) {
        if self.quiet {
            return;
        }
        // Whoever closed stderr does not want to know.
        let _ = match step {
            Step::Copying(what) => write!(stderr(), "\r\x1b[Kcopying {what}"),
            Step::Bytes(done, total) => {
                let percent = done.saturating_mul(100) / total.max(1);
                if self.shown.replace(percent) == Some(percent) {
                    return;
                }
                write!(stderr(), "\r\x1b[K{percent} % of {} kB", total / 1000)
            }
        };
    }

    pub(super) fn end(&mut self) {
        if !self.quiet {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
