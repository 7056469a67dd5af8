//! Logs go to stderr; while a line is being edited on the same terminal, they go above it.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use tracing_subscriber::EnvFilter;

/// The environment variable with the log filter.
pub const LOG_VARIABLE: &str = "SIDE_LOG";

static EDITOR: Mutex<Option<SyncSender<String>>> = Mutex::new(None);

/// Sends logs to the editor's printer from now on, or to stderr again.
pub(super) fn to_editor(printer: Option<SyncSender<String>>) {
    let printer = printer.filter(|_| io::stderr().is_terminal());
    *EDITOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = printer;
}

/// Starts logging. Only the first call of a process has an effect.
pub fn start(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        let _ =
            writeln!(io::stderr(), "warning: the log filter {filter:?} is not understood ({error}); logging warnings");
        EnvFilter::new("warn")
    });
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogLine::default).with_ansi(false).try_init();
}

/// One event on its way.
#[derive(Debug, Default)]
struct LogLine(Vec<u8>);

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let editor = EDITOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match editor {
            // A full queue drops the line: logs must never hold up the node.
            Some(printer) => drop(printer.try_send(String::from_utf8_lossy(&self.0).trim_end().to_owned())),
            None => drop(io::stderr().write_all(&self.0)),
        }
    }
}
