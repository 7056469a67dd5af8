//! A server between a node and an Esplora server that passes everything on, or lies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest request or answer that passes: a page of transactions.
const MAX_BYTES: usize = 64 << 20;

/// An answer on its way, to be changed.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The path that was asked.
    pub path: String,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What the proxy does to an answer. `None` closes the connection without one.
type Lie = dyn Fn(Answer) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Manner {
    lie: Option<Arc<Lie>>,
    delay: Duration,
    /// Requests before the answer: those that the lie refuses must not reach the server.
    deaf: bool,
}

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    url: String,
    manner: Arc<Mutex<Manner>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts an honest proxy before `upstream` (`http://host:port`).
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let manner: Arc<Mutex<Manner>> = Arc::default();
        let shared = manner.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, upstream.clone(), shared.clone()));
            }
        });
        Self { url, manner, task }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes every answer from now on.
    pub fn lie(&self, lie: impl Fn(Answer) -> Option<Answer> + Send + Sync + 'static) {
        self.change(|manner| manner.lie = Some(Arc::new(lie)));
    }

    /// Takes connections and closes them: nothing reaches the server.
    pub fn go_down(&self) {
        self.change(|manner| manner.deaf = true);
    }

    /// Waits before each answer.
    pub fn slow(&self, delay: Duration) {
        self.change(|manner| manner.delay = delay);
    }

    /// Passes everything on again.
    pub fn honest(&self) {
        self.change(|manner| *manner = Manner::default());
    }

    /// Answers JSON paths that contain `part` with what `edit` makes of the document.
    pub fn edit_json(&self, part: &'static str, edit: impl Fn(&mut serde_json::Value) + Send + Sync + 'static) {
        self.lie(move |mut answer| {
            if answer.path.contains(part)
                && let Ok(mut value) = serde_json::from_slice(&answer.body)
            {
                edit(&mut value);
                answer.body = serde_json::to_vec(&value).expect("a value is JSON");
            }
            Some(answer)
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, upstream: String, manner: Arc<Mutex<Manner>>) {
    let Some((head, body)) = read(&mut stream).await else { return };
    let (lie, delay, deaf) = {
        let manner = manner.lock().unwrap_or_else(PoisonError::into_inner);
        (manner.lie.clone(), manner.delay, manner.deaf)
    };
    if deaf {
        return;
    }
    tokio::time::sleep(delay).await;
    let Some(mut answer) = ask(&upstream, &head, &body).await else { return };
    answer.path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = match lie {
        Some(lie) => lie(answer),
        None => Some(answer),
    };
    let Some(answer) = answer else { return };
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&answer.body).await;
    let _ = stream.shutdown().await;
}

/// Asks the server and reads its whole answer.
async fn ask(upstream: &str, head: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(upstream).await.ok()?;
    let mut lines: Vec<&str> =
        head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    lines.push("Connection: close");
    stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let (head, body) = read(&mut stream).await?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { path: String::new(), status, body })
}

/// A head and a body of the length that the head states.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 || bytes.len() > MAX_BYTES {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(end + 4);
    let length = length.unwrap_or(0).min(MAX_BYTES);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}
