//! The agreement itself: commonware's simplex for one epoch, asking the member what to propose and what to vote for.
//!
//! ```text
//!  simplex ── Automaton, Relay, Reporter ──▶ Line ── Request ──▶ the group's task: Bft ── Effect::Reply ──▶ Line ──▶ simplex
//! ```
//! Generic over the runtime and the network: clock, random numbers, files and sockets are those of whoever calls [`start`], so the same code runs in a
//! simulation. Blocks do not travel here: they go with the member's other messages.
//!
//! What runs for one epoch is to be given channels of that epoch alone: a message of another one makes simplex block its sender. It is to be started once
//! others are connected: a stable leader that is not heard loses its whole term.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use commonware_actor::Feedback;
use commonware_consensus::simplex::config::{Config, Floor, ForwardPolicy, SkipBudget, SkipPolicy};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, Context};
use commonware_consensus::simplex::{Engine, Plan};
use commonware_consensus::types::{Epoch as SimplexEpoch, TermLength, ViewDelta};
use commonware_consensus::{Automaton, CertifiableAutomaton, Relay, Reporter};
use commonware_cryptography::Sha256;
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{Blocker, Message, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Handle, IoBuf, Metrics, Spawner, Storage};
use commonware_utils::channel::{mpsc, oneshot};
use commonware_utils::{NZDuration, NZU16, NZUsize};
use futures_util::future::{Either, select};
use rand_core::CryptoRng;
use side_ledger::block::{BlockId, Epoch};

use super::IDLE_MS;
use super::certificate::Certificate;
use super::evidence::Evidence;
use super::request::{Reply, Request, Ticket};
use super::seat::{Seat, public_key};

/// How long the others wait for a leader's proposal before they give its view up: the idle wait of an honest leader, and what a message may take.
pub const LEADER_TIMEOUT: Duration = Duration::from_millis(IDLE_MS + 1_000);
/// How long they wait for a view's notarization: the proposal may have to wait for changes that are on their way.
pub const CERTIFICATION_TIMEOUT: Duration = Duration::from_millis(IDLE_MS + 1_500);
/// After how long in a view that has been given up they say so again.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(1);
/// After how long a sealer that was not heard while the others were is passed over at once.
pub const SKIP_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a stable leader's view may stay without finality before its term is given up.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(8);
/// How many views behind the last final one votes are kept: late ones still count as evidence.
const RETENTION: ViewDelta = ViewDelta::new(64);
/// Most messages in each of simplex' own queues.
const MAILBOX: usize = 256;
/// Most certificates that wait for simplex: only the latest counts.
const FEED: usize = 16;
/// Bytes of its journal that are read and written at once.
pub(super) const JOURNAL_BUFFER: usize = 1 << 16;

/// Where the answers of the member find their way back.
#[derive(Default)]
struct Waiting {
    last: u64,
    proposals: HashMap<Ticket, oneshot::Sender<Digest>>,
    verdicts: HashMap<Ticket, oneshot::Sender<bool>>,
    /// Where the simplex that runs now takes certificates.
    certificates: Option<(Epoch, mpsc::Sender<IoBuf>)>,
}

/// The line between the agreement and the member of one group. Cloning costs a counter; the epochs of a group share one.
#[derive(Clone)]
pub struct Line {
    requests: mpsc::UnboundedSender<Request>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Line {
    /// A line, and the end at which the member takes requests off. Its length is bounded by what simplex asks at a time: a few questions for a view, and it
    /// goes to no further view before they are answered or given up.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests, waiting: Arc::default() }, receiver)
    }

    /// Hands an answer over. One that nobody waits for any more is dropped.
    pub fn reply(&self, reply: Reply) {
        match reply {
            Reply::Propose(ticket, id) => {
                let waiter = self.waiting().proposals.remove(&ticket);
                waiter.map(|waiter| waiter.send(Digest(id.0)));
            }
            Reply::Verify(ticket, verdict) => {
                let waiter = self.waiting().verdicts.remove(&ticket);
                waiter.map(|waiter| waiter.send(verdict));
            }
            Reply::Final(certificate) => {
                let waiting = self.waiting();
                let running = waiting.certificates.as_ref().filter(|(epoch, _)| *epoch == certificate.epoch());
                // One that does not fit any more is followed by later ones.
                running.map(|(_, feed)| feed.try_send(certificate.encode_for_simplex()));
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and a map stays whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn propose(&self, epoch: Epoch, parent: BlockId) -> oneshot::Receiver<Digest> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        // Simplex has given up what it no longer listens for.
        waiting.proposals.retain(|_, waiter| !waiter.is_closed());
        waiting.last += 1;
        let ticket = Ticket(waiting.last);
        waiting.proposals.insert(ticket, sender);
        drop(waiting);
        self.tell(Request::Propose { ticket, epoch, parent });
        receiver
    }

    fn verify(&self, epoch: Epoch, parent: BlockId, block: BlockId) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.verdicts.retain(|_, waiter| !waiter.is_closed());
        waiting.last += 1;
        let ticket = Ticket(waiting.last);
        waiting.verdicts.insert(ticket, sender);
        drop(waiting);
        self.tell(Request::Verify { ticket, epoch, parent, block });
        receiver
    }

    fn tell(&self, request: Request) -> Feedback {
        if self.requests.send(request).is_ok() { Feedback::Ok } else { Feedback::Closed }
    }
}

/// Certificates from the network, and those that the member has learnt by other ways, as if one of the other sealers had sent them.
#[derive(Debug)]
struct Spliced<R> {
    network: R,
    learnt: mpsc::Receiver<IoBuf>,
    from: PublicKey,
}

impl<R: Receiver<PublicKey = PublicKey>> Receiver for Spliced<R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        let (network, learnt) = (pin!(self.network.recv()), pin!(self.learnt.recv()));
        match select(learnt, network).await {
            Either::Left((Some(certificate), _)) => Ok((self.from.clone(), certificate)),
            // The line is gone: nothing more is learnt.
            Either::Left((None, network)) => network.await,
            Either::Right((message, _)) => message,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.network.capacity()
    }
}

/// One epoch's end of the line.
#[derive(Clone)]
struct Voice {
    line: Line,
    epoch: Epoch,
}

impl Automaton for Voice {
    type Context = Context<Digest, PublicKey>;
    type Digest = Digest;

    async fn propose(&mut self, context: Self::Context) -> oneshot::Receiver<Digest> {
        self.line.propose(self.epoch, BlockId(context.parent.1.0))
    }

    async fn verify(&mut self, context: Self::Context, payload: Digest) -> oneshot::Receiver<bool> {
        self.line.verify(self.epoch, BlockId(context.parent.1.0), BlockId(payload.0))
    }
}

// A block that was notarized has been executed by enough sealers: nothing more is to be known before it may be finalized.
impl CertifiableAutomaton for Voice {}

impl Relay for Voice {
    type Digest = Digest;
    type PublicKey = PublicKey;
    type Plan = Plan<PublicKey>;

    fn broadcast(&mut self, payload: Digest, plan: Self::Plan) -> Feedback {
        match plan {
            // The member has shown its proposal to everybody by the time that it names it.
            Plan::Propose { .. } | Plan::Prepare { .. } => Feedback::Ok,
            Plan::Forward { .. } => self.line.tell(Request::Relay { block: BlockId(payload.0) }),
        }
    }
}

impl Reporter for Voice {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Some(found) = Evidence::new(&activity) {
            return self.line.tell(Request::Offence(found));
        }
        match activity {
            Activity::Finalization(finalization) => self.line.tell(Request::Finalized(Certificate::new(finalization))),
            _ => Feedback::Ok,
        }
    }
}

/// The name of the partition in which simplex keeps its votes of an epoch. Whoever loses it must not vote in that epoch again.
pub fn partition(seat: &Seat) -> String {
    let group: String = seat.group.to_string().chars().take(16).collect();
    format!("bft-{group}-{}-{}", seat.recovery, seat.epoch)
}

/// What simplex is started with.
pub struct Setup<'a> {
    /// The epoch.
    pub seat: &'a Seat,
    /// The key of a sealer of it.
    pub keypair: &'a Keypair,
    /// The genesis' term: how many views one leader stays, 0 for as long as it is live.
    pub term: u64,
    /// The [`partition`] for its votes.
    pub journal: String,
    /// The latest certificate that the member has, if it is of the epoch.
    pub latest: Option<Certificate>,
    /// The line to the member.
    pub line: Line,
}

/// Starts simplex for an epoch; `None` if the key is no sealer's of it. Aborting the handle ends it.
///
/// The channels carry votes, certificates and the fetching of certificates, of this group and epoch only, between its sealers. Give them a small quota:
/// simplex makes a queue for as much as the receiver may hold.
pub fn start<E, S, R>(
    context: E,
    setup: Setup<'_>,
    blocker: impl Blocker<PublicKey = PublicKey>,
    [votes, certificates, resolver]: [(S, R); 3],
) -> Option<Handle<()>>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let Setup { seat, keypair, term, journal, latest, line } = setup;
    let (feed, learnt) = mpsc::channel(FEED);
    line.waiting().certificates = Some((seat.epoch, feed));
    let me = public_key(&keypair.author());
    let from = seat.participants()?.into_iter().find(|key| Some(key) != me.as_ref())?;
    let certificates = (certificates.0, Spliced { network: certificates.1, learnt, from });
    let latest = latest.filter(|latest| latest.check(seat));
    let voice = Voice { line, epoch: seat.epoch };
    let config = Config {
        scheme: seat.signer(keypair)?,
        elector: elector(term),
        blocker,
        automaton: voice.clone(),
        relay: voice.clone(),
        reporter: voice,
        track_historical_votes: true,
        strategy: Sequential,
        partition: journal,
        mailbox_size: NZUsize!(MAILBOX),
        epoch: SimplexEpoch::new(seat.epoch.0),
        floor: latest.map_or(Floor::Genesis(Digest(seat.floor.0)), |latest| Floor::Finalized(latest.into_inner())),
        replay_buffer: NZUsize!(JOURNAL_BUFFER),
        write_buffer: NZUsize!(JOURNAL_BUFFER),
        page_cache: CacheRef::new(NZU16!(4096), NZUsize!(64)),
        leader_timeout: LEADER_TIMEOUT,
        certification_timeout: CERTIFICATION_TIMEOUT,
        timeout_retry: RETRY_TIMEOUT,
        view_retention: RETENTION,
        skip: SkipPolicy::Enabled { timeout: SKIP_TIMEOUT, budget: SkipBudget::Participants },
        fetch_timeout: NZDuration!(Duration::from_secs(1)),
        fetch_retry_delay: Duration::from_millis(100),
        forward: ForwardPolicy::SilentVoters,
    };
    Some(Engine::new(context, config).start(votes, certificates, resolver))
}

/// Who leads which view: the sealers in the order of their keys, beginning with the one at the place after the epoch's number.
fn elector(term: u64) -> RoundRobin<Sha256> {
    // Simplex counts a term's views in 32 bits: at ten views a second they last for thirteen years.
    let length = if term == 0 { u32::MAX } else { u32::try_from(term).unwrap_or(u32::MAX) };
    match NonZeroU32::new(length).filter(|length| length.get() > 1) {
        None => RoundRobin::default(),
        Some(length) => RoundRobin::default().with_term(TermLength::new(length), STALL_TIMEOUT, ViewDelta::zero()),
    }
}
