//! `side-node restore FILE`

use std::path::PathBuf;

use clap::Args;
use side_ledger::Name;

use super::backup::{Progress, describe};
use crate::backup::restore::restore;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node restore /media/stick/node1.backup

A node is restored where it is absent; nothing is overwritten. Never let two nodes with one key run: a restored one takes the place of the one that was lost.

What the node wrote after the backup is in its groups. It reads only until it has learnt that from the others, and then writes on by itself. If nobody else has anything of
the group, or you are sure that nothing was written since: side-node run NODE --trust-this-copy. Secrets of invitations that were given before let nobody in any more.")]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// Call the node so, instead of what it was called
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
}

/// Runs `restore`.
pub fn run(globals: &Globals, args: RestoreArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let mut progress = Progress::new(globals.json);
    let sources = root.keyring().sources().clone();
    let restored = restore(&root, &args.file, &sources, args.name, &mut |step| progress.show(step));
    progress.end();
    let restored = restored?;
    globals.output().result(&restored, || {
        format!(
            "{}\nrestored as {} in {}\n  It reads only until it has learnt from others of its groups what it wrote after the backup.\nnext: {}",
            describe(&restored.backup),
            restored.restored_as,
            restored.home,
            restored.next
        )
    })
}
