//! The task that owns the group: rounds of take, change, commit, tell.

use std::time::Duration;

use bft_json_crdt::replica::Findings;
use side_ledger::Position;
use side_watcher::client::Event;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::audit;
use super::core::{Core, Digested};
use super::disk::{Disk, Opened};
use super::offline::{accepted, to_json};
use super::view::Status;
use super::{Announcement, Ask};
use crate::api::control::Verb;
use crate::clock;
use crate::error::CommandError;
use crate::home::FolderLock;
use crate::net::relay::RelayLink;

/// Most inputs that one round takes before it commits: enough to share a flush, few enough that nobody waits long.
const MAX_ROUND: usize = 256;
/// How long a node that stops stays to tell the relay what it does not know yet.
const LINGER: Duration = Duration::from_secs(2);
/// Most entries of one round that are announced one by one.
const MAX_ANNOUNCED: usize = 500;
/// How many are announced of a round that has more.
const SHOWN_OF_MANY: usize = 20;

type Reply = oneshot::Sender<Result<serde_json::Value, CommandError>>;

/// What a round owes once it is on disk.
#[derive(Default)]
struct Round {
    replies: Vec<(Reply, Owed)>,
    entries: Vec<Position>,
    notices: Vec<String>,
}

/// An answer in waiting.
enum Owed {
    Accepted(Position),
    Ask(Verb),
    Refused(CommandError),
}

enum Input {
    Ask(Ask),
    Relay(Event),
    Audited(Findings),
    Room,
}

/// The owner of a node's group.
pub(super) struct Task {
    core: Core,
    disk: Option<Disk>,
    relay: RelayLink,
    inbox: mpsc::Receiver<Ask>,
    announcements: broadcast::Sender<Announcement>,
    audit: Option<audit::Running>,
    /// Freed when the task ends, after the database was closed.
    _lock: FolderLock,
}

impl Task {
    pub(super) fn new(
        opened: Opened,
        relay: RelayLink,
        inbox: mpsc::Receiver<Ask>,
        announcements: broadcast::Sender<Announcement>,
    ) -> Result<Self, CommandError> {
        let Opened { core, store, identified, lock, .. } = opened;
        let audit = core.audit().map(audit::Running::start).transpose();
        let audit = audit.map_err(|e| CommandError::io("cannot start a thread", &e))?;
        let disk = Some(Disk::start(store, identified)?);
        Ok(Self { core, disk, relay, inbox, announcements, audit, _lock: lock })
    }

    /// What comes before the first round: the group's record and the node's name.
    pub(super) async fn begin(&mut self) -> Result<(), CommandError> {
        let mut round = Round::default();
        self.first_words(&mut round)?;
        self.finish(round).await
    }

    fn first_words(&mut self, round: &mut Round) -> Result<(), CommandError> {
        if !self.core.is_read_only() && !self.core.is_convicted() && self.core.is_admitted() {
            round.entries.extend(self.core.claim_name(clock::now_ms())?);
            self.core.acknowledge_if_owed(clock::now_ms())?;
        }
        Ok(())
    }

    pub(super) fn status(&mut self) -> Status {
        let relay = self.relay.status();
        self.core.status(Some(relay))
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), CommandError> {
        let ended = self.rounds(&stop).await;
        stop.cancel();
        match self.disk.take() {
            Some(disk) => ended.and(disk.close().await),
            None => ended,
        }
    }

    async fn rounds(&mut self, stop: &CancellationToken) -> Result<(), CommandError> {
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return self.last_rounds().await,
                ask = self.inbox.recv() => match ask {
                    Some(ask) => Input::Ask(ask),
                    None => return self.last_rounds().await,
                },
                event = self.relay.next() => match event {
                    Some(event) => Input::Relay(event),
                    None => Input::Room,
                },
                findings = audit::finished(&mut self.audit) => Input::Audited(findings),
            };
            let mut round = Round::default();
            self.take(first, &mut round)?;
            for _ in 1..MAX_ROUND {
                if let Ok(ask) = self.inbox.try_recv() {
                    self.take(Input::Ask(ask), &mut round)?;
                } else if let Some(event) = self.relay.try_next() {
                    self.take(Input::Relay(event), &mut round)?;
                } else {
                    break;
                }
            }
            self.finish(round).await?;
        }
    }

    /// Answers what was asked before the node was told to stop, and stays for a moment if the relay is still to be told something: whoever writes a
    /// line and quits expects the others to see it.
    async fn last_rounds(&mut self) -> Result<(), CommandError> {
        self.inbox.close();
        let mut round = Round::default();
        while let Ok(ask) = self.inbox.try_recv() {
            self.take(Input::Ask(ask), &mut round)?;
        }
        self.finish(round).await?;
        let deadline = Instant::now() + LINGER;
        while !self.relay.is_settled() {
            let Ok(event) = timeout_at(deadline, self.relay.next()).await else { break };
            let mut round = Round::default();
            self.take(event.map_or(Input::Room, Input::Relay), &mut round)?;
            self.finish(round).await?;
        }
        Ok(())
    }

    fn take(&mut self, input: Input, round: &mut Round) -> Result<(), CommandError> {
        match input {
            Input::Ask(Ask { verb, reply }) => {
                let owed = match self.core.say(&verb, clock::now_ms()) {
                    None => Owed::Ask(verb),
                    Some(Ok(position)) => {
                        round.entries.push(position);
                        Owed::Accepted(position)
                    }
                    Some(Err(error)) => Owed::Refused(error),
                };
                round.replies.push((reply, owed));
            }
            Input::Relay(event) => {
                let Digested { entries, equivocators, .. } = self.relay.take(event, &mut self.core, &mut round.notices);
                round.entries.extend(entries);
                for author in equivocators {
                    round.notices.push(self.equivocation(&author));
                }
                self.core.acknowledge_if_owed(clock::now_ms())?;
            }
            Input::Audited(findings) => {
                tracing::debug!(checked = findings.checked(), bad = findings.bad().len(), "checked stored signatures");
                round.notices.extend(audit::notices(&self.core.take_audit(&findings)));
            }
            Input::Room => {}
        }
        Ok(())
    }

    fn equivocation(&self, author: &bft_json_crdt::identity::AuthorId) -> String {
        if *author == self.core.author() {
            "this node's own key has signed two different changes of one number: it is used in two places, or an old copy was written with. \
             The others take nothing more from it; make a new node with `side-node init`"
                .to_owned()
        } else {
            format!("there is a proof that {} ({author}) forked its own chain", self.core.name_of(author))
        }
    }

    /// Commits, then tells.
    async fn finish(&mut self, mut round: Round) -> Result<(), CommandError> {
        if let Err(error) = self.commit().await {
            for (reply, _) in round.replies {
                let _ = reply.send(Err(error.clone()));
            }
            return Err(error);
        }
        self.relay.durable(&self.core, &mut round.notices);
        if self.core.is_read_only() && self.relay.knows_own_tip(&self.core) {
            self.write_again(&mut round).await?;
        }
        // A long catch-up is not for reading line by line.
        let unseen = match round.entries.len() {
            many if many > MAX_ANNOUNCED => many - SHOWN_OF_MANY,
            _ => 0,
        };
        if unseen > 0 {
            round.notices.push(format!("{unseen} more entries came; /history has them all"));
        }
        for position in &round.entries[unseen..] {
            if let Some(entry) = self.core.entry(position) {
                let own = entry.author == self.core.author();
                let _ = self.announcements.send(Announcement::Entry { entry: Box::new(entry), own });
            }
        }
        for notice in round.notices {
            let _ = self.announcements.send(Announcement::Notice(notice));
        }
        for (reply, owed) in round.replies {
            let answer = match owed {
                Owed::Refused(error) => Err(error),
                Owed::Accepted(position) => accepted(&self.core, &position, true),
                Owed::Ask(Verb::History { limit }) => to_json(&self.core.history(limit)),
                Owed::Ask(Verb::Peers) => to_json(&self.core.peers(Some(self.relay.status()))),
                Owed::Ask(Verb::Swaps) => to_json(&self.core.swaps()),
                Owed::Ask(Verb::Groups { .. }) => Err(CommandError::bug("a verb about the folder came to a group")),
                Owed::Ask(Verb::Status | Verb::Note { .. } | Verb::Swap { .. }) => to_json(&self.status()),
            };
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), CommandError> {
        match &self.disk {
            Some(disk) => disk.commit(self.core.take_staged()).await,
            None => Err(CommandError::bug("the database is closed")),
        }
    }

    /// The node has learnt its own last change: its copy is as good as the latest one.
    async fn write_again(&mut self, round: &mut Round) -> Result<(), CommandError> {
        let disk = self.disk.take().ok_or_else(|| CommandError::bug("the database is closed"))?;
        self.disk = Some(disk.accept().await?);
        self.core.allow_writing();
        round.notices.push("this node has learnt its own last change from the relay: it can write again".to_owned());
        self.first_words(round)?;
        self.commit().await?;
        self.relay.durable(&self.core, &mut round.notices);
        Ok(())
    }
}
