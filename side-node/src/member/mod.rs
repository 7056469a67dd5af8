//! One group as this node takes part in it, as a value: changes, blocks, and what is said about them on each link.
//!
//! ```text
//!  a person ── say ──▶ ┌───────────────────── Member ─────────────────────┐ ── take_staged ─▶ disk
//!  link ── receive ──▶ │ core: group, staged writes      engine: who seals│ ◀─ durable ──────┘
//!  clock ──── tick ──▶ │ links: a sync session, words about blocks        │ ── poll_send ───▶ link
//!                      └──────────────────────────────────────────────────┘ ── take_news ───▶ console
//! ```
//! - `core`: the group in memory, and what of it has yet to go to disk
//! - `link`: what goes to and fro on one link, and what the peer may cost
//! - `blocks`: what the engine wants done is done
//! - `newcomer`: the state first, where the history is missing
//! - `duties`: what a node writes without being told to
//! - `learn`: what it has to learn where its copy may be old
//! - `prove`: proofs for whoever has no node
//! - `say`: what people have it write
//! - `watch`: what becomes of its own transactions
//! - `show`, `roll`, `glance`, `follow`: what it tells about itself
//!
//! Rules:
//! - No clock, socket, file or task: the time comes in as an argument, and whoever holds a member does the rest. A simulation drives it as the daemon does.
//! - Work goes in rounds: events in; [`Member::tick`]; [`Member::take_staged`], to disk; [`Member::durable`]; then [`Member::take_news`] and
//!   [`Member::poll_send`]. Nothing leaves a member that a crash could undo: until everything is on disk there is nothing to send.
//! - What a peer told us and was news is told on to the others, so members need not all reach each other.
//! - A node whose copy may be old neither writes, seals nor gives its word before it has learnt what it did from others.

mod blocks;
mod core;
mod duties;
mod follow;
mod glance;
mod learn;
mod link;
mod newcomer;
mod parties;
mod prove;
mod roll;
mod rotate;
mod say;
mod show;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, VecDeque};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::{Audit, AuditReport, Findings};
use bft_json_crdt::sync::{Action, Message as SyncMessage};
use bytes::Bytes;
use side_ledger::block::{BlockId, Height};
use side_ledger::group::Group;
use side_ledger::{Entry, Genesis, GroupId, Name, Position};
use side_seal::bft::request::Reply;
use side_seal::newcomer::StateMessage;
use side_seal::{Engine, Message};
use side_store::{Batch, Store, Write};

use self::blocks::Asked;
pub use self::core::store_error;
use self::core::{Core, Digested};
use self::duties::Duties;
use self::glance::Glanced;
use self::learn::Learning;
use self::link::Link;
use self::newcomer::CatchUp;
use crate::error::CommandError;
use crate::net::{LinkId, Peer, Stream};

pub use self::rotate::MIN_KEY_DIGITS;
pub use self::say::LocalNames;
pub use self::show::Around;
use self::watch::Watched;

/// Most links at once: more peers than a node talks to on purpose.
pub const MAX_LINKS: usize = 256;
/// Most ended links that are remembered with the reason.
const MAX_ENDED: usize = 32;

/// A link that is to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The link.
    pub link: LinkId,
    /// Why.
    pub reason: String,
    /// Whether the peer broke a rule. Otherwise this side has to begin anew.
    pub fault: bool,
}

/// Something that happened, on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A new entry of the history.
    Entry(Position),
    /// The chain has this block at its end.
    Sealed(Height, BlockId),
    /// This block is no longer on the chain; what it sealed is pending again unless another one seals it.
    Returned(Height, BlockId),
    /// Where an own transaction stands has changed.
    Standing(Position),
    /// So many own transactions are pending again.
    Unsealed(usize),
    /// Something else, for people to read.
    Notice(String),
}

/// One group as this node takes part in it. See the [module](self).
pub struct Member {
    core: Core,
    engine: Engine,
    /// Whether the engine may seal and give its word: not before a copy that may be old has caught up with the others' chain.
    sealing: bool,
    /// The key pair that is to take the place of this node's.
    next: Option<Keypair>,
    links: BTreeMap<LinkId, Link>,
    endings: Vec<Ending>,
    /// Links that were ended for a fault, the oldest first.
    ended: VecDeque<(Peer, String)>,
    /// How many there have been.
    faults: u64,
    /// What was asked for and is not here.
    asked: BTreeMap<BlockId, Asked>,
    duties: Duties,
    learning: Learning,
    watched: Watched,
    glanced: Glanced,
    /// Where the history is missing: what is known of the state.
    catch_up: Option<CatchUp>,
    /// What happened: in this round, in what is on its way to disk, and on disk.
    news: [Vec<News>; 3],
    /// Answers to the agreement of the BFT mode, likewise.
    replies: [Vec<Reply>; 3],
    in_flight: bool,
}

impl Member {
    /// Reads the group from the store; adds it if it is not there yet (staged, as everything).
    pub fn load(name: Name, genesis: Genesis, keypair: Keypair, store: &mut impl Store) -> Result<Self, CommandError> {
        let engine = Engine::new(&genesis, Some(keypair.clone()));
        let core = Core::load(name, genesis, keypair, store)?;
        let mut member = Self {
            core,
            engine,
            sealing: true,
            next: None,
            links: BTreeMap::new(),
            endings: Vec::new(),
            ended: VecDeque::new(),
            faults: 0,
            asked: BTreeMap::new(),
            duties: Duties::default(),
            learning: Learning::default(),
            watched: Watched::default(),
            glanced: Glanced::default(),
            catch_up: None,
            news: Default::default(),
            replies: Default::default(),
            in_flight: false,
        };
        member.load_seals(store)?;
        Ok(member)
    }

    /// The node's own key.
    pub fn author(&self) -> AuthorId {
        self.core.author()
    }

    /// The key pair.
    pub fn keypair(&self) -> &Keypair {
        &self.core.keypair
    }

    /// What the group is founded on.
    pub fn genesis(&self) -> &Genesis {
        self.core.genesis()
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.core.group
    }

    /// The engine that seals.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// An entry of the history.
    pub fn entry(&self, position: &Position) -> Option<Entry> {
        self.core.group.ledger().get(position)
    }

    /// A link stands.
    pub fn link_up(&mut self, link: LinkId, peer: Peer) {
        if self.links.len() >= MAX_LINKS {
            self.endings.push(Ending { link, reason: "this node has too many links".to_owned(), fault: true });
            return;
        }
        let mut greeting = self.engine.greet(&self.core.group);
        if !self.sealing {
            // It waits to hear where the others' chain ends, and that there is none is an answer too. Said first, so that whoever hears anything of it knows that its copy may be old.
            greeting.insert(0, Message::Ask { want: BlockId::origin(self.id()), have: Vec::new() });
        }
        let own = self.core.author();
        self.links.insert(link, Link::new(peer, self.core.replica(), own, greeting));
        self.state_link(link, true);
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.forget_asked_on(link);
        self.state_link(link, false);
    }

    /// The links that stand.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Peer)> {
        self.links.iter().map(|(link, there)| (*link, &there.peer))
    }

    /// A message came on a link.
    pub fn receive(&mut self, link: LinkId, stream: Stream, message: &Bytes, now_ms: u64) {
        match stream {
            Stream::Sync => self.hear_changes(link, message, now_ms),
            Stream::Seal => self.hear_blocks(link, message, now_ms),
            Stream::Side if StateMessage::tag(message).is_some() => self.hear_state(link, message, now_ms),
            // Not the group's affair: whoever holds the member takes it.
            Stream::Side => {}
        }
    }

    fn hear_changes(&mut self, link: LinkId, message: &Bytes, now_ms: u64) {
        let Some(there) = self.links.get_mut(&link) else { return };
        let actions = match SyncMessage::decode(message) {
            Ok(message) => there.sync.receive(self.core.replica(), message).map_err(|fault| fault.to_string()),
            Err(error) => Err(format!("sent a malformed message: {error}")),
        };
        let actions = match actions {
            Ok(actions) => actions,
            Err(fault) => return self.fault(link, format!("it {fault}")),
        };
        let (mut refused, mut applied) = (0, false);
        for action in actions {
            let part = match action {
                Action::Apply(batch) => {
                    there.applied();
                    applied = true;
                    self.core.apply(batch)
                }
                Action::Proof(proof) => {
                    applied = true;
                    self.core.apply_proof(proof)
                }
            };
            let Digested { entries, missing, equivocators, refused: more } = part;
            there.sync.missing(missing);
            refused += more;
            self.news[0].extend(entries.into_iter().map(News::Entry));
            for author in equivocators {
                let text = self.core.equivocation(&author);
                self.news[0].push(News::Notice(text));
            }
        }
        if let Some(reason) = there.refuses_changes(refused) {
            self.fault(link, reason.to_owned());
        }
        if applied {
            self.changed(Some(link), now_ms);
        }
    }

    /// What an audit found.
    pub fn take_audit(&mut self, findings: &Findings) -> AuditReport {
        self.core.take_audit(findings)
    }

    /// The signatures that loading left unchecked, if there are any.
    pub fn audit(&self) -> Option<Audit> {
        self.core.audit()
    }

    /// The time has come for what [`Member::deadline`] named, or a round of events is over. To be called before [`Member::take_staged`].
    pub fn tick(&mut self, now_ms: u64) {
        self.ask_again(now_ms);
        self.hear_early(now_ms);
        self.tick_state(now_ms);
        self.learn(now_ms);
        self.do_duties(now_ms);
        self.seal(now_ms);
        self.follow_own();
    }

    /// When to call [`Member::tick`] next, if nothing else happens before, in milliseconds of the clock that ticks have; never, while nothing waits.
    pub fn deadline(&self) -> Option<u64> {
        let deadlines =
            [self.sealing_deadline(), self.asking_deadline(), self.state_deadline(), self.listening_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Takes what has to go to disk. Nothing is sent or told until [`Member::durable`] says that it is there; an empty batch is there at once.
    pub fn take_staged(&mut self) -> Batch {
        for there in self.links.values_mut() {
            there.taken();
        }
        let [fresh, in_flight, _] = &mut self.news;
        in_flight.append(fresh);
        let [fresh, in_flight, _] = &mut self.replies;
        in_flight.append(fresh);
        self.in_flight = true;
        std::mem::take(&mut self.core.staged)
    }

    /// What was taken is on disk.
    pub fn durable(&mut self) {
        self.in_flight = false;
        let [_, in_flight, on_disk] = &mut self.news;
        on_disk.append(in_flight);
        let [_, in_flight, on_disk] = &mut self.replies;
        on_disk.append(in_flight);
        let mut stale = Vec::new();
        for (link, there) in &mut self.links {
            there.durable();
            if there.sync.is_stale(self.core.group.replica()) {
                stale.push(*link);
            }
        }
        for link in stale {
            // The log was renumbered: begin anew.
            self.link_down(link);
            let reason = "this node's log was renumbered".to_owned();
            self.endings.push(Ending { link, reason, fault: false });
        }
    }

    /// Whether what there is to send on a link may wait for a moment, and be gathered with what comes then: nobody waits for it.
    pub fn may_wait(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|there| there.may_wait(self.core.replica()))
    }

    /// The next message for a link, if there is one. To be called while its outlet has room, after [`Member::durable`].
    pub fn poll_send(&mut self, link: LinkId) -> Option<(Stream, Bytes)> {
        if self.in_flight || !self.core.staged.is_empty() {
            return None;
        }
        self.answer_state(link);
        let hold_back = self.holds_sync_back();
        self.links.get_mut(&link)?.poll_send(&self.engine, &self.core.group, hold_back)
    }

    /// What happened and is on disk.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news[2])
    }

    /// Links that are to be ended. They are forgotten here already.
    pub fn take_endings(&mut self) -> Vec<Ending> {
        std::mem::take(&mut self.endings)
    }

    /// Ends a link whose peer broke a rule, and keeps the reason.
    fn fault(&mut self, link: LinkId, reason: String) {
        let Some(there) = self.links.remove(&link) else { return };
        self.forget_asked_on(link);
        self.state_link(link, false);
        tracing::warn!(peer = %there.peer.key, address = %there.peer.address, reason, "ending a link");
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((there.peer, reason.clone()));
        self.faults += 1;
        self.endings.push(Ending { link, reason, fault: true });
    }

    /// Says that this copy of the node may be older than what it has told: it neither writes nor seals until it has learnt what it did.
    pub fn distrust(&mut self, reason: CommandError) {
        self.core.set_read_only(reason);
        self.stop_sealing();
    }

    /// Says that this copy is the latest one, whatever its marks say.
    pub fn trust(&mut self) {
        self.core.allow_writing();
        self.trust_sealing();
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.core.is_read_only()
    }

    /// Allows writing again; whoever holds the member has made sure that the store is known as the latest copy. Sealing follows once the chain is learnt.
    pub fn allow_writing(&mut self) {
        if self.core.allow_writing() {
            let text = "this node has learnt its own last change from the others: it can write again".to_owned();
            self.news[0].push(News::Notice(text));
        }
    }

    /// Whether nobody is to be told anything more: each peer has everything, as far as it acknowledges.
    pub fn is_settled(&self) -> bool {
        self.links.values().all(|there| there.in_sync(self.core.replica()))
    }

    fn id(&self) -> GroupId {
        self.core.id()
    }

    fn stage(&mut self, write: Write) {
        self.core.staged.push(write);
    }
}
