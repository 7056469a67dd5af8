//! Leader mode, one rule, one attacker, one test: blocks, words and sets of voters.

use side_ledger::block::{Block, BlockId, Epoch, Height, Rank, SetNumber};
use side_ledger::transaction::{SetClose, VoterAsk};
use side_seal::effect::Refusal;
use side_seal::warrant::WarrantFault;
use side_seal::{DoubleSeal, Event, Hold, Leader, Message, Record, SignedBlock, Warrant};

use crate::members::{Member, blocks, carry, key, keypair, refused, share, shown, told};

#[test]
fn the_sealer_seals_when_its_interval_has_passed_and_something_is_new() {
    let [mut sealer, mut other, ..] = Member::founders();
    assert!(sealer.tick(0).is_empty());
    assert_eq!(sealer.leader.deadline(&sealer.group), None);
    sealer.note();
    assert_eq!(sealer.leader.deadline(&sealer.group), Some(0));
    let effects = sealer.tick(10);
    assert_eq!(sealer.height(), 1);
    sealer.note();
    assert_eq!(sealer.leader.deadline(&sealer.group), Some(1_010));
    assert!(sealer.tick(1_009).is_empty());
    assert!(!sealer.tick(1_010).is_empty());
    // Others never, and they wait for the changes before they take a block.
    other.note();
    assert!(other.tick(5_000).is_empty());
    assert_eq!(other.leader.deadline(&other.group), None);
    told(&effects).into_iter().for_each(|message| drop(other.hear(message)));
    assert_eq!(other.height(), 0);
    let effects = other.learn(sealer.log());
    assert_eq!(other.height(), 1);
    assert!(told(&effects).iter().any(|message| matches!(message, Message::Hold(hold) if hold.voter == key(1))));
    // A node whose disk may be old does not seal.
    sealer.note();
    sealer.leader.set_sealing(&sealer.group, false);
    assert!(sealer.tick(9_000).is_empty());
}

#[test]
fn a_block_of_anybody_but_the_sealer_is_refused() {
    let [mut sealer, mut other, mut third, _] = Member::founders();
    sealer.note();
    other.learn(sealer.log());
    third.learn(sealer.log());
    let forged = sealer.forge(2, |block| block, Warrant::default());
    assert_eq!(refused(&mut other, forged), Some(Refusal::Signer));
    let further = sealer.forge(0, |block| Block { epoch: Epoch(1), ..block }, Warrant::default());
    assert_eq!(refused(&mut other, further), Some(Refusal::Warrant(WarrantFault::TooFew { found: 0, needed: 3 })));
    let next_set = sealer.forge(0, |block| Block { set: SetNumber(1), ..block }, Warrant::default());
    assert_eq!(refused(&mut other, next_set), Some(Refusal::Seat));
    let wrong = sealer.forge(0, |block| Block { state_root: [1; 32], ..block }, Warrant::default());
    assert!(matches!(refused(&mut other, wrong), Some(Refusal::Ledger(_))));
    let hold = Hold::sign(sealer.group.id(), sealer.group.chain().rank(), sealer.group.chain().tip_id(), &keypair(1));
    let needless = sealer.forge(0, |block| block, Warrant { votes: Vec::new(), holds: vec![hold] });
    assert_eq!(refused(&mut other, needless), Some(Refusal::Warrant(WarrantFault::OtherBlock)));
    // The true block beside the wrong one is a proof: it is taken only by whoever has not seen the wrong one.
    let good = sealer.forge(0, |block| block, Warrant::default());
    third.hear(blocks(&[&good]));
    other.hear(blocks(&[&good]));
    assert_eq!((third.height(), other.height(), other.leader.proofs().count()), (1, 0, 1));
}

#[test]
fn two_blocks_of_one_rank_are_a_proof_that_everybody_keeps_shows_and_stops_on() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let one = members[0].forge(0, |block| block, Warrant::default());
    let twin = members[0].forge(0, |block| Block { time_ms: block.time_ms + 1, ..block }, Warrant::default());
    members[1].hear(blocks(&[&one]));
    members[2].hear(blocks(&[&twin]));
    let effects = members[1].hear(blocks(&[&twin]));
    assert_eq!(shown(&effects), [Event::Doubled(key(0), one.block().rank())]);
    let proof = told(&effects).into_iter().find(|message| matches!(message, Message::Double(_))).unwrap();
    // The proof travels on its own, and each keeps the block that came first.
    let proof = Message::decode(&proof.encode()).unwrap();
    for at in [2, 3] {
        assert_eq!(shown(&members[at].hear(proof.clone())), [Event::Doubled(key(0), one.block().rank())]);
        assert!(shown(&members[at].hear(proof.clone())).is_empty());
        assert_eq!(members[at].leader.proofs().count(), 1);
    }
    assert_eq!([1, 2, 3].map(|at| members[at].height()), [1, 1, 0]);
    // Whatever that sealer seals in this epoch is kept, and nobody follows it.
    members[0].hear(blocks(&[&one]));
    members[0].note();
    share(&mut members);
    let more = members[0].forge(0, |block| block, Warrant::default());
    members[1].hear(blocks(&[&more]));
    assert_eq!(members[1].height(), 1);
    assert!(members[1].leader.block(&more.id()).is_some());
    // One block alone proves nothing, nor do two of different ranks.
    assert!(DoubleSeal::new(&one, &one).is_err() && DoubleSeal::new(&one, &more).is_err());
    // A proof of another group is its sender's fault.
    let elsewhere = |time_ms| {
        let block =
            Block { group: side_ledger::GroupId([9; 32]), parent: BlockId([9; 32]), time_ms, ..one.block().clone() };
        SignedBlock::sign(block, &keypair(0), Warrant::default()).unwrap()
    };
    let foreign = Message::Double(DoubleSeal::new(&elsewhere(1), &elsewhere(2)).unwrap());
    assert_eq!(members[1].leader.hear(&mut members[1].group, foreign).1, Some(Refusal::Group));
}

/// Whoever votes in two groups gives its word in both. A word of the other group, where blocks are counted higher, hides none of this one and proves nothing here.
#[test]
fn a_voter_s_word_in_another_group_says_nothing_here() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    let elsewhere = side_ledger::GroupId([9; 32]);
    let far = Rank { height: Height(900), epoch: Epoch(7), ..members[0].group.chain().rank() };
    let foreign = Message::Hold(Hold::sign(elsewhere, far, BlockId([7; 32]), &keypair(2)));
    let heard = members[1].leader.hear(&mut members[1].group, foreign.clone());
    assert_eq!(heard, (Vec::new(), Some(Refusal::Group)));
    // Nor can somebody who passes it on name this group instead.
    let mut bytes = foreign.encode();
    let at = bytes.windows(32).position(|window| window == elsewhere.0).unwrap();
    bytes[at..at + 32].copy_from_slice(&members[1].group.id().0);
    assert_eq!(Message::decode(&bytes), Err(side_seal::signed::SignedError::Signature.into()));
    carry(&mut members, effects);
    assert_eq!((members[1].height(), members[1].leader.word_of(&members[1].group, &key(2))), (1, Height(1)));
    assert_eq!(members[1].leader.holders(&members[1].group, Height(1)), 4);
    // An older word of this group, which comes late, hides no newer one.
    let first = Hold::sign(
        members[0].group.id(),
        members[0].group.chain().rank(),
        members[0].group.chain().tip_id(),
        &keypair(2),
    );
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(5_000);
    carry(&mut members, effects);
    members[1].hear(Message::Hold(first));
    assert_eq!(members[1].leader.word_of(&members[1].group, &key(2)), Height(2));
}

/// Words are kept in memory only.
#[test]
fn after_everybody_has_stopped_at_once_the_voters_give_their_words_again() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    assert_eq!(members[1].leader.holders(&members[1].group, Height(1)), 4);
    let mut again = [0, 1, 2, 3].map(|number| {
        let mut member = Member::new(number);
        member.learn(members[number].log());
        member.leader.restore(&mut member.group, members[number].kept.clone());
        assert_eq!(member.leader.holders(&member.group, Height(1)), 1, "its own word it knows");
        member
    });
    let greetings: Vec<Message> = again.iter().flat_map(|member| member.leader.greet(&member.group)).collect();
    for member in &mut again {
        greetings.iter().for_each(|greeting| drop(member.hear(greeting.clone())));
        assert!(member.leader.is_held(&member.group, Height(1)));
        assert_eq!(member.leader.holders(&member.group, Height(1)), 4);
    }
}

/// The counter-example to "a block that changes the set is the last of its set" alone: a sealer that is cut off ends the set with a friend's ask, and its next
/// set would outrank the epoch that the others certified meanwhile.
#[test]
fn a_set_cannot_end_without_the_words_of_more_than_two_thirds() {
    let mut members = Member::founders();
    let mut friend = Member::new(7);
    let tip = friend.group.chain().tip_id();
    friend.write(VoterAsk { block: tip });
    members[0].learn(friend.log());
    assert!(!members[0].leader.wants_close(&members[0].group));
    members[0].tick(0);
    assert!(!members[0].leader.wants_close(&members[0].group), "the electors are not there");
    members[0].write(SetClose { set: SetNumber(0) });
    members[0].tick(1_000);
    assert_eq!(members[0].group.chain().governance().set, SetNumber(1));
    assert_eq!(members[0].leader.office(&members[0].group).set, SetNumber(0));
    members[0].note();
    assert!(members[0].tick(2_000).is_empty());
    let alone = members[0].forge(0, |block| block, Warrant::default());
    let own = Hold::sign(
        members[0].group.id(),
        members[0].group.chain().rank(),
        members[0].group.chain().tip_id(),
        &keypair(0),
    );
    let self_praise = members[0].forge(0, |block| block, Warrant { votes: Vec::new(), holds: vec![own] });
    for at in 1..4 {
        let log = members[0].log();
        members[at].learn(log);
        for height in 1..=2 {
            let id = members[0].group.chain().at(Height(height)).unwrap().id;
            let signed = members[0].leader.block(&id).unwrap().clone();
            members[at].hear(blocks(&[&signed]));
        }
    }
    let too_few = Refusal::Warrant(WarrantFault::TooFew { found: 0, needed: 3 });
    assert_eq!(refused(&mut members[1], alone), Some(too_few));
    let own_alone = Refusal::Warrant(WarrantFault::TooFew { found: 1, needed: 3 });
    assert_eq!(refused(&mut members[1], self_praise), Some(own_alone));
    // With the electors' words the next set begins.
    for at in 1..4 {
        for message in members[at].leader.greet(&members[at].group) {
            members[0].hear(message);
        }
    }
    let effects = members[0].tick(3_000);
    assert_eq!(members[0].group.chain().rank().set, SetNumber(1));
    carry(&mut members[1..], effects);
    assert_eq!(members[3].group.chain().rank().set, SetNumber(1));
    assert_eq!(members[3].leader.office(&members[3].group).voters, 5);
}

/// The counter-example to epochs that restart with each set: some electors hold the block that ends the set, others have voted for the next epoch, and neither are enough.
#[test]
fn electors_who_disagree_whether_the_set_has_ended_come_together_in_a_higher_epoch() {
    let mut members = Member::founders();
    let mut friend = Member::new(7);
    let tip = friend.group.chain().tip_id();
    friend.write(VoterAsk { block: tip });
    members[0].learn(friend.log());
    members[0].tick(0);
    members[0].write(SetClose { set: SetNumber(0) });
    members[0].tick(1_000);
    let closing: Vec<SignedBlock> = members[0]
        .group
        .chain()
        .blocks()
        .iter()
        .map(|sealed| members[0].leader.block(&sealed.id).unwrap().clone())
        .collect();
    let log = members[0].log();
    for at in [1, 2] {
        members[at].learn(log.clone());
        members[at].hear(blocks(&closing.iter().collect::<Vec<_>>()));
    }
    // The third has heard nothing and votes; the others vote later, in the set that is still in force.
    members[3].vote(2);
    share(&mut members[1..]);
    members[1].vote(2);
    members[2].vote(2);
    share(&mut members[1..]);
    let effects = members[2].tick(5_000);
    let tip = members[2].group.chain().tip().unwrap().block.clone();
    assert_eq!((tip.set, tip.epoch, tip.parent), (SetNumber(1), Epoch(1), closing[1].id()));
    carry(&mut members[1..2], effects.clone());
    assert_eq!(members[1].group.chain().tip_id(), members[2].group.chain().tip_id());
    // The third follows, and gives its word again: the epoch is the one that it voted for.
    members[3].hear(blocks(&closing.iter().collect::<Vec<_>>()));
    carry(&mut members[3..], effects);
    assert_eq!(members[3].group.chain().tip_id(), members[2].group.chain().tip_id());
}

#[test]
fn a_node_that_was_away_catches_up_by_asking() {
    let mut members = Member::founders();
    for turn in 0..200 {
        members[0].note();
        members[0].tick(turn * 1_000);
    }
    let log = members[0].log();
    members[1].learn(log);
    let tip = members[0].leader.greet(&members[0].group).remove(0);
    let mut effects = members[1].hear(tip);
    let mut asked = 0;
    while let Some((want, have)) = effects.iter().find_map(|effect| match effect {
        side_seal::Effect::Ask(Message::Ask { want, have }) => Some((*want, have.clone())),
        _ => None,
    }) {
        asked += 1;
        let ask = Message::Ask { want, have };
        assert_eq!(Message::decode(&ask.encode()), Ok(ask.clone()));
        let Message::Ask { want, have } = ask else { unreachable!() };
        let answer = members[0].leader.answer(&members[0].group, &want, &have).unwrap();
        effects = members[1].hear(Message::decode(&answer.encode()).unwrap());
    }
    assert_eq!((members[1].height(), asked), (200, 4));
    assert_eq!(members[1].leader.answer(&members[1].group, &BlockId([9; 32]), &[]), None);
}

#[test]
fn a_sealer_that_starts_again_from_its_disk_goes_on_and_never_seals_a_rank_twice() {
    let mut members = Member::founders();
    for turn in 0..3 {
        members[0].note();
        let effects = members[0].tick(turn * 1_000);
        share(&mut members);
        carry(&mut members, effects);
    }
    let mut again = Member::new(0);
    again.group.load(members[0].log()).unwrap();
    let kept: Vec<Record> = members[0].kept.iter().map(|record| Record::decode(&record.encode()).unwrap()).collect();
    assert_eq!(kept, members[0].kept);
    assert!(Record::decode(&[7]).is_err() && Record::decode(&[]).is_err());
    again.leader.restore(&mut again.group, kept);
    assert_eq!(again.group.chain().tip_id(), members[0].group.chain().tip_id());
    again.note();
    let log = again.log();
    let effects = again.tick(0);
    assert_eq!(again.height(), 4);
    members[1].learn(log);
    let events = carry(&mut members[1..2], effects);
    assert!(!events.iter().any(|event| matches!(event, Event::Doubled(..))));
    assert_eq!(members[1].height(), 4);
    // A reader restores as well.
    let mut reader = Leader::new(None);
    let mut group = Member::new(1).group;
    group.apply_batch(members[1].log());
    reader.restore(&mut group, members[1].kept.clone());
    assert_eq!(group.chain().tip_id(), members[1].group.chain().tip_id());
}

/// A sealer closes a set and begins the next twice. Whoever saw both first blocks before it took one stayed in the set that was over, where it could vote with nobody (seed 100,338 of the
/// simulated world).
#[test]
fn a_set_that_its_sealer_began_twice_has_begun_for_everybody() {
    let mut members: Vec<Member> = Member::founders().into_iter().chain([Member::new(7)]).collect();
    let tip = members[4].group.chain().tip_id();
    members[4].write(VoterAsk { block: tip });
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    members[0].write(SetClose { set: SetNumber(0) });
    share(&mut members);
    let effects = members[0].tick(1_000);
    let closing = members[0].leader.block(&members[0].group.chain().tip_id()).unwrap().clone();
    // The last one hears none of it, but of all that this sealer did twice.
    carry(&mut members[..4], effects);
    members[0].note();
    share(&mut members);
    let first = told(&members[0].tick(2_000)).into_iter().find_map(|message| match message {
        Message::Blocks(blocks) => blocks.first().cloned(),
        _ => None,
    });
    let first = first.unwrap();
    assert_eq!((first.block().set, first.block().parent), (SetNumber(1), closing.id()));
    let twin = |of: &SignedBlock| {
        let block = Block { time_ms: of.block().time_ms + 1, ..of.block().clone() };
        SignedBlock::sign(block, &keypair(0), of.warrant().clone()).unwrap()
    };
    let second = twin(&first);
    let doubled = DoubleSeal::new(&first, &second).unwrap();
    members[1].hear(blocks(&[&first]));
    members[2].hear(blocks(&[&second]));
    let mut late = members[3].hear(Message::Double(doubled.clone()));
    late.extend(members[3].hear(blocks(&[&first])));
    members[4].hear(Message::Double(DoubleSeal::new(&closing, &twin(&closing)).unwrap()));
    late.extend(members[4].hear(Message::Double(doubled)));
    assert_eq!(members[4].height(), 1);
    late.extend(members[4].hear(blocks(&[&closing, &second])));
    let tips = [1, 2, 3, 4].map(|at| members[at].group.chain().tip_id());
    assert_eq!(tips, [first.id(), second.id(), first.id(), second.id()]);
    // Whoever knows that there are two follows and gives no word.
    let is_word = |message: &Message| matches!(message, Message::Hold(hold) if hold.rank.set == SetNumber(1));
    assert!(!told(&late).iter().any(is_word));
    // Further than that nobody follows.
    members[0].note();
    share(&mut members);
    let more = members[0].forge(0, |block| block, Warrant::default());
    for member in &mut members[1..] {
        member.hear(blocks(&[&first, &second, &more]));
    }
    assert_eq!([1, 2, 3, 4].map(|at| members[at].height()), [3; 4]);
    // So all vote in the same set, and one of the two remains.
    for member in &mut members[1..] {
        member.vote(1);
    }
    share(&mut members);
    let effects = members[1].tick(9_000);
    carry(&mut members[1..], effects);
    let tips = [1, 2, 3, 4].map(|at| members[at].group.chain().tip_id());
    let tip = &members[1].group.chain().tip().unwrap().block;
    assert_eq!((tip.set, tip.epoch, tip.height), (SetNumber(1), Epoch(1), Height(4)));
    assert_eq!(tips, [tips[0]; 4]);
}
