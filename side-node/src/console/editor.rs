//! Line editing on a terminal of our own, with a history file; messages that arrive are printed above the line.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use reedline::{
    ExternalPrinter, FileBackedHistory, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus,
    Reedline, Signal,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::commands::Typed;
use super::log;
use crate::error::CommandError;
use crate::home::NodeHome;
use crate::output::print_line;
use crate::terminal::SavedTerminal;

/// Messages that wait for the editor, which looks for them between keystrokes.
const PRINTER_QUEUE: usize = 1024;
/// How often the editor looks for messages and for its end: at once, to a person.
const POLL: Duration = Duration::from_millis(25);
/// Lines that the history file keeps.
const HISTORY_LINES: usize = 1_000;
/// How long the editor may take to give the terminal back.
const END: Duration = Duration::from_secs(1);

/// The editor's thread.
pub(super) struct Editor {
    printer: SyncSender<String>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// For the ways out that go around the editor. Restores on drop, too.
    saved: Option<SavedTerminal>,
}

impl Editor {
    /// Takes the terminal over.
    pub(super) fn start(home: &NodeHome, typed: mpsc::Sender<Typed>) -> Result<Self, CommandError> {
        let saved = SavedTerminal::stdin();
        let external = ExternalPrinter::new(PRINTER_QUEUE);
        let printer = external.sender();
        log::to_editor(Some(printer.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut editor = Reedline::create()
            .with_external_printer(external)
            .with_poll_interval(POLL)
            .with_break_signal(Arc::clone(&stop));
        match FileBackedHistory::with_file(HISTORY_LINES, home.history_file()) {
            Ok(history) => editor = editor.with_history(Box::new(history)),
            // Without it the arrow keys know this session only.
            Err(error) => tracing::warn!(%error, "cannot use the history file of the console"),
        }
        let prompt = NodePrompt(format!("{}> ", home.name()));
        let edit = move || {
            loop {
                let next = match editor.read_line(&prompt) {
                    Ok(Signal::Success(line)) => Typed::Line(line),
                    Ok(Signal::CtrlC | Signal::CtrlD | Signal::ExternalBreak(_)) => Typed::Quit,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "the terminal is gone");
                        Typed::Quit
                    }
                };
                let last = next == Typed::Quit;
                if typed.blocking_send(next).is_err() || last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("side-editor".into())
            .spawn(edit)
            .map_err(|e| CommandError::io("cannot start the editor's thread", &e))?;
        Ok(Self { printer, stop, thread, saved })
    }

    /// The queue of messages.
    pub(super) fn printer(&self) -> SyncSender<String> {
        self.printer.clone()
    }

    /// Gives the terminal back.
    pub(super) async fn end(self) {
        self.stop.store(true, Ordering::Release);
        let deadline = Instant::now() + END;
        while !self.thread.is_finished() && Instant::now() < deadline {
            sleep(POLL / 5).await;
        }
        log::to_editor(None);
        if let Some(saved) = &self.saved {
            saved.restore();
        }
        // The prompt stands on a line of its own.
        let _ = print_line("");
    }
}

struct NodePrompt(String);

impl Prompt for NodePrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("… ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing for ",
        };
        Cow::Owned(format!("({failing}search: {}) ", search.term))
    }
}
