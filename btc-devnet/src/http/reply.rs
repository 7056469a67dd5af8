//! What answers are made of: the status codes, content types and error texts of an Esplora server.
//!
//! A request that makes no sense is answered with 400, a thing that is not there with 404. Clients take 429, 500 and 503 for passing
//! trouble and ask again and again, so that no mistake of a caller may get one of those.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bitcoin::{BlockHash, Txid};
use serde::Serialize;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, or why there is none.
pub(super) type Reply = Result<Response, Refusal>;

/// A request that is refused: a status and a text, as `text/plain`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    /// The request makes no sense.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// There is no such thing.
    pub(super) fn missing(text: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, text: text.into() }
    }

    /// Any other.
    pub(super) fn with(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The same as a JSON document, for the control API.
    pub(super) fn into_json(self) -> Response {
        let body = serde_json::json!({ "error": self.text }).to_string();
        respond(self.status, "application/json", body)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        respond(self.status, "text/plain", self.text)
    }
}

/// 200 with a JSON document.
pub(super) fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("our answers have string keys and cannot fail to serialise");
    respond(StatusCode::OK, "application/json", body)
}

/// 200 with a line of text.
pub(super) fn text(text: impl ToString) -> Response {
    respond(StatusCode::OK, "text/plain", text.to_string())
}

/// 200 with bytes.
pub(super) fn bytes(bytes: Vec<u8>) -> Response {
    respond(StatusCode::OK, "application/octet-stream", bytes)
}

/// 200 with a page.
pub(super) fn html(page: String) -> Response {
    respond(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A public server lets deep blocks be cached for years. Here the next command may rewrite them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request's body of at most `limit` bytes.
pub(super) async fn body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Both a body that is too long and a broken connection end here; nobody reads the answer to the second.
        Ok(Err(_)) => Err(Refusal::with(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")),
        Err(_) => Err(Refusal::with(StatusCode::REQUEST_TIMEOUT, "Request timeout")),
    }
}

/// A transaction id in a path.
pub(super) fn txid(text: &str) -> Result<Txid, Refusal> {
    text.parse().map_err(|_| Refusal::bad("Invalid hex string"))
}

/// A block hash in a path.
pub(super) fn block_hash(text: &str) -> Result<BlockHash, Refusal> {
    text.parse().map_err(|_| Refusal::bad("Invalid hex string"))
}

/// A number in a path.
pub(super) fn number(text: &str) -> Result<u32, Refusal> {
    // The real server takes any unsigned number of 64 bits: what is beyond ours is merely not there.
    let number: u64 = text.parse().map_err(|_| Refusal::bad("Invalid number"))?;
    Ok(number.try_into().unwrap_or(u32::MAX))
}
