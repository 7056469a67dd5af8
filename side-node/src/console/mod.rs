//! The console of a running node: what is typed becomes notes and commands, what happens is shown.
//!
//! ```text
//! editor thread  ─┐                      ┌─▶ printer thread ─▶ stdout            (lines)
//! or line thread ─┴─ Typed ─▶ this task ─┴─▶ reedline's external printer         (editor: never tears the typed line)
//! ```
//! With `--json` every line of output is one JSON object with a field `event`, and there is no editor.

pub(crate) mod commands;
mod editor;
pub mod log;
mod printer;

use std::io::{Write as _, stderr};

use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::daemon::roll::Roll;
use crate::daemon::{Announcement, Daemon, Mailbox};
use crate::error::CommandError;
use crate::home::NodeHome;
use crate::output::{self, Output};
use crate::terminal::{ConsoleMode, End, Input, LineInput};
use commands::{GroupCommand, Typed};
use printer::Printer;

/// Typed lines that wait for the node. A pipe that is faster waits.
const TYPED: usize = 16;

/// Said where a pipe has ended.
const INPUT_ENDED: &str =
    "standard input has ended; the node keeps running until Ctrl-C or SIGTERM (/quit as the last line ends it as well)";

/// Runs the console until somebody quits, `stop` is cancelled, or the node fails.
pub async fn run(
    daemon: &mut Daemon,
    home: &NodeHome,
    output: Output,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let mode = if output.json { ConsoleMode::Lines } else { ConsoleMode::detect() };
    let (typed, mut lines) = mpsc::channel(TYPED);
    let editor = match mode {
        ConsoleMode::Editor => Some(editor::Editor::start(home, typed.clone())?),
        ConsoleMode::Lines => {
            start_lines(typed)?;
            None
        }
    };
    let printer = match &editor {
        Some(editor) => Printer::editor(editor.printer()),
        None => Printer::stdout()?,
    };
    let mut console =
        Console { mailbox: daemon.mailbox().clone(), announcements: daemon.take_announcements(), printer, output };
    let ended = console.converse(daemon, &mut lines, &stop).await;
    if let Some(editor) = editor {
        editor.end().await;
    }
    console.printer.close().await;
    ended
}

fn start_lines(typed: mpsc::Sender<Typed>) -> Result<(), CommandError> {
    let read = move || {
        let mut input = LineInput::stdin();
        loop {
            let next = match input.next_input() {
                Ok(Input::Line(line)) => Typed::Line(line),
                Ok(Input::Refused(why)) => Typed::Refused(why.to_string()),
                Ok(Input::End(End::Stream)) => return,
                Ok(Input::End(_)) => Typed::Quit,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what is typed");
                    return;
                }
            };
            let last = matches!(next, Typed::Quit);
            if typed.blocking_send(next).is_err() || last {
                return;
            }
        }
    };
    // A plain thread: it may be in `read` for ever, and a runtime would wait for it.
    let thread = std::thread::Builder::new().name("side-console".into()).spawn(read);
    thread.map(drop).map_err(|e| CommandError::io("cannot start the console's thread", &e))
}

/// Whether the console goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Quit,
}

struct Console {
    mailbox: Mailbox,
    announcements: broadcast::Receiver<Announcement>,
    printer: Printer,
    output: Output,
}

impl Console {
    async fn converse(
        &mut self,
        daemon: &mut Daemon,
        lines: &mut mpsc::Receiver<Typed>,
        stop: &CancellationToken,
    ) -> Result<(), CommandError> {
        self.greet(daemon).await;
        let mut typing = true;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                announcement = self.announcements.recv() => match announcement {
                    Ok(announcement) => self.announce(announcement).await,
                    Err(RecvError::Lagged(missed)) => self.missed(missed).await,
                    Err(RecvError::Closed) => if let Err(error) = self.look_elsewhere().await {
                        let end = daemon.ends().await;
                        if end != crate::daemon::End::NewKey {
                            self.error(&error).await;
                        }
                        self.go_on(daemon, end).await?;
                    },
                },
                end = daemon.ends() => self.go_on(daemon, end).await?,
                typed = lines.recv(), if typing => match typed {
                    Some(typed) => if self.obey(typed).await == Flow::Quit { break },
                    // A pipe has ended. A node without a person keeps running: this is how services are started. But who fed it a file and waits for its end
                    // should know.
                    None => {
                        typing = false;
                        // Whoever closed stderr does not want to know.
                        let _ = writeln!(stderr(), "note: {INPUT_ENDED}");
                    }
                },
            }
        }
        self.catch_up().await;
        Ok(())
    }

    /// The node has ended: if that is to begin anew under another key, it does.
    async fn go_on(&mut self, daemon: &mut Daemon, end: crate::daemon::End) -> Result<(), CommandError> {
        if let crate::daemon::End::Failed(error) = end {
            return Err(error);
        }
        self.catch_up().await;
        daemon.begin_anew().await?;
        (self.mailbox, self.announcements) = (daemon.mailbox().clone(), daemon.take_announcements());
        self.greet(daemon).await;
        Ok(())
    }

    async fn greet(&mut self, daemon: &Daemon) {
        let status = &daemon.ready().status;
        let relay = status.relay.as_ref().map_or("", |relay| relay.url.as_str());
        let page = status.page.as_ref().map_or_else(String::new, |page| format!(", page {page}"));
        if self.output.json {
            self.event("ready", json!({ "status": status })).await;
            return;
        }
        self.line(format!(
            "{} is ready in group {} ({}), {} entries, relay {relay}{page}",
            status.node,
            output::printable(&status.group_name),
            output::short(&status.group),
            status.entries
        ))
        .await;
        if let Some(reason) = &status.read_only {
            self.line(format!("read-only: {reason}")).await;
        }
        self.line("Type a line to write a note, /help for the commands.".to_owned()).await;
    }

    /// Shows what was announced so far.
    async fn catch_up(&mut self) {
        loop {
            match self.announcements.try_recv() {
                Ok(announcement) => self.announce(announcement).await,
                Err(TryRecvError::Lagged(missed)) => self.missed(missed).await,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    async fn announce(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Entry { entry, own } if self.output.json => {
                self.event("entry", json!({ "own": own, "entry": entry })).await;
            }
            Announcement::Entry { entry, own } => self.line(output::entry_line(&entry, own)).await,
            Announcement::Standing(line) if self.output.json => {
                self.event("standing", json!({ "entry": line })).await;
            }
            Announcement::Standing(line) => {
                if let Some(text) = output::standing_line(&line) {
                    self.line(format!("-- {text}")).await;
                }
            }
            Announcement::Block(block) if self.output.json => self.event("block", json!({ "block": block })).await,
            Announcement::Block(block) => self.line(format!("-- {}", output::block_line(&block))).await,
            Announcement::Notice(text) if self.output.json => self.event("notice", json!({ "text": text })).await,
            Announcement::Notice(text) => self.line(format!("-- {text}")).await,
        }
    }

    async fn missed(&mut self, count: u64) {
        let text = format!("{count} messages came faster than they could be shown; /history has them all");
        self.announce(Announcement::Notice(text)).await;
    }

    async fn obey(&mut self, typed: Typed) -> Flow {
        let command = match commands::parse(typed) {
            Ok(Some(command)) => command,
            Ok(None) => return Flow::On,
            Err(error) => {
                self.error(&error).await;
                return Flow::On;
            }
        };
        let shown = match command {
            commands::Command::Quit => return Flow::Quit,
            commands::Command::Help => self.answer("help", &commands::HELP, |help| (*help).to_owned()).await,
            commands::Command::Note(text) => self.mailbox.note(&text).await.map(drop),
            commands::Command::History(limit) => match self.mailbox.history(limit).await {
                Ok(history) => self.answer("history", &history, output::history).await,
                Err(error) => Err(error),
            },
            commands::Command::Send { to, amount } => self.mailbox.send(&to, amount).await.map(drop),
            commands::Command::Vote(ballot) => self.mailbox.vote(ballot).await.map(drop),
            commands::Command::Blocks(limit) => match self.mailbox.blocks(limit).await {
                Ok(blocks) => self.answer("blocks", &blocks, output::blocks).await,
                Err(error) => Err(error),
            },
            commands::Command::Balance => match self.mailbox.balances().await {
                Ok(balances) => self.answer("balance", &balances, output::balances).await,
                Err(error) => Err(error),
            },
            commands::Command::Peers => match self.mailbox.peers().await {
                Ok(peers) => self.answer("peers", &peers, output::peers).await,
                Err(error) => Err(error),
            },
            commands::Command::Group(command) => self.obey_group(command).await,
            commands::Command::Status => match self.mailbox.status().await {
                Ok(status) => self.answer("status", &status, output::status).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = shown {
            self.error(&error).await;
        }
        self.catch_up().await;
        Flow::On
    }

    async fn obey_group(&mut self, command: GroupCommand) -> Result<(), CommandError> {
        match command {
            GroupCommand::List => {
                let groups = self.mailbox.briefs();
                let here = self.mailbox.group().to_string();
                self.answer("group", &groups, |groups| output::briefs(groups, &here)).await
            }
            GroupCommand::Members => {
                let roll = self.mailbox.members().await?;
                self.answer("members", &roll, Roll::text).await
            }
            GroupCommand::Use(word) => {
                let mailbox = self.mailbox.of(&word)?;
                self.catch_up().await;
                self.turn_to(mailbox).await
            }
        }
    }

    /// The console is about another group from now on.
    async fn turn_to(&mut self, mailbox: Mailbox) -> Result<(), CommandError> {
        self.announcements = mailbox.announcements()?;
        self.mailbox = mailbox;
        let here = self.mailbox.group().to_string();
        let brief = self.mailbox.briefs().into_iter().find(|brief| brief.group == here);
        let text = brief.map_or(here, |brief| output::brief(&brief));
        self.announce(Announcement::Notice(format!("this console is about group {text}"))).await;
        Ok(())
    }

    /// The group that the console was about was left, or joined anew: on with it, or with the default.
    async fn look_elsewhere(&mut self) -> Result<(), CommandError> {
        let again = self.mailbox.clone();
        if self.turn_to(again).await.is_ok() {
            return Ok(());
        }
        let default = self.mailbox.of_default()?;
        self.turn_to(default).await
    }

    async fn answer<T: serde::Serialize>(
        &mut self,
        verb: &str,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        // What happened before the answer stands before it.
        self.catch_up().await;
        if self.output.json {
            let value = crate::daemon::to_json(value)?;
            self.event("answer", json!({ "verb": verb, "answer": value })).await;
        } else {
            self.line(text(value).trim_end().to_owned()).await;
        }
        Ok(())
    }

    async fn error(&mut self, error: &CommandError) {
        if self.output.json {
            self.event("error", error.to_json()).await;
        } else {
            self.line(format!("error: {error}")).await;
        }
    }

    async fn event(&mut self, event: &str, mut fields: serde_json::Value) {
        if let Some(object) = fields.as_object_mut() {
            object.insert("event".to_owned(), event.into());
        }
        self.line(fields.to_string()).await;
    }

    async fn line(&mut self, line: String) {
        self.printer.line(line).await;
    }
}
