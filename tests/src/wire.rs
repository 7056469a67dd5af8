//! A line between two nodes that can be cut, or stopped after some bytes: whatever it carries, both ways.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes that are passed on at once.
const BUFFER: usize = 64 << 10;

#[derive(Default)]
struct Line {
    cut: AtomicBool,
    /// Both ends of every connection.
    open: Mutex<Vec<TcpStream>>,
    /// How many bytes it still carries toward whoever opened a connection; as many as there are if nobody said.
    left: Mutex<Option<usize>>,
    released: Condvar,
}

impl Line {
    /// Waits until the line carries something more toward whoever opened a connection; how much of `count`.
    fn take(&self, count: usize) -> usize {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.released.wait_while(left, |left| *left == Some(0)).unwrap_or_else(PoisonError::into_inner);
        let taken = left.map_or(count, |left| left.min(count));
        *left = left.map(|left| left - taken);
        taken
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running line to an address. Its threads end with the process.
pub struct Wire {
    address: SocketAddr,
    line: Arc<Line>,
}

impl Wire {
    /// Takes connections at an address of its own and passes them on to `upstream`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = Arc::<Line>::default();
        let shared = line.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A cut line takes connections and closes them, as a router without a way does.
                if shared.cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(onward) = TcpStream::connect(upstream) else { continue };
                pass(&shared, &stream, &onward);
            }
        });
        Self { address, line }
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and takes none.
    pub fn cut(&self) {
        self.line.cut.store(true, Ordering::SeqCst);
        for stream in self.line.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries this many more bytes toward whoever opened a connection, then none, and keeps its connections; without a limit again if `None`.
    pub fn allow(&self, bytes: Option<usize>) {
        *self.line.left.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        self.line.released.notify_all();
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.line.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(line: &Arc<Line>, a: &TcpStream, b: &TcpStream) {
    let (Ok(a), Ok(b)) = (a.try_clone(), b.try_clone()) else { return };
    let _ = a.set_nodelay(true);
    let _ = b.set_nodelay(true);
    let ends = [a.try_clone(), b.try_clone()];
    {
        let mut open = line.open();
        open.extend(ends.into_iter().flatten());
        if line.cut.load(Ordering::SeqCst) {
            // It was cut meanwhile.
            for stream in open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
    let (Ok(back_from), Ok(back_to)) = (b.try_clone(), a.try_clone()) else { return };
    let line = line.clone();
    thread::spawn(move || copy(a, b, |count| count));
    thread::spawn(move || copy(back_from, back_to, |count| line.take(count)));
}

/// Passes on what comes, as much at a time as `take` lets.
fn copy(mut from: TcpStream, mut to: TcpStream, take: impl Fn(usize) -> usize) {
    let mut buffer = vec![0; BUFFER];
    'open: while let Ok(count) = from.read(&mut buffer) {
        let mut rest = &buffer[..count];
        if count == 0 {
            break;
        }
        while !rest.is_empty() {
            let (now, later) = rest.split_at(take(rest.len()));
            if to.write_all(now).is_err() {
                break 'open;
            }
            rest = later;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
