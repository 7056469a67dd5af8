//! One life of one node: a group and its engine, simplex for the present epoch, and whatever comes from the network and the clock. It ends with a crash.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Incoming;
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{Receiver as _, Sender as _, simulated};
use commonware_runtime::{Clock as _, Handle, IoBuf, Quota, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::NZU32;
use commonware_utils::channel::mpsc;
use futures_util::future::{Either, select};
use side_ledger::block::{Block, Epoch};
use side_ledger::group::Group;
use side_ledger::transaction::{SetClose, Transaction, Transfer, VoterAsk};
use side_seal::bft::certificate::Certificate;
use side_seal::bft::proposal::Proposal;
use side_seal::bft::request::{Reply, Request};
use side_seal::bft::seat::Seat;
use side_seal::bft::seat::public_key;
use side_seal::bft::simplex::{self, Line, Setup};
use side_seal::bft::spoken::{self, Keep, Spoken, Witness};
use side_seal::{Bft, Effect, Event, Message};

use super::evil::{Evil, Mouth};
use super::world::{Packet, Shared, lock};
use crate::world::Rng;

/// Channels that belong to no epoch.
const SEAL: u64 = 1 << 40;
const SYNC: u64 = SEAL + 1;
/// How often a node tells another one what it has.
const GOSSIP_MS: u64 = 250;

pub(super) type Oracle = simulated::Oracle<PublicKey, deterministic::Context>;
type Tx = simulated::Sender<PublicKey, deterministic::Context>;

enum Input {
    Request(Request),
    Seal(usize, bytes::Bytes),
    Sync(usize, u64),
}

pub(super) struct Node {
    number: usize,
    keypair: Keypair,
    shared: Shared,
    oracle: Oracle,
    context: deterministic::Context,
    rng: Rng,
    group: Group,
    bft: Bft,
    line: Line,
    seal: Tx,
    sync: Tx,
    running: Option<(Epoch, Handle<()>)>,
    gossip_ms: u64,
    write_ms: u64,
    evil: Evil,
    /// The lie that stands for a block of its own.
    lies: Vec<(side_ledger::BlockId, side_ledger::BlockId)>,
}

/// How many messages a second a channel takes. Simplex makes a queue for its receiver's capacity, which is this times the peers.
fn quota(channel: u64) -> Quota {
    if channel < SEAL { Quota::per_second(NZU32!(200)) } else { Quota::per_second(NZU32!(100_000)) }
}

/// A journal that cannot even be read has not everything either.
async fn simplex_has_all(
    context: deterministic::Context,
    seat: &Seat,
    keypair: &Keypair,
    journal: &str,
    spoken: &Spoken,
    floor: u64,
) -> bool {
    spoken::has_all(context, seat, keypair, journal, spoken, floor).await.unwrap_or(false)
}

impl Node {
    /// Lives until it crashes.
    pub(super) async fn live(context: deterministic::Context, number: usize, shared: Shared, oracle: Oracle) {
        let keypair = lock(&shared).keypairs[number].clone();
        let me = public_key(&keypair.author()).unwrap();
        let (inbox, mut inputs) = mpsc::unbounded_channel();
        let (line, mut requests) = Line::new();
        let control = oracle.control(me);
        let (seal, mut seal_in) = control.register(SEAL, quota(SEAL)).await.unwrap();
        let (sync, mut sync_in) = control.register(SYNC, quota(SYNC)).await.unwrap();
        let numbers = lock(&shared).numbers.clone();
        let (seal_numbers, seal_inbox) = (numbers.clone(), inbox.clone());
        context.child("seal").spawn(move |_| async move {
            while let Ok((from, message)) = seal_in.recv().await {
                let bytes = bytes::Bytes::copy_from_slice(message.as_ref());
                let _ = seal_inbox.send(Input::Seal(seal_numbers[&from], bytes));
            }
        });
        let sync_inbox = inbox.clone();
        context.child("sync").spawn(move |_| async move {
            while let Ok((from, message)) = sync_in.recv().await {
                let packet = u64::from_be_bytes(message.as_ref().try_into().unwrap());
                let _ = sync_inbox.send(Input::Sync(numbers[&from], packet));
            }
        });
        context.child("requests").spawn(move |_| async move {
            while let Some(request) = requests.recv().await {
                let _ = inbox.send(Input::Request(request));
            }
        });

        let (group, bft, rng, evil) = {
            let mut world = lock(&shared);
            let disk = &world.disks[number];
            let (changes, records) = (disk.changes.clone(), disk.records.clone());
            let mut group = Group::open(world.genesis.clone(), Some(keypair.author()), Default::default());
            group.load(changes).unwrap();
            let mut bft = Bft::new(Some(keypair.clone()));
            bft.restore(&mut group, records);
            (group, bft, world.fork_rng(), world.evil_of(number))
        };
        let mut node = Self {
            number,
            keypair,
            shared,
            oracle,
            context,
            rng,
            group,
            bft,
            line,
            seal,
            sync,
            running: None,
            gossip_ms: 0,
            write_ms: 0,
            evil,
            lies: Vec::new(),
        };
        let now = node.now();
        (node.gossip_ms, node.write_ms) = (now + node.rng.below(GOSSIP_MS), now + node.rng.below(500));
        let (mut effects, mut from) = (node.bft.tick(&mut node.group, now), None);
        loop {
            if node.carry_out(effects, from).is_err() {
                return;
            }
            if node.seat().await.is_err() {
                return;
            }
            lock(&node.shared).look(node.number, &node.group, &node.bft);
            let due = node.bft.deadline(&node.group).unwrap_or(u64::MAX).min(node.gossip_ms).min(node.write_ms);
            let wait = Duration::from_millis(due.saturating_sub(node.now()));
            let input = match select(pin!(inputs.recv()), pin!(node.context.sleep(wait))).await {
                Either::Left((input, _)) => input,
                Either::Right(_) => None,
            };
            (effects, from) = match input {
                Some(input) => node.take(input),
                None => (node.time(), None),
            };
        }
    }

    fn now(&self) -> u64 {
        self.context.current().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    fn take(&mut self, input: Input) -> (Vec<Effect>, Option<usize>) {
        match input {
            Input::Request(request) => {
                let now = self.now();
                let (effects, refusal) = self.bft.request(&mut self.group, request, now);
                assert_eq!(refusal, None, "its own simplex tells no nonsense");
                (effects, None)
            }
            Input::Seal(from, bytes) => match Message::decode(&bytes).unwrap() {
                Message::Ask { want, have } => {
                    let answer = self.bft.answer(&self.group, &want, &have);
                    let held_back = self.evil == Evil::Withholds && matches!(answer, Some(Message::Proposal(_)));
                    if let Some(answer) = answer.filter(|_| !held_back) {
                        self.tell(Some(from), &answer);
                    }
                    (Vec::new(), None)
                }
                message => {
                    let (effects, refusal) = self.bft.hear(&mut self.group, message);
                    assert_eq!(refusal, None, "node {from} sent nonsense");
                    (effects, Some(from))
                }
            },
            Input::Sync(from, packet) => {
                let packet = lock(&self.shared).packets.get(&packet).cloned();
                match packet {
                    Some(Packet::Have(ids)) => {
                        let log = self.group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming);
                        let missing: Vec<Incoming> = log.filter(|one| !ids.contains(&one.change.id())).collect();
                        if !missing.is_empty() {
                            self.send(Some(from), Packet::Changes(missing));
                        }
                        (Vec::new(), None)
                    }
                    Some(Packet::Changes(changes)) => {
                        let merged = self.group.apply_batch(changes);
                        assert!(!merged.rebuilt, "nobody forks its chain in this world");
                        for index in merged.applied {
                            let change = self.group.replica().change(index).into();
                            lock(&self.shared).disks[self.number].changes.push(change);
                        }
                        (self.bft.changed(&mut self.group), None)
                    }
                    None => (Vec::new(), None),
                }
            }
        }
    }

    /// Whatever is due by the clock.
    fn time(&mut self) -> Vec<Effect> {
        let now = self.now();
        if now >= self.gossip_ms {
            self.gossip_ms = now + GOSSIP_MS;
            self.gossip();
        }
        if now >= self.write_ms {
            self.write_ms = now + 50 + self.rng.below(700);
            self.person_writes(now);
        }
        if self.bft.wants_close(&self.group) {
            let set = self.group.chain().governance().set;
            let latest = self.group.ledger().latest(20);
            if !latest.iter().any(|entry| entry.kind == "set.close" && entry.body["set"] == set.0) {
                self.write(SetClose { set }.into());
            }
        }
        if let Some(vote) = self.bft.renewal(&self.group) {
            self.write(vote.into());
        }
        self.bft.tick(&mut self.group, now)
    }

    fn gossip(&mut self) {
        let count = lock(&self.shared).keypairs.len() as u64;
        let other = (self.number + 1 + self.rng.below(count - 1) as usize) % count as usize;
        let replica = self.group.replica();
        let ids: Vec<ChangeId> = (0..replica.len() as u32).map(|index| replica.id(ChangeIdx(index))).collect();
        self.send(Some(other), Packet::Have(ids.into_iter().collect()));
        for message in self.bft.greet() {
            let held_back = self.evil == Evil::Withholds && matches!(message, Message::Proposal(_));
            if !held_back {
                self.tell(Some(other), &message);
            }
        }
    }

    fn person_writes(&mut self, now: u64) {
        let (until, keys) = {
            let world = lock(&self.shared);
            let keys: Vec<_> = world.keypairs.iter().map(Keypair::author).collect();
            (world.plan.writing_ms + world.start_ms, keys)
        };
        if now >= until {
            return;
        }
        let to = keys[self.rng.below(keys.len() as u64) as usize];
        let governance = self.group.chain().governance();
        if !governance.voters.contains(&self.keypair.author()) && self.rng.chance(20) {
            let block = self.group.chain().tip_id();
            self.write(VoterAsk { block }.into());
        } else if self.rng.chance(85) {
            let amount = 1 + self.rng.below(300);
            self.write(Transfer { to, amount }.into());
        } else {
            self.write(Transaction::note("hello", 100).unwrap());
        }
    }

    fn write(&mut self, transaction: Transaction) {
        let now = self.now();
        let written = self.group.write(&[transaction], &self.keypair, now).unwrap();
        let incoming: Incoming = written.change.into();
        lock(&self.shared).disks[self.number].changes.push(incoming.clone());
        self.send(None, Packet::Changes(vec![incoming]));
    }

    fn send(&mut self, to: Option<usize>, packet: Packet) {
        let (number, to) = {
            let mut world = lock(&self.shared);
            (world.post(packet), world.recipients(to))
        };
        self.sync.send(to, IoBuf::from(number.to_be_bytes().to_vec()), false);
    }

    fn tell(&mut self, to: Option<usize>, message: &Message) {
        let to = lock(&self.shared).recipients(to);
        self.seal.send(to, IoBuf::from(message.encode()), false);
    }

    /// In times of trouble the machine may stop between any two effects.
    fn carry_out(&mut self, effects: Vec<Effect>, from: Option<usize>) -> Result<(), ()> {
        for effect in effects {
            if lock(&self.shared).crashes_now(self.now(), &mut self.rng) {
                return Err(());
            }
            match effect {
                Effect::Keep(record) => lock(&self.shared).disks[self.number].records.push(record),
                Effect::Tell(Message::Proposal(proposal)) => self.propose(proposal),
                Effect::Tell(message) => self.tell(None, &message),
                Effect::Ask(message) => {
                    let count = lock(&self.shared).keypairs.len() as u64;
                    let other = (self.number + 1 + self.rng.below(count - 1) as usize) % count as usize;
                    self.tell(Some(from.unwrap_or(other)), &message);
                }
                Effect::Show(event) => self.show(&event),
                Effect::Reply(Reply::Propose(ticket, id)) => {
                    let lie = self.lies.iter().find(|(own, _)| *own == id).map_or(id, |(_, lie)| *lie);
                    self.line.reply(Reply::Propose(ticket, lie));
                }
                Effect::Reply(reply) => self.line.reply(reply),
            }
        }
        Ok(())
    }

    fn show(&mut self, event: &Event) {
        let now = self.now();
        lock(&self.shared).shown(now, self.number, event);
    }

    /// Shows its own proposal to the others, as honestly as it is.
    fn propose(&mut self, proposal: Proposal) {
        let again = |block: Block| Proposal::sign(block, &self.keypair).unwrap();
        let own = proposal.proposer() == self.keypair.author();
        match self.evil {
            Evil::Equivocates if own => {
                let block = proposal.block();
                let twin = again(Block { time_ms: block.time_ms + 1, ..block.clone() });
                let twins = lock(&self.shared).twins.clone();
                twins.lock().unwrap().insert(Digest(proposal.id().0), Digest(twin.id().0));
                self.tell(None, &Message::Proposal(twin));
                self.tell(None, &Message::Proposal(proposal));
            }
            Evil::LiesAboutState if own => {
                let lie = again(Block { state_root: [6; 32], ..proposal.block().clone() });
                self.lies.push((proposal.id(), lie.id()));
                lock(&self.shared).lies.insert(lie.id());
                self.tell(None, &Message::Proposal(lie));
            }
            Evil::Withholds if own => self.tell(Some((self.number + 1) % 4), &Message::Proposal(proposal)),
            _ => self.tell(None, &Message::Proposal(proposal)),
        }
    }

    /// The partition of a node's journal for an epoch: all share one disk here.
    pub(super) fn journal(number: usize, epoch: u64) -> String {
        format!("bft-{number}-{epoch}")
    }

    /// Runs simplex for the epoch that this node is to take part in.
    async fn seat(&mut self) -> Result<(), ()> {
        let seat = self.bft.seat(&self.group);
        let epoch = seat.as_ref().map(|seat| seat.epoch);
        if self.running.as_ref().map(|(epoch, _)| *epoch) == epoch {
            return Ok(());
        }
        if let Some((_, handle)) = self.running.take() {
            handle.abort();
        }
        let Some(seat) = seat else { return Ok(()) };
        let journal = Self::journal(self.number, seat.epoch.0);
        let spoken = lock(&self.shared).spoken.get(&(self.number, seat.epoch.0)).cloned();
        let spoken = spoken.map(|bytes| Spoken::decode(&bytes).unwrap()).unwrap_or_default();
        let floor = self.bft.latest().filter(|latest| latest.epoch() == seat.epoch).map_or(0, Certificate::view);
        let child = self.context.child("journal");
        let has_all = simplex_has_all(child, &seat, &self.keypair, &journal, &spoken, floor).await;
        if !has_all {
            lock(&self.shared).noticed += 1;
            for may_seal in [false, true] {
                let effects = self.bft.set_sealing(&self.group, may_seal);
                // A crash among them finds the same journal again.
                if self.carry_out(effects, None).is_err() {
                    return Err(());
                }
            }
            return Ok(());
        }
        let me = public_key(&self.keypair.author()).unwrap();
        let control = self.oracle.control(me.clone());
        let peers = seat.participants().unwrap().into_iter().filter(|key| *key != me).collect::<Vec<_>>();
        let (scheme, twins) = (seat.signer(&self.keypair).unwrap(), lock(&self.shared).twins.clone());
        let mut channels = Vec::new();
        for place in 0..3 {
            let channel = seat.epoch.0 * 3 + place;
            let (sender, receiver) = control.register(channel, quota(channel)).await.unwrap();
            // Votes are what a liar lies with.
            let evil = if place == 0 { self.evil } else { Evil::Nobody };
            let (inner, scheme, peers, twins) = (sender, scheme.clone(), peers.clone(), twins.clone());
            let mouth = Mouth { inner, evil, scheme, peers, twins };
            let (world, place) = (self.shared.clone(), (self.number, seat.epoch.0));
            // Only what goes out on the lane of votes is a vote.
            let keep: Keep = match channel % 3 {
                0 => Arc::new(move |spoken| _ = lock(&world).spoken.insert(place, spoken.encode())),
                _ => Arc::new(|_| {}),
            };
            channels.push((Witness::new(mouth, spoken.clone(), keep), receiver));
        }
        let Ok(channels) = channels.try_into() else { unreachable!("three were made") };
        let (context, term) = (self.context.child("simplex"), lock(&self.shared).plan.term);
        let (latest, line) = (self.bft.latest().cloned(), self.line.clone());
        let setup = Setup { seat: &seat, keypair: &self.keypair, term, journal, latest, line };
        let handle = simplex::start(context, setup, control, channels);
        self.running = Some((seat.epoch, handle.unwrap()));
        Ok(())
    }
}
