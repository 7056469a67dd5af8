//! A server for tests that says whatever a test wants it to say, on a port of the system's choice.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status and a body.
    Say(u16, Vec<u8>),
    /// A body without end.
    Endless,
    /// Nothing, for ever.
    Hang,
    /// The connection is closed.
    Close,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Say(200, body.into())
    }

    pub(crate) fn missing() -> Self {
        Self::Say(404, b"not found".to_vec())
    }
}

/// A running server; it ends with the value.
pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Starts a server that answers `METHOD PATH` and a body as `answer` says.
    pub(crate) async fn start(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, heard) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                tokio::spawn(async move {
                    let _ = serve(stream, &*answer, &heard).await;
                });
            }
        });
        Self { url, asked, task }
    }

    /// All requests so far, as `METHOD PATH`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    answer: &(impl Fn(&str, &str) -> Reply + Send + Sync),
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let asked = first.rsplit_once(' ').map_or(first.as_str(), |(asked, _)| asked).to_owned();
        heard.lock().unwrap().push(asked.clone());
        match answer(&asked, &String::from_utf8_lossy(&body)) {
            Reply::Say(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.get_mut().write_all(head.as_bytes()).await?;
                stream.get_mut().write_all(&body).await?;
            }
            Reply::Endless => {
                stream.get_mut().write_all(b"HTTP/1.1 200 x\r\n\r\n").await?;
                loop {
                    stream.get_mut().write_all(&[b' '; 4096]).await?;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return Ok(()),
        }
    }
}
