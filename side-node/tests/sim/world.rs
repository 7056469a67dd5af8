//! A world of members: a calendar of events from a seed, links that delay, break and are cut, machines that crash and come back, and people who write.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use side_ledger::accounts::Rotation;
use side_ledger::genesis::Rules;
use side_ledger::governance::two_thirds;
use side_ledger::{Admission, BlockId, Genesis, GroupSpec, Limits, Name, Sealing};
use side_node::api::control::{Ballot, Verb};
use side_node::member::Member;
use side_node::net::{LinkId, Peer, Stream};
use side_seal::Message;
use side_store::sim::Faults;

use crate::agreement::{Agreement, LOOK_MS};
use crate::invariants::Ledgers;
use crate::node::{End, Node, is_told};
use crate::plan::{Evil, Plan};
use crate::rng::Rng;

/// Between two blocks.
const INTERVAL_MS: u64 = 150;
/// Messages that a link holds.
const ROOM: usize = 64;
/// Between the moments at which somebody wants another key.
const ROTATE_EVERY_MS: u64 = 1_500;
/// How long people wait for a block before they vote for another sealer.
const PATIENCE_MS: u64 = 1_200;
/// What each member owns at first.
const ALLOCATION: u64 = 1_000;
/// When the world begins: clocks do not start at 0.
pub(crate) const START_MS: u64 = 1_000_000;

/// What the calendar holds.
#[derive(Debug, Clone)]
enum Due {
    /// A message arrives.
    Arrive(usize, LinkId, Stream, Bytes),
    /// A member wants to be asked.
    Tick(usize),
    /// A link between two machines comes up, if both are on and nothing parts them.
    Connect(usize, usize),
    /// A machine comes back.
    Restart(usize),
    /// Somebody writes.
    Write,
    /// Somebody looks whether anything moves.
    Look(usize),
    /// A machine crashes, a link breaks, the world parts, and comes together.
    Crash,
    Cut,
    Part,
    Heal,
    /// The disks are copied.
    Backup,
    /// Somebody wants another key.
    Rotate,
    /// The sealers agree.
    Agree,
}

/// What happened, to tell that the trouble was real.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) cuts: u64,
    pub(crate) partings: u64,
    pub(crate) votes: u64,
    pub(crate) rotations: u64,
    pub(crate) blocks: u64,
    pub(crate) forks: u64,
    pub(crate) proofs: u64,
    pub(crate) refused_links: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) genesis: Genesis,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now_ms: u64,
    pub(crate) tally: Tally,
    pub(crate) rng: Rng,
    pub(crate) ledgers: Ledgers,
    pub(crate) agreement: Agreement,
    calendar: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Due>,
    next: u64,
    next_link: u64,
    /// Which side of the cut each machine is on.
    side: Vec<bool>,
    trace: [u8; 32],
    /// When somebody last approved the next key of a machine, or asked for a vote of its own.
    approved: BTreeMap<(usize, usize), u64>,
    /// Whether things still fail.
    pub(crate) troubled: bool,
}

pub(crate) fn keypair(number: usize) -> Keypair {
    Keypair::from_seed(&[number as u8 + 1; 32])
}

fn nobody(_: &str) -> Option<AuthorId> {
    None
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed.wrapping_mul(31));
        // The founder with the lowest key seals first: that is number 0, the liar where there is one.
        let mut keys: Vec<Keypair> = (0..plan.members).map(keypair).collect();
        keys.sort_by_key(Keypair::author);
        let founders: Vec<AuthorId> = keys.iter().map(Keypair::author).collect();
        let spec = GroupSpec {
            name: Name::new("world").expect("a name"),
            created_ms: 1,
            nonce: [plan.seed as u8; 32],
            founders: founders.clone(),
            admission: Admission::Open,
            allocation: founders.iter().map(|key| (*key, ALLOCATION)).collect(),
            sealing: if plan.bft {
                Sealing::Bft { interval_ms: INTERVAL_MS, term: 0 }
            } else {
                Sealing::Leader { interval_ms: INTERVAL_MS }
            },
            limits: Limits::default(),
        };
        let rules = if plan.rotates { Rules::LATEST } else { Rules::First };
        let genesis = Genesis::founded(spec, None, rules).expect("a group");
        let faces = if plan.evil == Evil::TwoFaces { vec![0, 0] } else { vec![0] };
        let machines = faces.into_iter().chain(1..plan.members);
        let nodes: Vec<Node> = machines
            .enumerate()
            .map(|(number, who)| Node::new(number, who, keys[who].clone(), rng.next(), rng.below(2_000)))
            .collect();
        let mut world = Self {
            genesis,
            side: vec![false; nodes.len()],
            nodes,
            now_ms: START_MS,
            tally: Tally::default(),
            ledgers: Ledgers::new(plan.members as u64 * ALLOCATION),
            agreement: Agreement::default(),
            rng,
            calendar: BinaryHeap::new(),
            due: BTreeMap::new(),
            next: 0,
            next_link: 0,
            trace: [0; 32],
            approved: BTreeMap::new(),
            troubled: true,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for number in 0..self.nodes.len() {
            self.put(number as u64, Due::Restart(number));
            let wait = self.rng.between(500, 900);
            self.put(wait, Due::Look(number));
        }
        self.put(50, Due::Write);
        if self.plan.bft {
            self.put(LOOK_MS, Due::Agree);
        }
        let plan = self.plan.clone();
        for (every, due) in [
            (plan.crash_every_ms, Due::Crash),
            (plan.cut_every_ms, Due::Cut),
            (plan.part_every_ms, Due::Part),
            (1_000, Due::Backup),
        ] {
            let wait = self.rng.between(every / 2, every * 2);
            self.put(wait, due);
        }
        if plan.rotates {
            self.again(ROTATE_EVERY_MS, Due::Rotate);
        }
    }

    fn put(&mut self, after_ms: u64, due: Due) {
        self.put_at(self.now_ms + after_ms, due);
    }

    fn put_at(&mut self, at_ms: u64, due: Due) {
        self.calendar.push(Reverse((at_ms, self.next)));
        self.due.insert(self.next, due);
        self.next += 1;
    }

    /// Lets the world go on until this time.
    pub(crate) fn run(&mut self, until_ms: u64) {
        while let Some(Reverse((at, number))) = self.calendar.peek().copied() {
            if at > START_MS + until_ms {
                break;
            }
            self.calendar.pop();
            let Some(due) = self.due.remove(&number) else { continue };
            self.now_ms = at;
            self.tally.events += 1;
            self.happen(due);
        }
        self.now_ms = START_MS + until_ms;
    }

    /// A hash over everything that happened.
    pub(crate) fn trace(&self) -> [u8; 32] {
        self.trace
    }

    fn note(&mut self, what: &[u8]) {
        if is_told() && what.len() <= 3 {
            println!("{} {} {:?}", self.now_ms - START_MS, what[0] as char, &what[1..]);
        }
        let line = [&self.trace, &self.now_ms.to_be_bytes()[..], what].concat();
        self.trace = hash("side/1/simulation", &line);
    }

    /// Tells of a message about blocks that arrives.
    fn tell_message(&self, from: usize, to: usize, message: &Bytes) {
        let now = self.now_ms - START_MS;
        match Message::decode(message) {
            Ok(Message::Blocks(blocks)) => {
                let blocks: Vec<_> = blocks.iter().map(|it| (it.block().rank(), it.id(), it.signer())).collect();
                println!("{now} {from} to {to}: blocks {blocks:?}");
            }
            Ok(message) => println!("{now} {from} to {to}: {message:?}"),
            Err(error) => println!("{now} {from} to {to}: {error}"),
        }
    }

    fn is_troubled(&self) -> bool {
        self.troubled && self.now_ms < START_MS + self.plan.trouble_ms
    }

    /// Whether a machine lies.
    pub(crate) fn is_evil(&self, number: usize) -> bool {
        self.plan.evil != Evil::Nobody && self.nodes[number].who == 0
    }

    /// The machines that do not lie.
    pub(crate) fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|number| !self.is_evil(*number))
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Arrive(to, link, stream, message) => self.arrive(to, link, stream, &message),
            Due::Tick(number) => {
                if self.nodes[number].tick_at.is_some_and(|at| at <= self.now_ms) {
                    self.nodes[number].tick_at = None;
                    self.round(number);
                }
            }
            Due::Connect(one, other) => self.connect(one, other),
            Due::Restart(number) => self.restart(number),
            Due::Write => self.somebody_writes(),
            Due::Look(number) => {
                self.look(number);
                let wait = self.rng.between(200, 400);
                self.put(wait, Due::Look(number));
            }
            Due::Agree => {
                self.agree();
                self.put(LOOK_MS, Due::Agree);
            }
            Due::Crash | Due::Cut | Due::Part | Due::Backup | Due::Rotate if !self.is_troubled() => {}
            Due::Crash => {
                let number = self.rng.below(self.nodes.len() as u64) as usize;
                self.crash(number);
                self.again(self.plan.crash_every_ms, Due::Crash);
            }
            Due::Cut => {
                self.cut_one();
                self.again(self.plan.cut_every_ms, Due::Cut);
            }
            Due::Part => {
                self.part();
                self.again(self.plan.part_every_ms, Due::Part);
            }
            Due::Heal => {
                self.side.fill(false);
                self.note(b"h");
                self.connect_all();
            }
            Due::Rotate => {
                self.somebody_rotates();
                self.again(ROTATE_EVERY_MS, Due::Rotate);
            }
            Due::Backup => {
                for node in self.nodes.iter_mut().filter(|node| node.is_on()) {
                    node.backup = Some(node.disk.backup());
                }
                self.again(1_000, Due::Backup);
            }
        }
    }

    fn again(&mut self, every_ms: u64, due: Due) {
        let wait = self.rng.between(every_ms / 2, every_ms * 3 / 2);
        self.put(wait, due);
    }

    /// Ends all trouble: nothing parts the members any more, and all machines are on.
    pub(crate) fn heal(&mut self) {
        self.troubled = false;
        self.put(0, Due::Heal);
        for number in 0..self.nodes.len() {
            if !self.nodes[number].is_on() {
                self.put(1, Due::Restart(number));
            }
        }
    }

    /// The owners of machines that were set back and still wait look whether all is there, and say so.
    pub(crate) fn owners_trust(&mut self) {
        for number in self.honest().collect::<Vec<_>>() {
            if let Some(member) = &mut self.nodes[number].member {
                member.trust();
            }
            self.round(number);
        }
    }

    // Machines.

    fn restart(&mut self, number: usize) {
        if self.nodes[number].is_on() {
            return;
        }
        let faults = if self.is_troubled() && self.rng.once_in(3) {
            Faults { crash_at: Some(self.rng.between(1, 60)), ..Faults::default() }
        } else {
            Faults::default()
        };
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        self.note(&[b'r', number as u8]);
        if !self.nodes[number].start(&self.genesis, now_ms, faults) {
            self.put(100, Due::Restart(number));
            return;
        }
        if self.plan.evil == Evil::Stalls && self.is_evil(number) && !self.plan.bft {
            self.stall(number);
        }
        self.check_memory(number);
        self.round(number);
        self.connect_all();
    }

    fn crash(&mut self, number: usize) {
        if !self.nodes[number].is_on() {
            return;
        }
        self.nodes[number].crash();
        self.is_off(number);
    }

    /// A machine is off, for whatever reason: its links end, and it comes back.
    fn is_off(&mut self, number: usize) {
        self.tally.crashes += 1;
        self.note(&[b'c', number as u8]);
        for link in self.nodes[number].links.keys().copied().collect::<Vec<_>>() {
            self.disconnect(number, link);
        }
        if self.plan.restores && self.is_troubled() && self.rng.once_in(2) {
            self.set_back(number);
        }
        let wait = self.rng.between(50, 1_500);
        self.put(wait, Due::Restart(number));
    }

    /// Puts an older state of its disk in the place of the present one. What it told since is not promised any more, but it must not contradict it.
    fn set_back(&mut self, number: usize) {
        // Where too few are left who can teach it, its owner has to decide, and does not know better (docs/adr/0016).
        let members = self.plan.members;
        let least = (members - two_thirds(members) + 1).min(members - 1);
        let sound = self.honest().filter(|other| *other != number && !self.nodes[*other].learns).count();
        let is_hopeless = !self.is_evil(number) && (sound < least || self.only_a_liar_knows(number));
        if is_hopeless || self.plan.bft && !self.is_spare(number) {
            return;
        }
        let Some(backup) = self.nodes[number].backup.take() else { return };
        self.nodes[number].disk.put_back(&backup);
        (self.nodes[number].restored, self.nodes[number].learns) = (true, true);
        self.nodes[number].told = Default::default();
        let voted = std::mem::take(&mut self.nodes[number].voted);
        self.nodes[number].forgotten.extend(voted);
        self.tally.restores += 1;
        self.note(&[b'b', number as u8]);
    }

    /// Whether a liar holds a change of this machine's that nobody else does: if it shows it to nobody before the machine writes again, nothing tells that it was forgotten
    /// (docs/adr/0016).
    fn only_a_liar_knows(&self, number: usize) -> bool {
        let others = |evil: bool| {
            let others = (0..self.nodes.len()).filter(move |other| *other != number && self.is_evil(*other) == evil);
            // Of an honest machine that is off nobody knows what its disk has kept.
            others.filter(move |other| evil || self.nodes[*other].is_on())
        };
        let who = self.nodes[number].who;
        let most = |evil: bool| others(evil).filter_map(|other| self.nodes[other].knows.get(who)).max();
        most(true) > most(false)
    }

    /// How many changes of each member's a machine holds.
    fn count_changes(&mut self, number: usize) {
        let Some(member) = &self.nodes[number].member else { return };
        let replica = member.group().replica();
        let mut knows = vec![0; self.plan.members];
        for node in &self.nodes {
            let last = replica.leaves(&node.keypair.author()).iter().map(|leaf| leaf.seq).max();
            knows[node.who] = last.unwrap_or_default();
        }
        self.nodes[number].knows = knows;
    }

    /// Whether the agreement can do without this sealer: with the liar and those that stay out already it is a third at most, or nothing would ever be final again.
    fn is_spare(&self, number: usize) -> bool {
        let out = self.honest().filter(|other| {
            let node = &self.nodes[*other];
            *other != number && (node.restored || node.stays_out)
        });
        let liars = usize::from(self.plan.evil != Evil::Nobody);
        !self.is_evil(number) && 3 * (out.count() + liars + 1) < self.plan.members
    }

    /// A round of a member, and what follows from it.
    pub(crate) fn round(&mut self, number: usize) {
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        if !self.nodes[number].is_on() {
            return;
        }
        if !self.nodes[number].round(now_ms) {
            return self.is_off(number);
        }
        let out = self.nodes[number].member.as_ref().is_some_and(|member| member.seat().is_none());
        self.nodes[number].stays_out = out;
        self.nodes[number].learns = self.nodes[number].member.as_ref().is_some_and(Member::may_have_forgotten);
        if self.plan.restores && self.plan.evil != Evil::Nobody {
            self.count_changes(number);
        }
        self.take_replies(number);
        self.end_links(number);
        self.send_all(number);
        self.check(number);
        let node = &self.nodes[number];
        let due = node.member.as_ref().and_then(side_node::member::Member::deadline);
        if let Some(due) = due {
            let at = due.saturating_sub(node.skew_ms).max(self.now_ms + 1);
            if node.tick_at.is_none_or(|planned| at < planned) {
                self.nodes[number].tick_at = Some(at);
                self.put_at(at, Due::Tick(number));
            }
        }
    }

    // Links.

    /// Every pair has a link, where both are on and nothing parts them. A liar's two faces share the others between them.
    fn connect_all(&mut self) {
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                let wait = self.rng.between(1, 100);
                self.put(wait, Due::Connect(one, other));
            }
        }
    }

    fn may_connect(&self, one: usize, other: usize) -> bool {
        let two_faced =
            |face: usize, other: usize| self.plan.evil == Evil::TwoFaces && face < 2 && other >= 2 && other % 2 != face;
        self.nodes[one].who != self.nodes[other].who
            && self.nodes[one].is_on()
            && self.nodes[other].is_on()
            && self.side[one] == self.side[other]
            && !two_faced(one, other)
            && self.nodes[one].links.values().all(|end| end.to != other)
    }

    fn connect(&mut self, one: usize, other: usize) {
        if !self.may_connect(one, other) {
            return;
        }
        let (a, b) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        self.note(&[b'l', one as u8, other as u8]);
        for (link, from, to, theirs) in [(a, one, other, b), (b, other, one, a)] {
            let peer =
                Peer { key: self.nodes[to].keypair.author(), transport: "direct", address: format!("machine {to}") };
            self.nodes[from].links.insert(link, End { to, theirs, under_way: 0, last_ms: 0 });
            if let Some(member) = &mut self.nodes[from].member {
                member.link_up(link, peer);
            }
        }
        self.round(one);
        self.round(other);
    }

    /// Ends a link, and what is under way on it is lost.
    pub(crate) fn disconnect(&mut self, number: usize, link: LinkId) {
        let Some(End { to, theirs, .. }) = self.nodes[number].links.remove(&link) else { return };
        self.nodes[to].links.remove(&theirs);
        for (number, link) in [(number, link), (to, theirs)] {
            if let Some(member) = &mut self.nodes[number].member {
                member.link_down(link);
            }
        }
        let wait = self.rng.between(10, 1_000);
        self.put(wait, Due::Connect(number.min(to), number.max(to)));
    }

    fn end_links(&mut self, number: usize) {
        let Some(member) = &mut self.nodes[number].member else { return };
        for ending in member.take_endings() {
            let Some(end) = self.nodes[number].links.get(&ending.link) else { continue };
            let to = end.to;
            if ending.fault && !self.is_evil(number) {
                self.no_honest_member_is_blamed(to, &ending.reason);
                self.tally.refused_links += 1;
            }
            self.disconnect(number, ending.link);
        }
    }

    fn cut_one(&mut self) {
        let number = self.rng.below(self.nodes.len() as u64) as usize;
        let links: Vec<LinkId> = self.nodes[number].links.keys().copied().collect();
        if links.is_empty() {
            return;
        }
        let link = links[self.rng.below(links.len() as u64) as usize];
        self.tally.cuts += 1;
        self.note(&[b'x', number as u8]);
        self.disconnect(number, link);
    }

    /// Splits the machines in two for a while.
    fn part(&mut self) {
        let bits = self.rng.next();
        for number in 0..self.nodes.len() {
            self.side[number] = bits >> number & 1 == 1;
        }
        self.tally.partings += 1;
        self.note(&[b'p', bits as u8]);
        for number in 0..self.nodes.len() {
            let across = |end: &End| self.side[end.to] != self.side[number];
            let links: Vec<LinkId> =
                self.nodes[number].links.iter().filter(|(_, end)| across(end)).map(|(link, _)| *link).collect();
            links.into_iter().for_each(|link| self.disconnect(number, link));
        }
        let wait = self.rng.between(200, 1_500);
        self.put(wait, Due::Heal);
    }

    /// Sends what a member has to say while its links have room.
    fn send_all(&mut self, number: usize) {
        for link in self.nodes[number].links.keys().copied().collect::<Vec<_>>() {
            while self.nodes[number].links.get(&link).is_some_and(|end| end.under_way < ROOM) {
                let Some(member) = &mut self.nodes[number].member else { return };
                let Some((stream, message)) = member.poll_send(link) else { break };
                for (stream, message) in self.tampered(number, link, stream, message) {
                    self.send(number, link, stream, message);
                }
            }
        }
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, number: usize, link: LinkId, stream: Stream, message: Bytes) {
        let delay = self.rng.between(1, self.plan.delay_ms);
        let Some(end) = self.nodes[number].links.get_mut(&link) else { return };
        let at = (self.now_ms + delay).max(end.last_ms);
        (end.last_ms, end.under_way) = (at, end.under_way + 1);
        let (to, theirs) = (end.to, end.theirs);
        self.put_at(at, Due::Arrive(to, theirs, stream, message));
    }

    fn arrive(&mut self, to: usize, link: LinkId, stream: Stream, message: &Bytes) {
        // The link may have ended meanwhile.
        let Some(end) = self.nodes[to].links.get(&link) else { return };
        let (from, theirs) = (end.to, end.theirs);
        let was_full = self.nodes[from].links.get_mut(&theirs).is_some_and(|end| {
            end.under_way -= 1;
            end.under_way + 1 == ROOM
        });
        self.note(&[&[to as u8, stream as u8], &message[..]].concat());
        if is_told() && stream == Stream::Seal {
            self.tell_message(from, to, message);
        }
        let now_ms = self.now_ms + self.nodes[to].skew_ms;
        if self.is_evil(to) {
            self.remember(to, stream, message);
        }
        if let Some(member) = &mut self.nodes[to].member {
            member.receive(link, stream, message, now_ms);
        }
        self.round(to);
        if was_full {
            self.round(from);
        }
    }

    // People.

    fn say(&mut self, number: usize, verb: &Verb) {
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        let Some(member) = &mut self.nodes[number].member else { return };
        // A member that may not write, or cannot vote so, says why; people try again.
        let written = member.say(verb, &nobody, now_ms).is_some_and(|said| said.is_ok());
        if written {
            if matches!(verb, Verb::Vote { .. }) {
                self.tally.votes += 1;
            }
            self.round(number);
        }
    }

    fn somebody_writes(&mut self) {
        if self.now_ms > START_MS + self.plan.writing_ms {
            return;
        }
        let number = self.rng.below(self.nodes.len() as u64) as usize;
        let other = self.rng.below(self.nodes.len() as u64) as usize;
        let verb = if self.rng.once_in(3) {
            Verb::Note { text: format!("at {}", self.now_ms) }
        } else {
            // Mostly possible, now and then more than it owns.
            let amount = if self.rng.once_in(5) { 5_000 } else { self.rng.between(1, 300) };
            Verb::Send { to: self.nodes[other].keypair.author().to_string(), amount }
        };
        self.say(number, &verb);
        let wait = self.rng.between(20, 150);
        self.put(wait, Due::Write);
    }

    /// Whoever sees nothing move votes for another sealer; mostly all for the same.
    fn look(&mut self, number: usize) {
        if self.plan.rotates {
            self.approve(number);
            self.ask_to_vote(number);
            self.join_a_vote(number);
            self.go_on_under_the_next_key(number);
        }
        let Some(member) = &self.nodes[number].member else { return };
        let chain = member.group().chain();
        let (tip, pending) = (chain.tip_id(), chain.pending());
        let (sealers, voters) = (chain.governance().sealers.clone(), chain.governance().voters.clone());
        let epoch = chain.governance().epoch;
        // Whoever sees a proof against the present sealer votes even where nothing waits: others take no more of its blocks.
        let proofs = member.engine().proofs();
        let is_convicted = proofs.iter().any(|guilt| guilt.epoch == epoch && sealers.contains(&guilt.sealer));
        let moved = self.ledgers.has_moved(number, tip);
        let begin_epochs = self.plan.restores || self.plan.evil == Evil::TwoFaces;
        if self.plan.bft && begin_epochs && self.is_troubled() && self.rng.once_in(4) {
            return self.vote_for_an_epoch(number);
        }
        // A set that is not closed for long is no different: its sealer may wait for another epoch. Nor is somebody who cannot go on under its next key for as long.
        let patience = self.now_ms.saturating_sub(6 * PATIENCE_MS);
        let closes = !self.plan.rotates
            || (patience < self.nodes[number].closed_ms
                && !self.nodes.iter().any(|node| node.next.is_some() && node.wanted_ms < patience));
        if !is_convicted && (moved || pending == 0) && closes {
            self.nodes[number].moved_ms = self.now_ms;
            return;
        }
        // A liar's faces vote, too, each for somebody else.
        if self.now_ms < self.nodes[number].moved_ms + PATIENCE_MS {
            return;
        }
        let candidates: Vec<AuthorId> = self.honest().map(|at| self.nodes[at].keypair.author()).collect();
        // Whoever seals and has stopped may be voted for again; where nobody else votes it has to be.
        let is_sole = voters.len() == 1;
        let may_seal = |key: &AuthorId| match self.plan.rotates {
            true => voters.contains(key) && (is_sole || !sealers.contains(key)),
            false => !sealers.contains(key),
        };
        let candidates: Vec<AuthorId> = candidates.into_iter().filter(may_seal).collect();
        let split = self.is_troubled() && self.rng.once_in(3) || self.is_evil(number);
        let pick = if split { self.rng.below(candidates.len().max(1) as u64) as usize } else { 0 };
        self.nodes[number].moved_ms = self.now_ms;
        if let Some(key) = candidates.get(pick) {
            self.say(number, &Verb::Vote { ballot: Ballot::Leader { node: key.to_string() } });
        }
    }

    /// The owner of a machine has its key replaced.
    fn somebody_rotates(&mut self) {
        let number = self.rng.below(self.nodes.len() as u64) as usize;
        if self.is_evil(number) || self.nodes[number].next.is_some() {
            return;
        }
        let next = keypair(100 + 10 * number + self.nodes[number].retired.len());
        self.note(&[b'n', number as u8]);
        if let Some(member) = &mut self.nodes[number].member {
            member.rotate_to(Some(next.clone()));
        }
        (self.nodes[number].next, self.nodes[number].wanted_ms) = (Some(next), self.now_ms);
        self.round(number);
    }

    /// People approve the next keys of others as these name them. What one has said may be void or lost: it is said again after a while.
    fn approve(&mut self, number: usize) {
        for other in 0..self.nodes.len() {
            let Some(member) = &self.nodes[number].member else { return };
            let (old, next) = (self.nodes[other].keypair.author(), self.nodes[other].next.as_ref());
            let Some(new) = next.map(Keypair::author).filter(|_| other != number && !self.is_evil(number)) else {
                continue;
            };
            let is_proposed = member.group().chain().account(&old).rotation == Some(Rotation::Proposed(new));
            let last = self.approved.get(&(number, other)).copied();
            if is_proposed && last.is_none_or(|at| self.now_ms > at + PATIENCE_MS) {
                self.approved.insert((number, other), self.now_ms);
                self.say(number, &Verb::Vote { ballot: Ballot::Key { node: old.to_string(), new: new.to_string() } });
            }
        }
    }

    /// Who leads no more has left the voters, and of a sole voter nobody can approve another key: so its owner asks for a vote again.
    fn ask_to_vote(&mut self, number: usize) {
        let Some(member) = &self.nodes[number].member else { return };
        let (me, governance) = (member.author(), member.group().chain().governance());
        let votes = governance.pending.get(&me).copied().unwrap_or_else(|| governance.voters.contains(&me));
        let last = self.approved.get(&(number, number)).copied();
        if !votes && !self.is_evil(number) && last.is_none_or(|at| self.now_ms > at + PATIENCE_MS) {
            self.approved.insert((number, number), self.now_ms);
            self.say(number, &Verb::Vote { ballot: Ballot::Ask {} });
        }
    }

    /// Where few vote, one who has voted for another sealer, alone, keeps the set from being closed: it gives its word to none of the present one's blocks. Whoever sees
    /// that votes alike.
    fn join_a_vote(&mut self, number: usize) {
        let now_ms = self.now_ms;
        let Some(member) = &self.nodes[number].member else { return };
        let governance = member.group().chain().governance();
        if governance.pending.is_empty() {
            self.nodes[number].closed_ms = now_ms;
            return;
        }
        let set = member.engine().office(member.group()).set;
        let votes = member.group().ledger().sealers_votes(set).rev();
        let leader = votes.take_while(|(epoch, ..)| *epoch > governance.epoch).next();
        let leader = leader.map(|(.., vote)| vote.sealers[0].to_string());
        if let Some(node) = leader.filter(|_| now_ms > self.nodes[number].closed_ms + 3 * PATIENCE_MS)
            && !self.is_evil(number)
        {
            self.nodes[number].closed_ms = now_ms;
            self.say(number, &Verb::Vote { ballot: Ballot::Leader { node } });
        }
    }

    /// A node goes on under its next key, with what it has on disk, as soon as it may. Older backups have the old key, and are of no use any more.
    fn go_on_under_the_next_key(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.member.as_ref().is_some_and(Member::is_replaced) {
            return;
        }
        let Some(next) = node.next.take() else { return };
        node.retired.push(std::mem::replace(&mut node.keypair, next));
        node.backup = None;
        self.tally.rotations += 1;
        self.note(&[b'k', number as u8]);
        self.crash(number);
    }

    /// In BFT mode people begin epochs as well: for a while all are for one first leader, then for another.
    fn vote_for_an_epoch(&mut self, number: usize) {
        let who = self.now_ms / 1_500 % self.nodes.len() as u64;
        let node = self.nodes[who as usize].keypair.author().to_string();
        self.say(number, &Verb::Vote { ballot: Ballot::Leader { node } });
    }

    /// Where in the play this is, for whoever has to find it again.
    pub(crate) fn place(&self) -> String {
        format!("seed {} at {} ms ({:?})", self.plan.seed, self.now_ms - START_MS, self.plan.evil)
    }

    /// The blocks at the end of the honest members' chains.
    pub(crate) fn tips(&self) -> Vec<Option<BlockId>> {
        self.honest().map(|number| self.nodes[number].member.as_ref().map(|it| it.group().chain().tip_id())).collect()
    }
}
