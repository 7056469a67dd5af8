//! Keys and addresses, as commonware writes them.

use std::net::{Ipv4Addr, SocketAddr};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_p2p::{Address, Ingress};
use commonware_utils::Hostname;
use side_ledger::address::HostPort;
use zeroize::Zeroizing;

/// The secret's bytes while they are read; wiped when dropped.
struct Seed(Zeroizing<[u8; 32]>);

impl AsRef<[u8]> for Seed {
    fn as_ref(&self) -> &[u8] {
        &self.0[..]
    }
}

/// The node's key for the handshake: the same that signs its changes, under commonware's own domains.
pub(super) fn private(keypair: &Keypair) -> Option<PrivateKey> {
    PrivateKey::decode(Bytes::from_owner(Seed(keypair.to_seed()))).ok()
}

/// A member's key. Every [`AuthorId`] is one: canonical, and not of small order.
pub(super) fn public(key: &AuthorId) -> Option<PublicKey> {
    PublicKey::decode(Bytes::copy_from_slice(key.as_bytes())).ok()
}

/// The member whose key it is.
pub(super) fn author(key: &PublicKey) -> Option<AuthorId> {
    AuthorId::from_bytes(key.as_ref().try_into().ok()?).ok()
}

/// Nowhere: for a peer that may come and whose place we do not know.
fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

/// Where a peer is dialled. The address it comes from is not looked at.
pub(super) fn address(at: Option<&HostPort>) -> Option<Address> {
    let Some(at) = at else { return Some(Address::Symmetric(nowhere())) };
    match (at.socket(), at.name()) {
        (Some(socket), _) => Some(Address::Symmetric(socket)),
        (None, Some(name)) => Some(Address::Asymmetric {
            ingress: Ingress::Dns { host: Hostname::new(name).ok()?, port: at.port() },
            egress: nowhere(),
        }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use commonware_cryptography::Signer as _;

    use super::*;

    #[test]
    fn the_key_is_the_same() {
        let keypair = Keypair::from_seed(&[5; 32]);
        let public_key = private(&keypair).unwrap().public_key();
        assert_eq!(author(&public_key), Some(keypair.author()));
        assert_eq!(public(&keypair.author()), Some(public_key));
    }

    #[test]
    fn names_and_addresses_are_dialled() {
        for text in ["127.0.0.1:1", "[::1]:2", "node.example:3"] {
            let at: HostPort = text.parse().unwrap();
            assert_eq!(address(Some(&at)).unwrap().ingress().port(), at.port());
        }
    }
}
