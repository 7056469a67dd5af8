//! `side-node invite NAME`: the same as `group invite`, under the shorter name.

use clap::Args;
use side_ledger::Name;

use super::group::invite::{InvitationArgs, invite};
use crate::cli::{Globals, GroupArgs};
use crate::error::CommandError;

/// Arguments of `invite`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node init node5 --join \"$(side-node invite node1)\"

The line holds what the group was founded on and where it is reached. Without --secret it is no secret: an open group takes everybody.")]
pub struct InviteArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// To which group.
    #[command(flatten)]
    pub group: GroupArgs,
    /// How it is to be.
    #[command(flatten)]
    pub invitation: InvitationArgs,
}

/// Runs `invite`.
pub fn run(globals: &Globals, args: InviteArgs) -> Result<(), CommandError> {
    invite(globals, &args.name, args.group.group, &args.invitation)
}
