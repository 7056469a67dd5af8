//! Members whose copy is an old one, and whom they let teach them.

use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalization, Finalize, Proposal};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519::certificate::Certificate as SimplexCertificate;
use commonware_cryptography::sha256::Digest;
use side_ledger::BlockId;
use side_ledger::block::{Block, Epoch, Height, Rank};
use side_seal::bft::certificate::Certificate;
use side_seal::bft::request::{Reply, Request, Ticket};
use side_seal::bft::seat::Seat;
use side_seal::{Hold, Message, SignedBlock, Warrant};

use super::*;

/// Four founders of a closed group.
fn four(sealing: Sealing) -> World {
    founders(4, sealing)
}

fn founders(count: usize, sealing: Sealing) -> World {
    let genesis = Genesis::new(GroupSpec {
        name: Name::new("world").unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: (0..count).map(|number| keypair(number).author()).collect(),
        admission: Admission::Closed,
        allocation: BTreeMap::new(),
        sealing,
        limits: Limits::default(),
    });
    World::of(genesis.unwrap(), count)
}

/// The node's disk is as it was, and it knows that it may be.
fn set_back(world: &mut World, number: usize, store: MemoryStore) {
    world.stop(number);
    world.nodes[number].store = store;
    let mut member = world.load(number);
    member.distrust(crate::error::CommandError::user("this copy may be old"));
    world.nodes[number].member = Some(member);
}

/// A copy is so old that it knows of one other voter who has ever written. That one lies: it shows what it had then. What this node has written since stands with the others.
#[test]
fn a_single_liar_teaches_no_copy_however_old() {
    let mut world = four(Sealing::Leader { interval_ms: INTERVAL_MS });
    world.connect(1, 3);
    world.settle();
    let (liar, backup) = (world.nodes[1].store.clone(), world.nodes[3].store.clone());
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)] {
        world.connect(one, other);
    }
    let written = world.note(3, "after the backup");
    world.pass(2 * INTERVAL_MS);
    assert!(world.member(2).entry(&written.position()).is_some());
    world.stop(1);
    world.nodes[1].store = liar;
    world.start(1);
    set_back(&mut world, 3, backup);
    world.connect(3, 1);
    world.pass(2 * INTERVAL_MS);
    assert!(world.member(3).links().count() == 1 && world.member(3).entry(&written.position()).is_none());
    assert!(!world.member(3).knows_own_tip(), "one voter of four may lie");
    world.connect(3, 0);
    world.until("it has its change", |world| world.member(3).entry(&written.position()).is_some());
    assert!(!world.member(3).knows_own_tip(), "by now it knows who else has written");
    world.connect(3, 2);
    world.until("all were heard", |world| world.member(3).knows_own_tip());
}

/// Of three voters none may lie, so of the two others one suffices; but not one whose own copy is old.
#[test]
fn two_old_copies_do_not_teach_each_other_that_nothing_has_happened() {
    let mut world = founders(3, Sealing::Leader { interval_ms: INTERVAL_MS });
    world.connect(0, 1);
    world.settle();
    // Of the third one neither copy knows anything.
    let backups = [0, 1].map(|number: usize| world.nodes[number].store.clone());
    world.connect(0, 2);
    world.connect(1, 2);
    let written = world.note(0, "after the backups");
    world.pass(2 * INTERVAL_MS);
    for (number, backup) in backups.into_iter().enumerate() {
        set_back(&mut world, number, backup);
    }
    world.connect(0, 1);
    world.pass(2 * INTERVAL_MS);
    assert_eq!([0, 1].map(|number| world.member(number).knows_own_tip()), [false; 2]);
    for number in [0, 1] {
        world.connect(number, 2);
    }
    world.until("both were taught", |world| [0, 1].iter().all(|number| world.member(*number).knows_own_tip()));
    assert!(world.member(0).entry(&written.position()).is_some());
}

/// A node's last change has reached only somebody who votes no more and is slow to tell of it: it is listened to for a while, and not for ever. Seed 100,252 of wrong state roots.
#[test]
fn a_restored_node_listens_for_a_moment_to_those_who_do_not_vote() {
    let mut world = four(Sealing::Leader { interval_ms: INTERVAL_MS });
    world.mesh();
    world.note(0, "hello");
    world.pass(INTERVAL_MS);
    let first = world.status(0).sealers[0].key.clone();
    let retired = (0..4).find(|number| keypair(*number).author().to_string() == first).unwrap();
    let rest: Vec<usize> = (0..4).filter(|number| *number != retired).collect();
    let next = format!("node{}", rest[0]);
    rest.iter().for_each(|number| world.vote_leader(*number, &next));
    world.until_voters(3);
    world.pass(INTERVAL_MS);
    let (restored, voters) = (rest[2], [rest[0], rest[1]]);
    let backup = world.nodes[restored].store.clone();
    world.stop(restored);
    world.start(restored);
    world.connect(restored, retired);
    for voter in voters {
        world.stop(voter);
    }
    let written = world.note(restored, "only one hears of this");
    world.settle();
    assert!(world.member(retired).entry(&written.position()).is_some());

    for tells in [false, true] {
        world.stop(retired);
        set_back(&mut world, restored, backup.clone());
        for voter in voters {
            world.stop(voter);
            world.start(voter);
            world.connect(restored, voter);
        }
        world.start(retired);
        let link = world.connect(restored, retired).0;
        world.way = Box::new(move |from, to, _| match (from, to) == (retired, restored) {
            true => Fate::Vanishes,
            false => Fate::Arrives,
        });
        world.pass(2_000);
        assert!(!world.member(restored).knows_own_tip(), "somebody has not told everything");
        if tells {
            world.disconnect(restored, link);
            world.way = Box::new(|_, _, _| Fate::Arrives);
            world.connect(restored, retired);
            world.settle();
            assert!(world.member(restored).entry(&written.position()).is_some());
        } else {
            world.pass(2_000);
        }
        assert!(world.member(restored).knows_own_tip(), "and it waits no longer: {tells}");
    }
}

/// Others show a word of a restored sealer's for a block that nobody has any more. Its owner ends the waiting, and it seals that rank in the next epoch only (seed 100,565 of wrong state roots); also if
/// those who showed it are restored, too, and it was off meanwhile (seed 100,520 of rotated keys).
#[test]
fn an_owners_word_does_not_unsay_what_others_show() {
    for (is_shown, restarts) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = founders(3, Sealing::Leader { interval_ms: INTERVAL_MS });
        world.mesh();
        world.note(0, "hello");
        world.pass(INTERVAL_MS);
        let first = world.status(0).sealers[0].key.clone();
        let sealer = (0..3).find(|number| keypair(*number).author().to_string() == first).unwrap();
        let [one, other] = [(sealer + 1) % 3, (sealer + 2) % 3];
        let backup = world.nodes[sealer].store.clone();
        set_back(&mut world, sealer, backup);
        let link = world.connect(sealer, one).0;
        if is_shown {
            let tip = world.member(sealer).group().chain().rank();
            let next = Rank { height: Height(tip.height.0 + 1), ..tip };
            let hold = Hold::sign(world.genesis.id(), next, BlockId([7; 32]), &keypair(sealer));
            let now_ms = world.now_ms;
            world.member(sealer).receive(link, Stream::Seal, &Message::Hold(hold).encode().into(), now_ms);
        }
        let line = world.note(one, "the next block");
        world.pass(2 * INTERVAL_MS);
        assert!(world.member(sealer).may_have_forgotten(), "it has not heard of all");
        if restarts {
            world.stop(sealer);
            world.start(sealer);
            world.connect(sealer, one);
        }
        assert!(!world.member(sealer).sealing);
        world.member(sealer).trust();
        world.connect(sealer, other);
        world.connect(one, other);
        world.pass(3 * INTERVAL_MS);
        let expected = if is_shown { Stage::Pending } else { Stage::Sealed };
        assert!(!world.member(sealer).may_have_forgotten());
        assert_eq!(world.stage(one, &line), expected, "shown: {is_shown}, restarts: {restarts}");
        if is_shown {
            let name = format!("node{sealer}");
            [one, other].into_iter().for_each(|number| world.vote_leader(number, &name));
            world.until("it seals in the next epoch", |world| world.stage(one, &line) == Stage::Sealed);
        }
        world.until("they agree", |world| (0..3).all(|number| world.stage(number, &line) == Stage::Sealed));
        world.agree();
    }
}

/// What is kept of that reads back, and nothing else does.
#[test]
fn what_others_have_shown_is_kept() {
    use crate::member::learn::Learning;
    for bytes in ["1".as_bytes(), b"1\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04"] {
        let learning = Learning::of_kept(bytes).unwrap();
        assert_eq!(learning.kept(), bytes);
        let parts = learning.made().map(|rank| [rank.recovery.0, rank.set.0, rank.epoch.0, rank.height.0]);
        assert_eq!(parts, (bytes.len() > 1).then_some([1, 2, 3, 4]));
    }
    for bytes in [&b""[..], b"2", b"1\0", b"1\0\0\0\0\0\0\0\x01", &[b'1'; 42]] {
        assert!(Learning::of_kept(bytes).is_none(), "{bytes:?}");
    }
}

/// The only voter seals no more in its epoch, and nothing waits but its set to be closed: there is nobody else who could begin another epoch.
#[test]
fn a_sole_voter_that_was_restored_begins_another_epoch_to_close_its_set() {
    let mut world = World::new(2, Admission::Open);
    world.mesh();
    world.note(0, "hello");
    // Until the other one's wish to vote is in a block, and the end of the set is not asked for yet.
    let waits = |world: &mut World| {
        let status = world.status(0);
        !status.pending_voters.is_empty() && status.pending == 0
    };
    let mut backup = None;
    for _ in 0..1_000 {
        let number = (0..2).find(|number| {
            world.round(*number);
            waits(&mut world)
        });
        if number.is_some() {
            backup = Some(world.nodes[0].store.clone());
            break;
        }
        world.now_ms += 10;
    }
    set_back(&mut world, 0, backup.expect("such a moment"));
    world.connect(0, 1);
    world.until("it has learnt its own tip", |world| world.member(0).knows_own_tip());
    world.member(0).allow_writing();
    world.until_voters(2);
    assert_eq!(world.agree().epoch, 1, "its node votes for itself");
}

/// Simplex, of whom nobody lies: `leader` proposes what is new, and all sealers finalize it.
fn finalize(world: &mut World, leader: usize, view: u64) -> BlockId {
    let (seat, ticket) = (world.member(leader).seat().expect("it seals"), Ticket(view));
    let parent = world.member(leader).group().chain().tip_id();
    let now_ms = world.now_ms;
    world.member(leader).request(Request::Propose { ticket, epoch: seat.epoch, parent }, now_ms);
    let mut block = None;
    world.until("it proposes", |world| {
        let replies = world.member(leader).take_replies();
        block = replies.into_iter().find_map(|reply| match reply {
            Reply::Propose(_, block) => Some(block),
            _ => None,
        });
        block.is_some()
    });
    let block = block.unwrap();
    assert_ne!(block, parent, "something is new");
    let now_ms = world.now_ms;
    world.member(leader).request(Request::Finalized(certificate(&seat, view, block)), now_ms);
    world.settle();
    block
}

fn certificate(seat: &Seat, view: u64, block: BlockId) -> Certificate {
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(view));
    let proposal = Proposal::new(round, View::new(view - 1), Digest(block.0));
    let votes = (0..4).filter_map(|number| seat.signer(&keypair(number)));
    let votes = votes.map(|scheme| Finalize::<Scheme, Digest>::sign(&scheme, proposal.clone()).unwrap().attestation);
    let mut votes: Vec<_> = votes.collect();
    votes.sort_by_key(|vote| vote.signer);
    let signers = Signers::new(4, votes.iter().map(|vote| vote.signer)).unwrap();
    let signatures = votes.into_iter().map(|vote| vote.signature).collect();
    Certificate::new(Finalization { proposal, certificate: SimplexCertificate { signers, signatures } })
}

/// Four sealers who have begun a further epoch, in which all have voted; then the disk of the last one is set back to before, and nobody is connected to it.
fn sealer_set_back() -> (World, Epoch) {
    let mut world = four(Sealing::Bft { interval_ms: INTERVAL_MS, term: 0 });
    world.mesh();
    world.settle();
    finalize(&mut world, 0, 1);
    let backup = world.nodes[3].store.clone();
    assert_eq!(world.member(3).seat().unwrap().epoch, Epoch(0));
    for number in 0..3 {
        world.vote_leader(number, "node1");
    }
    world.settle();
    finalize(&mut world, 0, 2);
    world.note(0, "in the next epoch");
    world.settle();
    let epoch = world.member(3).seat().unwrap().epoch;
    assert!(epoch > Epoch(0));
    finalize(&mut world, 0, 3);
    assert_eq!((world.height(3), world.status(3).epoch), (3, epoch.0));
    set_back(&mut world, 3, backup);
    (world, epoch)
}

/// The hole that ADR 16 told of: its last change comes before the blocks do, and it takes an epoch for the present one that has passed.
#[test]
fn a_restored_sealer_votes_in_no_epoch_that_it_hears_of_after_its_own_changes() {
    let (mut world, epoch) = sealer_set_back();
    world.way =
        Box::new(|_, to, stream| if (to, stream) == (3, Stream::Seal) { Fate::Vanishes } else { Fate::Arrives });
    let links: Vec<LinkId> = (0..3).map(|other| world.connect(3, other).0).collect();
    let last = |world: &mut World, number: usize| world.member(number).group().replica().digest();
    world.until("it has all changes", |world| last(world, 3) == last(world, 0));
    world.pass(2 * INTERVAL_MS);
    assert!(!world.member(3).knows_own_tip(), "whoever says nothing of blocks may have an old copy, too");
    assert!(!world.member(3).sealing && world.member(3).seat().is_none(), "it does not know where the chain ends");

    // Of two it hears now, of the last one not: that one may be ahead of them.
    links.into_iter().for_each(|link| world.disconnect(3, link));
    world.way = Box::new(
        |from, to, stream| {
            if (from, to, stream) == (2, 3, Stream::Seal) { Fate::Vanishes } else { Fate::Arrives }
        },
    );
    for other in 0..3 {
        world.connect(3, other);
    }
    world.until("it follows", |world| world.height(3) == 3);
    world.until("it has learnt its own tip", |world| world.member(3).knows_own_tip());
    world.member(3).allow_writing();
    world.pass(2 * INTERVAL_MS);
    assert!(!world.member(3).sealing);

    world.way = Box::new(|_, _, _| Fate::Arrives);
    world.connect(3, 2);
    world.until("it has heard of all", |world| world.member(3).sealing);
    assert_eq!(world.member(3).seat(), None, "it may have voted in this epoch");
    let until = world.nodes[3].member.as_ref().map(|member| member.engine().stays_out(member.group()));
    assert_eq!(until, Some(Some(epoch)));
    // It asks for a further one by itself.
    world.settle();
    assert!(world.member(3).group().chain().pending() > 0);
}

/// All tell of their ends at once, ahead of where its own chain ends: it takes part again as soon as it has come to that end, and not before.
#[test]
fn a_restored_sealer_waits_until_its_chain_has_come_to_the_end_that_all_tell_of() {
    let (mut world, epoch) = sealer_set_back();
    for other in 0..3 {
        world.connect(3, other);
    }
    world.until("it has learnt its own tip", |world| world.member(3).knows_own_tip());
    world.member(3).allow_writing();
    world.until("it takes part again", |world| world.member(3).sealing);
    assert_eq!((world.height(3), world.member(3).seat()), (3, None), "it may have voted in this epoch");
    let until = world.nodes[3].member.as_ref().map(|member| member.engine().stays_out(member.group()));
    assert_eq!(until, Some(Some(epoch)));
}

/// Somebody who has no block is no reason to wait: it says so when it is asked.
#[test]
fn a_restored_sealer_hears_also_from_those_who_have_no_block() {
    let mut world = four(Sealing::Bft { interval_ms: INTERVAL_MS, term: 0 });
    world.mesh();
    world.settle();
    let backup = world.nodes[3].store.clone();
    world.note(3, "after the backup");
    world.settle();
    set_back(&mut world, 3, backup);
    for other in 0..3 {
        world.connect(3, other);
    }
    world.until("it has learnt its own tip", |world| world.member(3).knows_own_tip());
    world.member(3).allow_writing();
    world.until("it knows that there is no block", |world| world.member(3).sealing);
    assert_eq!(world.nodes.iter().map(|node| node.endings.len()).sum::<usize>(), 0, "nobody is to blame");
    assert_eq!(world.member(3).seat(), None);
}

/// Whose votes of an epoch are lost takes no part in it, also after a restart.
#[test]
fn a_journal_that_the_database_does_not_know_keeps_the_sealer_out_of_the_epoch() {
    let mut world = four(Sealing::Bft { interval_ms: INTERVAL_MS, term: 0 });
    let tie = |world: &mut World, journal: &'static str| {
        let node = &mut world.nodes[3];
        node.member.as_mut().unwrap().tie_votes(&mut node.store, &Bytes::from(journal)).unwrap();
        world.settle();
        world.member(3).seat().is_some()
    };
    assert!(tie(&mut world, "one"), "a database that has never had one has never voted");
    assert!(tie(&mut world, "one"));
    assert!(!tie(&mut world, "another"));
    world.stop(3);
    world.start(3);
    assert!(!tie(&mut world, "another") && world.member(3).sealing);
}

/// What a sealer says to simplex rests on what is on disk.
#[test]
fn simplex_is_answered_once_the_proposal_is_on_disk() {
    let mut world = four(Sealing::Bft { interval_ms: INTERVAL_MS, term: 0 });
    world.settle();
    let (epoch, parent, mut now_ms) = (Epoch(0), BlockId::origin(world.genesis.id()), world.now_ms);
    world.member(0).request(Request::Propose { ticket: Ticket(1), epoch, parent }, now_ms);
    for _ in 0..100 {
        now_ms += 100;
        world.member(0).tick(now_ms);
        assert_eq!(world.member(0).take_replies(), []);
        let batch = world.member(0).take_staged();
        assert_eq!(world.member(0).take_replies(), []);
        world.nodes[0].store.commit(&batch).unwrap();
        world.member(0).durable();
        if let [Reply::Propose(Ticket(1), block)] = world.member(0).take_replies()[..] {
            assert_ne!(block, parent);
            return;
        }
    }
    panic!("it never answers");
}

/// Who votes and seals in another group, too, is shown in this one what it has signed there.
#[test]
fn what_it_signed_in_another_group_keeps_no_restored_node_waiting() {
    let mut world = four(Sealing::Leader { interval_ms: INTERVAL_MS });
    world.mesh();
    world.pass(2 * INTERVAL_MS);
    let tip = world.member(0).group().chain().tip().expect("a block").block.clone();
    let backup = world.nodes[3].store.clone();
    set_back(&mut world, 3, backup);
    let (link, _) = world.connect(3, 0);
    let group = side_ledger::GroupId([9; 32]);
    let far = Block { group, height: Height(900), epoch: Epoch(70), ..tip };
    let hold = Hold::sign(group, far.rank(), BlockId([7; 32]), &keypair(3));
    let block = SignedBlock::sign(far, &keypair(3), Warrant::default()).unwrap();
    let now_ms = world.now_ms;
    for message in [Message::Hold(hold), Message::Blocks(vec![block])] {
        world.member(3).receive(link, Stream::Seal, &message.encode().into(), now_ms);
    }
    for other in 1..3 {
        world.connect(3, other);
    }
    world.until("it has learnt its own tip", |world| world.member(3).knows_own_tip());
    world.member(3).allow_writing();
    world.until("it gives its word again", |world| world.member(3).sealing);
}
