//! The front door: one port for peers and for newcomers, told apart by how they begin.
//!
//! A connection has a moment to say its first byte and is closed where that is neither a peer's nor a newcomer's, so that one who says nothing or anything
//! costs a socket for that long. How many are at the door at once is bounded, for each address and altogether. Which connections were turned away is
//! counted, for people to see.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dials::Dials;

/// What a peer's connection begins with: the length of the key that the handshake of commonware starts with.
const PEER: u8 = 32;
/// What a newcomer's connection begins with (see `net::join`).
pub(crate) const NEWCOMER: u8 = b'S';
/// How long a connection may take to say its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(2);
/// Most connections at the door, altogether.
const MAX_AT_DOOR: usize = 128;
/// Most connections at the door from one address: others come in beside one that floods. Members on one machine or behind one router share an address.
const MAX_FROM_ADDRESS: usize = 32;
/// Connections that wait for the part that they are for; more are turned away.
const QUEUE: usize = 64;

/// Counts connections that are turned away, by reason.
#[derive(Debug, Default)]
pub struct Turned {
    silent: AtomicU64,
    garbage: AtomicU64,
    crowded: AtomicU64,
    newcomers: AtomicU64,
    refused: AtomicU64,
}

impl Turned {
    /// A newcomer found too many before it.
    pub fn note_newcomer(&self) {
        self.newcomers.fetch_add(1, Ordering::Relaxed);
    }

    /// A newcomer was not let in.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were so far.
    pub fn count(&self) -> TurnedAway {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TurnedAway {
            silent: read(&self.silent),
            garbage: read(&self.garbage),
            crowded: read(&self.crowded),
            newcomers: read(&self.newcomers),
            refused: read(&self.refused),
        }
    }
}

/// Connections that were turned away since the start, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TurnedAway {
    /// They said nothing in time.
    pub silent: u64,
    /// They began as neither peers nor newcomers do.
    pub garbage: u64,
    /// There were too many at once.
    pub crowded: u64,
    /// They were newcomers, and too many came before them.
    pub newcomers: u64,
    /// They were newcomers who were not let in.
    pub refused: u64,
}

impl TurnedAway {
    /// How many there were, for whatever reason.
    pub fn all(&self) -> u64 {
        let Self { silent, garbage, crowded, newcomers, refused } = *self;
        silent + garbage + crowded + newcomers + refused
    }
}

/// The door, before and after it opens.
pub(super) struct Door {
    address: SocketAddr,
    listener: Mutex<Option<std::net::TcpListener>>,
    newcomers: mpsc::Sender<(SocketAddr, TcpStream)>,
    turned: Arc<Turned>,
    dials: Mutex<Dials>,
}

impl Door {
    /// Binds `address`. Newcomers come out of the receiver.
    pub(super) fn bind(address: SocketAddr) -> std::io::Result<(Self, mpsc::Receiver<(SocketAddr, TcpStream)>)> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (newcomers, incoming) = mpsc::channel(QUEUE);
        Ok((
            Self {
                address,
                listener: Mutex::new(Some(listener)),
                newcomers,
                turned: Arc::default(),
                dials: Mutex::default(),
            },
            incoming,
        ))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn turned(&self) -> &Arc<Turned> {
        &self.turned
    }

    /// How attempts to reach others ended.
    pub(super) fn dials(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the door, once, within a tokio runtime.
    pub(super) fn open(&self) -> Option<Visitors> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let listener = TcpListener::from_std(listener).ok()?;
        let (peers, sorted) = mpsc::channel(QUEUE);
        Some(Visitors {
            listener,
            address: self.address,
            peers,
            sorted,
            newcomers: self.newcomers.clone(),
            turned: self.turned.clone(),
            present: Arc::default(),
        })
    }
}

type Present = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Who comes.
pub(super) struct Visitors {
    listener: TcpListener,
    address: SocketAddr,
    peers: mpsc::Sender<(SocketAddr, TcpStream)>,
    sorted: mpsc::Receiver<(SocketAddr, TcpStream)>,
    newcomers: mpsc::Sender<(SocketAddr, TcpStream)>,
    turned: Arc<Turned>,
    present: Present,
}

impl Visitors {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection that begins as a peer's. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(SocketAddr, TcpStream)> {
        loop {
            tokio::select! {
                sorted = self.sorted.recv() => return sorted,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.take(address, stream),
                    Err(error) => {
                        // Most often too many open files: what is open has to close first.
                        tracing::debug!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    fn take(&self, address: SocketAddr, stream: TcpStream) {
        let Some(place) = Place::take(&self.present, address.ip()) else {
            self.turned.crowded.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (peers, newcomers, turned) = (self.peers.clone(), self.newcomers.clone(), self.turned.clone());
        tokio::spawn(async move {
            let mut first = [0];
            let counter = match timeout(FIRST_BYTE, stream.peek(&mut first)).await {
                Ok(Ok(1)) => {
                    drop(place);
                    let part = match first[0] {
                        PEER => Some(peers),
                        NEWCOMER => Some(newcomers),
                        _ => None,
                    };
                    match part.map(|part| part.try_send((address, stream))) {
                        Some(Ok(())) => return,
                        Some(Err(_)) => &turned.crowded,
                        None => &turned.garbage,
                    }
                }
                _ => &turned.silent,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// A place at the door, freed when dropped.
struct Place {
    present: Present,
    address: IpAddr,
}

impl Place {
    fn take(present: &Present, address: IpAddr) -> Option<Self> {
        let mut places = present.lock().unwrap_or_else(PoisonError::into_inner);
        if places.values().sum::<usize>() >= MAX_AT_DOOR {
            return None;
        }
        let count = places.entry(address).or_default();
        if *count >= MAX_FROM_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Self { present: present.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.address);
            }
        }
    }
}
