//! A line between two nodes that can be cut: whatever it carries, both ways.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes that are passed on at once.
const BUFFER: usize = 64 << 10;

#[derive(Default)]
struct Line {
    cut: AtomicBool,
    /// Both ends of every connection.
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
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
    thread::spawn(move || copy(a, b));
    thread::spawn(move || copy(back_from, back_to));
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
