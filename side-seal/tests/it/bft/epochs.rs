//! How epochs of BFT mode end and begin: by closed sets, by votes, and for a sealer that may have forgotten votes.

use bft_json_crdt::identity::AuthorId;
use commonware_consensus::simplex::elector::{Elector as _, RoundRobin};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::Sha256;
use side_ledger::block::{Block, BlockId, Epoch, Height, SetNumber};
use side_ledger::transaction::vote::{MemberVote, Role};
use side_ledger::transaction::{KeyApprove, KeyRotate, SealersVote, SetClose, VoterAsk};
use side_seal::bft::proposal::Proposal;
use side_seal::bft::run::FinalRun;
use side_seal::bft::seat::{MAX_EPOCH_STEP, Seat};
use side_seal::bft::{ASK_AFTER_MS, CLOSE_STEP_MS, IDLE_MS, RENEWAL_MS};
use side_seal::effect::VoteError;
use side_seal::{Bft, Effect, Engine, Message, Record};

use super::members::{
    Member, agree, agree_on, asks, certificate, final_run, founders_and_a_reader, idle, judged, key, keypair, proposed,
    share, told, two_votes,
};
use super::world::INTERVAL_MS;

/// A change of the set waits to be closed.
fn somebody_asks_to_vote(members: &mut [Member]) {
    let mut asker = Member::new(4);
    asker.learn(members[0].log());
    let block = asker.tip();
    asker.write(VoterAsk { block });
    members[0].learn(asker.log());
    agree_on(members);
}

/// Somebody asks to vote, and the first sealer closes the set with a block: then five seal in the next epoch.
fn five(members: &mut [Member]) -> BlockId {
    somebody_asks_to_vote(members);
    assert_eq!(members[0].group.chain().governance().pending.len(), 1);
    members[0].write(SetClose { set: SetNumber(0) });
    agree_on(members)
}

#[test]
fn the_block_that_closes_a_set_is_the_last_of_its_epoch_and_the_voters_seal_in_the_next() {
    let mut members = founders_and_a_reader();
    let mut reader = members.pop().unwrap();
    let old = members[0].seat();
    let last = five(&mut members);
    let seat = members[1].seat();
    assert_eq!((seat.epoch, seat.set, seat.floor, seat.floor_height), (Epoch(1), SetNumber(1), last, Height(2)));
    let mut sealers: Vec<_> = (0..5).map(key).collect();
    sealers.sort_unstable();
    assert_eq!(seat.sealers, sealers);
    assert_ne!(seat.namespace(), old.namespace());
    // The new one takes part once it has followed.
    assert_eq!(reader.bft.seat(&reader.group), None);
    reader.learn(members[0].log());
    let mut effects = reader.hear(members[0].bft.greet().remove(0));
    while let Some((want, have)) = asks(&effects).pop() {
        effects = reader.hear(members[1].bft.answer(&members[1].group, &want, &have).unwrap());
    }
    assert_eq!(reader.bft.seat(&reader.group), Some(seat.clone()));
    // The next block begins the epoch, and takes four of the five.
    members.push(reader);
    members[0].note();
    share(&mut members);
    members.iter_mut().for_each(|member| drop(member.later(INTERVAL_MS)));
    let effects = members[0].lead_now(last);
    let (next, shown) = (proposed(&effects)[0], told(&effects));
    members[4].hear(shown[0].clone());
    assert_eq!(judged(&members[4].judge(last, next)), [true]);
    let block = members[0].bft.block(&next).unwrap().clone();
    assert_eq!((block.epoch, block.set, block.height), (Epoch(1), SetNumber(1), Height(3)));
    let old_one = certificate(&old, &(0..4).map(keypair).collect::<Vec<_>>(), 90, next);
    assert_eq!(FinalRun::new(vec![block.clone()], old_one), None, "a certificate of another epoch");
    let four: Vec<_> = (0..5).map(keypair).filter(|keypair| keypair.author() != key(1)).collect();
    let run = FinalRun::new(vec![block], certificate(&seat, &four, 1, next)).unwrap();
    members.iter_mut().for_each(|member| drop(member.hear(Message::Final(run.clone()))));
    assert!(members.iter().all(|member| member.tip() == next && member.restarted().tip() == next));
    // A newcomer comes from the first block to the last, over the change of sealers.
    let mut late = Member::new(6);
    late.learn(members[0].log());
    let mut effects = late.hear(Message::Final(run));
    while let Some((want, have)) = asks(&effects).pop() {
        effects = late.hear(members[4].bft.answer(&members[4].group, &want, &have).unwrap());
    }
    assert_eq!(late.tip(), next);
    assert_eq!(Seat::of_epoch(&late.group, Epoch(0)).unwrap(), old);
    assert_eq!(Seat::of_epoch(&late.group, Epoch(1)).unwrap(), seat);
}

#[test]
fn nothing_follows_the_last_block_of_an_epoch_in_that_epoch() {
    let mut members = Member::founders();
    somebody_asks_to_vote(&mut members);
    members[0].write(SetClose { set: SetNumber(0) });
    share(&mut members);
    members.iter_mut().for_each(|member| drop(member.later(INTERVAL_MS)));
    // The closing block is proposed and not final yet.
    let parent = members[0].tip();
    let effects = members[0].lead(parent);
    let closing = proposed(&effects)[0];
    let shown = told(&effects);
    members[0].note();
    members[0].later(INTERVAL_MS);
    assert_eq!(members[0].lead(closing), []);
    assert_eq!(proposed(&idle(&mut members[0])), [closing], "the leader names it again until it is final");
    // Whoever lies makes a child all the same.
    members[1].hear(shown[0].clone());
    let child = Block { height: Height(3), parent: closing, ..members[0].bft.block(&closing).unwrap().clone() };
    let child = Proposal::sign(child, &keypair(0)).unwrap();
    members[1].hear(Message::Proposal(child.clone()));
    assert_eq!(judged(&members[1].judge(closing, child.id())), [false]);
    assert_eq!(judged(&members[1].judge(closing, closing)), [true]);
}

#[test]
fn the_voters_begin_an_epoch_whose_first_leader_they_choose() {
    let mut members = Member::founders();
    agree(&mut members);
    let stranger = Member::new(7);
    assert_eq!(stranger.bft.vote(&stranger.group, key(1)), Err(VoteError::NotElector));
    assert_eq!(members[0].bft.vote(&members[0].group, key(7)), Err(VoteError::NotSealer));
    for number in [0, 1, 2] {
        assert_eq!(members[0].seat().epoch, Epoch(0));
        let vote = members[number].bft.vote(&members[number].group, key(2)).unwrap();
        members[number].write(vote);
        let again = members[number].bft.vote(&members[number].group, key(2));
        assert!(matches!(again, Err(VoteError::Waiting { needed: 3, .. })));
        agree_on(&mut members);
    }
    let seat = members[3].seat();
    assert_eq!((seat.epoch, seat.set, seat.sealers.len(), seat.floor_height), (Epoch(1), SetNumber(0), 4, Height(4)));
    // Simplex elects whom they chose.
    let elector = RoundRobin::<Sha256>::default();
    let elector = <RoundRobin<Sha256> as commonware_consensus::simplex::elector::Config<Scheme>>::build(
        elector,
        &seat.participants().unwrap(),
    );
    let leader = elector.elect(Round::new(SimplexEpoch::new(1), View::new(1)), ());
    assert_eq!(seat.sealers[leader.get() as usize], key(2));
    agree(&mut members);
    assert_eq!(members[0].group.chain().tip().unwrap().block.epoch, Epoch(1));
    // The next vote is for a later epoch.
    let vote = members[0].bft.vote(&members[0].group, key(2)).unwrap();
    assert_eq!(vote.epoch, Epoch(5));
}

#[test]
fn votes_for_an_epoch_far_away_or_for_too_few_sealers_begin_none() {
    let mut members = Member::founders();
    agree(&mut members);
    let vote = |members: &mut [Member], epoch: u64, sealers: &[AuthorId]| {
        for number in [0, 1, 2] {
            let good = members[number].bft.vote(&members[number].group, key(2));
            let Ok(good) = good else { panic!("{good:?}") };
            members[number].write(SealersVote { epoch: Epoch(epoch), sealers: sealers.to_vec(), ..good });
        }
        agree_on(members);
        members[3].seat().epoch
    };
    let all = members[0].seat().sealers;
    assert_eq!(vote(&mut members, 1, &all[..3]), Epoch(0));
    assert_eq!(vote(&mut members, MAX_EPOCH_STEP + 1, &all), Epoch(0));
    assert_eq!(vote(&mut members, MAX_EPOCH_STEP, &all), Epoch(MAX_EPOCH_STEP));
}

#[test]
fn what_simplex_asked_in_an_epoch_that_has_ended_is_answered_no_more() {
    let mut members = founders_and_a_reader();
    members.pop();
    let tip = agree(&mut members);
    assert!(judged(&members[1].judge(tip, BlockId([9; 32]))).is_empty(), "it is not here");
    assert!(proposed(&members[2].lead(tip)).is_empty(), "nothing is new");
    five(&mut members);
    assert_eq!(members[1].seat().epoch, Epoch(1));
    assert_eq!(asks(&members[1].later(10 * ASK_AFTER_MS)), []);
    assert_eq!(proposed(&members[2].later(2 * IDLE_MS)), []);
}

#[test]
fn too_few_voters_leave_the_sealers_as_they_are() {
    let mut members = Member::founders();
    for number in [0, 1, 2] {
        members[number].write(MemberVote { set: SetNumber(0), key: key(3), role: Role::Member });
    }
    agree_on(&mut members);
    members[0].write(SetClose { set: SetNumber(0) });
    agree_on(&mut members);
    let seat = members[0].seat();
    assert_eq!(members[0].group.chain().governance().voters.len(), 3);
    assert_eq!((seat.epoch, seat.sealers.len()), (Epoch(1), 4));
}

#[test]
fn a_sealers_seat_moves_to_its_new_key_with_two_ends_of_epochs() {
    let mut members: Vec<Member> = (0..4).map(Member::rotating).collect();
    let rotate = KeyRotate::sign(members[0].group.id(), &key(3), &keypair(10));
    members[3].write(rotate);
    agree_on(&mut members);
    for member in &mut members[..3] {
        member.write(KeyApprove { set: SetNumber(0), old: key(3), new: key(10) });
    }
    agree_on(&mut members);
    let engine = Engine::Bft(Box::new(Bft::new(None)));
    assert_eq!(members[0].group.chain().account(&key(3)).successor(), Some(key(10)));
    // Within the epoch everybody seals who did.
    let sealers = |members: &[Member]| {
        let seat = members[0].seat();
        (seat.epoch.0, seat.set.0, seat.sealers)
    };
    let sorted = |numbers: [usize; 4]| {
        let mut keys = numbers.map(key).to_vec();
        keys.sort_unstable();
        keys
    };
    assert_eq!(sealers(&members), (0, 0, sorted([0, 1, 2, 3])));
    members[0].write(SetClose { set: SetNumber(0) });
    agree_on(&mut members);
    // Three voters are too few to seal alone, so who sealed goes on.
    assert_eq!(members[0].group.chain().governance().voters.len(), 3);
    assert_eq!(sealers(&members), (1, 1, sorted([0, 1, 2, 3])));
    assert_eq!(engine.successor(&members[3].group, &key(3)), None);
    members[0].write(SetClose { set: SetNumber(1) });
    agree_on(&mut members);
    assert_eq!(sealers(&members), (2, 2, sorted([0, 1, 2, 10])));
    let old = members.pop().unwrap();
    assert_eq!(old.bft.seat(&old.group), None);
    // The node goes on under its new key, with what it has on disk, and takes part.
    let mut new = Member::rotating(10);
    new.group.load(old.log()).unwrap();
    let records = old.kept.iter().map(|record| Record::decode(&record.encode()).unwrap());
    new.bft.restore(&mut new.group, records);
    new.now_ms = old.now_ms;
    assert_eq!(new.bft.seat(&new.group), Some(members[0].seat()));
    members.push(new);
    agree(&mut members);
    assert_eq!(members[3].height(), 5);
    let Member { mut group, bft, .. } = members.remove(0);
    assert!(crate::bundle::all_is_proven(&mut group, &Engine::Bft(Box::new(bft))) > 0);
}

#[test]
fn the_first_sealer_closes_a_set_and_the_next_one_when_it_does_not() {
    let mut members = Member::founders();
    somebody_asks_to_vote(&mut members);
    let wants = |members: &[Member]| members.iter().map(|m| m.bft.wants_close(&m.group)).collect::<Vec<_>>();
    assert_eq!(wants(&members), [true, false, false, false]);
    members.iter_mut().for_each(|member| drop(member.later(CLOSE_STEP_MS)));
    assert_eq!(wants(&members), [true, true, false, false]);
    members[1].write(SetClose { set: SetNumber(0) });
    agree_on(&mut members);
    assert_eq!(wants(&members), [false; 4]);
}

#[test]
fn a_node_that_may_have_forgotten_its_votes_takes_no_part_before_the_next_epoch() {
    let mut members = Member::founders();
    agree(&mut members);
    let restored = &mut members[3];
    assert!(restored.bft.seat(&restored.group).is_some());
    let effects = restored.bft.set_sealing(&restored.group, false);
    assert_eq!(effects, [Effect::Keep(Record::Abstain(Epoch(0)))]);
    restored.keep(effects);
    assert_eq!(restored.bft.seat(&restored.group), None);
    let effects = restored.bft.set_sealing(&restored.group, true);
    restored.keep(effects);
    assert_eq!(restored.bft.seat(&restored.group), None, "it may have voted in this epoch");
    members[3] = members[3].restarted();
    let restored = &members[3];
    assert_eq!(restored.bft.seat(&restored.group), None, "nor after a restart");
    // Three go on, it follows, and takes part again from the next epoch on.
    let (voters, restored) = members.split_at_mut(3);
    let mut told = Vec::new();
    for number in [0, 1, 2] {
        let vote = voters[number].bft.vote(&voters[number].group, key(0)).unwrap();
        voters[number].write(vote);
        agree_on(voters);
        told.push(Message::Final(final_run(&voters[0])));
    }
    restored[0].learn(voters[0].log());
    told.into_iter().for_each(|message| drop(restored[0].hear(message)));
    assert_eq!(restored[0].tip(), voters[0].tip());
    assert_eq!(restored[0].bft.seat(&restored[0].group), Some(voters[0].seat()));
}

#[test]
fn a_proof_of_an_epoch_that_has_not_begun_here_is_early_and_counts_later() {
    let mut members = Member::founders();
    agree(&mut members);
    let mut behind = Member::new(3);
    behind.learn(members[0].log());
    let before = two_votes(&members[0].seat(), 2);
    for number in [0, 1, 2] {
        let vote = members[number].bft.vote(&members[number].group, key(2)).unwrap();
        members[number].write(vote);
        agree_on(&mut members);
    }
    agree(&mut members);
    let seat = members[0].seat();
    assert_eq!((seat.epoch, behind.seat().epoch), (Epoch(1), Epoch(0)));
    let found = Message::Evidence(two_votes(&seat, 2));
    assert!(behind.bft.is_early(&behind.group, &found));
    assert!(!behind.bft.is_early(&behind.group, &Message::Evidence(before)), "its own epoch has begun");
    assert_eq!(behind.hear(found.clone()), []);
    behind.learn(members[0].log());
    while behind.tip() != members[0].tip() {
        let before = behind.height();
        behind.hear(members[0].bft.answer(&members[0].group, &members[0].tip(), &[behind.tip()]).unwrap());
        assert!(behind.height() > before);
    }
    assert!(!behind.bft.is_early(&behind.group, &found));
    behind.hear(found);
    assert_eq!(behind.bft.proofs().map(|guilt| guilt.epoch).collect::<Vec<_>>(), [Epoch(1)]);
}

/// The last of the founders may have forgotten its votes.
fn with_one_restored() -> Vec<Member> {
    let mut members: Vec<Member> = Member::founders().into();
    agree(&mut members);
    for may_seal in [false, true] {
        let restored = &mut members[3];
        let effects = restored.bft.set_sealing(&restored.group, may_seal);
        restored.keep(effects);
    }
    members
}

/// The first three agree on what is pending, and the last one hears of it.
fn go_on(members: &mut [Member]) {
    share(members);
    agree_on(&mut members[..3]);
    let (log, run) = (members[0].log(), final_run(&members[0]));
    members[3].learn(log);
    members[3].hear(Message::Final(run));
    assert_eq!(members[3].tip(), members[0].tip());
}

fn renewals(members: &[Member]) -> Vec<bool> {
    members.iter().map(|member| member.bft.renewal(&member.group).is_some()).collect()
}

/// Whoever is to writes its vote for a further epoch, and that becomes final, until nobody is to.
fn renew(members: &mut [Member]) {
    while renewals(members).contains(&true) {
        for member in members.iter_mut() {
            if let Some(vote) = member.bft.renewal(&member.group) {
                member.write(vote);
            }
        }
        go_on(members);
    }
}

#[test]
fn a_sealer_that_stays_out_asks_for_a_further_epoch_and_the_others_join_in() {
    let mut members = with_one_restored();
    assert_eq!(members[3].bft.stays_out(&members[3].group), Some(Epoch(0)));
    assert_eq!(members[0].bft.stays_out(&members[0].group), None);
    assert_eq!(renewals(&members), [false, false, false, true]);
    let vote = members[3].bft.renewal(&members[3].group).unwrap();
    assert_eq!((vote.epoch, vote.sealers.len()), (Epoch(4), 4));
    members[3].write(vote);
    share(&mut members);
    assert_eq!(renewals(&members), [false; 4], "it is not final yet, and asked once");
    go_on(&mut members);
    assert_eq!(renewals(&members), [true, true, true, false]);
    renew(&mut members);
    let seat = members[0].seat();
    assert_eq!((seat.epoch, seat.sealers.len()), (Epoch(4), 4));
    assert_eq!(members[3].bft.seat(&members[3].group), Some(seat), "it takes part again");
    assert_eq!(members[3].bft.stays_out(&members[3].group), None);
    members[0].note();
    go_on(&mut members);
    // Who leads first is the same as before.
    let vote = members[0].bft.vote(&members[0].group, key(1)).unwrap();
    assert_eq!(vote.epoch, Epoch(8), "the one at place (0 + 1) mod 4 led before and leads now");
}

#[test]
fn a_liar_causes_a_change_of_epochs_once_in_a_while_and_no_more() {
    let mut members = with_one_restored();
    renew(&mut members);
    members[0].note();
    go_on(&mut members);
    let first = &members[0].group.chain().tip().unwrap().block;
    assert_eq!(first.epoch, Epoch(4));
    let began = first.time_ms;
    // It asks again though it takes part.
    let vote = members[3].bft.vote(&members[3].group, key(1)).unwrap();
    members[3].write(vote);
    go_on(&mut members);
    assert_eq!(renewals(&members), [false; 4]);
    let wait = began + RENEWAL_MS - members[0].now_ms;
    members.iter_mut().for_each(|member| drop(member.later(wait - 1)));
    assert_eq!(renewals(&members), [false; 4]);
    members.iter_mut().for_each(|member| drop(member.later(1)));
    assert_eq!(renewals(&members), [true, true, true, false]);
    renew(&mut members);
    assert_eq!(members[0].seat().epoch, Epoch(8));
}

#[test]
fn nobody_joins_in_a_vote_for_another_leader_or_while_people_vote() {
    let mut members: Vec<Member> = Member::founders().into();
    agree(&mut members);
    // A person wants another first leader: that is for people to decide.
    let vote = members[3].bft.vote(&members[3].group, key(3)).unwrap();
    members[3].write(vote);
    agree_on(&mut members);
    assert_eq!(renewals(&members), [false; 4]);
    // One vote does not keep the others from a renewal; two of four do: they are about to decide.
    let vote = members[2].bft.vote(&members[2].group, key(1)).unwrap();
    members[2].write(vote);
    agree_on(&mut members);
    assert_eq!(renewals(&members), [true, true, false, true]);
    let vote = members[0].bft.vote(&members[0].group, key(3)).unwrap();
    members[0].write(vote);
    agree_on(&mut members);
    assert_eq!(renewals(&members), [false; 4]);
}

#[test]
fn a_stranger_and_a_node_that_may_not_seal_join_in_nothing() {
    let mut members = with_one_restored();
    let vote = members[3].bft.renewal(&members[3].group).unwrap();
    members[3].write(vote);
    go_on(&mut members);
    let mut reader = Member::new(4);
    reader.learn(members[0].log());
    let run = members[0].bft.answer(&members[0].group, &members[0].tip(), &[]).unwrap();
    reader.hear(run);
    assert_eq!((reader.tip(), reader.bft.renewal(&reader.group)), (members[0].tip(), None));
    assert!(members[0].bft.renewal(&members[0].group).is_some());
    let other = &mut members[0];
    let effects = other.bft.set_sealing(&other.group, false);
    other.keep(effects);
    assert_eq!(members[0].bft.renewal(&members[0].group), None, "its copy may be old: it says nothing");
}
