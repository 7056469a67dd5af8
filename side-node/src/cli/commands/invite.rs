//! `side-node invite NAME`

use std::io::Write as _;

use clap::Args;
use serde_json::json;
use side_ledger::{Invitation, Name};

use crate::cli::{Globals, GroupArgs, RelayArgs};
use crate::config::{ConfigFile, Settings};
use crate::daemon::membership::Memberships;
use crate::error::CommandError;

/// Arguments of `invite`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node init node5 --join \"$(side-node invite node1)\"

The line holds what the group was founded on and where its relay listens. It is no secret: an open group takes everybody.")]
pub struct InviteArgs {
    /// The node
    pub name: Name,
    /// To which group.
    #[command(flatten)]
    pub group: GroupArgs,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
}

/// Runs `invite`.
pub fn run(globals: &Globals, args: InviteArgs) -> Result<(), CommandError> {
    let home = globals.root()?.node(args.name.as_str());
    home.require()?;
    let group = Memberships::load(&home)?.choose(args.group.group.as_deref())?.invitation.clone();
    let file = ConfigFile::load(&home.config_file())?;
    let settings = Settings::resolve(args.relay.given(), globals.verbose, file, group.addresses())?;
    let invitation = Invitation::new(group.genesis().clone(), vec![settings.relay.clone()])
        .map_err(|e| CommandError::user(e.to_string()).hint("name the relay's address with --relay"))?;
    if is_loopback(&settings.relay) {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(
            std::io::stderr(),
            "note: {} is reachable on this machine only; for other machines: side-node invite {} --relay ws://ADDRESS:PORT",
            settings.relay,
            args.name
        );
    }
    let text = invitation.to_string();
    let value = json!({
        "invitation": text,
        "group": invitation.group(),
        "group_name": invitation.genesis().name(),
        "relays": invitation.addresses(),
    });
    globals.output().result(&value, || text.clone())
}

fn is_loopback(address: &str) -> bool {
    let host = address.split("//").nth(1).unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
}
