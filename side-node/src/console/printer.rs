//! Printing that never blocks the node: a stdout that nobody reads holds up the console, nothing else.
//!
//! A pipe that has room takes a line at once, without waiting; everything else is printed by a thread, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::error::CommandError;
use crate::output::print_line;

/// Lines that wait for stdout.
const QUEUE: usize = 1024;
/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_secs(2);
/// Pause before another try at the editor's full queue, which it empties between keystrokes.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the console's lines go.
pub(super) enum Printer {
    Editor(SyncSender<String>),
    Stdout(Stdout),
}

/// Stdout, and the thread that prints what cannot be printed at once.
pub(super) struct Stdout {
    lines: Option<mpsc::Sender<String>>,
    thread: JoinHandle<()>,
    /// Lines that the thread has not printed yet.
    waiting: Arc<AtomicUsize>,
}

impl Printer {
    /// Prints above the line that is being edited.
    pub(super) fn editor(sender: SyncSender<String>) -> Self {
        Self::Editor(sender)
    }

    /// Prints to stdout from a thread of its own.
    pub(super) fn stdout() -> Result<Self, CommandError> {
        let (lines, mut waiting) = mpsc::channel::<String>(QUEUE);
        let waiting_lines = Arc::new(AtomicUsize::new(0));
        let count = waiting_lines.clone();
        let print = move || {
            let mut broken = false;
            while let Some(line) = waiting.blocking_recv() {
                if !broken && let Err(error) = print_line(&line) {
                    tracing::warn!(%error, "nothing more is printed");
                    broken = true;
                }
                count.fetch_sub(1, Ordering::Release);
            }
        };
        let thread = std::thread::Builder::new()
            .name("side-printer".into())
            .spawn(print)
            .map_err(|e| CommandError::io("cannot start the printer's thread", &e))?;
        Ok(Self::Stdout(Stdout { lines: Some(lines), thread, waiting: waiting_lines }))
    }

    /// Prints a line (or several).
    pub(super) async fn line(&mut self, line: String) {
        match self {
            Self::Editor(sender) => {
                let mut line = line;
                loop {
                    match sender.try_send(line) {
                        Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                        Err(TrySendError::Full(back)) => line = back,
                    }
                    sleep(PAUSE).await;
                }
            }
            Self::Stdout(Stdout { lines: Some(lines), waiting, .. }) => {
                // Not before a line that the thread has.
                if waiting.load(Ordering::Acquire) == 0 && print_at_once(&line) {
                    return;
                }
                waiting.fetch_add(1, Ordering::Relaxed);
                let _ = lines.send(line).await;
            }
            Self::Stdout(Stdout { lines: None, .. }) => {}
        }
    }

    /// Waits, but not for ever, until everything is printed.
    pub(super) async fn close(&mut self) {
        if let Self::Stdout(Stdout { lines, thread, .. }) = self {
            *lines = None;
            let deadline = Instant::now() + FLUSH;
            while !thread.is_finished() && Instant::now() < deadline {
                sleep(PAUSE).await;
            }
        }
    }
}

/// Prints a line to a pipe that has room for it, as a whole or not at all, without waiting. Says whether it is printed.
#[cfg(target_os = "linux")]
fn print_at_once(line: &str) -> bool {
    use rustix::io::{ReadWriteFlags, pwritev2};

    /// At the position that the file has; a pipe has no other.
    const HERE: u64 = u64::MAX;
    /// A pipe takes so many bytes as a whole, or, where it is not to wait, none of them (pipe(7)).
    const PIPE_BUF: usize = 4096;

    let stdout = std::io::stdout().lock();
    if line.len() >= PIPE_BUF || !is_pipe(&stdout) {
        return false;
    }
    let parts = [std::io::IoSlice::new(line.as_bytes()), std::io::IoSlice::new(b"\n")];
    // Where it has no room, or cannot be written so, the thread finds out more.
    pwritev2(&stdout, &parts, HERE, ReadWriteFlags::NOWAIT).is_ok()
}

#[cfg(target_os = "linux")]
fn is_pipe(file: impl std::os::fd::AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|file| rustix::fs::FileType::from_raw_mode(file.st_mode).is_fifo())
}

#[cfg(not(target_os = "linux"))]
fn print_at_once(_: &str) -> bool {
    false
}
