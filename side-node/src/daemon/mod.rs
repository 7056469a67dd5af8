//! The running node, as a library: a test starts it in-process.
//!
//! ```text
//!  console ─┐                    ┌────── task ──────┐
//!  control ─┼─ Mailbox ─ verbs ─▶│ Member: the group │─ batch ─▶ disk (group commit)
//!  tests  ──┘                    │ and its links     │◀─ durable ─┘
//!  transports ──────── events ──▶│                   │
//!                                └──── then: answers, announcements, messages to others
//! ```
//! Rules:
//! - One task owns the group; everybody else holds a [`Mailbox`].
//! - The task works in rounds: take what is waiting, change the group, commit, and only then answer, announce and send. So nothing is
//!   ever shown, acknowledged or sent that a crash could undo.
//! - A disk that fails stops the node, loudly: what is in memory and not on disk must not be built upon.

mod audit;
pub mod disk;
pub mod groups;
pub mod invited;
pub mod membership;
pub mod offline;
mod task;

pub(crate) use offline::to_json;
pub mod view;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::groups::Folder;
use crate::api::control::{self, Verb};
use crate::api::server::ControlServer;
use crate::btc::settings::{BtcSettings, Layer};
use crate::btc::swaps::service::Service;
use crate::btc::swaps::{ChainPlace, GroupLink};
use crate::config::{ConfigFile, Settings};
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::net::relay::{Relay, RelayConfig};

/// Verbs that wait for the task.
const MAILBOX: usize = 256;
/// Events of all transports of a group that wait for the task. Whoever has more waits, and so does the peer behind it.
const EVENTS: usize = 256;
/// Announcements that wait for the slowest listener; who is further behind is told how many it missed.
const ANNOUNCEMENTS: usize = 4096;

/// How to run a node.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The root.
    pub root: Root,
    /// The node's folder.
    pub home: NodeHome,
    /// The relay's address as flag or environment say, if they do.
    pub relay: Option<String>,
    /// Declares that a restored or copied database is the latest one.
    pub trust_this_copy: bool,
    /// Most bytes of the database: a quota below that of the disk.
    pub max_store_bytes: Option<u64>,
}

impl DaemonConfig {
    /// Runs the node at `home` with what its folder says.
    pub fn new(root: Root, home: NodeHome) -> Self {
        Self { root, home, relay: None, trust_this_copy: false, max_store_bytes: None }
    }
}

/// Something that the people at the console want to see.
#[derive(Debug, Clone)]
pub enum Announcement {
    /// A new entry, on disk.
    Entry {
        /// The entry.
        entry: Box<view::Line>,
        /// Whether this node wrote it.
        own: bool,
    },
    /// Where an own transaction stands has changed: a block covers it.
    Standing(Box<view::Line>),
    /// A new block at the end of the chain.
    Block(Box<view::BlockLine>),
    /// A sentence.
    Notice(String),
}

/// What a node is when it starts, for the ready line.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The status at that moment.
    pub status: view::Status,
}

/// A question to the task.
struct Ask {
    verb: Verb,
    reply: oneshot::Sender<Result<serde_json::Value, CommandError>>,
}

/// The way to a running node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mailbox {
    asks: mpsc::Sender<Ask>,
    announcements: broadcast::Sender<Announcement>,
    folder: Arc<Folder>,
}

impl Mailbox {
    /// Asks a verb; the answer is in the form that the control protocol gives.
    pub async fn ask(&self, verb: Verb) -> Result<serde_json::Value, CommandError> {
        let stopping = || CommandError::remote("the node is stopping");
        let not_taken = || stopping().hint("start it again and repeat the command").busy();
        let unanswered = if verb.only_reads() { not_taken() } else { stopping().hint(control::UNKNOWN_OUTCOME) };
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { verb, reply }).await.map_err(|_| not_taken())?;
        answer.await.map_err(|_| unanswered)?
    }

    /// [`Mailbox::ask`] about the group that `group` names, if it does.
    pub async fn ask_in(&self, group: Option<&str>, verb: Verb) -> Result<serde_json::Value, CommandError> {
        if let Verb::Groups { action } = verb {
            let folder = Arc::clone(&self.folder);
            let answer = tokio::task::spawn_blocking(move || folder.obey(&action));
            return answer.await.map_err(|e| CommandError::bug(format!("the groups could not be changed: {e}")))?;
        }
        let memberships = self.folder.memberships();
        if let Some(word) = group
            && memberships.choose(Some(word))?.group() != memberships.default().group()
        {
            return Err(CommandError::user(format!("the running node serves its default group only, not {word:?}"))
                .hint("stop it for commands about its other groups"));
        }
        self.ask(verb).await
    }

    async fn typed<T: DeserializeOwned>(&self, verb: Verb) -> Result<T, CommandError> {
        let value = self.ask(verb).await?;
        serde_json::from_value(value).map_err(|e| CommandError::bug(format!("an answer has another form: {e}")))
    }

    /// Writes a note; it is on disk when this returns.
    pub async fn note(&self, text: &str) -> Result<view::Accepted, CommandError> {
        self.typed(Verb::Note { text: text.to_owned() }).await
    }

    /// The history, or its last entries.
    pub async fn history(&self, limit: Option<u64>) -> Result<view::History, CommandError> {
        self.typed(Verb::History { limit }).await
    }

    /// The status.
    pub async fn status(&self) -> Result<view::Status, CommandError> {
        self.typed(Verb::Status).await
    }

    /// The members.
    pub async fn peers(&self) -> Result<view::Peers, CommandError> {
        self.typed(Verb::Peers).await
    }

    /// Gives some of the group's unit to a node; it is on disk when this returns, and counts once a block has it.
    pub async fn send(&self, to: &str, amount: u64) -> Result<view::Accepted, CommandError> {
        self.typed(Verb::Send { to: to.to_owned(), amount }).await
    }

    /// Votes; it is on disk when this returns.
    pub async fn vote(&self, ballot: control::Ballot) -> Result<view::Accepted, CommandError> {
        self.typed(Verb::Vote { ballot }).await
    }

    /// The last blocks.
    pub async fn blocks(&self, limit: u64) -> Result<view::Blocks, CommandError> {
        self.typed(Verb::Blocks { limit }).await
    }

    /// Who owns what.
    pub async fn balances(&self) -> Result<view::Balances, CommandError> {
        self.typed(Verb::Balance).await
    }

    /// What happens from now on.
    pub fn announcements(&self) -> broadcast::Receiver<Announcement> {
        self.announcements.subscribe()
    }
}

/// A node that runs in this process.
#[derive(Debug)]
pub struct Daemon {
    mailbox: Mailbox,
    ready: Ready,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CommandError>>,
    control: JoinHandle<()>,
    swaps: JoinHandle<()>,
    /// What was announced since the very start.
    announcements: Option<broadcast::Receiver<Announcement>>,
}

impl Daemon {
    /// Opens the folder, starts the task, the control socket and the way to the relay. When this returns the node serves.
    pub async fn start(config: DaemonConfig) -> Result<Self, CommandError> {
        let DaemonConfig { root, home, relay, trust_this_copy, max_store_bytes } = config;
        let file = ConfigFile::load(&home.config_file())?;
        let environment = Layer::from_environment(|name| std::env::var(name).ok())?;
        // Watching never needs another word for real money: it only brings home what is out.
        let bitcoin = BtcSettings::resolve(&[environment, file.bitcoin.clone()], true)?;
        let opening = {
            let (root, home) = (root.clone(), home.clone());
            tokio::task::spawn_blocking(move || disk::open(&root, &home, None, trust_this_copy, max_store_bytes))
        };
        let opened = opening.await.map_err(|e| CommandError::bug(format!("the node could not be opened: {e}")))??;
        let settings = Settings::resolve(relay, 0, file, &opened.known_relays)?;
        let server = ControlServer::bind(&home)?;
        let folder = Arc::new(Folder::open(&root, &home, opened.member.author())?);

        let (announcements, first) = broadcast::channel(ANNOUNCEMENTS);
        let (asks, inbox) = mpsc::channel(MAILBOX);
        let mailbox = Mailbox { asks, announcements, folder };
        let stop = CancellationToken::new();
        let (events, from_net) = mpsc::channel(EVENTS);
        let relay = RelayConfig {
            url: settings.relay,
            named: settings.relay_named,
            keypair: opened.member.keypair().clone(),
            genesis: opened.member.genesis().clone(),
        };
        let relay = Relay::spawn(relay, events);
        let ways = task::Ways { events: from_net, relay, others: Vec::new() };
        let mut task = task::Task::new(opened, ways, offline::local_names(root), inbox, mailbox.announcements.clone())?;
        task.begin().await?;
        let ready = Ready { status: task.status() };
        let task = tokio::spawn(task.run(stop.clone()));
        let service = Service {
            home,
            servers: vec![ChainPlace {
                chain: bitcoin.network.name().parse().expect("a network's name is a chain's: a test reads them"),
                servers: bitcoin.servers,
            }],
            poll: bitcoin.poll,
            link: GroupLink::Running(mailbox.clone()),
            announcements: mailbox.announcements.clone(),
        };
        let swaps = tokio::spawn(service.run(stop.clone()));
        let control = tokio::spawn(server.serve(mailbox.clone(), stop.clone()));
        Ok(Self { mailbox, ready, stop, task, control, swaps, announcements: Some(first) })
    }

    /// The way to the node.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// What the node was when it started.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Everything that was announced since the start; once.
    pub fn take_announcements(&mut self) -> broadcast::Receiver<Announcement> {
        self.announcements.take().unwrap_or_else(|| self.mailbox.announcements())
    }

    /// Resolves when the node stops by itself, which it does only if it must.
    pub async fn failed(&mut self) -> CommandError {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => CommandError::bug("the node stopped without a reason"),
            Err(error) => CommandError::bug(format!("the node's task ended: {error}")),
        }
    }

    /// Stops the node in good order: what was accepted is on disk, the socket is gone, the folder is free.
    pub async fn stop(self) -> Result<(), CommandError> {
        self.stop.cancel();
        let ended = match self.task.await {
            Ok(ended) => ended,
            Err(error) => Err(CommandError::bug(format!("the node's task ended: {error}"))),
        };
        let _ = self.control.await;
        let _ = self.swaps.await;
        ended
    }
}
