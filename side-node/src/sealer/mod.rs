//! This node as one of a group's sealers in BFT mode: it runs simplex for the epoch that the group's member is to take part in, on the lanes of the direct
//! connections, and carries questions and answers between the two.
//!
//! ```text
//!  Member ── seat ──▶ Sealer ── run_engine ─▶ network thread: simplex, votes on lanes, journal in the node's folder
//!     ▲ ◀─ request ──  Line  ◀───────────────────┘ │
//!     └──── replies ───▶ ──────────────────────────┘   once what they rest on is on disk
//! ```
//! Rules:
//! - One run for each epoch, on a lane and with a journal of its own. It is started once so many sealers are connected that a block can be made: a leader who
//!   speaks before the others hear it loses its term, and without a quorum nothing is missed.
//! - It ends when the member's seat is another one, and with the sealer.
//! - What it sends is written down beside the journal, and compared before it begins: a journal that has lost votes is no ground to vote upon, and the node stays out of the
//!   epoch ([`side_seal::bft::spoken`]).
//! - Where it ends by itself (a failing disk, a journal that cannot be read), the reason is told and shown, and it is begun anew after a pause that doubles each time: its
//!   votes are in its journal, so that is like a restart of the node.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::identity::{AuthorId, Keypair};
use commonware_runtime::Supervisor as _;
use commonware_utils::channel::mpsc;
use side_ledger::genesis::{Genesis, Sealing};
use side_ledger::governance::two_thirds;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::request::{Reply, Request};
use side_seal::bft::seat::Seat;
use side_seal::bft::simplex::{self, Line, Setup};
use side_seal::bft::spoken::{self, Keep, Spoken, Witness};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::member::Member;
use crate::net::p2p::{Engine, EngineError, EngineHandle, P2p, lane};

/// What direct connections are called ([`crate::net::Peer::transport`]).
const DIRECT: &str = "direct";

/// How long simplex is left alone after it ended by itself for the first time. Also what the one before may need to leave the lanes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause: whoever has mended the disk waits no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long it has to run for what went wrong before to be over.
const SETTLED: Duration = Duration::from_secs(5);

/// A node's part in the agreement of one group.
pub struct Sealer {
    network: P2p,
    keypair: Keypair,
    term: u64,
    line: Line,
    requests: mpsc::UnboundedReceiver<Request>,
    running: Option<Running>,
    failure: Option<Failure>,
    notices: Vec<String>,
    /// Told when simplex ends.
    woken: Arc<Notify>,
}

/// Simplex, for an epoch.
struct Running {
    seat: Seat,
    since: Instant,
    /// Why it has ended by itself, if it has.
    ended: Arc<Mutex<Option<End>>>,
    _engine: EngineHandle,
}

/// Why simplex has ended, or was not begun.
enum End {
    /// For this reason; it may be tried again.
    Problem(String),
    /// Its journal has not all votes that were sent.
    VotesLost,
}

/// That it has ended by itself, for one seat.
struct Failure {
    seat: Seat,
    why: String,
    /// How often in a row.
    times: u32,
    retry_at: Instant,
}

impl Sealer {
    /// The sealer of a group; `None` in leader mode.
    pub fn new(network: P2p, genesis: &Genesis, keypair: Keypair) -> Option<Self> {
        let Sealing::Bft { term, .. } = genesis.spec().sealing else { return None };
        let (line, requests) = Line::new();
        let (running, failure, notices, woken) = (None, None, Vec::new(), Arc::default());
        Some(Self { network, keypair, term, line, requests, running, failure, notices, woken })
    }

    /// What the agreement asks or tells next; `None` where it is time to [take the seat](Self::take_seat) again. Nothing is lost where this is dropped.
    pub async fn request(&mut self) -> Option<Request> {
        let due = self.due();
        tokio::select! {
            request = self.requests.recv() => match request {
                Some(request) => Some(request),
                // This sealer holds the other end.
                None => std::future::pending().await,
            },
            () = self.woken.notified() => None,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
        }
    }

    /// What the agreement asks or tells now.
    pub fn try_request(&mut self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// An answer whose grounds are on disk.
    pub fn reply(&self, reply: Reply) {
        self.line.reply(reply);
    }

    /// Runs simplex for the member's seat and no other.
    pub fn take_seat(&mut self, member: &mut Member) {
        if self.note_ending() {
            member.lose_votes("simplex' journal has not all the votes on blocks that this node has sent");
            // That is still to go to disk.
            self.woken.notify_one();
        }
        let seat = member.seat();
        if self.failure.as_ref().is_some_and(|failure| Some(&failure.seat) != seat.as_ref()) {
            self.failure = None;
        }
        if self.running.as_ref().is_some_and(|running| Some(&running.seat) == seat.as_ref()) {
            return;
        }
        self.running = None;
        let Some(seat) = seat else { return };
        let waits = self.failure.as_ref().is_some_and(|failure| Instant::now() < failure.retry_at);
        if !waits && connected(member, &seat) >= two_thirds(seat.sealers.len()) {
            let latest = member.engine().latest().cloned();
            self.running = Some(self.start(seat, latest));
        }
    }

    /// Whether simplex runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Why it does not run as it should, if so, for people.
    pub fn problem(&self, member: &Member) -> Option<String> {
        if let Some(Failure { why, times, .. }) = &self.failure {
            let times = if *times == 1 { "once".to_owned() } else { format!("{times} times in a row") };
            return Some(format!(
                "{why} ({times}); it is begun anew, at the latest after {} s",
                LONGEST_PAUSE.as_secs()
            ));
        }
        let seat = member.seat()?;
        let (connected, needed) = (connected(member, &seat), two_thirds(seat.sealers.len()));
        let all = seat.sealers.len();
        (connected < needed).then(|| {
            format!("{connected} of {all} sealers are connected, this node among them: no block before {needed} are")
        })
    }

    /// What people are to be told.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// When the seat is to be looked at again, if nothing happens before.
    fn due(&self) -> Option<Instant> {
        let failure = self.failure.as_ref()?;
        let due = self.running.as_ref().map_or(failure.retry_at, |running| running.since + SETTLED);
        // What is past is looked at whenever a link comes.
        Some(due).filter(|due| *due > Instant::now())
    }

    /// Notes that it has ended by itself, or that it has not for a while. Answers whether votes are lost.
    fn note_ending(&mut self) -> bool {
        let Some(running) = &self.running else { return false };
        let settled = running.since.elapsed() >= SETTLED;
        let end = lock(&running.ended).take();
        let why = match end {
            Some(End::Problem(why)) => why,
            Some(End::VotesLost) => {
                self.running = None;
                return true;
            }
            None => {
                if settled && self.failure.take().is_some() {
                    self.notices.push("this node takes part in sealing again".to_owned());
                }
                return false;
            }
        };
        let before = self.failure.take().filter(|_| !settled).map_or(0, |failure| failure.times);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(before.min(16)));
        if before == 0 {
            self.notices.push(format!("this node takes no part in sealing: {why}; it is begun anew by itself"));
        }
        let seat = running.seat.clone();
        self.failure = Some(Failure { seat, why, times: before + 1, retry_at: Instant::now() + pause });
        self.running = None;
        false
    }

    fn start(&self, seat: Seat, latest: Option<Certificate>) -> Running {
        tracing::info!(epoch = seat.epoch.0, sealers = seat.sealers.len(), "takes part in sealing");
        let (keypair, term, line) = (self.keypair.clone(), self.term, self.line.clone());
        let (since, ended) = (Instant::now(), Arc::default());
        let sent = self.network.storage().join(format!("{}.sent", simplex::partition(&seat)));
        let part = Part { seat: seat.clone(), keypair: keypair.clone(), term, latest, line, sent };
        let others = seat.sealers.iter().filter(|key| **key != keypair.author()).copied().collect();
        let number = lane(&seat.group, &name(&seat));
        let ending = Ending { ended: Arc::clone(&ended), woken: Arc::clone(&self.woken) };
        let engine = self.network.run_engine(number, others, move |engine| async move {
            let end = run(engine, part).await;
            if let End::Problem(why) = &end {
                tracing::error!(why, "takes no part in sealing any more");
            }
            *lock(&ending.ended) = Some(end);
        });
        Running { seat, since, ended, _engine: engine }
    }
}

/// How many of the sealers are here: this node, and those with a direct link.
fn connected(member: &Member, seat: &Seat) -> usize {
    let direct = member.links().filter(|(_, peer)| peer.transport == DIRECT).map(|(_, peer)| peer.key);
    let others: BTreeSet<AuthorId> = direct.filter(|key| seat.sealers.binary_search(key).is_ok()).collect();
    others.len() + 1
}

/// Tells when what it goes with has ended, also where that panicked.
struct Ending {
    ended: Arc<Mutex<Option<End>>>,
    woken: Arc<Notify>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let panicked = || End::Problem("the agreement could not be begun; see the log".to_owned());
        lock(&self.ended).get_or_insert_with(panicked);
        self.woken.notify_one();
    }
}

/// It is set at once, so a panic elsewhere leaves it good.
fn lock(ended: &Mutex<Option<End>>) -> MutexGuard<'_, Option<End>> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names an epoch among all of a group.
fn name(seat: &Seat) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [seat.recovery.0, seat.set.0, seat.epoch.0] {
        out.put_varint(number);
    }
    out
}

/// What simplex is started with, on its way to the network thread.
struct Part {
    seat: Seat,
    keypair: Keypair,
    term: u64,
    latest: Option<Certificate>,
    line: Line,
    /// Where it is written down which votes were sent.
    sent: PathBuf,
}

/// Runs simplex until it ends by itself.
async fn run(engine: Result<Engine, EngineError>, part: Part) -> End {
    let Part { seat, keypair, term, latest, line, sent } = part;
    let epoch = seat.epoch.0;
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return End::Problem(format!("it cannot take part in epoch {epoch}: {error}")),
    };
    let Engine { context, votes, certificates, resolver, blocker } = engine;
    let (journal, latest) = (simplex::partition(&seat), latest.filter(|latest| latest.check(&seat)));
    let floor = latest.as_ref().map_or(0, Certificate::view);
    let spoken = match std::fs::read(&sent) {
        // A note that never came to the disk says nothing, and the journal counts alone.
        Ok(bytes) if bytes.is_empty() => Spoken::default(),
        Ok(bytes) => match Spoken::decode(&bytes) {
            Ok(spoken) => spoken,
            Err(_) => return End::VotesLost,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Spoken::default(),
        Err(error) => return End::Problem(format!("it cannot read {}: {error}", sent.display())),
    };
    match spoken::has_all(context.child("check"), &seat, &keypair, &journal, &spoken, floor).await {
        Ok(true) => {}
        Ok(false) => return End::VotesLost,
        Err(error) => return End::Problem(format!("{error} (consensus/{journal})")),
    }
    let keep: Keep = Arc::new(move |spoken| {
        if let Err(error) = std::fs::write(&sent, spoken.encode()) {
            tracing::warn!(%error, file = %sent.display(), "cannot write down which votes were sent");
        }
    });
    let silent: Keep = Arc::new(|_| {});
    let [certificates, resolver] = [certificates, resolver]
        .map(|(sender, receiver)| (Witness::new(sender, Spoken::default(), silent.clone()), receiver));
    let votes = (Witness::new(votes.0, spoken, keep), votes.1);
    let folder = journal.clone();
    let setup = Setup { seat: &seat, keypair: &keypair, term, journal, latest, line };
    let Some(handle) = simplex::start(context, setup, blocker, [votes, certificates, resolver]) else {
        return End::Problem(format!("its key is none of a sealer of epoch {epoch}"));
    };
    let error = handle.await.err().map_or_else(String::new, |error| format!(" ({error})"));
    End::Problem(format!(
        "the agreement of epoch {epoch} ended by itself{error}: is the disk full, or consensus/{folder} damaged"
    ))
}
