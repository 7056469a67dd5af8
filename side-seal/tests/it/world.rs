//! A simulated world: nodes with a disk each, a network that loses, delays, reorders and parts, crashes between any two effects, and people who vote
//! when nothing moves. Everything follows from one seed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::hash::Hasher;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::Incoming;
use side_ledger::accounts::Rotation;
use side_ledger::block::{Block, BlockId, Height, Rank};
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Rules, Sealing};
use side_ledger::group::Group;
use side_ledger::names::Name;
use side_ledger::transaction::{KeyApprove, KeyRotate, SetClose, Transaction, Transfer, VoterAsk};

use side_seal::{Effect, Engine, Event, Leader, Message, Record, SignedBlock};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the first sealer does to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evil {
    Honest,
    /// Seals each rank twice, one block for one half of the nodes, the other for the other half.
    Equivocates,
    /// Shows its blocks to one node only.
    Withholds,
    /// Signs wrong state roots.
    LiesAboutState,
    /// Stops sealing.
    Stalls,
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) voters: usize,
    /// Nodes that are no voters at first and ask to become some.
    pub(crate) askers: usize,
    pub(crate) evil: Evil,
    /// Until when the network and the machines fail, in ms.
    pub(crate) trouble_ms: u64,
    /// Until when people write.
    pub(crate) writing_ms: u64,
    /// Whether people rotate their keys.
    pub(crate) rotates: bool,
}

const TICK_MS: u64 = 50;
const GOSSIP_MS: u64 = 250;
const INTERVAL_MS: u64 = 200;
/// After how long without a block, though something is new, people vote.
const PATIENCE_MS: u64 = 1_200;

#[derive(Default)]
struct Disk {
    changes: Vec<Incoming>,
    records: Vec<Record>,
}

pub(crate) struct Node {
    keypair: Keypair,
    /// The key that is to take the place of that one.
    next: Option<Keypair>,
    disk: Disk,
    /// Nothing while the machine is down.
    pub(crate) live: Option<(Group, Leader)>,
    /// The last time that its chain grew or nothing was pending.
    moved_ms: u64,
    height: u64,
}

#[derive(Clone)]
enum Packet {
    Seal(Vec<u8>),
    Have(Vec<ChangeId>),
    Changes(Vec<Incoming>),
}

enum Due {
    Deliver { from: usize, to: usize, packet: Packet },
    Tick(usize),
    Gossip(usize),
    Write(usize),
    Restart(usize),
    Part,
}

pub(crate) struct World {
    plan: Plan,
    genesis: Genesis,
    rng: Rng,
    now: u64,
    order: u64,
    due: BTreeMap<(u64, u64), Due>,
    pub(crate) nodes: Vec<Node>,
    /// Which side of the parting each node is on.
    sides: Vec<u64>,
    trace: Hasher,
    signers: BTreeMap<BlockId, AuthorId>,
    /// What honest voters gave their word for.
    words: BTreeMap<Rank, BTreeSet<BlockId>>,
    /// Blocks that some honest node saw held by enough electors.
    held: BTreeMap<(Rank, BlockId), ()>,
    pub(crate) switches: usize,
    pub(crate) doubles: usize,
    pub(crate) returned: usize,
    pub(crate) crashes: usize,
    pub(crate) refused: usize,
    /// How many sets of voters have ended, in all runs together.
    pub(crate) joined: u64,
    /// How many keys have been rotated, and of how many that sealed.
    pub(crate) rotated: usize,
    pub(crate) rotated_sealers: usize,
}

fn keypair(number: usize) -> Keypair {
    Keypair::from_seed(&[number as u8 + 1; 32])
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut founders: Vec<Keypair> = (0..plan.voters).map(keypair).collect();
        // Node 0 is the first sealer: the founder with the lowest key.
        founders.sort_by_key(Keypair::author);
        let askers = (plan.voters..plan.voters + plan.askers).map(keypair);
        let keypairs: Vec<Keypair> = founders.iter().cloned().chain(askers).collect();
        let spec = GroupSpec {
            name: Name::new("sim").unwrap(),
            created_ms: 0,
            nonce: [7; 32],
            founders: founders.iter().map(Keypair::author).collect(),
            admission: Admission::Open,
            allocation: founders.iter().map(|keypair| (keypair.author(), 1_000)).collect(),
            sealing: Sealing::Leader { interval_ms: INTERVAL_MS },
            limits: Limits { note_bytes: 100, block_changes: 20 },
        };
        let rules = if plan.rotates { Rules::LATEST } else { Rules::First };
        let genesis = Genesis::founded(spec, None, rules).unwrap();
        let mut world = Self {
            plan,
            rng: Rng::new(plan.seed),
            now: 0,
            order: 0,
            due: BTreeMap::new(),
            sides: vec![0; keypairs.len()],
            nodes: Vec::new(),
            genesis,
            trace: Hasher::new("sim"),
            signers: BTreeMap::new(),
            words: BTreeMap::new(),
            held: BTreeMap::new(),
            switches: 0,
            doubles: 0,
            returned: 0,
            crashes: 0,
            refused: 0,
            joined: 0,
            rotated: 0,
            rotated_sealers: 0,
        };
        for (number, keypair) in keypairs.into_iter().enumerate() {
            let disk = Disk::default();
            world.nodes.push(Node { keypair, next: None, disk, live: None, moved_ms: 0, height: 0 });
            world.start(number);
            for due in [Due::Tick(number), Due::Gossip(number), Due::Write(number)] {
                let after = world.rng.below(200);
                world.after(after, due);
            }
        }
        world.after(500, Due::Part);
        world
    }

    fn after(&mut self, ms: u64, due: Due) {
        self.order += 1;
        self.due.insert((self.now + ms, self.order), due);
    }

    fn troubled(&self) -> bool {
        self.now < self.plan.trouble_ms
    }

    fn is_evil(&self, number: usize) -> bool {
        number == 0 && self.plan.evil != Evil::Honest
    }

    fn honest(&self) -> impl Iterator<Item = (usize, &Group, &Leader)> {
        let live = self.nodes.iter().enumerate().filter(|(number, _)| !self.is_evil(*number));
        live.filter_map(|(number, node)| node.live.as_ref().map(|(group, leader)| (number, group, leader)))
    }

    /// A machine starts from its disk.
    fn start(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let mut group = Group::open(self.genesis.clone(), Some(node.keypair.author()), Default::default());
        group.load(node.disk.changes.clone()).unwrap();
        let mut leader = Leader::new(Some(node.keypair.clone()));
        leader.restore(&mut group, node.disk.records.clone());
        (node.height, node.moved_ms) = (group.chain().height().0, self.now);
        node.live = Some((group, leader));
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if from == to || (self.troubled() && (self.sides[from] != self.sides[to] || self.rng.chance(10))) {
            return;
        }
        let delay = 1 + if self.troubled() { self.rng.below(120) } else { self.rng.below(10) };
        self.after(delay, Due::Deliver { from, to, packet });
    }

    fn tell(&mut self, from: usize, packet: &Packet) {
        for to in 0..self.nodes.len() {
            self.send(from, to, packet.clone());
        }
    }

    fn other(&mut self, than: usize) -> usize {
        let other = self.rng.below(self.nodes.len() as u64 - 1) as usize;
        if other >= than { other + 1 } else { other }
    }

    /// Carries effects out, in their order; in times of trouble the machine may stop between any two.
    fn carry_out(&mut self, number: usize, from: Option<usize>, effects: Vec<Effect>) {
        for effect in effects {
            if self.troubled() && self.rng.chance(1) {
                self.crash(number);
                return;
            }
            match effect {
                Effect::Keep(record) => self.nodes[number].disk.records.push(record),
                Effect::Tell(Message::Blocks(blocks)) if self.is_evil(number) => self.tell_evil(number, blocks),
                Effect::Tell(message) => {
                    self.note(number, &message);
                    self.tell(number, &Packet::Seal(message.encode()));
                }
                Effect::Ask(message) => {
                    let to = from.unwrap_or_else(|| self.other(number));
                    self.send(number, to, Packet::Seal(message.encode()));
                }
                Effect::Show(event) => self.show(number, &event),
                Effect::Reply(reply) => unreachable!("nothing was asked: {reply:?}"),
            }
        }
    }

    fn crash(&mut self, number: usize) {
        self.crashes += 1;
        self.nodes[number].live = None;
        let after = 50 + self.rng.below(1_000);
        self.after(after, Due::Restart(number));
    }

    fn show(&mut self, number: usize, event: &Event) {
        self.trace.update(format!("{} {number} {event:?}", self.now).as_bytes());
        match event {
            Event::Returned(..) => self.returned += 1,
            Event::Doubled(signer, _) => {
                self.doubles += 1;
                self.no_honest_node_is_convicted(*signer);
            }
            Event::Refused(id, refusal) => {
                self.refused += 1;
                let signer = self.signers.get(id).copied();
                let evil = signer == Some(self.nodes[0].keypair.author()) && self.is_evil(0);
                assert!(evil, "seed {}: an honest block was refused: {refusal}", self.plan.seed);
            }
            Event::Extended(..) => {}
            Event::Offended(guilt) => unreachable!("in leader mode nobody votes on blocks: {guilt:?}"),
        }
    }

    fn note(&mut self, number: usize, message: &Message) {
        match message {
            Message::Blocks(blocks) => {
                for signed in blocks {
                    self.signers.insert(signed.id(), signed.signer());
                }
            }
            Message::Hold(hold) if hold.voter == self.nodes[number].keypair.author() => {
                self.words.entry(hold.rank).or_default().insert(hold.block);
                self.one_block_a_rank_is_held(hold.rank);
            }
            _ => {}
        }
    }

    fn tell_evil(&mut self, number: usize, blocks: Vec<SignedBlock>) {
        for signed in blocks {
            let keypair = self.nodes[number].keypair.clone();
            if signed.signer() != keypair.author() {
                self.tell(number, &Packet::Seal(Message::Blocks(vec![signed]).encode()));
                continue;
            }
            let again = |block: Block| SignedBlock::sign(block, &keypair, signed.warrant().clone()).unwrap();
            let twin = again(Block { time_ms: signed.block().time_ms + 1, ..signed.block().clone() });
            let lie = again(Block { state_root: [6; 32], ..signed.block().clone() });
            for one in [&signed, &twin, &lie] {
                self.signers.insert(one.id(), one.signer());
            }
            for to in 0..self.nodes.len() {
                let shown = match self.plan.evil {
                    Evil::Equivocates if to % 2 == 0 => &twin,
                    Evil::Withholds if to != 1 => continue,
                    Evil::LiesAboutState => &lie,
                    _ => &signed,
                };
                self.send(number, to, Packet::Seal(Message::Blocks(vec![shown.clone()]).encode()));
            }
        }
    }

    fn take_in(&mut self, number: usize, changes: Vec<Incoming>) {
        let Some((mut group, mut leader)) = self.nodes[number].live.take() else { return };
        let merged = group.apply_batch(changes);
        assert!(!merged.rebuilt, "nobody forks its chain in this world");
        for index in merged.applied {
            self.nodes[number].disk.changes.push(group.replica().change(index).into());
        }
        let effects = leader.changed(&mut group);
        self.nodes[number].live = Some((group, leader));
        self.carry_out(number, None, effects);
    }

    fn write(&mut self, number: usize, transaction: impl Into<Transaction>) {
        let (now, keypair) = (self.now, self.nodes[number].keypair.clone());
        let node = &mut self.nodes[number];
        let Some((group, _)) = &mut node.live else { return };
        let heads = group.replica().heads().len();
        assert!(heads < 30, "so few nodes have few heads");
        let written = group.write(&[transaction.into()], &keypair, now).unwrap();
        node.disk.changes.push(written.change.clone().into());
        self.trace.update(&written.change.id().0);
        self.tell(number, &Packet::Changes(vec![written.change.into()]));
    }

    fn deliver(&mut self, from: usize, to: usize, packet: Packet) {
        let Some((mut group, mut leader)) = self.nodes[to].live.take() else { return };
        let mut effects = Vec::new();
        match packet {
            Packet::Seal(bytes) => match Message::decode(&bytes).unwrap() {
                Message::Ask { want, have } => {
                    if let Some(answer) = leader.answer(&group, &want, &have) {
                        self.send(to, from, Packet::Seal(answer.encode()));
                    }
                }
                message => effects = leader.hear(&mut group, message).0,
            },
            Packet::Have(ids) => {
                let ids: HashSet<ChangeId> = ids.into_iter().collect();
                let missing = group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming);
                let missing: Vec<Incoming> = missing.filter(|incoming| !ids.contains(&incoming.change.id())).collect();
                if !missing.is_empty() {
                    self.send(to, from, Packet::Changes(missing));
                }
            }
            Packet::Changes(changes) => {
                self.nodes[to].live = Some((group, leader));
                return self.take_in(to, changes);
            }
        }
        self.nodes[to].live = Some((group, leader));
        self.carry_out(to, Some(from), effects);
    }

    fn tick(&mut self, number: usize) {
        self.after(TICK_MS, Due::Tick(number));
        let stalls = self.is_evil(number) && self.plan.evil == Evil::Stalls && self.now > 1_000;
        let me = self.nodes[number].keypair.author();
        let Some((group, leader)) = self.nodes[number].live.as_mut() else { return };
        let effects = if stalls { Vec::new() } else { leader.tick(group, self.now) };
        // Every other sealer is rash: it ends the set though the electors may not be there.
        let governance = group.chain().governance();
        let is_sealer = governance.sealers.contains(&me);
        let rash = self.plan.seed.is_multiple_of(2) && is_sealer && !governance.pending.is_empty();
        let close = (rash || leader.wants_close(group)).then_some(governance.set);
        let open = group
            .ledger()
            .latest(20)
            .iter()
            .any(|entry| entry.kind == "set.close" && close.is_some_and(|set| entry.body["set"] == set.0));
        self.carry_out(number, None, effects);
        if let Some(set) = close.filter(|_| !open && !stalls) {
            self.write(number, SetClose { set });
        }
        self.people(number);
        self.change_keys(number);
    }

    /// Whoever's new key has all that the old one had goes on with it.
    fn change_keys(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let (Some((group, leader)), Some(next)) = (&node.live, &node.next) else { return };
        let chain = group.chain();
        let (me, new) = (node.keypair.author(), next.author());
        let is_held = leader.is_held(group, chain.height()) || chain.seat_had_moved(&me, leader.held_height(group));
        if chain.replaced(&me) == Some(new) && is_held {
            self.rotated += 1;
            self.rotated_sealers += usize::from(chain.governance().sealers.contains(&new));
            node.keypair = next.clone();
            node.next = None;
            self.start(number);
        }
    }

    /// Somebody rotates its key, or agrees to somebody else's doing so.
    fn rotate(&mut self, number: usize) {
        let Some((group, _)) = self.nodes[number].live.as_ref() else { return };
        let (chain, me) = (group.chain(), self.nodes[number].keypair.author());
        let set = chain.governance().set;
        let open = chain.accounts().iter().find_map(|(old, account)| match account.rotation {
            Some(Rotation::Proposed(new)) if *old != me => Some(KeyApprove { set, old: *old, new }),
            _ => None,
        });
        let id = group.id();
        if let Some(approve) = open {
            self.write(number, approve);
        } else if self.nodes[number].next.is_none() && !self.is_evil(number) && self.rng.chance(15) {
            let mut seed = [number as u8; 32];
            seed[..8].copy_from_slice(&self.order.to_be_bytes());
            let next = Keypair::from_seed(&seed);
            let rotate = KeyRotate::sign(id, &me, &next);
            self.nodes[number].next = Some(next);
            self.write(number, rotate);
        }
    }

    /// Whoever sees nothing move votes. Mostly they agree on whom.
    fn people(&mut self, number: usize) {
        let Some((group, leader)) = self.nodes[number].live.as_ref() else { return };
        let (height, pending) = (group.chain().height().0, group.chain().pending());
        if self.is_evil(number) || height != self.nodes[number].height || pending == 0 {
            (self.nodes[number].height, self.nodes[number].moved_ms) = (height, self.now);
            return;
        }
        if self.now < self.nodes[number].moved_ms + PATIENCE_MS {
            return;
        }
        let (sealers, voters) = (&group.chain().governance().sealers, &group.chain().governance().voters);
        let good = |at: &usize| {
            let key = self.nodes[*at].keypair.author();
            !self.is_evil(*at) && !sealers.contains(&key) && (!self.plan.rotates || voters.contains(&key))
        };
        // Where keys are rotated few founders may be left among the voters.
        let count = if self.plan.rotates { self.nodes.len() } else { self.plan.voters };
        let candidates: Vec<usize> = (0..count).filter(good).collect();
        let vote = |at: usize| leader.vote(group, self.nodes[at].keypair.author());
        let split = self.troubled() && (self.now / 1_000).is_multiple_of(3) && number.is_multiple_of(2);
        let vote = candidates.get(usize::from(split)).or(candidates.first()).map(|at| vote(*at));
        self.nodes[number].moved_ms = self.now;
        if let Some(Ok(vote)) = vote {
            self.switches += 1;
            self.write(number, vote);
        }
    }

    fn gossip(&mut self, number: usize) {
        self.after(GOSSIP_MS, Due::Gossip(number));
        let to = self.other(number);
        let Some((group, leader)) = self.nodes[number].live.as_ref() else { return };
        let have = (0..group.replica().len() as u32).map(|index| group.replica().id(ChangeIdx(index))).collect();
        let mut packets = vec![Packet::Have(have)];
        // Whoever lies or withholds does not make up for it later.
        if !self.is_evil(number) {
            packets.extend(leader.greet(group).into_iter().map(|message| Packet::Seal(message.encode())));
        }
        packets.into_iter().for_each(|packet| self.send(number, to, packet));
    }

    fn person_writes(&mut self, number: usize) {
        if self.now >= self.plan.writing_ms {
            return;
        }
        let after = 50 + self.rng.below(700);
        self.after(after, Due::Write(number));
        if self.plan.rotates && self.rng.chance(50) {
            self.rotate(number);
        }
        let to = self.rng.below(self.nodes.len() as u64) as usize;
        let amount = 1 + self.rng.below(300);
        let Some((group, _)) = self.nodes[number].live.as_ref() else { return };
        let is_voter = group.chain().governance().voters.contains(&self.nodes[number].keypair.author());
        let ask = number >= self.plan.voters && !is_voter && self.rng.chance(30);
        if ask {
            let block = self.nodes[number].live.as_ref().map(|(group, _)| group.chain().tip_id());
            if let Some(block) = block {
                self.write(number, VoterAsk { block });
            }
        } else if self.rng.chance(80) {
            let to = self.nodes[to].keypair.author();
            self.write(number, Transfer { to, amount });
        } else {
            self.write(number, Transaction::note("hello", 100).unwrap());
        }
    }

    fn part(&mut self) {
        let after = 300 + self.rng.below(2_500);
        self.after(after, Due::Part);
        let count = if self.rng.chance(50) { 1 } else { 2 };
        if self.troubled() {
            let victim = self.rng.below(self.nodes.len() as u64) as usize;
            if self.nodes[victim].live.is_some() {
                self.crash(victim);
            }
        }
        for side in 0..self.sides.len() {
            self.sides[side] = self.rng.below(count);
        }
    }

    /// Lets the world go on until this time.
    pub(crate) fn run(&mut self, until_ms: u64) {
        let mut events = 0u64;
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > until_ms {
                break;
            }
            let ((now, _), due) = entry.remove_entry();
            self.now = now;
            match due {
                Due::Deliver { from, to, packet } => self.deliver(from, to, packet),
                Due::Tick(number) => self.tick(number),
                Due::Gossip(number) => self.gossip(number),
                Due::Write(number) => self.person_writes(number),
                Due::Restart(number) => self.start(number),
                Due::Part => self.part(),
            }
            events += 1;
            if events.is_multiple_of(8) {
                self.nothing_held_is_lost();
            }
            if events.is_multiple_of(1_000) {
                self.states_agree_and_add_up();
            }
        }
        self.now = until_ms;
        self.states_agree_and_add_up();
    }

    /// A hash over all that happened.
    pub(crate) fn trace(&self) -> [u8; 32] {
        self.trace.clone().finish()
    }

    /// How many events the world has seen.
    pub(crate) fn events(&self) -> u64 {
        self.order
    }

    // The invariants.

    fn no_honest_node_is_convicted(&self, signer: AuthorId) {
        assert!(
            self.is_evil(0) && signer == self.nodes[0].keypair.author(),
            "seed {}: an honest sealer is convicted",
            self.plan.seed
        );
    }

    /// Honest voters hold one block a rank, unless its sealer sealed it twice.
    fn one_block_a_rank_is_held(&self, rank: Rank) {
        let blocks = &self.words[&rank];
        if blocks.len() > 1 {
            let evil = self.nodes[0].keypair.author();
            let by_evil = blocks.iter().all(|id| self.signers.get(id) == Some(&evil));
            assert!(by_evil && self.is_evil(0), "seed {}: two blocks of rank {rank:?} are held", self.plan.seed);
        }
    }

    /// What enough electors held once is on every honest chain that ranks above it.
    fn nothing_held_is_lost(&mut self) {
        let mut news = Vec::new();
        for (_, group, leader) in self.honest() {
            let chain = group.chain();
            if let Some(tip) = chain.tip()
                && leader.is_held(group, tip.block.height)
            {
                news.push((tip.block.rank(), tip.id));
            }
        }
        for key in news {
            self.held.insert(key, ());
        }
        for (number, group, _) in self.honest() {
            let rank = group.chain().rank();
            if let Some(((held, id), ())) = self.held.range(..(rank, BlockId([0; 32]))).next_back() {
                let there = group.chain().at(held.height).is_some_and(|sealed| sealed.id == *id);
                assert!(there, "seed {}: node {number} at {rank:?} lost {held:?}, which was held", self.plan.seed);
            }
        }
    }

    fn states_agree_and_add_up(&mut self) {
        let seed = self.plan.seed;
        let mut roots: BTreeMap<BlockId, [u8; 32]> = BTreeMap::new();
        for node in &mut self.nodes {
            let Some((group, _)) = &mut node.live else { continue };
            group.debug_check();
            let root = group.state_root();
            assert_eq!(*roots.entry(group.chain().tip_id()).or_insert(root), root, "seed {seed}: state roots differ");
        }
    }

    /// Whether every honest node is up, they have one chain, and it seals everything.
    pub(crate) fn is_calm(&self) -> bool {
        let mut tips = self.honest().map(|(_, group, _)| (group.chain().tip_id(), group.replica().heads_digest()));
        let first = tips.next();
        tips.all(|tip| Some(tip) == first)
            && self.honest().count() == self.nodes.len() - usize::from(self.is_evil(0))
            && self.honest().all(|(_, group, _)| group.chain().pending() == 0)
    }

    /// After the healing all honest nodes have one chain, and everything is sealed.
    pub(crate) fn all_is_sealed(&mut self) {
        let seed = self.plan.seed;
        let shown: Vec<_> = self
            .honest()
            .map(|(_, group, _)| (group.chain().tip_id(), group.replica().heads_digest(), group.chain().pending()))
            .collect();
        assert_eq!(shown.len(), self.nodes.len() - usize::from(self.is_evil(0)), "seed {seed}: a machine is down");
        let offices: Vec<_> =
            self.honest().map(|(_, group, leader)| (group.chain().rank(), leader.office(group))).collect();
        assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {shown:?} {offices:#?}");
        assert_eq!(shown[0].2, 0, "seed {seed}: something is never sealed: {offices:#?}");
        // Nothing that was on a disk is gone.
        let written: BTreeSet<ChangeId> =
            self.nodes.iter().flat_map(|node| node.disk.changes.iter().map(|incoming| incoming.change.id())).collect();
        for (number, group, _) in self.honest() {
            let lost = written.iter().filter(|id| group.replica().index_of(id).is_none()).count();
            assert_eq!(lost, 0, "seed {seed}: node {number} lacks changes");
        }
        for node in &mut self.nodes {
            let Some((mut group, leader)) = node.live.take() else { continue };
            let engine = Engine::Leader(Box::new(leader));
            crate::bundle::all_is_proven(&mut group, &engine);
            if let Engine::Leader(leader) = engine {
                node.live = Some((group, *leader));
            }
        }
    }

    pub(crate) fn height(&self) -> Height {
        self.honest().map(|(_, group, _)| group.chain().height()).max().unwrap_or_default()
    }

    pub(crate) fn sets(&self) -> u64 {
        self.honest().map(|(_, group, _)| group.chain().governance().set.0).max().unwrap_or_default()
    }
}
