//! Where this node listens for others, and where they reach it.
//!
//! Without a word in the configuration it is the loopback port that `init` has chosen and registered, so that nobody beyond this machine can connect before the
//! person says so. If something else has taken the port meanwhile, the node takes another one, registers that, and says so.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::Name;
use side_ledger::address::{HostPort, NodeAddress};

use crate::config::ConfigFile;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::net::p2p::{Newcomers, P2p, P2pConfig};
use crate::registry::{LockedRegistry, Registry};

/// A port that is bound, and the network behind it.
pub(super) struct Bound {
    pub(super) p2p: P2p,
    pub(super) newcomers: Newcomers,
    pub(super) notices: Vec<String>,
}

/// Starts the network.
pub(super) fn start(root: &Root, home: &NodeHome, keypair: Keypair, file: &ConfigFile) -> Result<Bound, CommandError> {
    let key = keypair.author();
    let begin = |listen: SocketAddr| {
        P2p::start(P2pConfig { keypair: keypair.clone(), listen, storage: home.consensus_folder() })
    };
    let failed = |listen: SocketAddr, error: &std::io::Error| {
        CommandError::user(format!("cannot listen on {listen} for other nodes: {error}"))
    };
    let mut notices = Vec::new();
    let (p2p, newcomers) = match file.listen {
        Some(listen) => begin(listen)
            .map_err(|e| failed(listen, &e).hint(format!("change `listen` in {}", home.config_file().display())))?,
        None => {
            let registered = registered(root, &key).unwrap_or(0);
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, registered));
            match begin(listen) {
                Ok(started) => started,
                Err(error) if error.kind() == ErrorKind::AddrInUse && registered != 0 => {
                    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                    let started = begin(any).map_err(|e| failed(any, &e))?;
                    notices.push(format!(
                        "port {registered} is taken by something else; other nodes reach this one at port {} now",
                        started.0.address().port()
                    ));
                    started
                }
                Err(error) => return Err(failed(listen, &error)),
            }
        }
    };
    register(root, home, &key, p2p.address().port())?;
    Ok(Bound { p2p, newcomers, notices })
}

/// The port that the registry has for a key.
fn registered(root: &Root, key: &AuthorId) -> Option<u16> {
    let registry = Registry::load(root).ok()?;
    let key = key.to_string();
    registry.nodes.into_values().find(|node| node.key == key)?.port
}

/// Enters the port in the registry, where the node is in it: a folder that was moved here is not, until `init` enters it.
fn register(root: &Root, home: &NodeHome, key: &AuthorId, port: u16) -> Result<(), CommandError> {
    if registered(root, key) == Some(port) {
        return Ok(());
    }
    let Ok(name) = Name::new(home.name()) else { return Ok(()) };
    let mut registry = LockedRegistry::open(root)?;
    match registry.registry.nodes.get_mut(&name) {
        Some(node) if node.key == key.to_string() => node.port = Some(port),
        _ => return Ok(()),
    }
    registry.save()
}

/// Where others reach a node that listens at `bound`: what the person says, or what this machine knows.
pub(super) fn own_addresses(bound: SocketAddr, announce: &[HostPort]) -> Vec<HostPort> {
    if !announce.is_empty() {
        return announce.to_vec();
    }
    let ip = if bound.ip().is_unspecified() { outward() } else { Some(bound.ip()) };
    ip.map(|ip| HostPort::from(SocketAddr::new(ip, bound.port()))).into_iter().collect()
}

/// The address by which this machine speaks to others; nothing is sent.
fn outward() -> Option<IpAddr> {
    // An address of the documentation: the system only looks which way it would go.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Where the node of `home` is reached, for an invitation: as it is registered and configured, also while it does not run.
pub(crate) fn node_addresses(root: &Root, key: &AuthorId, file: &ConfigFile) -> Vec<NodeAddress> {
    let bound = match file.listen {
        Some(listen) => Some(listen),
        None => registered(root, key).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    };
    let at = bound.map(|bound| own_addresses(bound, &file.announce)).unwrap_or_default();
    at.into_iter().map(|at| NodeAddress { key: *key, at }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_person_says_goes_before_what_the_machine_knows() {
        let bound: SocketAddr = "127.0.0.1:4001".parse().unwrap();
        assert_eq!(own_addresses(bound, &[])[0].to_string(), "127.0.0.1:4001");
        let said: HostPort = "node.example:1".parse().unwrap();
        assert_eq!(own_addresses(bound, std::slice::from_ref(&said)), [said]);
        for at in own_addresses("0.0.0.0:4001".parse().unwrap(), &[]) {
            assert!(at.port() == 4001 && !at.socket().unwrap().ip().is_unspecified());
        }
    }
}
