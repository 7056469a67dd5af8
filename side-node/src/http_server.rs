//! Connections of this process's own HTTP servers, the page and the control socket: how many, how long, and what they may send before a request is
//! looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait if the system cannot give another connection (no file descriptors left). Whoever waits in its queue is served when that is over.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most connections at once. Further ones wait in the system's queue.
    pub(crate) connections: usize,
    /// How long a client may take to send a request line and headers, the pause before them included.
    pub(crate) head: Duration,
    /// Most bytes of request line and headers together.
    pub(crate) head_bytes: usize,
    /// How long a client may take nothing of its answer, if there is a limit.
    pub(crate) unread: Option<Duration>,
    /// How long open requests may go on once the server stops.
    pub(crate) grace: Duration,
}

/// Where connections come from. Whoever comes after it is dropped finds that nobody serves.
pub(crate) trait Listener: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Events are small: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Serves until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: impl Listener, router: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.next().await?, place))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(limits.grace, connections.wait()).await;
}

async fn connection<S>(stream: S, router: Router, limits: Limits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    // hyper itself allows a hundred header lines.
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_header_size(limits.head_bytes);
    let io = TokioIo::new(Patience { stream, limit: limits.unread, waiting: None });
    let mut connection = std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// A stream whose writes fail once the peer has taken nothing for some time: a tab that is frozen must not keep its place for ever.
struct Patience<S> {
    stream: S,
    limit: Option<Duration>,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(limit) = self.limit.filter(|_| written.is_pending()) else {
            self.waiting = None;
            return written;
        };
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(ended, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Notify, oneshot};
    use tokio::time::timeout;

    use super::*;

    /// Waited out only by a test that fails.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// As long as nothing is expected to happen: what happens all the same happens much sooner.
    const QUIET: Duration = Duration::from_millis(200);

    /// Limits of which none is met by a client that behaves.
    const WIDE: Limits = Limits {
        connections: 64,
        head: Duration::from_secs(60),
        head_bytes: 16 << 10,
        unread: None,
        grace: Duration::from_secs(60),
    };

    async fn served(router: Router, limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        (at, stop.clone(), tokio::spawn(serve(listener, router, limits, stop)))
    }

    async fn said(at: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// What comes until the server closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// A path `/hold` that answers when it is let go, and how many wait there.
    fn holding() -> (Router, Arc<AtomicUsize>, Arc<Notify>) {
        let (count, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, went) = (count.clone(), go.clone());
        let hold = move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            went.notified().await;
            "held"
        };
        (Router::new().route("/hold", get(hold)), count, go)
    }

    const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_for_a_place() {
        let (router, count, go) = holding();
        let (at, ..) = served(router, Limits { connections: 2, ..WIDE }).await;
        let clients = [said(at, HOLD).await, said(at, HOLD).await, said(at, HOLD).await];
        while count.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(QUIET).await;
        assert_eq!(count.load(Ordering::SeqCst), 2, "the third is looked at");
        go.notify_one();
        while count.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        go.notify_waiters();
        for client in clients {
            assert!(rest(client).await.ends_with("held"));
        }
    }

    #[tokio::test]
    async fn a_head_that_never_ends_and_one_that_is_too_long_are_given_up() {
        let (at, ..) = served(Router::new(), Limits { head: Duration::from_millis(50), ..WIDE }).await;
        for slow in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"] {
            rest(said(at, slow).await).await;
        }
        let (at, ..) = served(Router::new(), WIDE).await;
        let of = |length: usize| format!("GET / HTTP/1.1\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(length));
        assert!(rest(said(at, of(WIDE.head_bytes - 100).as_bytes()).await).await.starts_with("HTTP/1.1 404"));
        assert!(rest(said(at, of(WIDE.head_bytes).as_bytes()).await).await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_loses_it() {
        let (gone, mut left) = oneshot::channel::<()>();
        let endless = Arc::new(std::sync::Mutex::new(Some(gone)));
        let body = move || {
            let mark = endless.lock().unwrap().take();
            let pieces = stream::repeat_with(move || {
                let _ = &mark;
                Ok::<_, Infallible>(Bytes::from_static(&[0; 1 << 16]))
            });
            std::future::ready(Body::from_stream(pieces))
        };
        let router = Router::new().route("/endless", get(body));
        let (at, ..) = served(router, Limits { unread: Some(Duration::from_millis(50)), ..WIDE }).await;
        let client = said(at, b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // The body is dropped with the connection, though the client stays.
        assert!(timeout(PATIENCE, &mut left).await.expect("the server gives up").is_err());
        drop(client);
    }

    #[tokio::test]
    async fn a_server_that_stops_ends_what_is_idle_at_once_and_what_is_held_after_its_grace() {
        let (router, count, _go) = holding();
        let (at, stop, server) = served(router, Limits { grace: Duration::from_millis(50), ..WIDE }).await;
        let (idle, held) = (said(at, b"").await, said(at, HOLD).await);
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        timeout(PATIENCE, server).await.expect("it ends").unwrap();
        assert_eq!((rest(idle).await, rest(held).await), (String::new(), String::new()));
        assert!(TcpStream::connect(at).await.is_err(), "nobody listens any more");

        // What ends within the grace is answered.
        let (router, count, go) = holding();
        let (at, stop, server) = served(router, WIDE).await;
        let (idle, held) = (said(at, b"").await, said(at, HOLD).await);
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        // What is idle does not use the grace, and the server is there as long as a request is.
        assert_eq!(rest(idle).await, "");
        tokio::time::sleep(QUIET).await;
        assert!(!server.is_finished());
        go.notify_one();
        assert!(rest(held).await.ends_with("held"));
        timeout(PATIENCE, server).await.expect("it ends").unwrap();
    }
}
