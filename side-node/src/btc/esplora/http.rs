//! GET and POST with an end: in time, in bytes, in attempts.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, Url, redirect};

use super::error::{EsploraError, tame};

/// How long a connection may take to come about: TCP and TLS around the world, some packets lost.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a whole answer may take. A page of transactions has a few hundred kilobytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Pauses before a busy server (429, 502, 503, 504) is asked again; then the error is shown. More patience is the caller's business.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Most redirects that are followed: from http to https, and to another host.
const MAX_REDIRECTS: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    /// Without a slash at its end.
    base: String,
    /// The base without user and password, to be shown.
    server: String,
    patience: Duration,
}

impl Http {
    pub(super) fn new(url: &str, patience: Duration) -> Result<Self, EsploraError> {
        let refused = |why: &str| EsploraError::Url { url: tame(url), why: why.to_owned() };
        let parsed = Url::parse(url.trim()).map_err(|e| refused(&e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused("it begins with neither http:// nor https://"));
        }
        let Some(host) = parsed.host_str() else { return Err(refused("it names no host")) };
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refused("it has a query"));
        }
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_PATIENCE.min(patience))
            .timeout(patience)
            .redirect(redirect::Policy::limited(MAX_REDIRECTS))
            .user_agent(concat!("side-node/", env!("CARGO_PKG_VERSION")));
        // A proxy that is set for the world does not lead back to this machine.
        if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| refused(&cause(&e)))?;
        let mut shown = parsed.clone();
        // These fail only for addresses without a host.
        let _ = shown.set_username("").and_then(|()| shown.set_password(None));
        let trim = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, base: trim(&parsed), server: trim(&shown), patience })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The body at `path`; `None` if there is no such thing (404).
    pub(super) async fn get(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EsploraError> {
        let mut pauses = BUSY_PAUSES.iter();
        loop {
            let (status, body) = self.once(self.client.get(format!("{}{path}", self.base)), path, limit).await?;
            match (status, pauses.next()) {
                (200..=299, _) => return Ok(Some(body)),
                (404, _) => return Ok(None),
                (429 | 502..=504, Some(pause)) => tokio::time::sleep(*pause).await,
                _ => return Err(self.status(status, path, &body)),
            }
        }
    }

    /// [`Self::get`] for text.
    pub(super) async fn get_text(&self, path: &str, limit: usize) -> Result<Option<String>, EsploraError> {
        let Some(bytes) = self.get(path, limit).await? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| EsploraError::Nonsense {
            server: self.server.clone(),
            path: path.to_owned(),
            why: "it is no text".to_owned(),
        })
    }

    /// Status and body of a POST. Never sent twice from here.
    pub(super) async fn post(&self, path: &str, body: String, limit: usize) -> Result<(u16, Vec<u8>), EsploraError> {
        self.once(self.client.post(format!("{}{path}", self.base)).body(body), path, limit).await
    }

    pub(super) fn status(&self, status: u16, path: &str, body: &[u8]) -> EsploraError {
        EsploraError::Status {
            server: self.server.clone(),
            path: path.to_owned(),
            status,
            message: tame(&String::from_utf8_lossy(body)),
        }
    }

    async fn once(&self, request: RequestBuilder, path: &str, limit: usize) -> Result<(u16, Vec<u8>), EsploraError> {
        let mut response: Response = request.send().await.map_err(|e| self.failed(&e))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(&e))? {
            if body.len() + chunk.len() > limit {
                return Err(EsploraError::TooLarge { server: self.server.clone(), path: path.to_owned(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    fn failed(&self, error: &reqwest::Error) -> EsploraError {
        let server = self.server.clone();
        if error.is_timeout() {
            let waited = if error.is_connect() { CONNECT_PATIENCE.min(self.patience) } else { self.patience };
            let seconds = waited.as_secs();
            EsploraError::TooSlow { server, seconds }
        } else {
            EsploraError::Unreachable { server, why: cause(error) }
        }
    }
}

/// The innermost reason: the outer ones say only that a request failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    tame(&inner.to_string())
}
