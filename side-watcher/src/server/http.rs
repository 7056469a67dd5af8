//! The first bytes of a connection: one HTTP/1.1 request, which either becomes a websocket or is answered with a small page.
//!
//! There are four pages and no bodies, so this reads the head itself and gives every connection one deadline, instead of bringing in a web
//! framework whose limits would have to be learnt and set one by one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};

/// Most bytes of a request's head: far above what clients and browsers send.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// What came.
#[derive(Debug)]
pub enum Opening {
    /// A websocket upgrade, answered with 101. The bytes are what came after the head.
    Websocket(Vec<u8>),
    /// A request for a page; the path without its query.
    Page(String),
    /// Not to be served: the status line's number and words, and a line that says why.
    Refused(&'static str, &'static str),
    /// The other end closed without a word.
    Closed,
}

/// Whether a websocket upgrade that a page of `origin` (the header's value) asks for may pass.
pub type OriginCheck<'a> = &'a (dyn Fn(&str, Option<&str>) -> bool + Send + Sync);

/// Reads the head, and answers it if it is a websocket upgrade. `allow_origin` is given the `Origin` header, if there is one, and `Host`: a
/// browser sends it on behalf of any page that a person visits, and a relay on the loopback interface must not be open to those.
pub async fn open<S>(stream: &mut S, allow_origin: OriginCheck<'_>) -> io::Result<Opening>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(1024);
    let (request, rest) = loop {
        if buffer.len() >= MAX_HEAD_BYTES {
            return Ok(Opening::Refused("431 Request Header Fields Too Large", "the request's head is too long"));
        }
        let room = MAX_HEAD_BYTES - buffer.len();
        if (&mut *stream).take(room as u64).read_buf(&mut buffer).await? == 0 {
            return Ok(Opening::Closed);
        }
        match Request::try_parse(&buffer) {
            Ok(Some((size, request))) => break (request, buffer.split_off(size)),
            Ok(None) => {}
            Err(_) => return Ok(Opening::Refused("400 Bad Request", "only GET requests of HTTP/1.1 are served here")),
        }
    };
    let upgrade = request.headers().get("upgrade").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !upgrade {
        return Ok(Opening::Page(request.uri().path().to_owned()));
    }
    if request.uri().path() != "/" {
        return Ok(Opening::Refused("404 Not Found", "websockets are served at /"));
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(origin) = request.headers().get("origin") {
        let allowed = origin.to_str().is_ok_and(|origin| allow_origin(origin, header("host")));
        if !allowed {
            return Ok(Opening::Refused("403 Forbidden", "pages of this origin may not open a websocket here"));
        }
    }
    let Ok(response) = create_response(&request) else {
        return Ok(Opening::Refused(
            "400 Bad Request",
            "this websocket upgrade is not valid (RFC 6455, section 4.2.1)",
        ));
    };
    let mut head = Vec::with_capacity(256);
    if write_response(&mut head, &response).is_err() {
        return Ok(Opening::Refused("400 Bad Request", "this websocket upgrade cannot be answered"));
    }
    stream.write_all(&head).await?;
    Ok(Opening::Websocket(rest))
}

/// Answers with a page and ends the connection's sending half.
pub async fn answer<S>(stream: &mut S, status: &str, content_type: &str, body: &str) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let page = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether `origin` is the very host that the request was sent to.
pub fn same_origin(origin: &str, host: Option<&str>) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opening(sent: &[u8]) -> (Opening, String) {
        let (mut client, mut server) = tokio::io::duplex(64 << 10);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let opening = open(&mut server, &same_origin).await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (opening, answer)
    }

    fn upgrade(extra: &str) -> Vec<u8> {
        format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\nrest"
        )
        .into_bytes()
    }

    #[tokio::test]
    async fn an_upgrade_is_answered_with_the_key_of_rfc_6455() {
        let (opening, answer) = opening(&upgrade("")).await;
        assert!(matches!(opening, Opening::Websocket(rest) if rest == b"rest"));
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        // The example of RFC 6455, section 1.3.
        assert!(answer.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    }

    #[tokio::test]
    async fn a_page_of_another_origin_may_not_open_a_websocket() {
        let (refused, answer) = opening(&upgrade("Origin: https://evil.example\r\n")).await;
        assert!(matches!(refused, Opening::Refused("403 Forbidden", _)));
        assert!(answer.is_empty());
        let (own, _) = opening(&upgrade("Origin: http://127.0.0.1:8080\r\n")).await;
        assert!(matches!(own, Opening::Websocket(_)));
    }

    #[tokio::test]
    async fn pages_and_nonsense_are_told_apart() {
        let (page, _) = opening(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(matches!(page, Opening::Page(path) if path == "/metrics"));
        for bad in [&b"POST / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01garbage\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"] {
            assert!(matches!(opening(bad).await.0, Opening::Refused("400 Bad Request", _)));
        }
        let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
        long.resize(MAX_HEAD_BYTES + 10, b'x');
        assert!(matches!(opening(&long).await.0, Opening::Refused("431 Request Header Fields Too Large", _)));
        assert!(matches!(opening(b"").await.0, Opening::Closed));
        assert!(matches!(opening(b"GET / HT").await.0, Opening::Closed));
    }
}
