//! The way to a relay: TCP, with TLS inside of it for `wss://`.
//!
//! A relay is trusted with nothing, so TLS here keeps what a group writes from whoever carries the bytes, and lets a relay stand behind a proxy that serves
//! nothing else. Certificates are checked against Mozilla's roots, compiled in as for the wallet's servers, and against [`Roots::read`]'s file beside them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::handshake::client::Request;

/// Most bytes of a file of certificates: a whole system's roots are about 220 kB.
const MAX_CA_BYTES: u64 = 1 << 20;

/// Why a file of certificates cannot be used.
#[derive(Debug, Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("cannot read {path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Nothing in it is a certificate, or something is none.
    #[error("{path} holds no certificates of an authority in PEM form: {why}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Who may vouch for a relay's name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roots(Arc<ClientConfig>);

impl Default for Roots {
    fn default() -> Self {
        Self::of(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }
}

impl Roots {
    /// The usual ones, and those of a file in PEM form.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let failed = |why| RootsError::Io { path: path.to_owned(), why };
        let form = |why: String| RootsError::Form { path: path.to_owned(), why };
        let mut text = Vec::new();
        File::open(path).map_err(failed)?.take(MAX_CA_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_CA_BYTES {
            return Err(form(format!("it is longer than {MAX_CA_BYTES} bytes")));
        }
        let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let usual = store.len();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|why| form(why.to_string()))?;
            store.add(certificate).map_err(|why| form(why.to_string()))?;
        }
        if store.len() == usual {
            return Err(form("there is none in it".to_owned()));
        }
        Ok(Self::of(store))
    }

    fn of(store: RootCertStore) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for both versions")
            .with_root_certificates(store)
            .with_no_client_auth();
        Self(Arc::new(config))
    }
}

/// A connection to a relay, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to where a websocket request goes.
pub(super) async fn connect(request: &Request, roots: &Roots) -> Result<Box<dyn Stream>, WsError> {
    let uri = request.uri();
    let encrypted = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(UrlError::UnsupportedUrlScheme.into()),
    };
    let host = uri.host().ok_or(UrlError::NoHostName)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    // Messages are small, and somebody waits for each.
    stream.set_nodelay(true)?;
    if !encrypted {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    Ok(Box::new(TlsConnector::from(Arc::clone(&roots.0)).connect(name, stream).await?))
}
