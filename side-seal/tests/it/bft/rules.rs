//! The rules of BFT mode one by one.

use bft_json_crdt::identity::AuthorId;
use commonware_codec::Encode as _;
use commonware_consensus::simplex::elector::{Elector as _, RoundRobin};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, ConflictingNotarize, Notarize, Proposal as SimplexProposal};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::Sha256;
use commonware_cryptography::sha256::Digest;
use side_ledger::block::{Block, BlockId, Epoch, Height, SetNumber};
use side_ledger::chain::Fault;
use side_ledger::receipt::Status;
use side_ledger::transaction::vote::{MemberVote, Role};
use side_ledger::transaction::{KeyApprove, KeyRotate, SealersVote, SetClose, VoterAsk};
use side_seal::bft::certificate::Certificate;
use side_seal::bft::evidence::{Evidence, Offence};
use side_seal::bft::proposal::Proposal;
use side_seal::bft::request::Reply;
use side_seal::bft::run::{FinalRun, MAX_RUN};
use side_seal::bft::seat::{MAX_EPOCH_STEP, Seat};
use side_seal::bft::{
    ASK_AFTER_MS, CLOSE_STEP_MS, IDLE_MS, MAX_AHEAD_MS, MAX_PROPOSALS, MAX_UNFINAL, PATIENCE_MS, RENEWAL_MS, START_MS,
};
use side_seal::effect::{Guilt, Refusal, VoteError};
use side_seal::{Bft, Effect, Engine, Event, Message, Record};

use super::members::{Member, agree, agree_on, certificate, idle, judged, key, keypair, proposed, share, told};
use super::world::INTERVAL_MS;

/// What leads and follows a first block: the four founders, and somebody who does not seal.
fn founders_and_a_reader() -> Vec<Member> {
    Member::founders().into_iter().chain([Member::new(4)]).collect()
}

fn final_run(member: &Member) -> FinalRun {
    let last = member.bft.greet().into_iter().find_map(|message| match message {
        Message::Final(run) => Some(run),
        _ => None,
    });
    last.unwrap()
}

fn asks(effects: &[Effect]) -> Vec<(BlockId, Vec<BlockId>)> {
    let ask = |effect: &Effect| match effect {
        Effect::Ask(Message::Ask { want, have }) => Some((*want, have.clone())),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

#[test]
fn whoever_does_not_seal_follows_what_is_final_without_any_network_of_sealers() {
    let mut members = founders_and_a_reader();
    let mut reader = members.pop().unwrap();
    let position = members[0].note();
    let block = agree_on(&mut members);
    let message = Message::Final(final_run(&members[0]));
    // Its changes are not here yet.
    assert_eq!(reader.hear(message.clone()), []);
    assert_eq!((reader.height(), reader.bft.final_height(&reader.group)), (0, Height(0)));
    let effects = reader.learn(members[0].log());
    let kept = matches!(effects[0], Effect::Keep(Record::Final(_)));
    assert!(kept && effects[1] == Effect::Show(Event::Extended(Height(1), block)), "durable, then shown");
    assert_eq!(told(&effects), [message]);
    assert_eq!(reader.group.status(&position), Some(Status::Sealed { height: Height(1) }));
    assert_eq!((reader.bft.final_height(&reader.group), reader.bft.holders(Height(1))), (Height(1), 3));
    assert!(reader.group.undo().is_err(), "what is final is settled");
    // From its disk it is the same.
    let again = reader.restarted();
    assert_eq!((again.tip(), again.bft.holders(Height(1))), (block, 3));
    assert_eq!(again.bft.greet(), reader.bft.greet());
}

#[test]
fn a_certificate_that_is_not_one_makes_nothing_final_and_its_sender_is_to_blame() {
    let mut members = founders_and_a_reader();
    let mut reader = members.pop().unwrap();
    let before = members[0].seat();
    let block = agree(&mut members);
    share(std::slice::from_mut(&mut reader));
    reader.learn(members[0].log());
    let good = final_run(&members[0]);
    let body = good.last().1.clone();
    let all: Vec<_> = (0..4).map(keypair).collect();
    let seats = [
        Seat { group: side_ledger::GroupId([9; 32]), ..before.clone() },
        Seat { set: SetNumber(1), ..before.clone() },
        Seat { recovery: side_ledger::block::Recovery(1), ..before.clone() },
        // Strangers.
        Seat { sealers: (10..14).map(key).collect(), ..before.clone() },
    ];
    let strangers: Vec<_> = (10..14).map(keypair).collect();
    for seat in seats {
        let signers = if seat.sealers.contains(&key(0)) { &all } else { &strangers };
        let mut seat = seat;
        seat.sealers.sort_unstable();
        let forged = certificate(&seat, signers, 1, block);
        let run = FinalRun::new(vec![body.clone()], forged).unwrap();
        assert_eq!(reader.try_hear(Message::Final(run)), (vec![], Some(Refusal::Certificate)));
    }
    // Two of four are too few.
    let run = FinalRun::new(vec![body.clone()], certificate(&before, &all[..2], 1, block)).unwrap();
    assert_eq!(reader.try_hear(Message::Final(run)), (vec![], Some(Refusal::Certificate)));
    // Each signature counts: one changed bit, and one signer who counts for another.
    let bytes = good.certificate().encode();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let Ok(forged) = Certificate::decode(&changed) else { continue };
        assert!(!forged.check(&before), "a certificate with byte {at} changed passed");
        refused += 1;
    }
    assert!(refused > 3 * 64 && good.certificate().check(&before));
    // What is a quorum of four is none of seven.
    let more = Seat { sealers: (0..4).chain(10..13).map(key).collect(), ..before.clone() };
    assert!(!good.certificate().check(&more));
    assert_eq!(reader.height(), 0);
    reader.hear(Message::Final(good));
    assert_eq!(reader.height(), 1);
}

#[test]
fn a_leader_proposes_what_is_new_after_the_interval_and_names_the_parent_again_when_nothing_is() {
    let mut members = Member::founders();
    let first = agree(&mut members);
    let leader = &mut members[0];
    // Nothing is new: it waits, then names the parent.
    assert_eq!(leader.lead(first), []);
    assert_eq!(leader.bft.deadline(&leader.group), Some(leader.now_ms + IDLE_MS));
    assert_eq!(leader.later(IDLE_MS - 1), []);
    assert_eq!(proposed(&leader.later(1)), [first]);
    // Something new is proposed at once: the interval has long passed.
    assert_eq!(leader.lead(first), []);
    leader.note();
    let effects = leader.later(0);
    let block = proposed(&effects)[0];
    assert_ne!(block, first);
    let order: Vec<_> = effects.iter().map(std::mem::discriminant).collect();
    let expected = matches!(
        &effects[..],
        [Effect::Keep(Record::Proposal(_)), Effect::Tell(Message::Proposal(_)), Effect::Reply(_)]
    );
    assert!(expected, "durable, then told, then voted for: {order:?}");
    assert_eq!((leader.height(), leader.group.chain().pending()), (1, 1), "nothing is sealed before it is final");
    // In another view upon the same block it proposes the same, though more is new.
    leader.note();
    leader.later(INTERVAL_MS);
    assert_eq!(proposed(&leader.lead(first)), [block]);
    // Also after a restart: it is on the disk. Not before the interval has passed.
    let mut again = leader.restarted();
    assert_eq!(proposed(&again.lead(first)), [], "the others may not have begun");
    assert_eq!(proposed(&again.later(START_MS)), [block]);
    assert_eq!(proposed(&again.lead(block)), []);
    assert_eq!(again.bft.deadline(&again.group), Some(again.now_ms + INTERVAL_MS));
    let effects = again.later(INTERVAL_MS);
    assert!(proposed(&effects)[0] != block && proposed(&effects).len() == 1);
}

#[test]
fn proposals_run_ahead_of_what_is_final_only_so_far() {
    let mut member = Member::new(0);
    let mut parent = member.tip();
    for _ in 0..MAX_UNFINAL {
        member.note();
        member.later(INTERVAL_MS);
        let effects = member.lead_now(parent);
        assert_ne!(proposed(&effects), [parent]);
        parent = proposed(&effects)[0];
    }
    member.note();
    member.later(INTERVAL_MS);
    assert_eq!(member.lead(parent), []);
    assert_eq!(proposed(&idle(&mut member)), [parent], "it waits for finality");
    assert_eq!(member.height(), 0);
}

#[test]
fn a_sealer_votes_only_for_what_it_has_executed() {
    let mut members = Member::founders();
    let parent = members[0].tip();
    members[0].note();
    let effects = members[0].lead_now(parent);
    let id = proposed(&effects)[0];
    let Some(Message::Proposal(proposal)) = told(&effects).pop() else { panic!("it is shown") };
    // The block is missing: it is asked for after a while, and voted for once it and its changes are here.
    let [leader, voter, other, _] = &mut members;
    assert_eq!(voter.judge(parent, id), []);
    assert_eq!(asks(&voter.later(ASK_AFTER_MS)), [(id, vec![])]);
    assert_eq!(leader.bft.answer(&leader.group, &id, &[]), Some(Message::Proposal(proposal.clone())));
    assert_eq!(voter.hear(Message::Proposal(proposal.clone())), []);
    let effects = voter.learn(leader.log());
    assert_eq!(effects[0], Effect::Keep(Record::Proposal(proposal.clone())), "on disk before it is voted for");
    assert_eq!(judged(&effects), [true]);
    assert_eq!((voter.height(), voter.group.chain().pending()), (0, 1));

    // What is wrong in any way is not voted for.
    other.learn(leader.log());
    let good = proposal.block();
    let later = other.now_ms + MAX_AHEAD_MS + 1;
    let wrong = [
        (Block { state_root: [1; 32], ..good.clone() }, Refusal::Ledger(Fault::StateRoot)),
        (Block { receipts_root: [1; 32], ..good.clone() }, Refusal::Ledger(Fault::ReceiptsRoot)),
        (Block { cut: vec![], ..good.clone() }, Refusal::Ledger(Fault::Nothing)),
        (Block { time_ms: later, ..good.clone() }, Refusal::Ahead),
    ];
    for (block, refusal) in wrong {
        let lie = Proposal::sign(block, &keypair(0)).unwrap();
        other.hear(Message::Proposal(lie.clone()));
        let effects = other.judge(parent, lie.id());
        assert_eq!(effects[0], Effect::Show(Event::Refused(lie.id(), refusal)));
        assert_eq!(judged(&effects), [false]);
    }
    // Nor is a good one upon another block than the leader says, nor a stranger's kept.
    other.hear(Message::Proposal(proposal.clone()));
    assert_eq!(judged(&other.judge(BlockId([5; 32]), id)), [false]);
    assert_eq!(judged(&other.judge(parent, id)), [true]);
    let strange = Proposal::sign(Block { time_ms: 1, ..good.clone() }, &keypair(9)).unwrap();
    other.hear(Message::Proposal(strange.clone()));
    assert_eq!(other.bft.block(&strange.id()), None);
}

#[test]
fn a_leader_that_withholds_what_is_new_is_refused_after_a_while() {
    let mut members = Member::founders();
    let tip = agree(&mut members);
    let voter = &mut members[1];
    voter.later(PATIENCE_MS * 2);
    assert_eq!(judged(&voter.judge(tip, tip)), [true], "nothing is new");
    voter.note();
    voter.later(0);
    assert_eq!(judged(&voter.judge(tip, tip)), [true], "it may not know it yet");
    voter.later(PATIENCE_MS + 2 * INTERVAL_MS);
    assert_eq!(judged(&voter.judge(tip, tip)), [false]);
}

#[test]
fn whoever_was_away_asks_and_gets_what_it_lacks_in_runs() {
    let mut members = founders_and_a_reader();
    let mut reader = members.pop().unwrap();
    let blocks: Vec<BlockId> = (0..150).map(|_| agree(&mut members)).collect();
    reader.learn(members[0].log());
    let mut effects = reader.hear(members[0].bft.greet().remove(0));
    let mut rounds = 0;
    while let Some((want, have)) = asks(&effects).pop() {
        let answer = members[1].bft.answer(&members[1].group, &want, &have).unwrap();
        let Message::Final(run) = &answer else { panic!("final blocks are asked for") };
        assert!(run.blocks().len() <= MAX_RUN);
        effects = reader.hear(Message::decode(&answer.encode()).unwrap());
        rounds += 1;
    }
    assert_eq!((reader.height(), reader.tip(), rounds), (150, blocks[149], 3));
    // It can pass on what it got, though it has few certificates.
    let mut next = Member::new(5);
    next.learn(members[0].log());
    let mut effects = next.hear(members[0].bft.greet().remove(0));
    while let Some((want, have)) = asks(&effects).pop() {
        effects = next.hear(reader.bft.answer(&reader.group, &want, &have).unwrap());
    }
    assert_eq!(next.tip(), blocks[149]);
    assert_eq!(next.restarted().tip(), blocks[149]);
}

#[test]
fn a_final_block_that_contradicts_another_stops_the_node() {
    let mut members = Member::founders();
    let origin = members[0].tip();
    let first = agree(&mut members);
    let [member, other, ..] = &mut members;
    let (seat, all) = (member.seat(), (0..4).map(keypair).collect::<Vec<_>>());
    // More than a third of the sealers sign another block of the same height.
    let twin = Block { time_ms: 7_000_000, ..member.group.chain().tip().unwrap().block.clone() };
    let run = FinalRun::new(vec![twin.clone()], certificate(&seat, &all, 9, twin.id().unwrap())).unwrap();
    let (effects, refusal) = member.try_hear(Message::Final(run));
    assert_eq!(refusal, Some(Refusal::Contradiction));
    assert_eq!(effects, [Effect::Show(Event::Refused(twin.id().unwrap(), Refusal::Contradiction))]);
    assert_eq!((member.tip(), member.bft.seat(&member.group)), (first, None), "it takes no part any more");
    // So does one that executing refuses here. Whoever has stopped looks at none.
    let lie = Block { height: Height(2), parent: first, state_root: [1; 32], ..twin };
    let run = FinalRun::new(vec![lie.clone()], certificate(&seat, &all, 9, lie.id().unwrap())).unwrap();
    assert_eq!(member.try_hear(Message::Final(run.clone())), (vec![], None));
    let (effects, _) = other.try_hear(Message::Final(run));
    assert!(matches!(effects[..], [Effect::Show(Event::Refused(_, Refusal::Ledger(_)))]));
    assert_eq!((other.tip(), other.bft.seat(&other.group)), (first, None));
    assert_ne!(origin, first);
}

/// Somebody asks to vote, and the first sealer closes the set with a block: then five seal in the next epoch.
fn five(members: &mut [Member]) -> BlockId {
    let mut asker = Member::new(4);
    asker.learn(members[0].log());
    let block = asker.tip();
    asker.write(VoterAsk { block });
    members[0].learn(asker.log());
    agree_on(members);
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
    let mut asker = Member::new(4);
    let block = asker.tip();
    asker.write(VoterAsk { block });
    members[0].learn(asker.log());
    agree_on(&mut members);
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

/// An idle view finalizes the last block again: simplex of whoever was away goes on from there, and from nothing that is not signed.
#[test]
fn a_later_certificate_of_the_last_block_is_handed_to_simplex_and_a_forged_one_is_refused() {
    let mut members = Member::founders();
    let seat = members[0].seat();
    let block = agree(&mut members);
    let body = members[0].group.chain().tip().unwrap().block.clone();
    let all: Vec<_> = (0..4).map(keypair).collect();
    let run =
        |signers: &[_], view| FinalRun::new(vec![body.clone()], certificate(&seat, signers, view, block)).unwrap();
    let before = members[1].bft.latest().cloned();
    let forged = members[1].try_hear(Message::Final(run(&all[..2], 60)));
    assert_eq!((forged, members[1].bft.latest().cloned()), ((vec![], Some(Refusal::Certificate)), before));
    let good = run(&all[..3], 50);
    let effects = members[1].hear(Message::Final(good.clone()));
    assert_eq!(effects, [Effect::Reply(Reply::Final(good.certificate().clone()))]);
    assert_eq!(members[1].hear(Message::Final(good.clone())), [], "it is no news any more");
    assert_eq!(members[1].bft.latest(), Some(good.certificate()));
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
    let mut asker = Member::new(4);
    let block = asker.tip();
    asker.write(VoterAsk { block });
    members[0].learn(asker.log());
    agree_on(&mut members);
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

/// One message of each kind that this mode has.
pub(crate) fn samples() -> Vec<Message> {
    let mut members = Member::founders();
    let parent = agree(&mut members);
    members[0].note();
    members[0].later(INTERVAL_MS);
    let effects = members[0].lead(parent);
    let Some(Message::Proposal(proposal)) = told(&effects).pop() else { panic!("it is shown") };
    let (seat, all) = (members[0].seat(), (0..4).map(keypair).collect::<Vec<_>>());
    let blocks = vec![members[0].group.chain().tip().unwrap().block.clone(), proposal.block().clone()];
    let run = FinalRun::new(blocks, certificate(&seat, &all, 300, proposal.id())).unwrap();
    vec![Message::Proposal(proposal), Message::Final(run), Message::Evidence(two_votes(&seat, 2))]
}

#[test]
fn no_leader_hurries_the_others() {
    let mut members = Member::founders();
    let parent = agree(&mut members);
    members[0].note();
    share(&mut members);
    members[0].later(INTERVAL_MS);
    let effects = members[0].lead(parent);
    let block = proposed(&effects)[0];
    let voter = &mut members[1];
    voter.hear(told(&effects)[0].clone());
    assert!(judged(&voter.judge(parent, block)).is_empty(), "it has voted just now");
    assert_eq!(voter.bft.deadline(&voter.group), Some(voter.now_ms + INTERVAL_MS / 2));
    assert_eq!(judged(&voter.later(INTERVAL_MS / 2)), [true]);
}

#[test]
fn floods_fill_no_memory_and_make_nobody_speak() {
    let mut members = founders_and_a_reader();
    let mut reader = members.pop().unwrap();
    let parent = agree(&mut members);
    members[0].note();
    members[0].later(INTERVAL_MS);
    let effects = members[0].lead(parent);
    let honest = proposed(&effects)[0];
    reader.learn(members[0].log());
    let last = final_run(&members[0]);
    reader.hear(Message::Final(last.clone()));
    reader.hear(told(&effects)[0].clone());
    // Finalizations again and again.
    for _ in 0..100 {
        assert_eq!(reader.hear(Message::Final(last.clone())), []);
    }
    // A sealer's proposals push out its own only.
    let good = members[0].bft.block(&honest).unwrap().clone();
    let flood: Vec<Proposal> = (0..5 * MAX_PROPOSALS as u64)
        .map(|number| Proposal::sign(Block { time_ms: good.time_ms + number, ..good.clone() }, &keypair(1)).unwrap())
        .collect();
    for proposal in &flood {
        assert_eq!(reader.hear(Message::Proposal(proposal.clone())), []);
    }
    let kept = flood.iter().skip(1).filter(|proposal| reader.bft.block(&proposal.id()).is_some()).count();
    assert!(kept <= MAX_PROPOSALS && reader.bft.block(&honest).is_some(), "{kept}");
    // Those of other heights, epochs and groups are of no use.
    for block in [
        Block { height: Height(2 + 2 * MAX_UNFINAL), ..good.clone() },
        Block { epoch: Epoch(1), ..good.clone() },
        Block { set: SetNumber(1), ..good.clone() },
        Block { group: side_ledger::GroupId([3; 32]), ..good.clone() },
    ] {
        let proposal = Proposal::sign(block, &keypair(2)).unwrap();
        assert_eq!(reader.hear(Message::Proposal(proposal.clone())), []);
        assert_eq!(reader.bft.block(&proposal.id()), None);
    }
    // Certificates of epochs that nobody knows make it ask, and remember one thing.
    let seat = Seat { epoch: Epoch(40), ..members[0].seat() };
    let all: Vec<_> = (0..4).map(keypair).collect();
    for number in 0..100u64 {
        let block = Block { epoch: Epoch(40), time_ms: number, ..good.clone() };
        let id = block.id().unwrap();
        let run = FinalRun::new(vec![block], certificate(&seat, &all, 1, id)).unwrap();
        let effects = reader.hear(Message::Final(run));
        assert_eq!(asks(&effects).len(), effects.len(), "it asks whoever said so, and tells nobody");
    }
    assert_eq!((reader.height(), reader.tip()), (1, parent));
}

fn two_votes(seat: &Seat, by: usize) -> Evidence {
    let scheme = seat.signer(&keypair(by)).unwrap();
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(5));
    let vote = |payload| {
        let proposal = SimplexProposal::new(round, View::new(4), Digest(payload));
        Notarize::<Scheme, _>::sign(&scheme, proposal).unwrap()
    };
    let found = ConflictingNotarize::new(vote([1; 32]), vote([2; 32]));
    assert!(!found.encode().is_empty());
    Evidence::new(&Activity::ConflictingNotarize(found)).unwrap()
}

#[test]
fn a_proof_against_a_sealer_is_kept_shown_and_told_once_and_a_forged_one_blames_its_sender() {
    let mut members = Member::founders();
    agree(&mut members);
    let seat = members[0].seat();
    let found = two_votes(&seat, 3);
    let guilt = Guilt { sealer: key(3), offence: Offence::DoubleNotarize, epoch: Epoch(0), place: 5 };
    let effects = members[0].hear(Message::Evidence(found.clone()));
    let expected = [
        Effect::Keep(Record::Evidence(found.clone())),
        Effect::Show(Event::Offended(guilt)),
        Effect::Tell(Message::Evidence(found.clone())),
    ];
    assert_eq!(effects, expected);
    assert_eq!(members[0].hear(Message::Evidence(found.clone())), []);
    assert_eq!(members[0].restarted().bft.proofs().collect::<Vec<_>>(), [guilt]);
    assert!(members[0].restarted().bft.greet().contains(&Message::Evidence(found)));
    // Signed for another group it proves nothing here.
    let elsewhere = Seat { group: side_ledger::GroupId([8; 32]), ..seat };
    let forged = two_votes(&elsewhere, 2);
    assert_eq!(members[0].try_hear(Message::Evidence(forged)), (vec![], Some(Refusal::Evidence)));
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
