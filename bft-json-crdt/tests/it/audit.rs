//! Attacks that were found by looking for them: on memory, on time, and on those who come late.

use std::cell::Cell;
use std::collections::VecDeque;

use bft_json_crdt::causality::{BranchIdx, Causality, ChangeIdx};
use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::dag::Dag;
use bft_json_crdt::document::{ContainerIdx, Document, Happened, MAX_EVENTS};
use bft_json_crdt::evidence::{MAX_CHAIN, SignedChain, Voucher};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{ContainerNo, Kind, Ops, OpsBuilder, Parent, Unit};
use bft_json_crdt::replica::{Incoming, Known, Limits, Replica, Verdict};
use bft_json_crdt::sync::{Action, Message, Packet, PeerFault, SessionLimits, SyncSession};
use bft_json_crdt::value::Value;
use bytes::Bytes;

use crate::world::*;

/// Connects two replicas until nothing moves any more. Answers how many changes crossed.
fn sync(a: &mut Replica, b: &mut Replica) -> usize {
    let mut sessions = [SyncSession::new(a, SessionLimits::default()), SyncSession::new(b, SessionLimits::default())];
    let mut wires: [VecDeque<Bytes>; 2] = Default::default();
    let mut crossed = 0;
    for _ in 0..100_000 {
        let mut moved = false;
        for side in 0..2 {
            let replica: &mut Replica = if side == 0 { a } else { b };
            while let Some(message) = sessions[side].poll_send(replica) {
                if let Message::Changes(packets) = &message {
                    crossed += packets.len();
                }
                wires[1 - side].push_back(message.encode().into());
            }
            let Some(bytes) = wires[side].pop_front() else { continue };
            moved = true;
            let message = Message::decode(&bytes).unwrap();
            for action in sessions[side].receive(replica, message).unwrap() {
                match action {
                    Action::Apply(batch) => {
                        replica.apply_batch(batch);
                        sessions[side].handled();
                        sessions[side].missing(replica.missing(64));
                    }
                    Action::Proof(proof) => assert!(replica.apply_proof(proof).is_some()),
                }
            }
        }
        if !moved {
            return crossed;
        }
    }
    panic!("sync does not come to rest");
}

#[test]
fn a_newcomer_takes_in_the_long_history_of_one_who_forked_in_the_end() {
    let (alice, mallory) = (key(1), key(2));
    let mut source = writer(&alice);
    let mut tip = craft(&mallory, None, &[], 0, &no_ops());
    give(&mut source, [&tip]);
    for _ in 0..200 {
        tip = craft(&mallory, Some(&tip), &[], 0, &no_ops());
        give(&mut source, [&tip]);
    }
    let fork = craft(&mallory, None, &[], 1, &no_ops());
    assert_eq!(give(&mut source, [&fork]), [Verdict::HeldBack]);
    source.acknowledge(&alice, 5).unwrap();
    // Far more than is held back at a time: a newcomer who learnt of the fork first could never apply what Alice wrote.
    let limits = Limits { held_back_changes: 20, ..Limits::default() };
    let mut newcomer = Replica::new(DOCUMENT, limits);
    assert_eq!(sync(&mut source, &mut newcomer), 202, "each change crosses once");
    assert_converged(&[source, newcomer]);
}

#[test]
fn what_a_proven_author_wrote_loads_in_pieces_after_the_proof() {
    let (alice, mallory) = (key(1), key(2));
    let mut source = writer(&alice);
    let one = craft(&mallory, None, &[], 0, &no_ops());
    let two = craft(&mallory, Some(&one), &[], 0, &no_ops());
    let fork = craft(&mallory, None, &[], 1, &no_ops());
    give(&mut source, [&one, &two, &fork]);
    source.acknowledge(&alice, 5).unwrap();
    let stored = all(&source);
    assert_eq!(stored.len(), 3);
    let mut loaded = reader();
    loaded.apply_proof(source.proofs().next().unwrap().clone()).unwrap();
    for incoming in stored {
        loaded.load(vec![incoming]).unwrap();
    }
    assert_converged(&[source, loaded]);
}

/// Operations on a container at the end of a path of maps.
fn on_path(builder: &mut OpsBuilder, path: &[&str], kind: Kind) -> ContainerNo {
    let (last, maps) = path.split_last().unwrap();
    let mut at = ContainerNo::ROOT;
    for key in maps {
        at = builder.container(Parent::Key(at, (*key).into()), Kind::Map).unwrap();
    }
    builder.container(Parent::Key(at, (*last).into()), kind).unwrap()
}

#[test]
fn events_of_one_call_are_bounded() {
    let mallory = key(2);
    let keys: Vec<String> = (0..40).map(|n| format!("{n:01000}")).collect();
    let path: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut builder = OpsBuilder::new();
    let counter = on_path(&mut builder, &path, Kind::Counter);
    for _ in 0..MAX_EVENTS + 5_000 {
        builder.push(Unit::Add(counter, 1)).unwrap();
    }
    let change = craft(&mallory, None, &[], 0, &builder.finish().encode().unwrap());
    let mut replica = reader();
    let outcome = replica.apply(change.into());
    assert_eq!(verdict(&outcome), Verdict::Applied);
    assert_eq!(outcome.events.len(), MAX_EVENTS + 1);
    assert_eq!(outcome.events[MAX_EVENTS - 1].happened, Happened::Added(1));
    assert_eq!(outcome.events[MAX_EVENTS].happened, Happened::Untold);
    assert!(outcome.events[MAX_EVENTS].path.is_empty());
    // The next call begins anew.
    let outcome = replica.apply(note(&mut writer(&key(3)), &key(3), "x").into());
    assert!(!outcome.events.is_empty());
    assert!(outcome.events.iter().all(|event| event.happened != Happened::Untold));
}

#[test]
fn a_small_change_does_not_keep_its_frame_in_memory() {
    let alice = key(1);
    let replica = reader();
    let change = note(&mut writer(&alice), &alice, "small");
    let frame = Message::Changes(vec![Packet { change: change.bytes().clone(), voucher: None }]).encode();
    let frame = Bytes::from(frame);
    let message = Message::decode(&frame).unwrap();
    let mut session = SyncSession::new(&replica, SessionLimits::default());
    let actions = session.receive(&replica, message).unwrap();
    let [Action::Apply(batch)] = &actions[..] else { panic!("one batch") };
    assert!(!frame.as_ptr_range().contains(&batch[0].change.bytes().as_ptr()));
}

#[test]
fn who_passes_on_honest_changes_cannot_blow_them_up() {
    let alice = key(1);
    let mut source = writer(&alice);
    let chain: Vec<Change> = (0..100).map(|n| note(&mut source, &alice, &n.to_string())).collect();
    // Each signature spoilt, each change vouched for by the longest true chain behind it.
    let spoilt = chain.iter().enumerate().map(|(n, change)| {
        let behind = &chain[n + 1..chain.len().min(n + MAX_CHAIN)];
        match SignedChain::of(behind) {
            Some(chain) => Incoming { change: unsigned(change), voucher: Some(Voucher(chain)) },
            None => change.clone().into(),
        }
    });
    let mut victim = reader();
    for incoming in spoilt {
        assert_eq!(verdict(&victim.apply(incoming)), Verdict::Applied);
    }
    assert_eq!(victim.digest(), source.digest());
    let (blown, plain) = (victim.save().len(), source.save().len());
    assert!(blown < 8 * plain, "{blown} bytes instead of {plain}");
}

/// Counts the questions that the document asks.
struct Counting<'a> {
    dag: &'a Dag,
    asked: Cell<usize>,
}

impl<'a> Counting<'a> {
    fn new(dag: &'a Dag) -> Self {
        Self { dag, asked: Cell::new(0) }
    }

    fn ask(&self) -> &'a Dag {
        self.asked.set(self.asked.get() + 1);
        self.dag
    }
}

impl Causality for Counting<'_> {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        self.ask().position(change)
    }
    fn lamport(&self, change: ChangeIdx) -> u64 {
        self.ask().lamport(change)
    }
    fn id(&self, change: ChangeIdx) -> ChangeId {
        self.ask().id(change)
    }
    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        self.ask().past(change, branch)
    }
    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        self.ask().back(change, steps)
    }
    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        self.ask().lookup(id)
    }
}

/// How many questions the document asks to apply one more change of a newcomer.
fn questions(replica: &Replica, deps: &[ChangeIdx], ops: &[u8]) -> usize {
    let (mut dag, mut document): (Dag, Document) = (replica.dag().clone(), replica.document().clone());
    let change = dag.stage(key(250).author(), ChangeId([250; 32]), None, deps.iter().copied());
    let counting = Counting::new(&dag);
    document.apply(&counting, change, &Ops::decode(1, ops).unwrap(), None).unwrap();
    document.debug_check();
    counting.asked.get()
}

/// So many authors who know nothing of each other have each set the same register, ensured it, and stepped the same counter.
fn crowd(authors: u8) -> Replica {
    let mut replica = reader();
    for seed in 0..authors {
        let mut builder = OpsBuilder::new();
        let register = on_path(&mut builder, &["r"], Kind::MultiRegister);
        builder.push(Unit::Set(register, Value::Int(seed.into()))).unwrap();
        builder.push(Unit::Ensure(register)).unwrap();
        let counter = on_path(&mut builder, &["m", "c"], Kind::Counter);
        builder.push(Unit::Add(counter, 1)).unwrap();
        let change = craft(&key(seed), None, &[], 0, &builder.finish().encode().unwrap());
        assert_eq!(give(&mut replica, [&change]), [Verdict::Applied]);
    }
    replica
}

#[test]
fn the_units_of_a_change_do_not_each_cost_all_authors() {
    const UNITS: usize = 2_000;
    let crowd = crowd(200);
    let many = |push: &dyn Fn(&mut OpsBuilder)| {
        let mut builder = OpsBuilder::new();
        (0..UNITS).for_each(|_| push(&mut builder));
        builder.finish().encode().unwrap()
    };
    let clears = many(&|builder| {
        builder.push(Unit::Clear(ContainerNo::ROOT)).unwrap();
    });
    let sets = many(&|builder| {
        let register = on_path(builder, &["r"], Kind::MultiRegister);
        builder.push(Unit::Set(register, Value::Null)).unwrap();
    });
    let everything: Vec<ChangeIdx> = (0..32).map(ChangeIdx).collect();
    for (name, ops) in [("clears", clears), ("sets", sets)] {
        for deps in [&[][..], &everything] {
            let asked = questions(&crowd, deps, &ops);
            assert!(asked < 60 * UNITS, "{asked} questions for {UNITS} {name}");
        }
    }
}

#[test]
fn repeated_sets_and_clears_of_one_change_show_what_they_should() {
    let mut replica = crowd(3);
    let mut builder = OpsBuilder::new();
    let register = on_path(&mut builder, &["r"], Kind::MultiRegister);
    let counter = on_path(&mut builder, &["m", "c"], Kind::Counter);
    for step in 0..3 {
        builder.push(Unit::Set(register, Value::Int(100 + step))).unwrap();
        builder.push(Unit::Set(register, Value::Int(200 + step))).unwrap();
        builder.push(Unit::Add(counter, 10)).unwrap();
        if step < 2 {
            builder.push(Unit::Clear(ContainerNo::ROOT)).unwrap();
        }
    }
    let deps = replica.heads()[..2].to_vec();
    let change = craft(&key(99), None, &deps, 0, &builder.finish().encode().unwrap());
    assert_eq!(give(&mut replica, [&change]), [Verdict::Applied]);
    replica.document().debug_check();
    let Value::Object(view) = replica.view() else { panic!("the root is a map") };
    let Value::Array(values) = &view["r"] else { panic!("a multi-value register shows an array") };
    assert_eq!(values.len(), 2, "one that was not in the past, and the change's last");
    assert_eq!(values[1], Value::Int(202));
    assert_eq!(view["m"], Value::Object([("c".into(), Value::Int(11))].into()));
}

#[test]
fn quadratic_cost() {
    let alice = key(1);
    let mut source = writer(&alice);
    // The first clear gathers what stands in the list, once; those behind it must not do so again.
    note(&mut source, &alice, "first");
    source.transact(&alice, 0, |tx| tx.clear(ContainerIdx::ROOT)).unwrap().1.unwrap();
    let cost = |source: &Replica| {
        let mut builder = OpsBuilder::new();
        let log = on_path(&mut builder, &["log"], Kind::List);
        builder
            .insert_values(log, bft_json_crdt::ops::Anchor::Start, vec![Value::Null])
            .and_then(|_| builder.push(Unit::Clear(ContainerNo::ROOT)))
            .unwrap();
        questions(source, &[], &builder.finish().encode().unwrap())
    };
    (0..100).for_each(|n| drop(note(&mut source, &alice, &n.to_string())));
    let early = cost(&source);
    (0..2_000).for_each(|n| drop(note(&mut source, &alice, &n.to_string())));
    assert!(cost(&source) <= early + 10, "{} questions instead of {early}", cost(&source));
}

#[test]
fn a_peer_that_only_asks_is_cut_off() {
    let replica = reader();
    let mut session = SyncSession::new(&replica, SessionLimits::default());
    let probe = || Message::Probe(vec![([9; 32], vec![ChangeId([1; 32])])]);
    let asked = (0..100_000).take_while(|_| session.receive(&replica, probe()).is_ok()).count();
    assert!(asked < 10_000, "{asked} replies wait");
    assert_eq!(session.receive(&replica, probe()).err(), Some(PeerFault::Probes));
    // One that takes the replies may go on.
    let mut session = SyncSession::new(&replica, SessionLimits::default());
    for _ in 0..5_000 {
        session.receive(&replica, probe()).unwrap();
        while session.poll_send(&replica).is_some() {}
    }
}

#[test]
fn what_was_fetched_and_lost_again_is_asked_for_again_but_not_for_ever() {
    let alice = key(1);
    let replica = reader();
    let mut session = SyncSession::new(&replica, SessionLimits::default());
    while session.poll_send(&replica).is_some() {}
    let change = craft(&alice, None, &[], 0, &no_ops());
    let mut asked = 0;
    for _ in 0..10 {
        session.missing([change.id(), change.id()]);
        while let Some(message) = session.poll_send(&replica) {
            if let Message::Get(ids) = message {
                assert_eq!(ids, [change.id()]);
                asked += 1;
            }
        }
        let packet = Packet { change: change.bytes().clone(), voucher: None };
        session.receive(&replica, Message::Changes(vec![packet])).unwrap();
    }
    assert_eq!(asked, 3);
}

#[test]
fn a_frame_of_many_nothings_is_refused_at_once() {
    let mut bytes = vec![3];
    bytes.extend([0x80, 0x80, 0x40]); // 2²⁰ packets
    bytes.extend(vec![0; 2 << 20]);
    assert!(Message::decode(&bytes.into()).is_err());
}

#[test]
fn copies_of_a_waiting_change_cost_one_look() {
    let alice = key(1);
    let mut source = writer(&alice);
    let chain: Vec<Change> = (0..3).map(|n| note(&mut source, &alice, &n.to_string())).collect();
    let mut replica = reader();
    let missing = |verdict: &Verdict| match verdict {
        Verdict::Waiting { missing } => missing.len(),
        other => panic!("{other:?}"),
    };
    let first = give_batch(&mut replica, [&chain[1], &chain[2]]);
    assert_eq!(first.iter().map(missing).sum::<usize>(), 1);
    let copies = give_batch(&mut replica, std::iter::repeat_n(&chain[1], 50));
    assert_eq!(copies.iter().map(missing).sum::<usize>(), 1, "told once");
    assert_eq!(replica.knows(&chain[1].id()), Known::Waiting);
}

#[test]
fn a_proof_that_is_known_is_not_checked_again() {
    let mallory: Keypair = key(2);
    let mut replica = writer(&key(1));
    let forks = [0, 1].map(|salt| craft(&mallory, None, &[], salt, &no_ops()));
    give(&mut replica, &forks);
    assert_eq!(replica.proof_count(), 1);
    let proof = replica.proofs().next().unwrap().clone();
    let outcome = replica.apply_proof(proof).unwrap();
    assert!(outcome.proofs.is_empty());
    assert_eq!(replica.proof_count(), 1);
}
