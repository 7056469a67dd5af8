//! Requests that nobody means well with.

use btc_devnet::{Devnet, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{LIMIT, get, parse, post, raw, request, text};

async fn start() -> Devnet {
    Devnet::start(Options::default()).await.unwrap()
}

/// The chain is as alive as before.
async fn alive(devnet: &Devnet) {
    assert_eq!(text(devnet, "/blocks/tip/hash").await, devnet.tip().await.unwrap().hash.to_string());
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let devnet = start().await;
    let long = "a".repeat(40_000);
    let path = get(&devnet, &format!("/tx/{long}")).await.status;
    assert!([414, 431].contains(&path), "{path}");
    let header =
        raw(&devnet, format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\nconnection: close\r\n\r\n")).await.status;
    assert_eq!(header, 431);
    let many = "x: y\r\n".repeat(150);
    let headers = raw(&devnet, format!("GET / HTTP/1.1\r\nhost: x\r\n{many}connection: close\r\n\r\n")).await.status;
    assert_eq!(headers, 431);
    alive(&devnet).await;
}

#[tokio::test]
async fn bodies_are_bounded_announced_or_not() {
    let devnet = start().await;
    for path in ["/tx", "/txs/package", "/txs/test"] {
        let answer = post(&devnet, path, &"0".repeat(1_000_001)).await;
        assert_eq!(answer.refusal(), (413, "Request body too large"), "{path}");
    }
    assert_eq!(post(&devnet, "/devnet/mine", &"0".repeat(5_000)).await.status, 413);
    // In pieces, without a length.
    let piece = format!("{:x}\r\n{}\r\n", 100_000, "0".repeat(100_000)).repeat(11);
    let chunked = format!(
        "POST /tx HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{piece}0\r\n\r\n"
    );
    assert_eq!(raw(&devnet, chunked).await.status, 413);
    alive(&devnet).await;
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection() {
    let devnet = start().await;
    for junk in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n"]
    {
        let exchange = async {
            let mut stream = TcpStream::connect(devnet.address()).await.unwrap();
            stream.write_all(junk).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await.expect("the connection ends");
        assert!(answer.is_empty() || parse(&answer).status == 400);
    }
    alive(&devnet).await;
}

#[tokio::test]
async fn paths_of_junk_are_told_to_lead_nowhere() {
    let devnet = start().await;
    for (path, status) in [
        ("/nope", 404),
        ("/tx", 404),
        ("/tx/", 404),
        ("//", 404),
        ("/tx/%ff%fe", 400),
        ("/tx/%00", 400),
        ("/tx/../../etc/passwd", 404),
        ("/address/%27%3Cscript%3E", 400),
        ("/address-prefix/%F0%9F%98%80", 200),
        ("/blocks/18446744073709551616", 200),
        ("/blocks/18446744073709551615", 404),
        ("/block-height/18446744073709551615", 404),
        ("/block-height/18446744073709551616", 400),
        ("/mempool/txids/page?max_txs=-1", 400),
        ("/txs/outspends", 400),
    ] {
        assert_eq!(get(&devnet, path).await.status, status, "{path}");
    }
    let ids = ["00"; 51].join(",");
    assert_eq!(get(&devnet, &format!("/txs/outspends?txids={ids}")).await.status, 400);
    alive(&devnet).await;
}

#[tokio::test]
async fn other_methods_are_no_endpoints() {
    let devnet = start().await;
    for (method, path) in [("DELETE", "/tx/00"), ("PUT", "/tx"), ("POST", "/blocks/tip/hash"), ("GET", "/devnet/mine")]
    {
        let answer = request(&devnet, method, path, "").await;
        assert_eq!(answer.refusal(), (404, &*format!("endpoint does not exist {path:?}")), "{method}");
    }
    let head = request(&devnet, "HEAD", "/blocks/tip/height", "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn bodies_of_junk_are_refused() {
    let devnet = start().await;
    let deep = "[".repeat(500_000);
    for body in ["", "{}", "[1]", "\u{0}", deep.as_str(), r#"["ff", 7]"#] {
        for path in ["/txs/package", "/txs/test", "/tx"] {
            assert_eq!(post(&devnet, path, body).await.status, 400, "{path} {:?}", &body[..body.len().min(9)]);
        }
    }
    let not_text =
        [&b"POST /tx HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"[..], b"\xff\xfe"].concat();
    assert_eq!(raw(&devnet, not_text).await.status, 400);
    alive(&devnet).await;
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let devnet = start().await;
    let mut idle = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(devnet.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /blocks/tip/hash HTTP/1.1\r\nhost").await.unwrap();
        }
        idle.push(stream);
    }
    alive(&devnet).await;
    // Nor do they keep the chain from stopping.
    let stopping = tokio::task::spawn_blocking(move || devnet.stop());
    tokio::time::timeout(LIMIT, stopping).await.expect("the chain stops").unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_is_no_matter() {
    let devnet = start().await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(devnet.address()).await.unwrap();
        stream.write_all(b"POST /tx HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n00").await.unwrap();
    }
    alive(&devnet).await;
}
