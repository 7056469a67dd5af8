//! An HTTP client that hides nothing: a connection for each request, the answer as it came.

use std::time::Duration;

use btc_devnet::Devnet;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Only a failing test waits this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.status, self.content_type.as_str()), (200, "application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A refusal: its status and text.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        assert_eq!(self.content_type, "text/plain");
        (self.status, self.text())
    }
}

pub(crate) async fn get(devnet: &Devnet, path: &str) -> Answer {
    request(devnet, "GET", path, "").await
}

/// A document that must be there.
pub(crate) async fn json(devnet: &Devnet, path: &str) -> Value {
    get(devnet, path).await.json()
}

/// A text that must be there.
pub(crate) async fn text(devnet: &Devnet, path: &str) -> String {
    let answer = get(devnet, path).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain"), "{path}: {}", answer.text());
    answer.text().to_owned()
}

pub(crate) async fn post(devnet: &Devnet, path: &str, body: &str) -> Answer {
    request(devnet, "POST", path, body).await
}

pub(crate) async fn request(devnet: &Devnet, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    raw(
        devnet,
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
    .await
}

/// Sends bytes and reads until the server ends the connection.
pub(crate) async fn raw(devnet: &Devnet, bytes: impl AsRef<[u8]>) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(devnet.address()).await.expect("the server listens");
        // A server may answer and close before everything is sent.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await.expect("the server answers");
    parse(&answer)
}

pub(crate) fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(answer)));
    let headers = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let content_type =
        headers.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    Answer { status, content_type, headers, body: answer[end + 4..].to_vec() }
}
