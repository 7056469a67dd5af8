//! `side-node key NAME`, and the passphrase of a node's secrets: `key protect`, `key unprotect`, `key change`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use side_ledger::Name;

use crate::cli::Globals;
use crate::error::CommandError;
use crate::home::{FolderLock, NodeHome};
use crate::keys;
use crate::secrets::Sources;
use crate::secrets::kdf::Cost;
use crate::secrets::protect::{self, Protection};

/// Arguments of `key`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  side-node group create node1 team --founder \"$(side-node key node2)\"
  side-node key protect node1            asks for a passphrase, twice
  side-node key change node1             asks for the old one and for a new one

The public key, in 64 hexadecimal digits, is who the node is, in every group. It is no secret. The secret key and the words of the Bitcoin wallet can have a
passphrase: then it is asked for whenever the node is started, and when a command works on a stopped node or on its wallet. Without a terminal it comes from the file
of --passphrase-file or SIDE_PASSPHRASE_FILE, or from the credential side-passphrase that systemd gives a service. Nobody can open the secrets without it."
)]
pub struct KeyArgs {
    /// The node
    #[arg(required = true, value_name = "NODE")]
    pub name: Option<Name>,
    /// What to do about the passphrase.
    #[command(subcommand)]
    pub command: Option<KeyCommand>,
}

/// What can be done about a node's passphrase.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Lock the key and the wallet's words with a passphrase
    Protect(ProtectArgs),
    /// Take the passphrase away: the secrets lie open in files that only you can read
    Unprotect(ProtectArgs),
    /// Change the passphrase
    Change(ChangeArgs),
}

/// Arguments of `key protect` and `key unprotect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node key protect node1
  side-node key unprotect node1

The node has to be stopped.")]
pub struct ProtectArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
}

/// Arguments of `key change`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node key change node1

Asks for the old passphrase and twice for the new one. The node has to be stopped.")]
pub struct ChangeArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Read the new passphrase from this file, which only you can read
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
}

/// Runs `key`.
pub fn run(globals: &Globals, args: KeyArgs) -> Result<(), CommandError> {
    let node = |name: &Name| -> Result<NodeHome, CommandError> {
        let home = globals.root()?.node(name.as_str());
        home.require()?;
        Ok(home)
    };
    let done = |home: &NodeHome, word: &str, text: &str| {
        let value = json!({ "node": home.name(), "passphrase": word });
        globals.output().result(&value, || format!("{}: {text}", home.name()))
    };
    match (args.command, args.name) {
        (Some(KeyCommand::Protect(args)), _) => {
            let home = node(&args.name)?;
            let _lock = stopped(&home)?;
            let passphrase = match protect::state(&home)? {
                Protection::None => home.keyring().sources().get_new(home.name())?,
                // An interrupted command is finished, with the same passphrase.
                Protection::Partly => home.keyring().sources().get(home.name())?,
                Protection::Full => {
                    return Err(CommandError::user(format!("{} has a passphrase already", home.name()))
                        .hint(format!("change it with: side-node key change {}", home.name())));
                }
            };
            protect::protect(&home, &passphrase, Cost::USUAL)?;
            done(&home, "set", "the key and the wallet's words are locked; nobody can open them without the passphrase")
        }
        (Some(KeyCommand::Unprotect(args)), _) => {
            let home = node(&args.name)?;
            let _lock = stopped(&home)?;
            if protect::state(&home)? == Protection::None {
                return Err(none(&home));
            }
            protect::unprotect(&home, home.keyring())?;
            done(&home, "none", "the key and the wallet's words have no passphrase any more")
        }
        (Some(KeyCommand::Change(args)), _) => {
            let home = node(&args.name)?;
            let _lock = stopped(&home)?;
            if protect::state(&home)? == Protection::None {
                return Err(none(&home));
            }
            let old = home.keyring().sources().get(home.name())?;
            let new = match args.new_passphrase_file {
                Some(file) => Sources::file(file),
                None => Sources::terminal(),
            };
            protect::change(&home, &old, &new.get_new(home.name())?, Cost::USUAL)?;
            done(
                &home,
                "changed",
                "the passphrase is another one now; backups from before keep the one they were made with",
            )
        }
        (None, Some(name)) => {
            let home = node(&name)?;
            let key = keys::public(&home)?.to_string();
            let locked = protect::state(&home)? != Protection::None;
            globals.output().result(&json!({ "node": name, "key": key, "passphrase": locked }), || key.clone())
        }
        (None, None) => Err(CommandError::usage("no node was named")
            .hint("name one: side-node key NODE; the nodes of this machine: side-node doctor")),
    }
}

/// Takes the folder: a running node has read its key, and would go on as if nothing had changed.
fn stopped(home: &NodeHome) -> Result<FolderLock, CommandError> {
    home.lock().map_err(|error| match error.is_busy() {
        true => error.hint("stop the node first, and start it again afterwards"),
        false => error,
    })
}

fn none(home: &NodeHome) -> CommandError {
    CommandError::user(format!("{} has no passphrase", home.name()))
        .hint(format!("give it one with: side-node key protect {}", home.name()))
}
