//! The other nodes of this root: the registry is looked at from moment to moment, so that a node that is made later is found.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use bft_json_crdt::identity::AuthorId;
use side_ledger::GroupId;

use crate::home::Root;
use crate::net::p2p::{LocalPeer, P2p};
use crate::registry::Registry;

/// Tells the network about the nodes of this root, again whenever the registry has changed; never ends.
pub(super) async fn watch(root: Root, p2p: P2p, own: AuthorId, every: Duration) {
    let mut seen = None;
    loop {
        let state = stamp(&root);
        if state != seen {
            let loading = {
                let root = root.clone();
                tokio::task::spawn_blocking(move || Registry::load(&root))
            };
            match loading.await {
                Ok(Ok(registry)) => {
                    p2p.set_local(peers(&registry, &own));
                    seen = state;
                }
                // It is replaced as a whole, so this is damage, and whoever runs a command is told. What was known stays.
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot read the registry");
                    seen = state;
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// What changes when the file does: it is replaced by another one.
fn stamp(root: &Root) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(root.registry_file()).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

fn peers(registry: &Registry, own: &AuthorId) -> Vec<LocalPeer> {
    let peer = |node: &crate::registry::LocalNode| {
        let key = AuthorId::from_hex(&node.key).ok().filter(|key| key != own)?;
        let groups: Vec<GroupId> = node.groups.iter().filter_map(|id| GroupId::from_hex(id)).collect();
        Some(LocalPeer { key, groups, at: SocketAddr::from((Ipv4Addr::LOCALHOST, node.port?)).into() })
    };
    registry.nodes.values().filter_map(peer).collect()
}
