//! The world around the nodes: disks, links that lose, delay and part, machines that stop, and the invariants that hold all the while.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::Incoming;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Recipients, simulated};
use commonware_runtime::{
    Blob as _, Clock as _, Runner as _, Spawner as _, Storage as _, Supervisor as _, WriteOptions, deterministic,
};
use commonware_utils::{NZUsize, Probability};
use side_ledger::block::BlockId;
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
use side_ledger::group::Group;
use side_ledger::names::Name;
use side_seal::bft::evidence::Offence;
use side_seal::bft::seat::public_key;
use side_seal::{Bft, Engine, Event, Record};

use super::evil::{Evil, Twins};
use super::node::{Node, Oracle};
use crate::world::Rng;

pub(super) const INTERVAL_MS: u64 = 200;
const SUPPLY: u64 = 1_000;
/// How long everything may take to be final once nothing fails any more, in ms.
const HEALING_MS: u64 = 120_000;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Nodes that are no sealers at first and ask to vote.
    pub(super) askers: usize,
    pub(super) evil: Evil,
    /// How many views a leader stays; 0 for as long as it is live.
    pub(super) term: u64,
    /// Until when the network and the machines fail, in ms.
    pub(super) trouble_ms: u64,
    /// Until when people write.
    pub(super) writing_ms: u64,
    /// Whether crashes take something off the end of simplex' journal, also of what was flushed, or damage it.
    pub(super) cuts: bool,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) changes: Vec<Incoming>,
    pub(super) records: Vec<Record>,
}

#[derive(Clone)]
pub(super) enum Packet {
    Have(HashSet<ChangeId>),
    Changes(Vec<Incoming>),
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) genesis: Genesis,
    pub(super) keypairs: Vec<Keypair>,
    pub(super) numbers: BTreeMap<PublicKey, usize>,
    pub(super) disks: Vec<Disk>,
    pub(super) packets: HashMap<u64, Packet>,
    pub(super) twins: Twins,
    pub(super) lies: BTreeSet<BlockId>,
    pub(super) start_ms: u64,
    rng: Rng,
    /// What is final at each height, wherever it was seen.
    finals: BTreeMap<u64, BlockId>,
    /// What each node shows now: height, tip, changes, pending, state.
    shown: BTreeMap<usize, (u64, BlockId, [u8; 32], usize)>,
    pub(super) offences: BTreeSet<(AuthorId, Offence)>,
    pub(super) refused: usize,
    pub(super) crashes: usize,
    pub(super) sets: u64,
    /// What each node has written down of the votes that it sent, by epoch.
    pub(super) spoken: BTreeMap<(usize, u64), Vec<u8>>,
    /// Which nodes take no part in the present epoch.
    pub(super) out: BTreeSet<usize>,
    /// How often a journal was cut or damaged, and how often that was noticed.
    pub(super) cut: usize,
    pub(super) noticed: usize,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap()
}

pub(super) fn keypair(number: usize) -> Keypair {
    Keypair::from_seed(&[number as u8 + 1; 32])
}

pub(super) fn genesis(term: u64) -> (Genesis, Vec<Keypair>) {
    let founders: Vec<Keypair> = (0..4).map(keypair).collect();
    let genesis = Genesis::new(GroupSpec {
        name: Name::new("sim").unwrap(),
        created_ms: 0,
        nonce: [7; 32],
        founders: founders.iter().map(Keypair::author).collect(),
        admission: Admission::Open,
        allocation: founders.iter().map(|keypair| (keypair.author(), SUPPLY)).collect(),
        sealing: Sealing::Bft { interval_ms: INTERVAL_MS, term },
        limits: Limits { note_bytes: 100, block_changes: 20 },
    });
    (genesis.unwrap(), founders)
}

impl World {
    fn new(plan: Plan) -> Self {
        let (genesis, mut keypairs) = genesis(plan.term);
        keypairs.extend((4..4 + plan.askers).map(keypair));
        let key = |keypair: &Keypair| public_key(&keypair.author()).unwrap();
        Self {
            numbers: keypairs.iter().enumerate().map(|(number, keypair)| (key(keypair), number)).collect(),
            disks: keypairs.iter().map(|_| Disk::default()).collect(),
            plan,
            genesis,
            keypairs,
            packets: HashMap::new(),
            twins: Twins::default(),
            lies: BTreeSet::new(),
            start_ms: 0,
            rng: Rng::new(plan.seed),
            finals: BTreeMap::new(),
            shown: BTreeMap::new(),
            offences: BTreeSet::new(),
            refused: 0,
            crashes: 0,
            sets: 0,
            spoken: BTreeMap::new(),
            out: BTreeSet::new(),
            cut: 0,
            noticed: 0,
        }
    }

    /// Node 1 is the one that lies: not the first leader.
    pub(super) fn evil_of(&self, number: usize) -> Evil {
        if number == 1 { self.plan.evil } else { Evil::Nobody }
    }

    fn is_honest(&self, number: usize) -> bool {
        self.evil_of(number) == Evil::Nobody
    }

    pub(super) fn fork_rng(&mut self) -> Rng {
        Rng::new(self.rng.next())
    }

    pub(super) fn post(&mut self, packet: Packet) -> u64 {
        let number = self.packets.len() as u64;
        self.packets.insert(number, packet);
        number
    }

    pub(super) fn recipients(&self, to: Option<usize>) -> Recipients<PublicKey> {
        to.map_or(Recipients::All, |to| Recipients::One(public_key(&self.keypairs[to].author()).unwrap()))
    }

    pub(super) fn crashes_now(&mut self, now: u64, rng: &mut Rng) -> bool {
        let crashes = now < self.start_ms + self.plan.trouble_ms && rng.below(400) == 0;
        self.crashes += usize::from(crashes);
        crashes
    }

    /// Whether a crash does something to the journal: not while another one takes no part for that reason, or nothing would be final ever again.
    fn cuts_now(&mut self, number: usize) -> bool {
        let cuts = self.plan.cuts && self.out.iter().all(|out| *out == number);
        if cuts {
            self.out.insert(number);
        }
        cuts
    }

    pub(super) fn shown(&mut self, _now: u64, number: usize, event: &Event) {
        let seed = self.plan.seed;
        let honest = self.is_honest(number);
        match event {
            Event::Extended(height, id) => {
                let first = *self.finals.entry(height.0).or_insert(*id);
                assert_eq!(first, *id, "seed {seed}: two blocks are final at height {height}");
            }
            Event::Refused(id, refusal) => {
                self.refused += 1;
                assert!(!honest || self.lies.contains(id), "seed {seed}: an honest block was refused: {refusal}");
            }
            Event::Offended(guilt) => {
                let evil = self.keypairs[1].author();
                let lied = matches!(self.plan.evil, Evil::Equivocates | Evil::DoubleVotes) && guilt.sealer == evil;
                assert!(lied, "seed {seed}: an honest sealer is convicted: {guilt:?}");
                self.offences.insert((guilt.sealer, guilt.offence));
            }
            Event::Returned(..) | Event::Doubled(..) => unreachable!("what is final stays: {event:?}"),
        }
    }

    /// Looks at a node after each input.
    pub(super) fn look(&mut self, number: usize, group: &Group, bft: &Bft) {
        let chain = group.chain();
        assert_eq!(bft.final_height(group), chain.height());
        let tip = chain.tip_id();
        if let Some(id) = self.finals.get(&chain.height().0) {
            assert_eq!(*id, tip, "seed {}: node {number} has another block", self.plan.seed);
        }
        self.sets = self.sets.max(chain.governance().set.0);
        if bft.stays_out(group).is_some() {
            self.out.insert(number);
        } else {
            self.out.remove(&number);
        }
        let digest = group.replica().heads_digest();
        self.shown.insert(number, (chain.height().0, tip, digest, chain.pending()));
    }

    fn is_calm(&self) -> bool {
        let mut shown = self.shown.iter().filter(|(number, _)| self.is_honest(**number)).map(|(_, shown)| shown);
        let first = shown.next();
        shown.all(|other| Some(other) == first) && first.is_some_and(|first| first.3 == 0)
    }

    fn height(&self) -> u64 {
        self.shown.iter().filter(|(number, _)| self.is_honest(**number)).map(|(_, shown)| shown.0).max().unwrap_or(0)
    }
}

/// Takes something off the end of the journals of a node's last epochs, or damages it.
async fn cut(context: &deterministic::Context, number: usize, rng: &mut Rng) -> bool {
    let mut done = false;
    for epoch in 0..64 {
        let partition = Node::journal(number, epoch);
        let Ok(mut names) = context.scan(&partition).await else { continue };
        if names.is_empty() {
            continue;
        }
        names.sort();
        // Views are sections: the last ones, or any.
        let keep = names.len() - 1 - (rng.below(3) as usize).min(names.len() - 1);
        for name in names.split_off(keep) {
            let Ok((blob, len)) = context.open(&partition, &name).await else { continue };
            if rng.chance(70) {
                blob.resize(rng.below(len + 1)).await.unwrap();
            } else if len > 0 {
                let at = len - 1 - rng.below(len.min(200));
                blob.write_at(at, vec![rng.below(256) as u8], WriteOptions::default()).await.unwrap();
            }
            blob.sync().await.unwrap();
            done = true;
        }
    }
    done
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) audit: String,
    pub(super) height: u64,
    pub(super) offences: BTreeSet<Offence>,
    pub(super) refused: usize,
    pub(super) crashes: usize,
    pub(super) sets: u64,
    pub(super) cut: usize,
    pub(super) noticed: usize,
}

/// The links between nodes.
struct Links {
    oracle: Oracle,
    keys: Vec<PublicKey>,
    up: BTreeSet<(usize, usize)>,
}

impl Links {
    /// Parts the nodes into sides. Between nodes of one side messages take `latency` and are lost with `loss` percent.
    async fn set(&mut self, sides: &[u64], latency: u64, loss: u64) {
        for a in 0..self.keys.len() {
            for b in (0..self.keys.len()).filter(|b| *b != a) {
                let (from, to) = (self.keys[a].clone(), self.keys[b].clone());
                if self.up.remove(&(a, b)) {
                    self.oracle.remove_link(from.clone(), to.clone()).await.unwrap();
                }
                if sides[a] == sides[b] {
                    let link = simulated::Link {
                        latency: Duration::from_millis(latency),
                        jitter: Duration::from_millis(latency / 2),
                        success_rate: Probability::try_from(1.0 - loss as f64 / 100.0).unwrap(),
                    };
                    self.oracle.add_link(from, to, link).await.unwrap();
                    self.up.insert((a, b));
                }
            }
        }
    }
}

/// Plays a world of its own from its seed.
pub(super) fn play(plan: Plan) -> Outcome {
    run(plan, |driver| Box::pin(driver.trouble()))
}

/// What leads a run: it has the links and the clock.
pub(super) struct Driver {
    pub(super) context: deterministic::Context,
    pub(super) shared: Shared,
    links: Links,
    rng: Rng,
    plan: Plan,
}

type Played<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs the nodes while `lead` leads, then checks that all is final everywhere.
pub(super) fn run(plan: Plan, lead: impl for<'a> FnOnce(&'a mut Driver) -> Played<'a> + Send + 'static) -> Outcome {
    deterministic::Runner::seeded(plan.seed).start(|context| async move {
        let shared: Shared = Arc::new(Mutex::new(World::new(plan)));
        let (keys, start_ms): (Vec<PublicKey>, u64) = {
            let world = lock(&shared);
            let keys = world.keypairs.iter().map(|keypair| public_key(&keypair.author()).unwrap()).collect();
            (keys, context.current().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64)
        };
        lock(&shared).start_ms = start_ms;
        let config = simulated::Config {
            max_size: 4 << 20,
            max_peers_per_set: NZUsize!(8),
            // A liar may go on lying.
            disconnect_on_block: false,
            tracked_peer_sets: NZUsize!(1),
        };
        let (network, oracle) =
            simulated::Network::new_with_peers(context.child("network"), config, keys.clone()).await;
        network.start();
        let mut driver = Driver {
            links: Links { oracle: oracle.clone(), keys: keys.clone(), up: BTreeSet::new() },
            rng: lock(&shared).fork_rng(),
            context: context.child("driver"),
            shared: shared.clone(),
            plan,
        };
        driver.links.set(&vec![0; keys.len()], 20, 0).await;
        for number in 0..keys.len() {
            if lock(&shared).evil_of(number) == Evil::Silent {
                continue;
            }
            let (shared, oracle) = (shared.clone(), oracle.clone());
            context.child("machine").with_attribute("number", number).spawn(move |context| async move {
                let mut rng = lock(&shared).fork_rng();
                loop {
                    let (world, oracle) = (shared.clone(), oracle.clone());
                    let life = context.child("life").spawn(move |context| Node::live(context, number, world, oracle));
                    let _ = life.await;
                    context.sleep(Duration::from_millis(50 + rng.below(1_000))).await;
                    // What had it open is gone by now.
                    let cuts = lock(&shared).cuts_now(number);
                    if cuts && cut(&context, number, &mut rng).await {
                        lock(&shared).cut += 1;
                    }
                }
            });
        }
        lead(&mut driver).await;
        driver.all_is_final().await;
        for (by, blocked) in oracle.blocked().await.unwrap() {
            let evil = &keys[1];
            let lied = blocked == *evil || by == *evil;
            assert!(lied && plan.evil != Evil::Nobody, "seed {}: an honest sealer is blocked", plan.seed);
        }
        let world = lock(&shared);
        Outcome {
            audit: context.auditor().state(),
            height: world.height(),
            offences: world.offences.iter().map(|(_, offence)| *offence).collect(),
            refused: world.refused,
            crashes: world.crashes,
            sets: world.sets,
            cut: world.cut,
            noticed: world.noticed,
        }
    })
}

impl Driver {
    pub(super) async fn sleep(&self, ms: u64) {
        self.context.sleep(Duration::from_millis(ms)).await;
    }

    /// The greatest final height that an honest node shows.
    pub(super) fn height(&self) -> u64 {
        lock(&self.shared).height()
    }

    /// Parts the nodes.
    pub(super) async fn part(&mut self, sides: &[u64]) {
        self.links.set(sides, 20, 0).await;
    }

    /// Parts, delays and loses at random until the plan's time is over.
    async fn trouble(&mut self) {
        let mut left = self.plan.trouble_ms;
        while left > 0 {
            let (count, ms) = (1 + self.rng.below(2), 300 + self.rng.below(3_000).min(left));
            let sides: Vec<u64> = (0..self.links.keys.len()).map(|_| self.rng.below(count)).collect();
            let (latency, loss) = (5 + self.rng.below(60), self.rng.below(10));
            self.links.set(&sides, latency, loss).await;
            self.sleep(ms).await;
            left = left.saturating_sub(ms);
        }
    }

    /// Nothing fails any more: every honest node comes to the same, and everything is final.
    async fn all_is_final(&mut self) {
        let sides = vec![0; self.links.keys.len()];
        self.links.set(&sides, 20, 0).await;
        let rest = self.plan.writing_ms.saturating_sub(self.plan.trouble_ms);
        self.sleep(rest).await;
        let mut waited = 0;
        while waited < HEALING_MS && !lock(&self.shared).is_calm() {
            self.sleep(500).await;
            waited += 500;
        }
        let world = lock(&self.shared);
        assert!(world.is_calm(), "seed {}: not everything is final: {:?}", self.plan.seed, world.shown);
        // What is on the disks comes to the same again, and no amount is lost.
        for (number, disk) in world.disks.iter().enumerate().filter(|(number, _)| world.is_honest(*number)) {
            let mut group = Group::open(world.genesis.clone(), None, Default::default());
            group.load(disk.changes.clone()).unwrap();
            let mut bft = Bft::new(None);
            bft.restore(&mut group, disk.records.clone());
            group.debug_check();
            let shown = &world.shown[&number];
            assert_eq!((group.chain().height().0, group.chain().tip_id()), (shown.0, shown.1));
            assert_eq!(group.chain().accounts().sum(), u128::from(4 * SUPPLY), "the supply changed");
            assert!(crate::bundle::all_is_proven(&mut group, &Engine::Bft(Box::new(bft))) > 0);
        }
    }
}
