//! The running node, as a library: a test starts it in-process.
//!
//! ```text
//!                                        ┌── task of a group ─┐
//!  console ─┐                    ┌─ host ─▶│ Member: the group  │─ batch ─▶ disk (group commit)
//!  control ─┼─ Mailbox ─ verbs ──┘        │ and its links      │◀─ durable ─┘
//!  tests  ──┘                             │                    │
//!  transports ───────────────── events ──▶│                    │
//!                                        └─── then: answers, announcements, messages to others
//! ```
//! Rules:
//! - A node may have several groups, each with a task that owns it; everybody else holds a [`Mailbox`]. What the groups share is the key, the disk and the
//!   control socket.
//! - The task works in rounds: take what is waiting, change the group, commit, and only then answer, announce and send. So nothing is
//!   ever shown, acknowledged or sent that a crash could undo.
//! - A disk that fails stops the node, loudly: what is in memory and not on disk must not be built upon.

mod audit;
mod direct;
pub mod disk;
pub mod exchange;
pub mod glance;
pub mod groups;
mod host;
pub mod import;
pub mod invited;
pub mod membership;
pub mod offline;
pub mod roll;
mod task;
mod ways;

pub(crate) use offline::to_json;
pub mod view;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use side_ledger::{Genesis, GroupId};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::direct::Direct;
use self::groups::{GroupAction, GroupBrief};
use self::host::{Ended, Host};
use self::ways::Connector;
use crate::api::control::{self, Verb};
use crate::api::server::ControlServer;
use crate::btc::settings::{BtcSettings, Layer};
use crate::btc::swaps::service::Service;
use crate::btc::swaps::{ChainPlace, GroupLink};
use crate::config::ConfigFile;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::web::place::PagePlace;
use crate::web::{self, place};

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
    /// Where the page is served as flag or environment say, if they do.
    pub page: Option<PagePlace>,
}

impl DaemonConfig {
    /// Runs the node at `home` with what its folder says.
    pub fn new(root: Root, home: NodeHome) -> Self {
        Self { root, home, relay: None, trust_this_copy: false, max_store_bytes: None, page: None }
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

/// The way to a running node, about one of its groups. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    host: Arc<Host>,
    group: GroupId,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({:?})", self.group)
    }
}

impl Mailbox {
    /// Asks a verb about this mailbox's group; the answer is in the form that the control protocol gives.
    pub async fn ask(&self, verb: Verb) -> Result<serde_json::Value, CommandError> {
        self.host.ask(&self.group, verb).await
    }

    /// Asks about the group that a word means, or about the node's default group.
    pub async fn ask_in(&self, group: Option<&str>, verb: Verb) -> Result<serde_json::Value, CommandError> {
        let group = match &verb {
            // Names its groups itself.
            Verb::Groups { .. } | Verb::Backup { .. } => self.group,
            _ => self.host.choose(group)?,
        };
        self.host.ask(&group, verb).await
    }

    /// The mailbox of the group that a word means.
    pub fn of(&self, group: &str) -> Result<Self, CommandError> {
        Ok(Self { host: self.host.clone(), group: self.host.choose(Some(group))? })
    }

    /// The mailbox of the group that is the default now.
    pub fn of_default(&self) -> Result<Self, CommandError> {
        Ok(Self { host: self.host.clone(), group: self.host.choose(None)? })
    }

    /// The group's id.
    pub fn group(&self) -> GroupId {
        self.group
    }

    pub(crate) async fn typed<T: DeserializeOwned>(&self, verb: Verb) -> Result<T, CommandError> {
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

    /// Does something about the node's groups, or asks about them.
    pub async fn groups<T: DeserializeOwned>(&self, action: GroupAction) -> Result<T, CommandError> {
        self.typed(Verb::Groups { action }).await
    }

    /// Who belongs to the group.
    pub async fn members(&self) -> Result<roll::Roll, CommandError> {
        self.typed(Verb::Members).await
    }

    /// Why nothing more is stored, if so.
    pub fn disk_failure(&self) -> Option<CommandError> {
        self.host.disk_failure()
    }

    /// The group at a glance.
    pub async fn glance(&self) -> Result<glance::Glance, CommandError> {
        self.typed(Verb::Glance { unlike: None }).await
    }

    /// The revision of what a glance at the group shows: whoever waits for it to change misses nothing, and is told once of many changes. Fails if the group does
    /// not run; it counts on where its task ends, so ask for a new one where the group has begun anew.
    pub fn revisions(&self) -> Result<watch::Receiver<u64>, CommandError> {
        self.host.revisions(&self.group)
    }

    /// What the group is founded on.
    pub fn genesis(&self) -> Result<Genesis, CommandError> {
        self.host.genesis(&self.group)
    }

    /// Waits until the group does not run any more, and says why.
    pub async fn gone(&self) -> CommandError {
        self.host.gone(&self.group).await
    }

    /// Something that belongs to no group alone, such as a swap, has changed what a glance shows.
    pub fn stir(&self) {
        self.host.stir();
    }

    /// How it stands with each group of the node, briefly.
    pub fn briefs(&self) -> Vec<GroupBrief> {
        self.host.briefs()
    }

    /// What happens in the group from now on. Fails if it does not run; closed once it is left.
    pub fn announcements(&self) -> Result<broadcast::Receiver<Announcement>, CommandError> {
        self.host.announcer(&self.group).map(|announcer| announcer.subscribe())
    }
}

/// How a running node ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its new key has taken the old one's place: it is to [begin anew](Daemon::begin_anew).
    NewKey,
    /// It had to stop.
    Failed(CommandError),
}

/// A node that runs in this process.
pub struct Daemon {
    /// With what it begins anew.
    config: DaemonConfig,
    /// Of the group that the console is about at first.
    mailbox: Mailbox,
    ready: Ready,
    stop: CancellationToken,
    /// Ends when the groups have.
    host: JoinHandle<Result<Ended, CommandError>>,
    control: JoinHandle<()>,
    /// If a page is served.
    page: Option<JoinHandle<()>>,
    swaps: JoinHandle<()>,
    /// What was announced since the very start.
    announcements: Option<broadcast::Receiver<Announcement>>,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Daemon({})", self.ready.status.node)
    }
}

impl Daemon {
    /// Opens the folder, starts a task for each group, the control socket and the ways to others. When this returns the node serves.
    pub async fn start(config: DaemonConfig) -> Result<Self, CommandError> {
        let again = DaemonConfig { trust_this_copy: false, ..config.clone() };
        let DaemonConfig { root, home, relay, trust_this_copy, max_store_bytes, page } = config;
        let file = ConfigFile::load(&home.config_file())?;
        let environment = Layer::from_environment(|name| std::env::var(name).ok())?;
        // Watching never needs another word for real money: it only brings home what is out.
        let bitcoin = BtcSettings::resolve(&[environment, file.bitcoin.clone()], true)?;
        let opening = {
            let (root, home) = (root.clone(), home.clone());
            tokio::task::spawn_blocking(move || {
                let mut opened = disk::open(&root, &home, trust_this_copy, max_store_bytes)?;
                if let Err(error) = opened.store.reserve_log() {
                    tracing::debug!(%error, "no room was set aside for the log of the database");
                }
                Ok::<_, CommandError>(opened)
            })
        };
        let opened = opening.await.map_err(|e| CommandError::bug(format!("the node could not be opened: {e}")))??;
        let keypair = opened.keypair.clone();
        let (disk, folder, lock) = disk::Disk::start(opened)?;
        let server = ControlServer::bind(&home)?;
        let page = page.or(file.page).unwrap_or_default();
        let page = {
            let (root, home) = (root.clone(), home.clone());
            tokio::task::spawn_blocking(move || place::bind(&root, &home, page))
        };
        let page = page.await.map_err(|e| CommandError::bug(format!("the page could not be started: {e}")))??;
        let direct = Direct::start(root, home.clone(), keypair.clone(), &file, folder.invited()).await?;
        let connector = Connector { keypair, relay, file, direct };
        let stop = CancellationToken::new();
        let started = Host::start(Arc::new(folder), Arc::new(disk), connector, stop.clone()).await?;
        let mailbox = Mailbox { host: started.host.clone(), group: started.front };
        let page = page.map(|listener| start_page(listener, &started.host, &mailbox, &stop)).transpose()?;
        let ready = Ready { status: mailbox.status().await? };
        let service = Service {
            home,
            servers: vec![ChainPlace {
                chain: bitcoin.network.name().parse().expect("a network's name is a chain's: a test reads them"),
                servers: bitcoin.servers,
            }],
            poll: bitcoin.poll,
            announcements: started.host.announcer(&started.front)?,
            link: GroupLink::Running(mailbox.clone()),
        };
        let swaps = tokio::spawn(service.run(stop.clone()));
        let control = tokio::spawn(server.serve(mailbox.clone(), stop.clone()));
        let host = tokio::spawn(async move {
            let ended = started.host.supervise(started.ended, started.replaced).await;
            // The folder is free once everything in it is at rest.
            drop(lock);
            ended
        });
        let announcements = Some(started.announcements);
        Ok(Self { config: again, mailbox, ready, stop, host, control, page, swaps, announcements })
    }

    /// The way to the node.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// What the node was when it started.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Everything that was announced in the mailbox's group since the start; the second time, what happens from then on, if the group runs.
    pub fn take_announcements(&mut self) -> broadcast::Receiver<Announcement> {
        let taken = self.announcements.take().or_else(|| self.mailbox.announcements().ok());
        taken.unwrap_or_else(|| broadcast::channel(1).1)
    }

    /// Resolves when the node ends by itself: if it must, or to begin anew under another key.
    pub async fn ends(&mut self) -> End {
        match (&mut self.host).await {
            Ok(Err(error)) => End::Failed(error),
            Ok(Ok(Ended::NewKey)) => End::NewKey,
            Ok(Ok(Ended::Stopped)) => End::Failed(CommandError::bug("the node stopped without a reason")),
            Err(error) => End::Failed(CommandError::bug(format!("the node ended: {error}"))),
        }
    }

    /// Begins anew in the same folder after the node has ended for that.
    pub async fn begin_anew(&mut self) -> Result<(), CommandError> {
        self.stop.cancel();
        // Whoever serves the socket and the page has them still.
        let _ = (&mut self.control).await;
        if let Some(page) = self.page.take() {
            let _ = page.await;
        }
        let _ = (&mut self.swaps).await;
        *self = Self::start(self.config.clone()).await?;
        Ok(())
    }

    /// Stops the node in good order: what was accepted is on disk, the socket is gone, the folder is free.
    pub async fn stop(self) -> Result<(), CommandError> {
        self.stop.cancel();
        let ended = match self.host.await {
            Ok(ended) => ended.map(drop),
            Err(error) => Err(CommandError::bug(format!("the node ended: {error}"))),
        };
        let _ = self.control.await;
        if let Some(page) = self.page {
            let _ = page.await;
        }
        let _ = self.swaps.await;
        ended
    }
}

fn start_page(
    listener: std::net::TcpListener,
    host: &Host,
    mailbox: &Mailbox,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>, CommandError> {
    let failed = |e: std::io::Error| CommandError::io("cannot serve the page", &e);
    host.set_page(web::url(listener.local_addr().map_err(failed)?));
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    Ok(tokio::spawn(web::serve(listener, mailbox.clone(), stop.clone())))
}
