//! The rules of BFT mode one by one, within an epoch.

use side_ledger::block::{Block, BlockId, Epoch, Height, SetNumber};
use side_ledger::chain::Fault;
use side_ledger::receipt::Status;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::evidence::Offence;
use side_seal::bft::proposal::Proposal;
use side_seal::bft::request::Reply;
use side_seal::bft::run::{FinalRun, MAX_RUN};
use side_seal::bft::seat::Seat;
use side_seal::bft::{ASK_AFTER_MS, IDLE_MS, MAX_AHEAD_MS, MAX_PROPOSALS, MAX_UNFINAL, PATIENCE_MS, START_MS};
use side_seal::effect::{Guilt, Refusal};
use side_seal::{Effect, Event, Message, Record};

use super::members::{
    Member, agree, agree_on, asks, certificate, final_run, founders_and_a_reader, idle, judged, key, keypair, proposed,
    share, told, two_votes,
};
use super::world::INTERVAL_MS;

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
