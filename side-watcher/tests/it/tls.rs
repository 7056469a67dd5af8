//! A relay behind a proxy that ends TLS, with a certificate of an authority of its own (`certificates/`, made with openssl for a hundred years; the key is for
//! these tests alone).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use side_ledger::Admission;
use side_watcher::client::{Disconnect, Roots};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Member, Relay, converge, genesis};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/certificates").join(name)
}

/// Ends TLS and passes on to the relay; where it listens.
async fn proxy(relay: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(file("relay.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("relay.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(relay).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_meet_through_tls_and_a_certificate_that_nobody_vouches_for_is_refused() {
    let relay = Relay::start().await;
    let plain = relay.url();
    let at = proxy(plain.strip_prefix("ws://").unwrap().parse().unwrap()).await;
    let group = genesis("friends", Admission::Open, &[1]);
    let roots = Roots::read(&file("authority.pem")).unwrap();
    let trusting = |url: &str, seed| Member::with(url, seed, &group, |config| config.roots = roots.clone());

    let url = format!("wss://localhost:{}", at.port());
    let (a, b) = (trusting(&url, 1), trusting(&url, 2));
    // One of them comes in beside the proxy: the relay knows no difference.
    let c = Member::start(&plain, 3, &group);
    a.write(&"a long line ".repeat(2_000));
    b.write("b");
    c.write("c");
    converge(&[&a, &b, &c], 3).await;

    // Nobody vouches for this one, or not under this name.
    for member in [Member::start(&url, 4, &group), trusting(&format!("wss://{at}"), 5)] {
        let seen = member.until("it is refused", |seen| !seen.disconnects.is_empty()).await;
        let Disconnect::Unreachable { cause, .. } = &seen.disconnects[0] else { panic!("{seen:?}") };
        assert!(cause.contains("certificate"), "{cause}");
        assert!(seen.connected.is_none(), "{seen:?}");
    }
    // No TLS is spoken there.
    let member = trusting(&plain.replace("ws://", "wss://"), 6);
    let seen = member.until("it is refused", |seen| !seen.disconnects.is_empty()).await;
    assert!(seen.connected.is_none(), "{seen:?}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        path
    };
    for (text, why) in [
        ("", "there is none in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "authority"),
        (&"x".repeat((1 << 20) + 1), "longer than"),
    ] {
        let error = Roots::read(&write(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(Roots::read(&folder.path().join("none")).unwrap_err().to_string().contains("cannot read"));
}
