//! `side-node group invite NODE [GROUP]`, which `side-node invite NODE` does as well.

use std::io::Write as _;

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::{Globals, RelayArgs};
use crate::daemon::groups::{GroupAction, InviteOptions, Invitee};
use crate::error::CommandError;
use crate::qr;

/// How the invitation is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct InvitationArgs {
    /// Print the invitation as a QR code as well
    #[arg(long)]
    pub qr: bool,
    /// Put a secret into it that lets one newcomer in, once, within seven days: keep the line to yourself and give it to one person
    #[arg(long)]
    pub secret: bool,
    /// Leave out the block from which the newcomer starts; it begins with the group's first then
    #[arg(long)]
    pub no_checkpoint: bool,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
}

/// Arguments of `group invite`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node group invite node1                   the default group
  side-node group invite node1 team --secret     for one newcomer of a closed group, who need not be voted in to connect
  side-node group invite node1 team --qr         to be read by a phone or a camera

The line holds what the group was founded on, where it is reached, and the latest block that enough members hold: whoever takes it starts from there and
trusts you for that much. Without --secret it is no secret. In an open group it is enough: any member that it leads to lets the newcomer in.")]
pub struct InviteArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The group: its alias, its id or the beginning of that [default: the node's default group]
    pub group: Option<String>,
    /// How it is to be.
    #[command(flatten)]
    pub invitation: InvitationArgs,
}

/// Runs `group invite`.
pub fn run(globals: &Globals, args: InviteArgs) -> Result<(), CommandError> {
    invite(globals, &args.node, args.group, &args.invitation)
}

/// Prints an invitation.
pub(in crate::cli::commands) fn invite(
    globals: &Globals,
    node: &Name,
    group: Option<String>,
    args: &InvitationArgs,
) -> Result<(), CommandError> {
    let options =
        InviteOptions { group, relay: args.relay.given(), secret: args.secret, no_checkpoint: args.no_checkpoint };
    let invitee: Invitee = act(globals, node, GroupAction::Invite(options))?;
    if invitee.addresses.iter().all(|address| is_loopback(address)) {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(
            std::io::stderr(),
            "note: this invitation leads nowhere but to this machine. For other machines: a relay with --relay ws://ADDRESS:PORT, or `listen` in {}",
            globals.root()?.node(node.as_str()).config_file().display()
        );
    }
    let picture = match args.qr && !globals.json {
        true => Some(qr::picture(&invitee.invitation).ok_or_else(|| {
            CommandError::user("this invitation is too long for a QR code, since it names all founders of the group")
                .hint("give it as text, without --qr")
        })?),
        false => None,
    };
    globals.output().result(&invitee, || match &picture {
        Some(picture) => format!("{picture}{}", invitee.invitation),
        None => invitee.invitation.clone(),
    })
}

fn is_loopback(address: &str) -> bool {
    let place = address.split("//").nth(1).unwrap_or_default();
    let host = place.rsplit('@').next().unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn addresses_of_this_machine_are_told_apart() {
        for here in ["ws://127.0.0.1:8080", "wss://localhost/x", "p2p://ab@127.0.0.1:4001", "p2p://ab@[::1]:4001"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["ws://relay.example:80", "p2p://ab@192.0.2.1:4001", "p2p://ab@node.example:1"] {
            assert!(!is_loopback(there), "{there}");
        }
    }
}
