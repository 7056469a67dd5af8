//! A relay at `wss://`, behind a proxy that ends TLS with a certificate of an authority of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use side_tests::process::eventually;
use side_tests::world::{Home, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The relay's tests have an authority, made for a hundred years, and a key that is for tests alone.
fn certificates(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a workspace").join("side-watcher/tests/it/certificates").join(name)
}

/// A proxy that ends TLS, as an operator's would; where it listens. It goes with the runtime.
fn proxy(runtime: &Runtime, relay: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(certificates("relay.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificates("relay.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key))
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let at = listener.local_addr().expect("an address");
    runtime.spawn(async move {
        while let Ok((outer, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (Ok(mut outer), Ok(mut inner)) = (acceptor.accept(outer).await, TcpStream::connect(relay).await)
                else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    at
}

#[test]
fn nodes_meet_at_a_relay_behind_tls_whose_authority_they_were_told() {
    let data = tempfile::tempdir().expect("a folder");
    let watcher = Watcher::start(data.path());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let home = Home::new(&format!("wss://localhost:{}", proxy(&runtime, watcher.address).port()));
    let trust = format!("relay_ca = \"{}\"\n", certificates("authority.pem").display());
    let connected = |name: &str| home.status(name)["relay"]["connected"] == true;
    let mut nodes = Vec::new();
    for name in ["node1", "node2"] {
        home.init(name);
        std::fs::write(home.node(name).join("config.toml"), &trust).expect("a configuration");
        nodes.push(home.run(name));
        eventually(&format!("{name} reaches the relay"), || connected(name).then_some(()));
    }
    assert!(nodes[0].type_line("through TLS"));
    home.converge(&["node1", "node2"], &["through TLS"]);
    watcher.counted("groups", 1.0);
    assert_eq!(home.status("node1")["relay"]["url"], home.status("node2")["relay"]["url"]);

    // Whoever was not told of the authority goes without the relay, and the doctor says what to do.
    home.init("node3");
    let node3 = home.run("node3");
    let problem = eventually("it says why", || home.status("node3")["relay"]["problem"].as_str().map(str::to_owned));
    assert!(problem.contains("certificate"), "{problem}");
    let doctor = String::from_utf8(home.side_node(&["doctor", "node3"]).stdout).expect("a text");
    assert!(doctor.contains("name it with `relay_ca` in config.toml"), "{doctor}");
    home.converge(&["node1", "node3"], &["through TLS"]);
    assert!(!connected("node3"));
    drop((nodes, node3));
    runtime.shutdown_timeout(Duration::from_secs(1));
}
