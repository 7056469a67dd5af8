//! One rule, one attacker, one test.

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{Block, BlockId, Epoch, Height, Rank, SetNumber};
use side_ledger::genesis::Rules;
use side_ledger::transaction::{KeyApprove, KeyRotate, SealersVote, SetClose, VoterAsk};
use side_seal::effect::{Refusal, VoteError};
use side_seal::leader::{MAX_ORPHANS, MAX_PROOFS, MAX_PROOFS_OF_ONE};
use side_seal::warrant::WarrantFault;
use side_seal::{DoubleSeal, Engine, Event, Hold, Leader, Message, Record, SignedBlock, Warrant};

use crate::members::{Member, carry, key, keypair, share, shown, told};

fn blocks(signed: &[&SignedBlock]) -> Message {
    Message::Blocks(signed.iter().map(|signed| (*signed).clone()).collect())
}

/// Why a member does not take a block.
fn refused(member: &mut Member, signed: SignedBlock) -> Option<Refusal> {
    let (before, tip) = (member.group.state_root(), member.group.chain().tip_id());
    let (effects, fault) = member.leader.hear(&mut member.group, Message::Blocks(vec![signed]));
    assert_eq!((member.group.state_root(), member.group.chain().tip_id()), (before, tip));
    fault.or_else(|| {
        shown(&effects).into_iter().find_map(|event| match event {
            Event::Refused(_, refusal) => Some(refusal),
            _ => None,
        })
    })
}

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

#[test]
fn the_voters_replace_a_silent_sealer_and_what_it_sealed_above_returns() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    // The sealer goes on alone.
    members[0].note();
    members[0].tick(1_000);
    let alone = members[0].note();
    members[0].tick(2_000);
    assert_eq!(members[0].height(), 3);
    assert_eq!(members[1].leader.vote(&members[1].group, key(0)), Err(VoteError::SealsAlready));
    assert_eq!(members[0].leader.vote(&members[0].group, key(1)), Err(VoteError::NotElector));
    members[1].vote(1);
    members[2].vote(1);
    share(&mut members[1..]);
    assert!(members[1].tick(3_000).is_empty(), "two of three are too few");
    members[3].vote(1);
    share(&mut members[1..]);
    let effects = members[1].tick(3_000);
    assert_eq!(members[1].group.chain().rank().epoch, Epoch(1));
    carry(&mut members[1..], effects.clone());
    assert_eq!([1, 2, 3].map(|at| members[at].height()), [2, 2, 2]);
    assert_eq!(members[1].leader.holders(&members[1].group, Height(2)), 3);
    assert!(members[1].leader.is_held(&members[1].group, Height(2)));
    // The old sealer comes back: its two blocks give way, and what they sealed is sealed again.
    share(&mut members);
    let events = carry(&mut members[..1], effects);
    let returned = events.iter().filter(|event| matches!(event, Event::Returned(..))).count();
    assert_eq!(returned, 2);
    let again = members[1].tick(9_000);
    carry(&mut members, again);
    assert_eq!(
        members[0].group.chain().sealed_at(members[0].group.replica().index_of(&alone.id).unwrap()),
        Some(Height(3))
    );
    assert!(members[0].tick(99_000).is_empty());
    assert_eq!(members[0].leader.office(&members[0].group).sealers, [key(1)]);
}

#[test]
fn a_warrant_counts_electors_of_the_set_once_each_for_one_epoch_and_one_sealer() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    for at in [1, 2, 3] {
        members[at].vote(1);
    }
    // The sealer is no elector: its vote is written by hand.
    let by_sealer = side_ledger::transaction::SealersVote {
        recovery: Default::default(),
        set: SetNumber(0),
        epoch: Epoch(1),
        sealers: vec![key(1)],
        highest: side_ledger::transaction::HeldBlock {
            rank: members[0].group.chain().rank(),
            id: members[0].group.chain().tip_id(),
        },
    };
    members[0].write(by_sealer.clone());
    members[2].write(side_ledger::transaction::SealersVote { epoch: Epoch(2), ..by_sealer });
    share(&mut members);
    let mut twin = Member::new(1);
    twin.learn(members[1].log());
    twin.tick(0);
    let signed = twin.leader.block(&twin.group.chain().tip_id()).unwrap().clone();
    assert_eq!(signed.block().epoch, Epoch(1));
    let votes = signed.warrant().votes.clone();
    assert_eq!(votes.len(), 3);
    let other: Vec<_> = members[0].log().into_iter().map(|incoming| incoming.change).collect();
    let vote_of = |number: usize, last: bool| {
        let mut of = other.iter().filter(|change| change.author() == key(number));
        let change = if last { of.next_back() } else { of.next() };
        change.unwrap().bytes().clone()
    };
    let with = |votes: Vec<bytes::Bytes>| {
        SignedBlock::sign(signed.block().clone(), &keypair(1), Warrant { votes, holds: Vec::new() }).unwrap()
    };
    let mut flipped = votes[0].to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let target = &mut members[3];
    let mut check = |votes: Vec<bytes::Bytes>| match refused(target, with(votes)) {
        Some(Refusal::Warrant(fault)) => Some(fault),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(check(votes[..2].to_vec()), Some(WarrantFault::TooFew { found: 2, needed: 3 }));
    let twice = vec![votes[0].clone(), votes[0].clone(), votes[1].clone()];
    assert_eq!(check(twice), Some(WarrantFault::Elector));
    let mut sealers = votes[..2].to_vec();
    sealers.push(vote_of(0, true));
    assert_eq!(check(sealers), Some(WarrantFault::Elector));
    let forged = vec![flipped.into(), votes[1].clone(), votes[2].clone()];
    assert_eq!(check(forged), Some(WarrantFault::Vote));
    let other_epoch = vec![votes[0].clone(), vote_of(2, true), votes[2].clone()];
    assert!(check(other_epoch).is_some());
    assert_eq!(check(vec![bytes::Bytes::from_static(b"x"); 3]), Some(WarrantFault::Vote));
    // Signed by somebody whom nobody voted for.
    let usurper = SignedBlock::sign(signed.block().clone(), &keypair(2), signed.warrant().clone()).unwrap();
    assert_eq!(refused(target, usurper), Some(Refusal::Signer));
    target.hear(blocks(&[&signed]));
    assert_eq!(target.height(), 1);
}

/// The counter-example to "continue from the highest block that the votes name": the sealer forks the chain, shows one side to two voters and a longer one to the
/// third. What the two and the sealer hold is more than two thirds, and lower.
#[test]
fn an_epoch_keeps_what_more_than_two_thirds_hold_though_the_sealer_forked_the_chain() {
    let mut members = Member::founders();
    let first = members[0].note();
    share(&mut members);
    let one = members[0].forge(0, |block| block, Warrant::default());
    let twin = members[0].forge(0, |block| Block { time_ms: block.time_ms + 1, ..block }, Warrant::default());
    members[1].hear(blocks(&[&one]));
    members[2].hear(blocks(&[&one]));
    members[3].hear(blocks(&[&twin]));
    members[0].hear(blocks(&[&twin]));
    members[0].note();
    let log = members[0].log();
    members[3].learn(log);
    let on_top = members[0].forge(0, |block| block, Warrant::default());
    members[3].hear(blocks(&[&on_top]));
    assert_eq!([1, 2, 3].map(|at| members[at].height()), [1, 1, 2]);
    for at in [1, 2, 3] {
        members[at].vote(2);
    }
    share(&mut members);
    // The votes name blocks that the new sealer lacks: it cannot start before it has them.
    assert!(members[2].tick(5_000).is_empty());
    members[2].hear(blocks(&[&twin, &on_top]));
    let effects = members[2].tick(5_000);
    let new = members[2].group.chain().tip().unwrap().block.clone();
    assert_eq!((new.epoch, new.parent), (Epoch(1), one.id()));
    // The one who was shown the other side follows once it has this one.
    let signed = told(&effects).into_iter().find(|message| matches!(message, Message::Blocks(_))).unwrap();
    let effects = members[3].hear(signed);
    let ask = effects.iter().find_map(|effect| match effect {
        side_seal::Effect::Ask(Message::Ask { want, have }) => Some((*want, have.clone())),
        _ => None,
    });
    let (want, have) = ask.expect("it asks for what is missing");
    let answer = members[2].leader.answer(&members[2].group, &want, &have).unwrap();
    members[3].hear(answer);
    assert_eq!(members[3].group.chain().tip_id(), members[2].group.chain().tip_id());
    assert_eq!(
        members[3].group.chain().sealed_at(members[3].group.replica().index_of(&first.id).unwrap()),
        Some(Height(1))
    );
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
fn a_voter_gives_no_word_below_the_epoch_that_it_voted_for_but_follows() {
    let mut members = Member::founders();
    members[3].vote(1);
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    let message = told(&effects).remove(0);
    for (at, gives) in [(1, true), (3, false)] {
        let effects = members[at].hear(message.clone());
        assert_eq!(members[at].height(), 1);
        let word = told(&effects).iter().any(|message| matches!(message, Message::Hold(hold) if hold.voter == key(at)));
        assert_eq!(word, gives, "member {at}");
    }
}

#[test]
fn votes_join_an_epoch_that_others_vote_for_alike_and_no_far_one() {
    let mut members = Member::founders();
    let epoch_of = |member: &Member, sealer| member.leader.vote(&member.group, key(sealer)).map(|vote| vote.epoch.0);
    members[1].vote(1);
    share(&mut members);
    assert_eq!(epoch_of(&members[2], 1), Ok(1));
    // No elector can be spared among three: an epoch in which somebody wants another sealer is lost.
    assert_eq!(epoch_of(&members[2], 3), Ok(2));
    members[2].vote(3);
    share(&mut members);
    assert_eq!((epoch_of(&members[3], 1), epoch_of(&members[3], 3)), (Ok(1), Ok(2)));
    assert_eq!(epoch_of(&members[1], 3), Ok(2));
    // Its first vote is lost: it may vote for the same once more, and then waits as long as all others can still follow.
    assert_eq!(epoch_of(&members[1], 1), Ok(3));
    let mut waiting = Member::founders();
    waiting[1].vote(1);
    assert_eq!(epoch_of(&waiting[1], 1), Err(VoteError::Waiting { have: 1, needed: 3 }));
    assert_eq!(epoch_of(&waiting[1], 2), Ok(2));
    // Unless the sealer to be has gone on to a higher epoch itself.
    let mut members = Member::founders();
    members[2].vote(1);
    members[1].vote(1);
    members[1].vote(3);
    share(&mut members);
    assert_eq!(epoch_of(&members[2], 1), Ok(3));
    // Somebody votes far ahead, to use all epochs up.
    let mut far = members[1].leader.vote(&members[1].group, key(1)).unwrap();
    far.epoch = Epoch((1 << 53) - 1);
    members[1].write(far);
    share(&mut members);
    assert_eq!(epoch_of(&members[3], 2), Ok(3));
    assert_eq!(epoch_of(&members[1], 2), Err(VoteError::NoEpoch));
    // It has bound itself: in no nearer epoch it would begin to seal.
    assert_eq!(epoch_of(&members[3], 1), Err(VoteError::NoEpoch));
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

#[test]
fn strangers_fill_no_memory() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    // Blocks on nothing that is here, signed by a stranger.
    for number in 0..1_000u64 {
        let lost = |block| Block { height: Height(50), parent: BlockId([number as u8; 32]), time_ms: number, ..block };
        let signed = members[0].forge(9, lost, Warrant::default());
        let (effects, _) = members[1].leader.hear(&mut members[1].group, Message::Blocks(vec![signed]));
        assert!(effects.iter().all(|effect| matches!(effect, side_seal::Effect::Ask(_))) && effects.len() <= 4);
    }
    assert_eq!(members[1].leader.waiting(), MAX_ORPHANS);
    // Words of strangers are not kept.
    let word = Hold::sign(members[0].group.id(), members[0].group.chain().rank(), BlockId([1; 32]), &keypair(9));
    members[1].hear(Message::Hold(word));
    assert!(members[1].leader.greet(&members[1].group).is_empty());
    members[0].tick(0);
}

/// Two blocks of one rank by this key, of any rank.
fn double(maker: &mut Member, by: usize, change: impl Fn(Block) -> Block) -> DoubleSeal {
    let one = maker.forge(by, &change, Warrant::default());
    let other = maker.forge(by, |block| change(Block { time_ms: block.time_ms + 1, ..block }), Warrant::default());
    DoubleSeal::new(&one, &other).unwrap()
}

#[test]
fn proofs_against_strangers_and_of_epochs_far_away_leave_room_for_those_that_matter() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    for stranger in 0..MAX_PROOFS + 20 {
        let proof = double(&mut members[0], 1_000 + stranger, |block| block);
        members[1].hear(Message::Double(proof));
    }
    assert_eq!(members[1].leader.proofs().count(), MAX_PROOFS);
    // The sealer itself has many, of epochs and sets that there are not.
    for far in 1..MAX_PROOFS_OF_ONE as u64 + 20 {
        for set in [0, 9] {
            let proof = double(&mut members[0], 0, |block| Block { epoch: Epoch(far), set: SetNumber(set), ..block });
            members[1].hear(Message::Double(proof));
        }
    }
    let against_it = |member: &Member| member.leader.proofs().filter(|proof| proof.signer() == key(0)).count();
    assert_eq!(against_it(&members[1]), MAX_PROOFS_OF_ONE);
    let present = double(&mut members[0], 0, |block| block);
    let events = shown(&members[1].hear(Message::Double(present.clone())));
    assert_eq!(events, [Event::Doubled(key(0), present.rank())]);
    assert_eq!((against_it(&members[1]), members[1].leader.proofs().count()), (MAX_PROOFS_OF_ONE, MAX_PROOFS));
    let more = members[0].forge(0, |block| block, Warrant::default());
    members[1].hear(blocks(&[&more]));
    assert_eq!(members[1].height(), 0, "nothing more of it is taken in this epoch");
}

#[test]
fn blocks_of_strangers_do_not_push_out_the_sealer_s_that_wait() {
    let mut members = Member::founders();
    members[0].note();
    members[0].tick(0);
    members[0].note();
    members[0].tick(1_000);
    let both = [1, 2].map(|height| members[0].group.chain().at(Height(height)).unwrap().id);
    let [first, second] = both.map(|id| members[0].leader.block(&id).unwrap().clone());
    let log = members[0].log();
    members[1].learn(log);
    members[1].hear(blocks(&[&second]));
    members[0].note();
    for number in 0..2 * MAX_ORPHANS as u64 {
        let lost = |block| Block { height: Height(50), parent: BlockId([1; 32]), time_ms: number, ..block };
        // Many keys, or one.
        let signed =
            members[0].forge(if number % 2 == 0 { 9 } else { 1_000 + number as usize }, lost, Warrant::default());
        members[1].leader.hear(&mut members[1].group, Message::Blocks(vec![signed]));
    }
    assert_eq!(members[1].leader.waiting(), MAX_ORPHANS);
    members[1].hear(blocks(&[&first]));
    assert_eq!(members[1].height(), 2);
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

#[test]
fn a_new_sealer_cannot_start_below_what_its_votes_name() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    for at in [1, 2, 3] {
        members[at].vote(1);
    }
    share(&mut members);
    // The new sealer has all the votes, and would rather drop the block that they name.
    let mut liar = Member::new(1);
    liar.learn(members[1].log());
    let switch = side_ledger::chain::Switch { epoch: Epoch(1), sealers: vec![key(1)] };
    let block = liar.group.seal(5_000, Some(&switch)).unwrap();
    members[1].tick(5_000);
    let true_one = members[1].leader.block(&members[1].group.chain().tip_id()).unwrap().clone();
    let low = SignedBlock::sign(block, &keypair(1), true_one.warrant().clone()).unwrap();
    assert_eq!((low.block().height, true_one.block().height), (Height(1), Height(2)));
    assert_eq!(refused(&mut members[3], low), Some(Refusal::Start));
    members[3].hear(blocks(&[&true_one]));
    assert_eq!(members[3].height(), 2);
}

/// A sealer shows a block to one voter and to nobody else. That voter names it; nobody else has it, and without it the vote serves nobody (seed 100,082 of the simulated world).
#[test]
fn a_new_sealer_asks_for_a_block_that_a_single_vote_names() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    members[0].note();
    share(&mut members);
    let shown = told(&members[0].tick(2_000));
    shown.into_iter().for_each(|message| drop(members[2].hear(message)));
    assert_eq!([1, 2, 3].map(|at| members[at].height()), [1, 2, 1]);
    assert!(members[1].leader.wanted(&members[1].group).is_empty());
    for at in [1, 2, 3] {
        members[at].vote(1);
    }
    share(&mut members);
    assert!(members[1].tick(5_000).is_empty(), "all have voted, but one of the blocks that they name is not here");
    assert!(members[3].leader.wanted(&members[3].group).is_empty(), "only whoever is to seal needs it");
    let wanted = members[1].leader.wanted(&members[1].group);
    let [Message::Ask { want, have }] = &wanted[..] else { panic!("{wanted:?}") };
    assert_eq!(*want, members[2].group.chain().tip_id());
    let answer = members[2].leader.answer(&members[2].group, want, have).unwrap();
    members[1].hear(answer);
    let effects = members[1].tick(6_000);
    carry(&mut members, effects);
    assert_eq!([1, 2].map(|at| members[at].height()), [3, 3]);
    assert!(members[1].leader.wanted(&members[1].group).is_empty());
}

#[test]
fn a_sealer_whom_enough_electors_replace_stops_and_so_does_one_that_voted_for_another() {
    let mut members = Member::founders();
    for at in [1, 2, 3] {
        members[at].vote(1);
    }
    let logs = [1, 2].map(|at| members[at].log());
    logs.into_iter().for_each(|log| drop(members[0].learn(log)));
    assert!(!members[0].tick(0).is_empty(), "two of three are too few");
    let log = members[3].log();
    members[0].learn(log);
    assert!(members[0].tick(5_000).is_empty());
    // The new sealer seals; then it votes for somebody else, which binds it.
    share(&mut members);
    let effects = members[1].tick(6_000);
    assert_eq!(members[1].group.chain().rank().epoch, Epoch(1));
    carry(&mut members, effects);
    members[1].note();
    assert!(!members[1].tick(7_000).is_empty());
    members[1].vote(2);
    assert!(members[1].tick(9_000).is_empty());
}

/// Sealing on, an old key would leave a voter whose node does not have its key yet: of few voters that one's word is needed, and whoever seals is not replaced by itself (seeds 100,010 and
/// 100,176 of the simulated world).
/// Under which key a member's node is to go on.
fn successor(member: &mut Member) -> Option<AuthorId> {
    let engine = Engine::Leader(Box::new(std::mem::replace(&mut member.leader, Leader::new(None))));
    let successor = engine.successor(&member.group, &key(member.number));
    if let Engine::Leader(leader) = engine {
        member.leader = *leader;
    }
    successor
}

#[test]
fn a_key_in_whose_place_another_one_votes_is_not_voted_for_and_begins_no_epoch() {
    let mut members = [0, 1, 2, 3].map(|number| Member::under(Rules::LATEST, number));
    let mut now = 0;
    let mut seal = |members: &mut [Member; 4], by: usize| {
        share(members);
        now += 1_000;
        let effects = members[by].tick(now);
        carry(members, effects);
    };
    let (group, new) = (members[3].group.id(), key(10));
    members[3].write(KeyRotate::sign(group, &key(3), &keypair(10)));
    seal(&mut members, 0);
    for voter in [0, 1, 2] {
        members[voter].write(KeyApprove { set: SetNumber(0), old: key(3), new });
    }
    seal(&mut members, 0);
    members[0].write(SetClose { set: SetNumber(0) });
    seal(&mut members, 0);
    members[0].note();
    seal(&mut members, 0);
    // The old key has left, and the new one is to come: until then others may choose the node that has both.
    let chain = members[1].group.chain();
    assert_eq!((chain.governance().pending.get(&new), chain.is_retired(&key(3))), (Some(&true), false));
    assert!(members[1].leader.vote(&members[1].group, key(3)).is_ok());
    members[0].write(SetClose { set: SetNumber(1) });
    // The node of both goes on under the new one once that is held, not before: a block may still return.
    share(&mut members);
    let effects = members[0].tick(5_000);
    let block = told(&effects).into_iter().find(|message| matches!(message, Message::Blocks(_))).unwrap();
    members[3].hear(block);
    assert_eq!((members[3].group.chain().replaced(&key(3)), successor(&mut members[3])), (Some(new), None));
    carry(&mut members, effects);
    assert_eq!(successor(&mut members[3]), Some(new));
    assert!(members.iter().all(|member| member.group.chain().governance().voters.contains(&new)));
    for voter in [1, 2] {
        let member = &mut members[voter];
        assert_eq!(member.leader.vote(&member.group, key(3)), Err(VoteError::Retired));
        let vote = member.leader.vote(&member.group, key(1)).unwrap();
        member.write(SealersVote { sealers: vec![key(3)], ..vote });
    }
    share(&mut members);
    assert!(members[3].tick(11_000).is_empty());
    assert!(members[0].tick(12_000).is_empty(), "enough want somebody else");
    // Those who voted for it all the same choose again, and its node goes on under the new key.
    let height = members[3].height();
    members[1].vote(1);
    members[2].vote(1);
    seal(&mut members, 1);
    let chain = members[3].group.chain();
    assert_eq!((chain.height().0, chain.governance().sealers.as_slice()), (height + 1, &[key(1)][..]));
    assert_eq!(chain.replaced(&key(3)), Some(new));
    assert!(chain.seat_had_moved(&key(3), members[3].leader.held_height(&members[3].group)));
}
