//! Leader mode, one rule, one test: how the voters choose another sealer, and where its epoch starts.

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{Block, Epoch, Height, SetNumber};
use side_ledger::genesis::Rules;
use side_ledger::transaction::{KeyApprove, KeyRotate, SealersVote, SetClose};
use side_seal::effect::{Refusal, VoteError};
use side_seal::warrant::WarrantFault;
use side_seal::{Engine, Event, Leader, Message, SignedBlock, Warrant};

use crate::members::{Member, blocks, carry, key, keypair, refused, share, told};

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
