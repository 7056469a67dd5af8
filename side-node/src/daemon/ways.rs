//! The ways to the others of a group: what each group has for itself, out of what the node has for all of them.

use bft_json_crdt::identity::Keypair;
use tokio::sync::mpsc;

use super::direct::Direct;
use super::membership::Membership;
use super::task::Ways;
use crate::config::{ConfigFile, Settings};
use crate::error::CommandError;
use crate::net::relay::{Relay, RelayConfig};
use crate::sealer::Sealer;

/// Events that wait for a group's task; a transport that has more waits.
const EVENTS: usize = 256;

/// What it takes to reach others.
pub(super) struct Connector {
    pub(super) keypair: Keypair,
    /// The relay's address as flag or environment say, if they do.
    pub(super) relay: Option<String>,
    pub(super) file: ConfigFile,
    pub(super) direct: Direct,
}

impl Connector {
    /// The ways to the others of a group, from now on. Flag and configuration go before the addresses of its invitation.
    pub(super) fn ways(&self, membership: &Membership) -> Result<Ways, CommandError> {
        let invitation = &membership.invitation;
        let relays: Vec<String> = invitation.relays().map(str::to_owned).collect();
        let settings = Settings::resolve(self.relay.clone(), 0, self.file.clone(), &relays)?;
        let roots = settings.roots()?;
        let (events, from_net) = mpsc::channel(EVENTS);
        let relay = RelayConfig {
            url: settings.relay,
            named: settings.relay_named,
            roots,
            keypair: self.keypair.clone(),
            genesis: invitation.genesis().clone(),
        };
        let direct = self.direct.way(membership, events.clone());
        let sealer = Sealer::new(self.direct.p2p().clone(), invitation.genesis(), self.keypair.clone());
        Ok(Ways { events: from_net, relay: Relay::spawn(relay, events), direct, sealer })
    }
}
