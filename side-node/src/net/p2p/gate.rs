//! Commonware's runtime with our own front door: the same context, save that connections are made and taken here.
//!
//! Commonware's listener binds an address itself and panics where it cannot, and takes whatever connects for a peer. This one is given a socket that is
//! bound already, and gets only connections that begin as those of peers do (`door`).

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use commonware_runtime::telemetry::metrics::{Metric, Registered};
use commonware_runtime::{
    Clock, Error, Handle, IoBufs, Listener, Metrics, Name, Network, Resolver, Sink, Spawner, Stream, Supervisor,
    signal, tokio as runtime,
};
use rand_core::{TryCryptoRng, TryRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::dials::Dialled;
use super::door::{Door, Visitors};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection over which nothing comes for so long, or that takes nothing for so long, is dead: three of the pings that both sides send.
const IO_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that are read at once.
const READ_BUFFER: usize = 64 << 10;

/// Commonware's context, with our door.
pub struct Gate {
    inner: runtime::Context,
    door: Arc<Door>,
}

impl Gate {
    pub(super) fn new(inner: runtime::Context, door: Arc<Door>) -> Self {
        Self { inner, door }
    }
}

impl Supervisor for Gate {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), door: self.door.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), door: self.door }
    }
}

impl Spawner for Gate {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), door: self.door }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), door: self.door }
    }

    fn spawn<F, Fut, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let door = self.door;
        self.inner.spawn(move |inner| f(Self { inner, door }))
    }

    fn stop(self, value: i32, timeout: Option<Duration>) -> impl Future<Output = Result<(), Error>> + Send {
        self.inner.stop(value, timeout)
    }

    fn stopped(&self) -> signal::Signal {
        self.inner.stopped()
    }
}

impl Metrics for Gate {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(&self, name: N, help: H, metric: M) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl governor::clock::Clock for Gate {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.inner.current()
    }
}

impl governor::clock::ReasonablyRealtime for Gate {}

impl Clock for Gate {
    fn current(&self) -> SystemTime {
        self.inner.current()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep_until(deadline)
    }
}

impl TryRng for Gate {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Gate {}

impl Resolver for Gate {
    fn resolve(&self, host: &str) -> impl Future<Output = Result<Vec<IpAddr>, Error>> + Send {
        self.inner.resolve(host)
    }
}

impl Network for Gate {
    type Listener = GateListener;

    async fn bind(&self, _: SocketAddr) -> Result<GateListener, Error> {
        // The door has bound it already.
        self.door.open().map(|visitors| GateListener { visitors }).ok_or(Error::BindFailed)
    }

    async fn dial(&self, address: SocketAddr) -> Result<(GateSink, GateStream), Error> {
        // Commonware tries again and again at one pace; where nobody is, we do not.
        if !self.door.dials().is_due(&address, Instant::now()) {
            return Err(Error::ConnectionFailed);
        }
        let (outcome, result) = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => (Dialled::Answered, Ok(split(stream))),
            Ok(Err(error)) => (Dialled::Failed(error.kind().to_string()), Err(Error::ConnectionFailed)),
            Err(_) => (Dialled::Failed("no answer".to_owned()), Err(Error::Timeout)),
        };
        // Without randomness, rests are just not spread.
        let chance = crate::clock::random().map_or(u32::MAX, u32::from_be_bytes);
        self.door.dials().note(address, outcome, Instant::now(), chance);
        result
    }
}

/// Connections that begin as those of peers do.
pub struct GateListener {
    visitors: Visitors,
}

impl Listener for GateListener {
    type Sink = GateSink;
    type Stream = GateStream;

    async fn accept(&mut self) -> Result<(SocketAddr, GateSink, GateStream), Error> {
        let (address, stream) = self.visitors.next().await.ok_or(Error::Closed)?;
        let (sink, stream) = split(stream);
        Ok((address, sink, stream))
    }

    fn local_addr(&self) -> Result<SocketAddr, io::Error> {
        Ok(self.visitors.address())
    }
}

fn split(stream: TcpStream) -> (GateSink, GateStream) {
    // Without it a small window stalls for 40 milliseconds; where it cannot be set, that is all that happens.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let stream = GateStream { read: BufReader::with_capacity(READ_BUFFER, read), broken: false };
    (GateSink { write, broken: false }, stream)
}

/// The sending half of a connection. After a failed or abandoned send it sends nothing more: the other side could not make sense of it.
pub struct GateSink {
    write: OwnedWriteHalf,
    broken: bool,
}

impl Sink for GateSink {
    async fn send(&mut self, bufs: impl Into<IoBufs> + Send) -> Result<(), Error> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(Error::Closed);
        }
        let mut bufs = bufs.into();
        timeout(IO_TIMEOUT, self.write.write_all_buf(&mut bufs))
            .await
            .map_err(|_| Error::Timeout)?
            .map_err(|_| Error::SendFailed)?;
        self.broken = false;
        Ok(())
    }
}

/// The receiving half of a connection. After a failed or abandoned read it reads nothing more.
pub struct GateStream {
    read: BufReader<OwnedReadHalf>,
    broken: bool,
}

impl Stream for GateStream {
    async fn recv(&mut self, len: usize) -> Result<IoBufs, Error> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(Error::Closed);
        }
        let read = async {
            // Commonware has checked the length against the largest frame.
            let mut bytes = BytesMut::with_capacity(len);
            while bytes.len() < len {
                let rest = (len - bytes.len()) as u64;
                let count = (&mut self.read).take(rest).read_buf(&mut bytes).await.map_err(|_| Error::RecvFailed)?;
                if count == 0 {
                    return Err(Error::RecvFailed);
                }
            }
            Ok(IoBufs::from(bytes.freeze()))
        };
        let bytes = timeout(IO_TIMEOUT, read).await.map_err(|_| Error::Timeout)??;
        self.broken = false;
        Ok(bytes)
    }

    fn peek(&self, max_len: usize) -> &[u8] {
        let buffered = self.read.buffer();
        &buffered[..buffered.len().min(max_len)]
    }
}
