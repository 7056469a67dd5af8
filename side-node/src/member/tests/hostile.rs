//! What a peer that lies, floods or withholds may cost.

use side_ledger::block::{Block, BlockId};
use side_seal::{DoubleSeal, Hold, Message, SignedBlock, Warrant};

use super::*;
use crate::member::link;

/// A member with some blocks and one link, whose other end is the test.
fn victim() -> (World, LinkId) {
    let mut world = World::new(1, Admission::Open);
    world.note(0, "hello");
    world.pass(2 * INTERVAL_MS);
    let link = LinkId(1_000);
    let peer = Peer { key: keypair(66).author(), transport: "direct", address: "10.0.0.66:9".to_owned() };
    world.member(0).link_up(link, peer);
    (world, link)
}

fn seal(world: &mut World, link: LinkId, message: &[u8]) {
    let now_ms = world.now_ms;
    world.member(0).receive(link, Stream::Seal, &Bytes::copy_from_slice(message), now_ms);
}

fn ended(world: &mut World) -> Option<String> {
    world.member(0).take_endings().pop().map(|ending| {
        assert!(ending.fault);
        ending.reason
    })
}

fn forged(world: &mut World, nonce: u64) -> SignedBlock {
    let chain = world.member(0).group().chain();
    let block = Block { time_ms: nonce, ..chain.tip().unwrap().block.clone() };
    SignedBlock::sign(block, &keypair(66), Warrant::default()).unwrap()
}

#[test]
fn what_is_malformed_ends_the_link_and_the_reason_is_kept() {
    for (stream, bytes) in [(Stream::Seal, &[1, 200][..]), (Stream::Sync, &[0xff; 40][..]), (Stream::Sync, &[][..])] {
        let (mut world, link) = victim();
        let now_ms = world.now_ms;
        world.member(0).receive(link, stream, &Bytes::copy_from_slice(bytes), now_ms);
        let reason = ended(&mut world).expect("the link is ended");
        assert!(reason.contains("malformed"), "{reason}");
        let line = world.status(0).peers.pop().unwrap();
        assert!(!line.connected && line.problem.unwrap().contains(&reason));
        assert_eq!(line.key, Some(keypair(66).author().to_string()));
        assert_eq!(world.member(0).poll_send(link), None);
    }
}

#[test]
fn what_a_later_version_says_is_ignored() {
    let (mut world, link) = victim();
    for _ in 0..100 {
        seal(&mut world, link, &[99, 1, 2, 3]);
    }
    assert_eq!(ended(&mut world), None);
}

#[test]
fn blocks_that_are_not_good_are_counted_and_end_the_link() {
    let (mut world, link) = victim();
    let before = world.status(0);
    let mut sent = 0;
    let reason = loop {
        let block = forged(&mut world, sent);
        seal(&mut world, link, &Message::Blocks(vec![block]).encode());
        sent += 1;
        if let Some(reason) = ended(&mut world) {
            break reason;
        }
        assert!(sent < 1_000, "nobody counts");
    };
    assert_eq!(sent, u64::from(link::MAX_REFUSED_SEALS) + 1);
    assert!(reason.contains("signed by somebody"), "{reason}");
    let after = world.status(0);
    assert_eq!((after.block, after.offences), (before.block, before.offences));
    assert!(world.member(0).take_staged().is_empty(), "nothing of it goes to disk");
}

#[test]
fn a_flood_of_good_signatures_ends_the_link() {
    let (mut world, link) = victim();
    let (group, rank) = (world.member(0).group().id(), world.member(0).group().chain().rank());
    let hold = Message::Hold(Hold::sign(group, rank, BlockId([7; 32]), &keypair(66))).encode();
    let mut sent = 0;
    let reason = loop {
        seal(&mut world, link, &hold);
        sent += 1;
        if let Some(reason) = ended(&mut world) {
            break reason;
        }
        assert!(sent <= link::SIGNATURES_AT_ONCE, "nobody counts");
    };
    assert!(reason.contains("more about blocks"), "{reason}");
    // Whoever takes its time is left alone.
    let (mut world, link) = victim();
    for _ in 0..3 {
        for _ in 0..link::SIGNATURES_PER_SECOND {
            seal(&mut world, link, &hold);
        }
        world.now_ms += 1_000;
    }
    assert_eq!(ended(&mut world), None);
}

#[test]
fn questions_without_end_cost_a_bounded_queue() {
    let (mut world, link) = victim();
    for n in 0..2_000u64 {
        let mut want = [0; 32];
        want[..8].copy_from_slice(&n.to_be_bytes());
        let tip = world.member(0).group().chain().tip_id();
        let want = if n.is_multiple_of(2) { BlockId(want) } else { tip };
        seal(&mut world, link, &Message::Ask { want, have: vec![BlockId([9; 32]); 64] }.encode());
    }
    world.member(0).take_staged();
    world.member(0).durable();
    let mut answers = 0;
    while let Some((stream, message)) = world.member(0).poll_send(link) {
        answers += usize::from(stream == Stream::Seal && matches!(Message::decode(&message), Ok(Message::Blocks(_))));
    }
    assert!((1..=2).contains(&answers), "the greeting, and one answer for the same question: {answers}");
}

#[test]
fn a_proof_against_a_sealer_is_kept_shown_and_passed_on() {
    let mut world = World::new(3, Admission::Open);
    world.line();
    world.until_voters(3);
    let tip = world.member(0).group().chain().tip().unwrap().block.clone();
    let sign = |block: Block| SignedBlock::sign(block, &keypair(0), Warrant::default()).unwrap();
    let proof = DoubleSeal::new(&sign(tip.clone()), &sign(Block { time_ms: tip.time_ms + 1, ..tip })).unwrap();
    // Told to the end of the line only, by somebody else.
    let link = LinkId(1_000);
    let peer = Peer { key: keypair(66).author(), transport: "direct", address: "10.0.0.66:9".to_owned() };
    world.member(2).link_up(link, peer);
    let (now_ms, message) = (world.now_ms, Bytes::from(Message::Double(proof).encode()));
    world.member(2).receive(link, Stream::Seal, &message, now_ms);
    world.member(2).link_down(link);
    world.settle();
    for number in 0..3 {
        let status = world.status(number);
        assert_eq!(status.offences.len(), 1, "node{number}");
        assert_eq!(status.offences[0].who.key, keypair(0).author().to_string());
        assert!(
            world.nodes[number]
                .news
                .iter()
                .any(|news| matches!(news, News::Notice(text) if text.contains("two blocks")))
        );
    }
    // Before the voters have chosen another one, too: or they would name none of the blocks that they hold.
    for number in 1..3 {
        let held = world.height(number);
        let others: Vec<usize> = world.nodes[number].links.values().map(|(other, _)| *other).collect();
        world.stop(number);
        world.start(number);
        assert!(held > 0 && world.height(number) == held, "node{number}");
        for other in others {
            world.connect(number, other);
        }
        world.settle();
    }
    let note = world.note(1, "who seals now?");
    world.pass(3 * INTERVAL_MS);
    assert_eq!(world.stage(1, &note), Stage::Pending, "nothing more of that sealer is taken");
    for number in 1..3 {
        world.vote_leader(number, "node2");
    }
    world.until("another one seals", |world| (0..3).all(|number| world.stage(number, &note) == Stage::Sealed));
    // All of it outlives a restart, also the blocks that the convicted one had sealed before.
    let before = world.status(1);
    world.stop(1);
    world.start(1);
    let after = world.status(1);
    assert_eq!((after.offences.len(), after.height, after.block), (1, before.height, before.block));
}

#[test]
fn an_open_group_beyond_this_machine_says_who_could_take_it_over() {
    for (address, admission, told) in [
        ("10.0.0.66:9", Admission::Open, true),
        ("127.0.0.1:9", Admission::Open, false),
        ("10.0.0.66:9", Admission::Closed, false),
    ] {
        let mut world = World::new(1, admission);
        let peer = Peer { key: keypair(66).author(), transport: "direct", address: address.to_owned() };
        world.member(0).link_up(LinkId(1), peer);
        let text = crate::output::status(&world.status(0));
        assert_eq!(text.contains("one person with many keys"), told, "{text}");
        assert!(text.contains("voters      1 (set 0): ") && text.contains("1 hold a block"), "{text}");
    }
}

#[test]
fn there_are_only_so_many_links() {
    let mut world = World::new(1, Admission::Open);
    for n in 0..=crate::member::MAX_LINKS as u64 {
        let peer = Peer { key: keypair(66).author(), transport: "direct", address: n.to_string() };
        world.member(0).link_up(LinkId(n), peer);
    }
    assert_eq!(world.member(0).links().count(), crate::member::MAX_LINKS);
    assert!(ended(&mut world).unwrap().contains("too many links"));
}
