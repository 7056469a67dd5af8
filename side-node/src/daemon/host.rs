//! The groups of a running node: a task for each, begun and ended while the others go on.
//!
//! ```text
//!                        ┌─▶ task of group 1 ─┐
//!  mailbox ── ask ──▶ host ─▶ task of group 2 ─┼─▶ disk (one database, one at a time)
//!                        └─▶ …                ─┘
//! ```
//! - Each task has a thread of its own, on which it may wait for the disk.
//! - Which group is meant is decided here; what it answers, by its task.
//! - A group that fails is shown with its reason and stops no other. A disk that fails stops all of them: what is in memory and not on disk must not be
//!   built upon.
//! - What is done about the node's groups is done one after the other: on disk first, then to the tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use side_ledger::invitation::Checkpoint;
use side_ledger::{Genesis, GroupId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::groups::{Folder, GroupAction, GroupBrief};
use super::membership::Membership;
use super::offline::{complete_glance, to_json};
use super::roll::Mark;
use super::task::{Brief, Task, Told};
use super::ways::Connector;
use super::{Announcement, Ask};
use crate::api::control::{self, MAX_GLANCE_WAIT, Verb};
use crate::error::CommandError;
use crate::output::printable;
use crate::rotation;

/// Verbs that wait for a group's task.
const MAILBOX: usize = 256;
/// Announcements that wait for the slowest listener; who is further behind is told how many it missed.
const ANNOUNCEMENTS: usize = 4096;

/// How a group's task ended; nothing while it runs.
type Outcome = Option<Result<(), CommandError>>;

/// A group's task, and the way to it.
struct Begun {
    asks: mpsc::Sender<Ask>,
    announcements: broadcast::Sender<Announcement>,
    brief: watch::Receiver<Brief>,
    revision: watch::Sender<u64>,
    stop: CancellationToken,
    outcome: watch::Receiver<Outcome>,
}

/// What became of a group of the node.
enum Place {
    Begun(Begun),
    /// It could not be started.
    Failed(CommandError),
}

impl Place {
    fn runs(&self) -> bool {
        matches!(self, Self::Begun(begun) if begun.outcome.borrow().is_none())
    }

    /// Why it does not run, if something went wrong.
    fn problem(&self) -> Option<CommandError> {
        match self {
            Self::Failed(error) => Some(error.clone()),
            Self::Begun(begun) => begun.outcome.borrow().clone()?.err(),
        }
    }
}

/// The groups of a running node.
pub(super) struct Host {
    folder: Arc<Folder>,
    disk: Arc<Disk>,
    connector: Connector,
    places: Mutex<BTreeMap<GroupId, Place>>,
    /// One action at a time.
    acting: tokio::sync::Mutex<()>,
    /// Which tasks have ended, for the supervisor. As many at most as groups were begun.
    ended: mpsc::UnboundedSender<GroupId>,
    /// Which groups let the node go on under its next key. As many at most as groups were begun.
    replaced: mpsc::UnboundedSender<GroupId>,
    stop: CancellationToken,
    /// Where the node's page is, once one is served.
    page: OnceLock<String>,
}

/// What comes out of [`Host::start`].
pub(super) struct Started {
    pub(super) host: Arc<Host>,
    /// The group that the console is about: the default, or the first that runs where that failed.
    pub(super) front: GroupId,
    /// What was announced in it since the very start.
    pub(super) announcements: broadcast::Receiver<Announcement>,
    pub(super) ended: mpsc::UnboundedReceiver<GroupId>,
    /// Which groups let the node go on under its next key.
    pub(super) replaced: mpsc::UnboundedReceiver<GroupId>,
}

/// Why a node ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// Its new key has taken the old one's place: it is to begin anew.
    NewKey,
}

impl Host {
    /// Begins all groups of the node. Fails if none of them can be.
    pub(super) async fn start(
        folder: Arc<Folder>,
        disk: Arc<Disk>,
        connector: Connector,
        stop: CancellationToken,
    ) -> Result<Started, CommandError> {
        let (report, ended) = mpsc::unbounded_channel();
        let (let_go, replaced) = mpsc::unbounded_channel();
        let memberships = folder.memberships();
        let default = memberships.default().group();
        let host = Arc::new(Self {
            folder,
            disk,
            connector,
            places: Mutex::default(),
            acting: tokio::sync::Mutex::default(),
            ended: report,
            replaced: let_go,
            stop,
            page: OnceLock::new(),
        });
        let mut front = None;
        let mut failures = Vec::new();
        for membership in memberships.iter() {
            match host.begin(membership).await {
                Ok(announcements) if front.is_none() || membership.group() == default => {
                    front = Some((membership.group(), announcements));
                }
                Ok(_) => {}
                Err(error) => failures.push((membership.alias.clone(), error)),
            }
        }
        let Some((front, announcements)) = front else {
            let (_, error) = failures.into_iter().next().ok_or_else(|| CommandError::bug("a node has no group"))?;
            return Err(error);
        };
        for notice in &host.connector.direct.notices {
            host.tell(notice);
        }
        for (alias, error) in failures {
            host.tell(&format!("group {alias} cannot be started: {error}"));
        }
        Ok(Started { host, front, announcements, ended, replaced })
    }

    /// Begins a group's task in place of one that has ended; what it announces from the first moment on.
    async fn begin(&self, membership: &Membership) -> Result<broadcast::Receiver<Announcement>, CommandError> {
        let group = membership.group();
        let (announcements, first) = broadcast::channel(ANNOUNCEMENTS);
        let begun = self.try_begin(membership, announcements).await;
        let failure = begun.as_ref().err().cloned();
        self.places().insert(group, begun.map_or_else(Place::Failed, Place::Begun));
        failure.map_or(Ok(first), Err)
    }

    async fn try_begin(
        &self,
        membership: &Membership,
        announcements: broadcast::Sender<Announcement>,
    ) -> Result<Begun, CommandError> {
        let group = membership.group();
        let member = self.disk.member(membership.clone()).await?;
        let ways = self.connector.ways(membership)?;
        let (asks, inbox) = mpsc::channel(MAILBOX);
        let (briefs, brief) = watch::channel(Brief::default());
        let disk = (self.disk.clone(), self.folder.clone());
        let revision = watch::Sender::new(1);
        let told = Told {
            announcements: announcements.clone(),
            brief: briefs,
            revision: revision.clone(),
            replaced: self.replaced.clone(),
        };
        let task = Task::new(member, disk, ways, inbox, told)?;
        let stop = self.stop.child_token();
        let (told, outcome) = watch::channel(None);
        let (first, begun) = oneshot::channel();
        let running = on_own_thread(group, run_task(task, first, stop.clone()))?;
        begun.await.unwrap_or_else(|_| Err(CommandError::bug("a group's task has panicked")))?;
        let report = self.ended.clone();
        tokio::spawn(async move {
            let ended = running.await.unwrap_or_else(|_| Err(CommandError::bug("a group's task has panicked")));
            told.send_replace(Some(ended));
            // Nobody listens once the node stops.
            let _ = report.send(group);
        });
        Ok(Begun { asks, announcements, brief, revision, stop, outcome })
    }

    /// Ends a group's task and waits until it has.
    async fn end(&self, group: &GroupId) {
        let outcome = match self.places().get(group) {
            Some(Place::Begun(begun)) => {
                begun.stop.cancel();
                Some(begun.outcome.clone())
            }
            _ => None,
        };
        if let Some(mut outcome) = outcome {
            let _ = outcome.wait_for(Option::is_some).await;
        }
        self.places().remove(group);
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<GroupId, Place>> {
        // Each change of the map is one step, so a panic elsewhere leaves it good.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says a sentence wherever somebody listens.
    fn tell(&self, text: &str) {
        for place in self.places().values() {
            if let Place::Begun(begun) = place {
                let _ = begun.announcements.send(Announcement::Notice(text.to_owned()));
            }
        }
    }

    /// The group that a word means, or the default.
    pub(super) fn choose(&self, word: Option<&str>) -> Result<GroupId, CommandError> {
        self.folder.memberships().choose(word).map(Membership::group)
    }

    /// The sending end of what a group announces.
    pub(super) fn announcer(&self, group: &GroupId) -> Result<broadcast::Sender<Announcement>, CommandError> {
        match self.places().get(group) {
            Some(Place::Begun(begun)) => Ok(begun.announcements.clone()),
            other => Err(not_running(other)),
        }
    }

    /// How often what a glance at a group shows has changed; closed once its task has ended.
    pub(super) fn revisions(&self, group: &GroupId) -> Result<watch::Receiver<u64>, CommandError> {
        match self.places().get(group) {
            Some(Place::Begun(begun)) => Ok(begun.revision.subscribe()),
            other => Err(not_running(other)),
        }
    }

    /// What a group of the node is founded on.
    pub(super) fn genesis(&self, group: &GroupId) -> Result<Genesis, CommandError> {
        let memberships = self.folder.memberships();
        let membership = memberships.get(group).ok_or_else(|| not_running(None))?;
        Ok(membership.invitation.genesis().clone())
    }

    /// Waits until a group does not run any more.
    pub(super) async fn gone(&self, group: &GroupId) -> CommandError {
        let (stop, mut outcome) = match self.places().get(group) {
            Some(Place::Begun(begun)) => (begun.stop.clone(), begun.outcome.clone()),
            other => return not_running(other),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = outcome.wait_for(Option::is_some) => {}
        }
        match outcome.borrow().as_ref() {
            Some(Err(error)) => error.clone(),
            _ if self.stop.is_cancelled() => CommandError::remote("the node is stopping"),
            _ => CommandError::remote("the node does not run this group any more"),
        }
    }

    /// Something that belongs to no group alone has changed what a glance shows.
    pub(super) fn stir(&self) {
        for place in self.places().values() {
            if let Place::Begun(begun) = place {
                begun.revision.send_modify(|revision| *revision += 1);
            }
        }
    }

    /// Waits until a glance at a group has another revision than this one, for a while.
    async fn wait_for_news(&self, group: &GroupId, unlike: u64) -> Result<(), CommandError> {
        let mut revisions = self.revisions(group)?;
        let changed = revisions.wait_for(|revision| *revision != unlike);
        tokio::select! {
            // Closed or not: whoever is asked next says how it stands.
            _ = tokio::time::timeout(MAX_GLANCE_WAIT, changed) => Ok(()),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// Asks a group.
    pub(super) async fn ask(&self, group: &GroupId, verb: Verb) -> Result<serde_json::Value, CommandError> {
        if let Verb::Groups { action } = verb {
            return self.act(action).await;
        }
        if let Verb::Backup { to } = verb {
            return self.disk.copy(to).await.map(|()| serde_json::Value::Null);
        }
        if let Verb::Glance { unlike: Some(unlike) } = verb {
            self.wait_for_news(group, unlike).await?;
        }
        let (is_status, is_glance) = (matches!(verb, Verb::Status), matches!(verb, Verb::Glance { .. }));
        let stopping = || CommandError::remote("the node is stopping");
        let not_taken = || stopping().hint("start it again and repeat the command").busy();
        let unanswered = if verb.only_reads() { not_taken() } else { stopping().hint(control::UNKNOWN_OUTCOME) };
        let asks = match self.places().get(group) {
            Some(place @ Place::Begun(begun)) if place.problem().is_none() => begun.asks.clone(),
            other => return Err(not_running(other)),
        };
        let (reply, answer) = oneshot::channel();
        asks.send(Ask { verb, reply }).await.map_err(|_| not_taken())?;
        let mut answer = answer.await.map_err(|_| unanswered)?;
        if let (true, Ok(serde_json::Value::Object(status))) = (is_status, &mut answer) {
            status.insert("groups".to_owned(), to_json(&self.briefs())?);
            status.insert("page".to_owned(), to_json(&self.page.get())?);
        }
        if is_glance {
            let (glance, briefs, page) = (answer?, self.briefs(), self.page.get().cloned());
            return self.on_disk(move |folder| complete_glance(folder.home(), glance, &briefs, page)).await;
        }
        answer
    }

    /// Says where the node's page is.
    pub(super) fn set_page(&self, url: String) {
        let _ = self.page.set(url);
    }

    /// Why nothing more is stored, if so.
    pub(super) fn disk_failure(&self) -> Option<CommandError> {
        self.disk.failure()
    }

    /// How it stands with each group, briefly.
    pub(super) fn briefs(&self) -> Vec<GroupBrief> {
        let places = self.places();
        let mut briefs = self.folder.briefs();
        for brief in &mut briefs {
            let place = GroupId::from_hex(&brief.group).and_then(|group| places.get(&group));
            brief.running = place.is_some_and(Place::runs);
            brief.problem = place.and_then(Place::problem).map(|error| error.message().to_owned());
            if let Some(Place::Begun(begun)) = place {
                let Brief { height, changes, entries, links } = *begun.brief.borrow();
                (brief.height, brief.changes, brief.entries, brief.links) =
                    (Some(height), Some(changes), Some(entries), Some(links));
            }
        }
        briefs
    }

    /// Does something about the node's groups.
    async fn act(&self, action: GroupAction) -> Result<serde_json::Value, CommandError> {
        let _one = self.acting.lock().await;
        match action {
            GroupAction::Join { invitation, alias } => {
                let before = self.folder.memberships();
                let joined = self.on_disk(move |folder| folder.join(&invitation, alias.as_deref())).await?;
                let now = self.folder.memberships();
                let membership = now.get(&joined.group);
                let membership = membership.ok_or_else(|| CommandError::bug("a joined group is not on the list"))?;
                let known = before.get(&joined.group).is_some_and(|known| known.invitation == membership.invitation);
                let runs = self.places().get(&joined.group).is_some_and(Place::runs);
                if !(known && runs) {
                    // Whoever comes with another invitation knows other ways to the group.
                    self.end(&joined.group).await;
                    self.begin(membership).await?;
                }
                to_json(&self.folder.entered(&joined, true)?)
            }
            GroupAction::Leave { group } => {
                let left = self.on_disk(move |folder| folder.leave(&group)).await?;
                if let Some(group) = GroupId::from_hex(&left.group) {
                    self.end(&group).await;
                }
                to_json(&left)
            }
            GroupAction::Invite(options) => {
                let group = self.choose(options.group.as_deref())?;
                let checkpoint = match options.no_checkpoint {
                    true => None,
                    false => self.checkpoint(&group).await?,
                };
                to_json(&self.on_disk(move |folder| folder.invite(&options, checkpoint)).await?)
            }
            other => self.on_disk(move |folder| folder.obey(&other)).await,
        }
    }

    async fn checkpoint(&self, group: &GroupId) -> Result<Option<Checkpoint>, CommandError> {
        let answer = Box::pin(self.ask(group, Verb::Checkpoint)).await?;
        let mark: Option<Mark> = serde_json::from_value(answer)
            .map_err(|e| CommandError::bug(format!("a checkpoint has another form: {e}")))?;
        Ok(mark.and_then(|mark| mark.checkpoint()))
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, CommandError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let folder = self.folder.clone();
        let working = tokio::task::spawn_blocking(move || work(&folder));
        working.await.map_err(|e| CommandError::bug(format!("the groups could not be changed: {e}")))?
    }

    /// Waits until the node is to stop or must, then ends all groups in good order and closes the database.
    pub(super) async fn supervise(
        self: Arc<Self>,
        mut ended: mpsc::UnboundedReceiver<GroupId>,
        mut replaced: mpsc::UnboundedReceiver<GroupId>,
    ) -> Result<Ended, CommandError> {
        let mut let_go = BTreeSet::new();
        let outcome = loop {
            // A node has one key: it goes on under another one when all its groups have that one.
            if !let_go.is_empty() && self.folder.memberships().iter().all(|group| let_go.contains(&group.group())) {
                self.tell("all groups have this node's new key: it goes on under that one now");
                break Ok(Ended::NewKey);
            }
            let group = tokio::select! {
                () = self.stop.cancelled() => break Ok(Ended::Stopped),
                Some(group) = replaced.recv() => {
                    let_go.insert(group);
                    continue;
                }
                () = self.connector.direct.p2p().failed() => {
                    break Err(CommandError::bug("the network thread has ended by itself"));
                }
                Some(group) = ended.recv() => group,
            };
            if let Some(error) = self.disk.failure() {
                break Err(error);
            }
            // A group that was left is not there any more.
            let Some(error) = self.places().get(&group).and_then(Place::problem) else { continue };
            if !self.places().values().any(Place::runs) {
                break Err(error);
            }
            tracing::error!(%group, %error, "a group has failed; the others go on");
            let alias = self.folder.memberships().get(&group).map(|membership| membership.alias.to_string());
            self.tell(&format!("group {} has failed: {error}", alias.unwrap_or_default()));
        };
        self.stop.cancel();
        let outcomes: Vec<_> = self
            .places()
            .values()
            .filter_map(|place| match place {
                Place::Begun(begun) => Some(begun.outcome.clone()),
                Place::Failed(_) => None,
            })
            .collect();
        for mut one in outcomes {
            let _ = one.wait_for(Option::is_some).await;
        }
        self.connector.direct.stop().await;
        let outcome = match self.disk.failure() {
            Some(error) => Err(error),
            None => outcome,
        };
        let closed = self.disk.close().await;
        let outcome = outcome.and_then(|ended| closed.map(|()| ended));
        if outcome == Ok(Ended::NewKey) {
            // The folder's lock is held until this is over, and the database is closed.
            self.on_disk(|folder| rotation::switch(folder.root(), folder.home())).await?;
        }
        outcome
    }
}

/// A group's task from its first round on; `first` is told how that went.
async fn run_task(
    mut task: Task,
    first: oneshot::Sender<Result<(), CommandError>>,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let begun = task.begin().await;
    let failure = begun.as_ref().err().cloned();
    // Whoever began it waits for this, or the node stops.
    let _ = first.send(begun);
    match failure {
        Some(error) => Err(error),
        None => task.run(stop).await,
    }
}

/// Runs a group's task on a thread of its own, with the runtime's timers: what it waits for is the disk, mostly, and there it may wait without keeping anybody
/// else. Ends without an answer if the task panics.
fn on_own_thread(
    group: GroupId,
    task: impl Future<Output = Result<(), CommandError>> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), CommandError>>, CommandError> {
    let runtime = tokio::runtime::Handle::current();
    let (send, ended) = oneshot::channel();
    let name = format!("side-{}", &group.to_string()[..8]);
    let work = move || {
        // Nobody listens once the node stops.
        let _ = send.send(runtime.block_on(task));
    };
    let thread = std::thread::Builder::new().name(name).spawn(work);
    thread.map(|_| ended).map_err(|e| CommandError::io("cannot start a group's thread", &e))
}

fn not_running(place: Option<&Place>) -> CommandError {
    match place.and_then(Place::problem) {
        Some(error) => CommandError::user(format!("this group does not run: {}", printable(error.message())))
            .hint(error.next_step().map_or("see the node's console and log", |hint| hint)),
        None => {
            CommandError::remote("the node does not run this group").hint("it has just been left, or the node stops")
        }
    }
}
