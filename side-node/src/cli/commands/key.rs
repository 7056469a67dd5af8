//! `side-node key NAME`; the passphrase of a node's secrets: `key protect`, `key unprotect`, `key change`; and another key in its place: `key rotate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use side_ledger::Name;

use crate::btc::swaps;
use crate::cli::Globals;
use crate::daemon::disk;
use crate::error::CommandError;
use crate::home::{FolderLock, NodeHome};
use crate::secrets::Sources;
use crate::secrets::kdf::Cost;
use crate::secrets::protect::{self, Protection};
use crate::{keys, output, rotation};

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
  side-node key rotate node1             another key takes the place of this one, by a vote

The public key, in 64 hexadecimal digits, is who the node is, in every group. It is no secret. The secret key and the words of the Bitcoin wallet can have a
passphrase: then it is asked for whenever the node is started, and when a command works on a stopped node or on its wallet. Without a terminal it comes from the file
of --passphrase-file or SIDE_PASSPHRASE_FILE, or from the credential side-passphrase that systemd gives a service. Nobody can open the secrets without it."
)]
pub struct KeyArgs {
    /// The node
    #[arg(required = true, value_name = "NODE")]
    pub name: Option<Name>,
    /// What to do about the passphrase or the key.
    #[command(subcommand)]
    pub command: Option<KeyCommand>,
}

/// What can be done about a node's key and its passphrase.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Lock the key and the wallet's words with a passphrase
    Protect(ProtectArgs),
    /// Take the passphrase away: the secrets lie open in files that only you can read
    Unprotect(ProtectArgs),
    /// Change the passphrase
    Change(ChangeArgs),
    /// Have a new key take the place of this one, by one vote of the others
    Rotate(RotateArgs),
}

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  side-node key rotate node1             makes the new key; node1 is stopped
  side-node run node1                    proposes it in all groups of node1
  side-node vote node2 key node1 4f1a2b3c      each of the others, with the digits that you tell them

For a key that somebody else may know. What the old key owns, its membership and its seat among the voters move to the new one, and the old key counts for nothing any more. In each group more than
two thirds of the voters approve, not counting this node: all the others where there are up to four. Tell them the first digits of the new key yourself, since whoever has the old key can
propose one, too. The node goes on under the new key by itself once all its groups have it, and keeps the old one in keys/retired. Whoever stops it meanwhile, or loses power, starts it again. In an open
group a node that does not vote needs nobody's approval.

It is refused where a swap is open (it is bound to the old key), in groups that were founded before there was this rule, where this node is the only voter, and with a restored copy that
has not caught up.")]
pub struct RotateArgs {
    /// The node, which has to be stopped
    #[arg(value_name = "NODE")]
    pub name: Name,
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
        (Some(KeyCommand::Rotate(args)), _) => rotate(globals, &args.name),
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

/// Prepares a new key for a stopped node, unless something in its groups is in the way.
fn rotate(globals: &Globals, name: &Name) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(name.as_str());
    home.require()?;
    let mut opened = disk::open(&root, &home, false, None).map_err(to_stop)?;
    let rotation = match rotation::read(&home)? {
        Some(rotation) => rotation,
        None => {
            if swaps::glance::open_deals(&home).map_err(|error| error.into_command_error(home.name()))? > 0 {
                return Err(CommandError::user("a swap is open, and it is bound to the key that it began with")
                    .hint(format!("see side-node htlc list {name}: rotate the key once its swaps are over")));
            }
            for membership in opened.folder.memberships().iter() {
                if let Some(error) = opened.member(membership)?.cannot_rotate() {
                    let (alias, why) = (&membership.alias, error.message());
                    let error_here =
                        CommandError::user(format!("the key of {name} cannot be rotated in {alias}: {why}"));
                    return Err(error.next_step().map(|hint| error_here.clone().hint(hint)).unwrap_or(error_here));
                }
            }
            rotation::prepare(&home)?
        }
    };
    let groups: Vec<String> =
        opened.folder.memberships().iter().map(|membership| membership.alias.to_string()).collect();
    let (old, new) = (rotation.old.to_string(), rotation.new.to_string());
    let value = json!({ "node": name, "old": old, "new": new, "groups": groups });
    globals.output().result(&value, || {
        let digits = output::short(&new);
        format!(
            "{name}: the key {new} is to take the place of {old}\n\
             1. side-node run {name}: it proposes the new key in {}\n\
             2. tell the others its first digits, {digits}; each voter then: side-node vote NODE key {name} {digits}\n\
             3. {name} goes on under the new key by itself; side-node status {name} says how far it is",
            groups.join(", ")
        )
    })
}

fn to_stop(error: CommandError) -> CommandError {
    match error.is_busy() {
        true => error.hint("stop the node first, and start it again afterwards"),
        false => error,
    }
}

/// Takes the folder: a running node has read its key, and would go on as if nothing had changed.
fn stopped(home: &NodeHome) -> Result<FolderLock, CommandError> {
    home.lock().map_err(to_stop)
}

fn none(home: &NodeHome) -> CommandError {
    CommandError::user(format!("{} has no passphrase", home.name()))
        .hint(format!("give it one with: side-node key protect {}", home.name()))
}
