//! Where a node is reached directly: `HOST:PORT`, and `p2p://KEY@HOST:PORT` with the key that must be there (docs/protocol.md, section "Invitation").
//!
//! There is one text for an address, so that an address is a member of a set as its text is: host names in small letters, IP addresses as RFC 5952
//! writes them, no zeros before the port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use bft_json_crdt::identity::AuthorId;
use thiserror::Error;

/// What the address of a node begins with.
pub const SCHEME: &str = "p2p://";
/// Most bytes of a host's name, as in the DNS.
const MAX_HOST_BYTES: usize = 253;
/// Most bytes of a label of a name, as in the DNS.
const MAX_LABEL_BYTES: usize = 63;
/// Most bytes of a [`HostPort`] as text.
pub const MAX_HOST_PORT_BYTES: usize = MAX_HOST_BYTES + 6;

/// Why a text is no address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// There is no port.
    #[error("it has no port")]
    Port,
    /// The host is neither a name nor an IP address, or not written as it has to be.
    #[error("its host is neither a name in small letters nor an IP address")]
    Host,
    /// It names no machine that one could go to.
    #[error("it names no certain machine")]
    Unspecified,
    /// The key is missing or none.
    #[error("it has no key before the @")]
    Key,
    /// It does not begin with `p2p://`.
    #[error("it does not begin with {SCHEME}")]
    Scheme,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl HostPort {
    /// The host's name, where it is one.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// The address, where the host is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, digits) = text.rsplit_once(':').ok_or(AddressError::Port)?;
        let port: u16 = digits.parse().map_err(|_| AddressError::Port)?;
        if port == 0 || digits != port.to_string() {
            return Err(AddressError::Port);
        }
        let host = if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let ip: Ipv6Addr = inner.parse().map_err(|_| AddressError::Host)?;
            Host::Ip(ip.into())
        } else if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
            Host::Ip(ip.into())
        } else if is_name(host) {
            Host::Name(host.to_owned())
        } else {
            return Err(AddressError::Host);
        };
        if matches!(host, Host::Ip(ip) if ip.is_unspecified() || ip.is_multicast()) {
            return Err(AddressError::Unspecified);
        }
        let address = Self { host, port };
        // IPv6 has many spellings.
        if address.to_string() == text { Ok(address) } else { Err(AddressError::Host) }
    }
}

fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name whose last label is a number would be taken for an IP address by some and not by others.
    let last_is_number =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"));
    host.len() <= MAX_HOST_BYTES && host.split('.').all(label) && !last_is_number
}

/// Where a node is, and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    /// The key that must be there.
    pub key: AuthorId,
    /// Where.
    pub at: HostPort,
}

impl NodeAddress {
    /// Reads `KEY@HOST:PORT`, as people write it in a configuration; `p2p://` before it may be left out.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_prefix(SCHEME).unwrap_or(text);
        let (key, at) = text.split_once('@').ok_or(AddressError::Key)?;
        let parsed = AuthorId::from_hex(key).map_err(|_| AddressError::Key)?;
        if parsed.to_string() != key {
            return Err(AddressError::Key);
        }
        Ok(Self { key: parsed, at: at.parse()? })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.key, self.at)
    }
}

impl FromStr for NodeAddress {
    type Err = AddressError;

    /// Reads `p2p://KEY@HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with(SCHEME) {
            return Err(AddressError::Scheme);
        }
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_have_one_text() {
        for good in ["127.0.0.1:1", "10.0.0.7:65535", "[::1]:80", "[2001:db8::1]:443", "a:1", "node-1.example.org:4001"]
        {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        let long = format!("{}:1", "a.".repeat(127) + "a");
        for bad in [
            "",
            "a",
            ":1",
            "a:",
            "a:0",
            "a:01",
            "a:65536",
            "a:+1",
            "A:1",
            "a_b:1",
            "-a:1",
            "a-:1",
            "a..b:1",
            ".a:1",
            "a.:1",
            "1.2.3:1",
            "127.0.0.01:1",
            "0x7f.1:1",
            "a.0x7f:1",
            "[::1%1]:1",
            "[0:0:0:0:0:0:0:1]:1",
            "[::FF]:1",
            "::1:1",
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            "a b:1",
            "\u{fc}:1",
            &long,
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_node_has_a_key() {
        let key = Keypair::from_seed(&[1; 32]).author();
        let text = format!("p2p://{key}@127.0.0.1:4001");
        let address: NodeAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(NodeAddress::parse(&text[SCHEME.len()..]), Ok(address));
        for bad in [
            "p2p://127.0.0.1:4001".to_owned(),
            "p2p://@127.0.0.1:4001".to_owned(),
            format!("p2p://{}@a:1", key.to_string().to_uppercase()),
            format!("p2p://{}@a:1", "00".repeat(32)),
            format!("p2p://{key}@a"),
            format!("p2p://{key}@a@b:1"),
            format!("ws://{key}@a:1"),
        ] {
            assert!(bad.parse::<NodeAddress>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_texts_never_panic(text in "\\PC{0,80}") {
            if let Ok(address) = text.parse::<HostPort>() {
                prop_assert_eq!(address.to_string(), text.clone());
            }
            let _ = NodeAddress::parse(&text);
        }
    }
}
