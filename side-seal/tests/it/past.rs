//! What a sealer has sealed, or may have sealed and forgotten, it does not seal again.

use side_ledger::block::{Epoch, SetNumber};
use side_ledger::group::Group;
use side_ledger::transaction::{HeldBlock, SealersVote, Transaction};
use side_seal::effect::VoteError;
use side_seal::{DoubleSeal, Effect, Message, Record, SignedBlock};

use crate::members::{Member, carry, key, keypair, share, told};

fn last_block(member: &Member) -> SignedBlock {
    member.leader.block(&member.group.chain().tip_id()).unwrap().clone()
}

fn vote(member: &Member, set: u64, epoch: u64, sealer: usize) -> SealersVote {
    let (chain, sealers) = (member.group.chain(), vec![key(sealer)]);
    let highest = HeldBlock { rank: chain.rank(), id: chain.tip_id() };
    SealersVote { recovery: Default::default(), set: SetNumber(set), epoch: Epoch(epoch), sealers, highest }
}

/// Four members with one block; the sealer's disk is as it was then, and it has heard from all others where their chains end. The block that it had sealed since was shown to nobody but
/// somebody who keeps it to himself: it is returned.
fn restored() -> ([Member; 4], SignedBlock) {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let effects = members[0].tick(0);
    carry(&mut members, effects);
    let (backup, kept) = (members[0].log(), members[0].kept.clone());
    members[0].note();
    members[0].tick(1_000);
    let forgotten = last_block(&members[0]);

    let mut again = Member::new(0);
    again.learn(backup);
    again.leader.restore(&mut again.group, kept.clone());
    again.kept = kept;
    assert!(again.leader.set_sealing(&again.group, false).is_empty());
    let own = |message: &Message| matches!(message, Message::Hold(hold) if hold.voter == key(0));
    assert!(!again.leader.greet(&again.group).iter().any(own), "it may have voted since, and gives no word");
    members[0] = again;
    for other in 1..4 {
        for message in members[other].leader.greet(&members[other].group) {
            members[0].hear(message);
        }
    }
    (members, forgotten)
}

/// The counter-example to "whoever has heard from all other voters may seal again": nobody of them has ever seen the block that it sealed last.
#[test]
fn a_restored_sealer_seals_in_no_epoch_in_which_it_may_have_sealed() {
    let (mut members, forgotten) = restored();
    let effects = members[0].leader.set_sealing(&members[0].group, true);
    assert_eq!(effects, [Effect::Keep(Record::Abstain(Epoch(0)))]);
    members[0].kept.push(Record::Abstain(Epoch(0)));
    members[0].note();
    share(&mut members);
    assert!(members[0].tick(9_000).is_empty(), "it might seal this rank twice");
    assert!(members[0].leader.abstains(&members[0].group));
    assert_eq!(members[0].leader.deadline(&members[0].group), None);

    // Also after the next restart.
    let mut again = Member::new(0);
    again.learn(members[0].log());
    again.leader.restore(&mut again.group, members[0].kept.clone());
    assert!(again.tick(9_000).is_empty());
    members[0] = again;

    // The others let it go on in another epoch, in which it has sealed nothing.
    for other in &mut members[1..] {
        other.vote(0);
    }
    share(&mut members);
    let effects = members[0].tick(9_000);
    let next = last_block(&members[0]);
    assert_eq!(next.block().epoch, Epoch(1));
    assert!(DoubleSeal::new(&forgotten, &next).is_err());
    carry(&mut members, effects);
    members[1].leader.hear(&mut members[1].group, Message::Blocks(vec![forgotten]));
    assert_eq!((members[1].leader.proofs().count(), members[1].height()), (0, 2));
    members[0].note();
    assert!(!members[0].tick(20_000).is_empty(), "and so on");
}

#[test]
fn an_owner_who_says_that_the_copy_is_good_lets_it_seal_at_once() {
    let (mut members, forgotten) = restored();
    members[0].leader.trust();
    members[0].note();
    assert!(!members[0].tick(9_000).is_empty());
    assert!(DoubleSeal::new(&forgotten, &last_block(&members[0])).is_ok(), "the owner was wrong");
}

/// It takes votes that cannot all be lies to have begun an epoch.
#[test]
fn one_liar_s_vote_keeps_no_restored_sealer_from_the_next_epoch() {
    let (mut members, _) = restored();
    let far = vote(&members[3], 0, 1 << 40, 0);
    members[3].write(far);
    for other in [1, 2] {
        // The older life may have had the third one.
        let seen = vote(&members[other], 0, 5, 0);
        members[other].write(seen);
    }
    share(&mut members);
    let effects = members[0].leader.set_sealing(&members[0].group, true);
    assert_eq!(effects, [Effect::Keep(Record::Abstain(Epoch(5)))]);
}

/// Its own block comes back before what it seals.
#[test]
fn a_sealer_that_is_shown_its_own_block_seals_no_other_in_its_place() {
    let mut older = Member::new(0);
    older.note();
    older.tick(0);
    let own = last_block(&older);
    let mut sealer = Member::new(0);
    sealer.hear(Message::Blocks(vec![own.clone()]));
    assert_eq!(sealer.height(), 0, "what it seals is not here");
    let mut other = Member::new(1);
    other.note();
    sealer.learn(other.log());
    assert!(sealer.tick(5_000).is_empty());
    sealer.learn(older.log());
    assert_eq!(sealer.group.chain().tip_id(), own.id());
    assert!(!sealer.tick(5_000).is_empty());
}

/// Whoever seals in two groups is shown its blocks of one in the other.
#[test]
fn own_blocks_of_another_group_keep_no_sealer_from_its_turn() {
    let mut sealer = Member::new(0);
    sealer.note();
    let block = |height| side_ledger::block::Block {
        group: side_ledger::GroupId([9; 32]),
        parent: side_ledger::BlockId([8; 32]),
        height: side_ledger::block::Height(height),
        ..sealer_block()
    };
    let elsewhere = SignedBlock::sign(block(50), &keypair(0), Default::default()).unwrap();
    let (_, fault) = sealer.leader.hear(&mut sealer.group, Message::Blocks(vec![elsewhere]));
    assert_eq!(fault, Some(side_seal::effect::Refusal::Group));
    assert!(!sealer.tick(5_000).is_empty());
}

fn sealer_block() -> side_ledger::block::Block {
    let mut sealer = Member::new(0);
    sealer.note();
    sealer.tick(0);
    last_block(&sealer).block().clone()
}

/// A relay writes nothing, so it takes out what a proven equivocator wrote, and with it its own blocks.
#[test]
fn a_sealer_that_takes_changes_out_again_does_not_seal_their_place_twice() {
    let mut relay = Member::new(0);
    relay.group = Group::open(relay.group.genesis().clone(), None, Default::default());
    let (mut one, mut twin, mut other) = (Member::new(3), Member::new(3), Member::new(1));
    one.note();
    twin.write(Transaction::note("another first one", 100).unwrap());
    relay.learn(one.log());
    let effects = relay.tick(0);
    assert_eq!(relay.height(), 1);
    let first = told(&effects);
    // Another fork of the same chain: a proof.
    relay.learn(twin.log());
    assert_eq!((relay.group.replica().proof_count(), relay.height()), (1, 0));
    other.note();
    relay.learn(other.log());
    assert!(relay.tick(5_000).is_empty(), "it has sealed a first block already");
    // Somebody who holds the change depends on it, and the block is good again.
    other.learn(one.log());
    other.note();
    relay.learn(other.log());
    assert_eq!(relay.height(), 1);
    assert!(first.iter().any(|message| *message == Message::Blocks(vec![last_block(&relay)])));
    assert!(!relay.tick(9_000).is_empty());
}

/// The counter-example to "look at the votes of the present set": the sealer to be has voted for a higher epoch in the set before, and never begins the one that the electors vote for.
#[test]
fn electors_vote_above_what_the_sealer_to_be_is_bound_by_in_any_set() {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    members[2].vote(1);
    assert!(matches!(members[2].leader.vote(&members[2].group, key(1)), Err(VoteError::Waiting { .. })));
    let elsewhere = vote(&members[1], 1, 9, 3);
    members[1].write(elsewhere);
    share(&mut members);
    for elector in [2, 3] {
        let vote = members[elector].leader.vote(&members[elector].group, key(1)).unwrap();
        assert_eq!(vote.epoch, Epoch(9));
        members[elector].write(vote);
        share(&mut members);
    }
    let by_itself = vote(&members[1], 0, 9, 1);
    members[1].write(by_itself);
    share(&mut members);
    members[1].tick(5_000);
    assert_eq!(members[1].group.chain().rank().epoch, Epoch(9));
    assert_eq!(last_block(&members[1]).signer(), keypair(1).author());
}
