//! Printing that never blocks the node: a stdout that nobody reads holds up the console, nothing else.

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
    Stdout(Option<mpsc::Sender<String>>, JoinHandle<()>),
}

impl Printer {
    /// Prints above the line that is being edited.
    pub(super) fn editor(sender: SyncSender<String>) -> Self {
        Self::Editor(sender)
    }

    /// Prints to stdout from a thread of its own.
    pub(super) fn stdout() -> Result<Self, CommandError> {
        let (lines, mut waiting) = mpsc::channel::<String>(QUEUE);
        let print = move || {
            let mut broken = false;
            while let Some(line) = waiting.blocking_recv() {
                if !broken && let Err(error) = print_line(&line) {
                    tracing::warn!(%error, "nothing more is printed");
                    broken = true;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("side-printer".into())
            .spawn(print)
            .map_err(|e| CommandError::io("cannot start the printer's thread", &e))?;
        Ok(Self::Stdout(Some(lines), thread))
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
            Self::Stdout(Some(lines), _) => {
                let _ = lines.send(line).await;
            }
            Self::Stdout(None, _) => {}
        }
    }

    /// Waits, but not for ever, until everything is printed.
    pub(super) async fn close(&mut self) {
        if let Self::Stdout(lines, thread) = self {
            *lines = None;
            let deadline = Instant::now() + FLUSH;
            while !thread.is_finished() && Instant::now() < deadline {
                sleep(PAUSE).await;
            }
        }
    }
}
