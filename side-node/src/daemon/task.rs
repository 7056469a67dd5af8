//! The task that owns a group's member and does everything that is no rule: waiting, the disk, links, answers. Rounds of take, commit, tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Findings;
use side_ledger::{GroupId, Position};
use side_seal::bft::request::Request;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::audit;
use super::direct::DirectWay;
use super::disk::Disk;
use super::exchange::Imported;
use super::groups::Folder;
use super::membership::Membership;
use super::offline::{accepted, local_names, to_json};
use super::view::RelayStatus;
use super::{Announcement, Ask};
use crate::api::control::Verb;
use crate::clock::Steady;
use crate::error::CommandError;
use crate::member::{Around, Member, News};
use crate::net::relay::{self, Relay};
use crate::net::{Event, LinkId, Outlet, SendError, Stream, Transport as _};
use crate::output::{carried, short};
use crate::sealer::Sealer;

/// Most inputs that one round takes before it commits: enough to share a flush, few enough that nobody waits long.
const MAX_ROUND: usize = 256;
/// How long a node that stops stays to tell the others what they do not know yet.
const LINGER: Duration = Duration::from_secs(2);
/// How often it looks meanwhile whether attempts to reach others have failed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long messages are gathered that nobody waits for. In a mesh of members these are nearly all, and each costs both sides a round.
const GATHER: Duration = Duration::from_millis(20);
/// Most entries and blocks of one round that are announced one by one.
const MAX_ANNOUNCED: usize = 500;
/// How many are announced of a round that has more.
const SHOWN_OF_MANY: usize = 20;

/// The key that a name means on this machine.
type LocalNames = Box<dyn Fn(&str) -> Option<AuthorId> + Send>;
type Reply = oneshot::Sender<Result<serde_json::Value, CommandError>>;

/// What a round owes once it is on disk.
#[derive(Default)]
struct Round {
    replies: Vec<(Reply, Owed)>,
    notices: Vec<String>,
}

/// An answer in waiting.
enum Owed {
    Accepted(Position),
    Ask(Verb),
    Imported(Imported),
    Refused(CommandError),
}

enum Input {
    Ask(Ask),
    Net(Event),
    Audited(Findings),
    Agreement(Request),
    Time,
}

/// What is told about a group to whoever looks at all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Brief {
    /// The height of the last block.
    pub(super) height: u64,
    /// Changes that are applied.
    pub(super) changes: u64,
    /// Entries of the history.
    pub(super) entries: u64,
    /// Links that stand.
    pub(super) links: u64,
}

/// What the agreement asks next, or that it is time to look after it; in leader mode there is none.
async fn asked(sealer: &mut Option<Sealer>) -> Option<Request> {
    match sealer {
        Some(sealer) => sealer.request().await,
        None => std::future::pending().await,
    }
}

/// What whoever looks at a group is told without asking.
pub(super) struct Told {
    pub(super) announcements: broadcast::Sender<Announcement>,
    pub(super) brief: watch::Sender<Brief>,
    /// Counts what changes a glance at the group.
    pub(super) revision: watch::Sender<u64>,
    /// Told once the node's next key has all in the group that the present one had.
    pub(super) replaced: mpsc::UnboundedSender<GroupId>,
}

/// The ways to other nodes that serve one group.
pub(super) struct Ways {
    /// What all transports of the group have to say.
    pub(super) events: mpsc::Receiver<Event>,
    /// The relay.
    pub(super) relay: Relay,
    /// Direct connections; it also tells on all links where members are.
    pub(super) direct: DirectWay,
    /// This node's part in the agreement on blocks, in BFT mode.
    pub(super) sealer: Option<Sealer>,
}

/// The owner of a node's group.
pub(super) struct Task {
    member: Member,
    /// Shared with the tasks of the node's other groups.
    disk: Arc<Disk>,
    folder: Arc<Folder>,
    ways: Ways,
    outlets: BTreeMap<LinkId, Arc<dyn Outlet>>,
    /// Links with something to send that may wait, and until when.
    gathering: BTreeMap<LinkId, Instant>,
    stopping: bool,
    inbox: mpsc::Receiver<Ask>,
    told: Told,
    /// What a glance showed when the revision was last raised.
    glance_mark: u64,
    audit: Option<audit::Running>,
    clock: Steady,
    local: LocalNames,
    told_alone: bool,
    told_replaced: bool,
}

impl Task {
    pub(super) fn new(
        member: Member,
        (disk, folder): (Arc<Disk>, Arc<Folder>),
        ways: Ways,
        inbox: mpsc::Receiver<Ask>,
        told: Told,
    ) -> Result<Self, CommandError> {
        let local = local_names(folder.root().clone());
        let audit = member.audit().map(audit::Running::start).transpose();
        let audit = audit.map_err(|e| CommandError::io("cannot start a thread", &e))?;
        Ok(Self {
            member,
            disk,
            folder,
            ways,
            outlets: BTreeMap::new(),
            gathering: BTreeMap::new(),
            stopping: false,
            inbox,
            told,
            glance_mark: 0,
            audit,
            clock: Steady::start(),
            local: Box::new(local),
            told_alone: false,
            told_replaced: false,
        })
    }

    /// What comes before the first round: the group's record and the node's name.
    pub(super) async fn begin(&mut self) -> Result<(), CommandError> {
        self.member.begin(self.clock.now_ms())?;
        self.finish(Round::default()).await
    }

    /// Works until `stop`, or until it must stop.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), CommandError> {
        self.rounds(&stop).await
    }

    async fn rounds(&mut self, stop: &CancellationToken) -> Result<(), CommandError> {
        loop {
            let due = self.due();
            let first = tokio::select! {
                () = stop.cancelled() => return self.last_rounds().await,
                ask = self.inbox.recv() => match ask {
                    Some(ask) => Input::Ask(ask),
                    None => return self.last_rounds().await,
                },
                Some(event) = self.ways.events.recv() => Input::Net(event),
                findings = audit::finished(&mut self.audit) => Input::Audited(findings),
                request = asked(&mut self.ways.sealer) => request.map_or(Input::Time, Input::Agreement),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Input::Time,
            };
            let mut round = Round::default();
            self.take(first, &mut round);
            for _ in 1..MAX_ROUND {
                if let Ok(ask) = self.inbox.try_recv() {
                    self.take(Input::Ask(ask), &mut round);
                } else if let Ok(event) = self.ways.events.try_recv() {
                    self.take(Input::Net(event), &mut round);
                } else if let Some(request) = self.ways.sealer.as_mut().and_then(Sealer::try_request) {
                    self.take(Input::Agreement(request), &mut round);
                } else {
                    break;
                }
            }
            self.finish(round).await?;
        }
    }

    /// When the member wants to be asked again, or what was gathered goes out.
    fn due(&mut self) -> Option<Instant> {
        let asked = self.member.deadline().map(|at_ms| {
            let wait = at_ms.saturating_sub(self.clock.now_ms());
            Instant::now() + Duration::from_millis(wait)
        });
        asked.into_iter().chain(self.gathering.values().copied()).min()
    }

    /// Whether a link is left alone for now, since what there is to send on it may wait.
    fn gathers(&mut self, link: LinkId, now: Instant) -> bool {
        if self.stopping || !self.member.may_wait(link) {
            self.gathering.remove(&link);
            return false;
        }
        let until = *self.gathering.entry(link).or_insert(now + GATHER);
        if until <= now {
            self.gathering.remove(&link);
        }
        until > now
    }

    /// Answers what was asked before the node was told to stop, and stays for a moment if others are still to be told something: whoever writes a
    /// line and quits expects the others to see it.
    async fn last_rounds(&mut self) -> Result<(), CommandError> {
        self.stopping = true;
        self.inbox.close();
        let mut round = Round::default();
        while let Ok(ask) = self.inbox.try_recv() {
            self.take(Input::Ask(ask), &mut round);
        }
        self.finish(round).await?;
        let deadline = Instant::now() + LINGER;
        while !self.is_settled() {
            // An attempt that fails says nothing, so it is looked at again.
            let look = deadline.min(Instant::now() + LOOK_AGAIN);
            match timeout_at(look, self.ways.events.recv()).await {
                Ok(Some(event)) => {
                    let mut round = Round::default();
                    self.take(Input::Net(event), &mut round);
                    self.finish(round).await?;
                }
                Err(_) if look < deadline => {}
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Whether there is nothing to wait for: the others have everything, or they are not to be had at the moment.
    fn is_settled(&self) -> bool {
        let trying = self.ways.relay.is_trying() || self.ways.direct.is_trying();
        !trying && self.ways.events.is_empty() && self.member.is_settled()
    }

    fn take(&mut self, input: Input, round: &mut Round) {
        let now_ms = self.clock.now_ms();
        match input {
            Input::Ask(Ask { verb: Verb::Import { changes }, reply }) => {
                round.replies.push((reply, Owed::Imported(self.member.import(changes, now_ms))));
            }
            Input::Ask(Ask { verb, reply }) => {
                let owed = match self.member.say(&verb, &self.local, now_ms) {
                    None => Owed::Ask(verb),
                    Some(Ok(position)) => Owed::Accepted(position),
                    Some(Err(error)) => Owed::Refused(error),
                };
                round.replies.push((reply, owed));
            }
            Input::Net(Event::Up { link, peer, outlet }) => {
                self.outlets.insert(link, outlet);
                self.ways.direct.link_up(link, now_ms);
                self.member.link_up(link, peer);
            }
            Input::Net(Event::Message { link, stream, message }) => {
                if stream == Stream::Side
                    && let Err(error) = self.ways.direct.receive(link, &message, now_ms)
                {
                    self.member.end_link(link, format!("it sent {error}"));
                }
                self.member.receive(link, stream, &message, now_ms);
            }
            Input::Net(Event::Down { link, reason }) => {
                tracing::debug!(?link, reason = %crate::output::printable(&reason), "a link is down");
                self.outlets.remove(&link);
                self.gathering.remove(&link);
                self.ways.direct.link_down(link);
                self.member.link_down(link);
            }
            // Every round sends what there is room for.
            Input::Net(Event::Room { .. }) | Input::Time => {}
            Input::Net(Event::Notice(text)) => round.notices.push(text),
            Input::Agreement(request) => self.member.request(request, now_ms),
            Input::Audited(findings) => {
                tracing::debug!(checked = findings.checked(), bad = findings.bad().len(), "checked stored signatures");
                round.notices.extend(audit::notices(&self.member.take_audit(&findings)));
            }
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
        if self.member.is_read_only() && self.member.knows_own_tip() {
            self.write_again().await?;
        }
        if !self.told_replaced && self.member.is_replaced() {
            self.told_replaced = true;
            // Nobody listens once the node stops.
            let _ = self.told.replaced.send(self.member.genesis().id());
        }
        self.ways.direct.set_members(self.member.parties());
        self.flush();
        if let Some(sealer) = &mut self.ways.sealer {
            self.member.take_replies().into_iter().for_each(|reply| sealer.reply(reply));
            sealer.take_seat(&mut self.member);
            round.notices.extend(sealer.take_notices());
        }
        self.tell_alone(&mut round);
        for notice in round.notices {
            let _ = self.told.announcements.send(Announcement::Notice(notice));
        }
        self.announce();
        for (reply, owed) in round.replies {
            let answer = match owed {
                Owed::Refused(error) => Err(error),
                Owed::Accepted(position) => accepted(&self.member, &position, true),
                Owed::Ask(verb) => self.answer(&verb),
                Owed::Imported(imported) => to_json(&imported),
            };
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    fn answer(&mut self, verb: &Verb) -> Result<serde_json::Value, CommandError> {
        let around = Around {
            revision: *self.told.revision.borrow(),
            now_ms: self.clock.now_ms(),
            ..around(&self.member, &self.ways, &self.outlets)
        };
        super::offline::read(&mut self.member, verb, around)
    }

    /// What is due is done, and everything in the member is on disk.
    async fn commit(&mut self) -> Result<(), CommandError> {
        let now_ms = self.clock.now_ms();
        self.member.tick(now_ms);
        let batch = self.member.take_staged();
        self.disk.commit(batch).await?;
        self.member.durable();
        self.tell_brief();
        let mark = self.member.glance_mark();
        if std::mem::replace(&mut self.glance_mark, mark) != mark {
            self.told.revision.send_modify(|revision| *revision += 1);
        }
        Ok(())
    }

    fn tell_brief(&self) {
        let group = self.member.group();
        let brief = Brief {
            height: group.chain().height().0,
            changes: group.replica().len() as u64,
            entries: group.ledger().len() as u64,
            links: self.outlets.len() as u64,
        };
        self.told.brief.send_if_modified(|told| std::mem::replace(told, brief) != brief);
    }

    /// The node has learnt its own last change in this group: its copy is as good as the latest one here.
    async fn write_again(&mut self) -> Result<(), CommandError> {
        let groups = self.folder.memberships().iter().map(Membership::group).collect();
        self.disk.learnt(self.member.genesis().id(), &groups).await?;
        self.member.allow_writing();
        self.member.begin(self.clock.now_ms())?;
        self.commit().await
    }

    /// Ends the links that are to be ended, and sends what there is room for on the others.
    fn flush(&mut self) {
        for ending in self.member.take_endings() {
            let Some(outlet) = self.outlets.remove(&ending.link) else { continue };
            if ending.fault {
                outlet.close(&ending.reason);
            } else {
                outlet.renew(&ending.reason);
            }
        }
        let mut broken = Vec::new();
        let now = Instant::now();
        let links: Vec<LinkId> = self.outlets.keys().copied().collect();
        for link in links {
            if self.gathers(link, now) {
                continue;
            }
            let Some(outlet) = self.outlets.get(&link) else { continue };
            while outlet.room() > 0 {
                let side = || self.ways.direct.poll_send(link).map(|message| (Stream::Side, message));
                let Some((stream, message)) = self.member.poll_send(link).or_else(side) else { break };
                match outlet.try_send(stream, message) {
                    Ok(()) => {}
                    Err(SendError::Gone) => {
                        // The transport will say why.
                        broken.push((link, false));
                        break;
                    }
                    Err(SendError::Full) => {
                        // Cannot be: there was room, and we are the only sender. A message is lost, so both begin anew.
                        broken.push((link, true));
                        break;
                    }
                }
            }
        }
        for (link, lost) in broken {
            self.member.link_down(link);
            if let Some(outlet) = self.outlets.remove(&link).filter(|_| lost) {
                outlet.renew("a message found no room");
            }
        }
        // What is gone is not waited for.
        self.gathering.retain(|link, _| self.outlets.contains_key(link));
    }

    fn tell_alone(&mut self, round: &mut Round) {
        if self.told_alone || !self.member.is_alone() {
            return;
        }
        let relay = relay_status(&self.member, &self.ways.relay);
        if relay.in_sync {
            self.told_alone = true;
            let genesis = self.member.genesis();
            round.notices.push(format!(
                "you are alone in group {} ({}) so far. The relay carries: {}. Invite others with: side-node invite",
                genesis.name(),
                short(&genesis.id().to_string()),
                carried(&relay)
            ));
        }
    }

    fn announce(&mut self) {
        let news = self.member.take_news();
        // A long catch-up is not for reading line by line.
        let counted = news.iter().filter(|news| !matches!(news, News::Notice(_))).count();
        let mut unseen = if counted > MAX_ANNOUNCED { counted - SHOWN_OF_MANY } else { 0 };
        if unseen > 0 {
            let text = format!("{unseen} more entries and blocks came; /history and /blocks have them all");
            let _ = self.told.announcements.send(Announcement::Notice(text));
        }
        for one in news {
            if unseen > 0 && !matches!(one, News::Notice(_)) {
                unseen -= 1;
                continue;
            }
            let announcement = match one {
                News::Entry(position) => self.member.line_at(&position).map(|entry| {
                    let own = entry.author == self.member.author();
                    Announcement::Entry { entry: Box::new(entry), own }
                }),
                News::Standing(position) => {
                    self.member.line_at(&position).map(|entry| Announcement::Standing(Box::new(entry)))
                }
                News::Unsealed(count) => Some(Announcement::Notice(format!(
                    "{count} of this node's own transactions are pending again: their block was taken back"
                ))),
                News::Notice(text) => Some(Announcement::Notice(text)),
                News::Sealed(height, id) => {
                    self.member.block_at(height, &id).map(|block| Announcement::Block(Box::new(block)))
                }
                News::Returned(height, _) => Some(Announcement::Notice(format!(
                    "block {} was taken back: what it sealed is pending again unless another block has it",
                    height.0
                ))),
            };
            if let Some(announcement) = announcement {
                let _ = self.told.announcements.send(announcement);
            }
        }
    }
}

/// How it stands with the relay, what was passed included.
fn relay_status(member: &Member, relay: &Relay) -> RelayStatus {
    RelayStatus { in_sync: member.is_in_sync_by(relay::NAME), ..relay.status() }
}

fn around<'a>(member: &Member, ways: &Ways, outlets: &'a BTreeMap<LinkId, Arc<dyn Outlet>>) -> Around<'a> {
    Around {
        running: true,
        relay: Some(relay_status(member, &ways.relay)),
        attempts: ways.direct.attempts(),
        sealer_problem: ways.sealer.as_ref().and_then(|sealer| sealer.problem(member)),
        turned_away: Some(ways.direct.turned_away()),
        round_trip: Some(Box::new(|link| outlets.get(&link).and_then(|outlet| outlet.round_trip()))),
        ..Around::default()
    }
}
