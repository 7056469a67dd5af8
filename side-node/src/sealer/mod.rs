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

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::identity::{AuthorId, Keypair};
use commonware_utils::channel::mpsc;
use side_ledger::genesis::{Genesis, Sealing};
use side_ledger::governance::two_thirds;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::request::{Reply, Request};
use side_seal::bft::seat::Seat;
use side_seal::bft::simplex::{self, Line, Setup};

use crate::member::Member;
use crate::net::p2p::{Engine, EngineError, EngineHandle, P2p, lane};

/// What direct connections are called ([`crate::net::Peer::transport`]).
const DIRECT: &str = "direct";

/// How long simplex is left alone after it was started, if it ends by itself.
const BEGIN_ANEW: Duration = Duration::from_secs(5);

/// A node's part in the agreement of one group.
pub struct Sealer {
    network: P2p,
    keypair: Keypair,
    term: u64,
    line: Line,
    requests: mpsc::UnboundedReceiver<Request>,
    running: Option<Running>,
}

/// Simplex, for an epoch.
struct Running {
    seat: Seat,
    since: Instant,
    /// Whether it has ended by itself.
    ended: Arc<AtomicBool>,
    _engine: EngineHandle,
}

impl Sealer {
    /// The sealer of a group; `None` in leader mode.
    pub fn new(network: P2p, genesis: &Genesis, keypair: Keypair) -> Option<Self> {
        let Sealing::Bft { term, .. } = genesis.spec().sealing else { return None };
        let (line, requests) = Line::new();
        Some(Self { network, keypair, term, line, requests, running: None })
    }

    /// What the agreement asks or tells next. Nothing is lost where this is dropped.
    pub async fn request(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // This sealer holds the other end.
            None => std::future::pending().await,
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
    pub fn take_seat(&mut self, member: &Member) {
        let seat = member.seat();
        if self.running.as_ref().map(|running| &running.seat) == seat.as_ref()
            && !self.running.as_ref().is_some_and(Running::is_to_begin_anew)
        {
            return;
        }
        self.running = None;
        let Some(seat) = seat else { return };
        let direct = member.links().filter(|(_, peer)| peer.transport == DIRECT).map(|(_, peer)| peer.key);
        let others: BTreeSet<AuthorId> = direct.filter(|key| seat.sealers.binary_search(key).is_ok()).collect();
        if others.len() + 1 >= two_thirds(seat.sealers.len()) {
            let latest = member.engine().latest().cloned();
            self.running = Some(self.start(seat, latest));
        }
    }

    /// Whether simplex runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn start(&self, seat: Seat, latest: Option<Certificate>) -> Running {
        tracing::info!(epoch = seat.epoch.0, sealers = seat.sealers.len(), "takes part in sealing");
        let (keypair, term, line) = (self.keypair.clone(), self.term, self.line.clone());
        let (since, ended) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let part = Part { seat: seat.clone(), keypair: keypair.clone(), term, latest, line };
        let others = seat.sealers.iter().filter(|key| **key != keypair.author()).copied().collect();
        let number = lane(&seat.group, &name(&seat));
        let end = ended.clone();
        let engine = self.network.run_engine(number, others, move |engine| async move {
            run(engine, part).await;
            end.store(true, Ordering::Relaxed);
        });
        Running { seat, since, ended, _engine: engine }
    }
}

impl Running {
    /// It has ended though nobody ended it, and not just now: the one before had not left the lanes yet, or its disk failed. Its votes are in its journal, so it may
    /// begin anew as after a restart of the node.
    fn is_to_begin_anew(&self) -> bool {
        self.ended.load(Ordering::Relaxed) && self.since.elapsed() >= BEGIN_ANEW
    }
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
}

async fn run(engine: Result<Engine, EngineError>, part: Part) {
    let Part { seat, keypair, term, latest, line } = part;
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return tracing::warn!(%error, epoch = seat.epoch.0, "cannot take part in sealing"),
    };
    let Engine { context, votes, certificates, resolver, blocker } = engine;
    let journal = simplex::partition(&seat);
    let setup = Setup { seat: &seat, keypair: &keypair, term, journal, latest, line };
    let Some(handle) = simplex::start(context, setup, blocker, [votes, certificates, resolver]) else { return };
    if let Err(error) = handle.await {
        tracing::error!(%error, epoch = seat.epoch.0, "the agreement ended by itself");
    }
}
