//! Where the page is served: on loopback, at a port that stays the same from run to run where it can.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use side_ledger::Name;

use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::registry::{LockedRegistry, Registry};

/// The environment variable that says where the page is served.
pub const PAGE_VARIABLE: &str = "SIDE_PAGE";

/// Where the page is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PagePlace {
    /// Nowhere.
    Off,
    /// At this address of the loopback interface. Port 0 is the port of the last run if it is free, and any other if not.
    At(SocketAddr),
}

impl Default for PagePlace {
    fn default() -> Self {
        Self::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

impl FromStr for PagePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = match text.parse::<u16>() {
            Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            Err(_) => text.parse().ok(),
        };
        match address {
            Some(address) if address.ip().is_loopback() => Ok(Self::At(address)),
            Some(address) => Err(format!(
                "{address} can be reached from other machines, and the page has no password; keep it at 127.0.0.1 and bring it \
                 elsewhere with `ssh -L`"
            )),
            None => Err(format!("{text:?} is no port, no address like 127.0.0.1:4080, and not \"off\"")),
        }
    }
}

impl fmt::Display for PagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

/// Listens where the page is to be served, and remembers the port for the next run and for scripts. `None` if it is off.
pub(crate) fn bind(root: &Root, home: &NodeHome, place: PagePlace) -> Result<Option<TcpListener>, CommandError> {
    let PagePlace::At(wanted) = place else { return Ok(None) };
    let failed = |at: SocketAddr, error: &std::io::Error| {
        CommandError::user(format!("cannot serve the page at {at}: {error}"))
            .hint("choose another port with --page PORT, or run without the page: --no-page")
    };
    let last = if wanted.port() == 0 { remembered(root, home).unwrap_or(0) } else { wanted.port() };
    let at = SocketAddr::new(wanted.ip(), last);
    let listener = match TcpListener::bind(at) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && wanted.port() == 0 && last != 0 => {
            TcpListener::bind(wanted).map_err(|e| failed(wanted, &e))?
        }
        other => other.map_err(|e| failed(at, &e))?,
    };
    listener.set_nonblocking(true).map_err(|e| failed(at, &e))?;
    let port = listener.local_addr().map_err(|e| failed(at, &e))?.port();
    remember(root, home, port)?;
    Ok(Some(listener))
}

fn remembered(root: &Root, home: &NodeHome) -> Option<u16> {
    let name = Name::new(home.name()).ok()?;
    Registry::load(root).ok()?.nodes.get(&name)?.page
}

/// Enters the port in the registry, where the node is in it.
fn remember(root: &Root, home: &NodeHome, port: u16) -> Result<(), CommandError> {
    if remembered(root, home) == Some(port) {
        return Ok(());
    }
    let Ok(name) = Name::new(home.name()) else { return Ok(()) };
    let mut registry = LockedRegistry::open(root)?;
    let Some(node) = registry.registry.nodes.get_mut(&name) else { return Ok(()) };
    node.page = Some(port);
    registry.save()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ports_loopback_addresses_and_off() {
        let at = |text: &str| text.parse::<PagePlace>();
        assert_eq!(at("off"), Ok(PagePlace::Off));
        assert_eq!(at("4080"), Ok(PagePlace::At("127.0.0.1:4080".parse().unwrap())));
        assert_eq!(at("127.0.0.1:0"), Ok(PagePlace::default()));
        assert_eq!(at("[::1]:4080").unwrap().to_string(), "[::1]:4080");
        assert!(at("0.0.0.0:80").unwrap_err().contains("no password"));
        for bad in ["", "on", "localhost:80", "70000", "127.0.0.1"] {
            assert!(at(bad).unwrap_err().contains("is no port"), "{bad}");
        }
    }

    #[test]
    fn a_port_is_remembered_and_given_up_where_something_else_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        let home = root.node("node1");
        let mut registry = LockedRegistry::open(&root).unwrap();
        let node = crate::registry::LocalNode { key: "00".into(), groups: Vec::new(), port: None, page: None };
        registry.registry.nodes.insert(Name::new("node1").unwrap(), node);
        registry.save().unwrap();
        drop(registry);
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();

        assert!(bind(&root, &home, PagePlace::Off).unwrap().is_none());
        let first = bind(&root, &home, PagePlace::default()).unwrap().unwrap();
        let chosen = port(&first);
        assert_eq!(remembered(&root, &home), Some(chosen));
        // Taken, so another one; free again, so the last one.
        let second = bind(&root, &home, PagePlace::default()).unwrap().unwrap();
        let other = port(&second);
        assert_ne!(chosen, other);
        drop((first, second));
        assert_eq!(port(&bind(&root, &home, PagePlace::default()).unwrap().unwrap()), other);
        // Whoever names a port gets that one or none.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(&root, &home, PagePlace::At(taken.local_addr().unwrap())).unwrap_err();
        assert!(error.message().contains("cannot serve the page") && error.next_step().unwrap().contains("--no-page"));
    }
}
