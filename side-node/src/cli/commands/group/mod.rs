//! `side-node group …`: the groups of a node. One command, one file.

pub mod create;
pub mod invite;
pub mod join;
pub mod leave;
pub mod list;
pub mod members;
pub mod origin;
pub mod show;
pub mod switch;

use bft_json_crdt::identity::AuthorId;
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupInfo};
use crate::error::CommandError;
use crate::output::{self, printable};
use crate::registry::Registry;

/// Arguments of `group`.
#[derive(Debug, Args)]
#[command(after_help = "\
A node may be in several groups at once. Each has its own document, members and blocks; what is written in one is never seen in another. One of them is the
node's default: commands mean it unless --group names another, by its alias here or its id.

  side-node group create node1 team --founder node2 --founder node3
  side-node group list node1                     * marks the default
  side-node note node1 --group team \"hello\"      about another group than the default
  side-node group use node1 team                 another default

On another machine:
  side-node group invite node1 team --secret     prints side://…
  side-node group join node9 side://…")]
pub struct GroupArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: GroupCommand,
}

/// The commands about groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Found a group, with the node and whoever else is named as founders
    Create(create::CreateArgs),
    /// List the groups of a node
    List(list::ListArgs),
    /// Print what a group is founded on
    Show(show::ShowArgs),
    /// Print who belongs to a group
    Members(members::MembersArgs),
    /// Print an invitation to a group, as one line or as a QR code
    Invite(invite::InviteArgs),
    /// Join the group of an invitation
    Join(join::JoinArgs),
    /// Follow a group no more
    Leave(leave::LeaveArgs),
    /// Make a group the one that is meant where none is named
    Use(switch::UseArgs),
}

/// Runs `group`.
pub fn run(globals: &Globals, args: GroupArgs) -> Result<(), CommandError> {
    match args.command {
        GroupCommand::Create(args) => create::run(globals, args),
        GroupCommand::List(args) => list::run(globals, args),
        GroupCommand::Show(args) => show::run(globals, args),
        GroupCommand::Members(args) => members::run(globals, args),
        GroupCommand::Invite(args) => invite::run(globals, args),
        GroupCommand::Join(args) => join::run(globals, args),
        GroupCommand::Leave(args) => leave::run(globals, args),
        GroupCommand::Use(args) => switch::run(globals, args),
    }
}

/// Has the running node, or its folder, do something about its groups.
pub(super) fn act<T: DeserializeOwned>(globals: &Globals, name: &Name, action: GroupAction) -> Result<T, CommandError> {
    super::ask(globals, name, &crate::cli::GroupArgs::default(), Verb::Groups { action })
}

/// The key that a text means: that of a node of this root, or one in hexadecimal digits, as `side-node key` prints it.
pub(super) fn key(registry: &Registry, text: &str) -> Result<AuthorId, CommandError> {
    let local = Name::new(text).ok().and_then(|name| registry.nodes.get(&name));
    let hex = local.map_or(text, |node| node.key.as_str());
    AuthorId::from_hex(hex).map_err(|error| {
        CommandError::user(format!("{:?} is no node of this root and no key: {error}", printable(text))).hint(
            "for a node of another machine give its key, 64 hexadecimal digits: `side-node key NODE` prints it there",
        )
    })
}

/// A group for people, over several lines.
fn describe(info: &GroupInfo) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{label:<10} {value}");
    };
    line("group", format!("{} ({})", printable(&info.name), info.group));
    line("alias", format!("{}{}", info.alias, if info.default { ", the default" } else { "" }));
    line("founded", output::time(info.created_ms));
    line("admission", info.admission.clone());
    line("sealing", sealing(info));
    for (at, founder) in info.founders.iter().enumerate() {
        line(if at == 0 { "founders" } else { "" }, founder.clone());
    }
    if let Some(origin) = &info.origin {
        line("goes on", format!("from group {} after block {}", origin.group, origin.height));
        line("", format!("block {}", origin.block));
        line("", format!("state {}", origin.state_root));
    }
    if info.supply > 0 {
        line("supply", info.supply.to_string());
    }
    if !info.addresses.is_empty() {
        line("reached at", info.addresses.join(", "));
    }
    if info.pending_secrets > 0 {
        line("invited", format!("{} secrets given and not used yet", info.pending_secrets));
    }
    out
}

fn sealing(info: &GroupInfo) -> String {
    let who = if info.sealing == "bft" { "all founders, by Byzantine agreement" } else { "a leader" };
    format!("{who}, every {} ms while something is new", info.interval_ms)
}
