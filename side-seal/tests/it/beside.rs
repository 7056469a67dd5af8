//! Blocks beside the chain: who may fill the places for them.

use side_ledger::block::{Block, BlockId, Epoch, Height};
use side_ledger::transaction::{SetClose, VoterAsk};
use side_seal::effect::Refusal;
use side_seal::leader::{MAX_ASIDE, MAX_ASIDE_OF_STRANGERS};
use side_seal::message::MAX_BLOCKS;
use side_seal::warrant::WarrantFault;
use side_seal::{Hold, Message, SignedBlock, Warrant};

use crate::members::{Member, key, keypair, share, told};

/// Four members who have replaced the first sealer by the second one, and a block of the first one that was left beside the chain.
fn divided() -> ([Member; 4], SignedBlock) {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    members[0].tick(0);
    let first = last_block(&members[0]);
    for other in &mut members[1..] {
        other.hear(Message::Blocks(vec![first.clone()]));
        other.vote(1);
    }
    members[0].note();
    members[0].tick(5_000);
    let left = last_block(&members[0]);
    share(&mut members);
    members[1].tick(6_000);
    let second = last_block(&members[1]);
    for other in [2, 3] {
        members[other].hear(Message::Blocks(vec![second.clone()]));
        members[other].hear(Message::Blocks(vec![left.clone()]));
    }
    assert_eq!((members[2].height(), members[2].group.chain().governance().epoch), (2, Epoch(1)));
    assert!(members[2].leader.block(&left.id()).is_some());
    (members, left)
}

fn last_block(member: &Member) -> SignedBlock {
    member.leader.block(&member.group.chain().tip_id()).unwrap().clone()
}

/// `count` blocks, each upon the one before, from `parent` on, by whomever and in whichever epoch.
fn upon(parent: &SignedBlock, count: usize, by: impl Fn(usize) -> (usize, Epoch)) -> Vec<SignedBlock> {
    let mut made: Vec<SignedBlock> = Vec::with_capacity(count);
    for number in 0..count {
        let before = made.last().unwrap_or(parent);
        let (signer, epoch) = by(number);
        let height = Height(before.block().height.0 + 1);
        let block = Block { parent: before.id(), height, epoch, ..before.block().clone() };
        made.push(SignedBlock::sign(block, &keypair(signer), Warrant::default()).unwrap());
    }
    made
}

/// Everything that was refused, after blocks came as they would from a peer.
fn offer(member: &mut Member, blocks: &[SignedBlock]) -> Vec<Refusal> {
    let messages = blocks.chunks(MAX_BLOCKS).map(|part| Message::Blocks(part.to_vec()));
    messages.filter_map(|message| member.leader.hear(&mut member.group, message).1).collect()
}

fn known(member: &Member, ids: impl IntoIterator<Item = BlockId>) -> usize {
    ids.into_iter().filter(|id| member.leader.block(id).is_some()).count()
}

/// The sealer goes on by three blocks, and this member hears of the blocks before it has what they seal.
fn goes_on(members: &mut [Member; 4], sealer: usize, now_ms: u64) {
    let height = members[2].height();
    let mut made = Vec::new();
    for step in 0..3 {
        members[sealer].note();
        members[sealer].tick(now_ms + 2_000 * step);
        made.push(last_block(&members[sealer]));
    }
    assert_eq!(offer(&mut members[2], &made), []);
    let log = members[sealer].log();
    members[2].learn(log);
    assert_eq!(members[2].height(), height + 3);
}

/// Blocks of epochs that nobody voted for, by keys that nobody knows.
fn flood(parent: &SignedBlock, count: usize) -> Vec<SignedBlock> {
    let epoch = |number: usize| Epoch(2 + number as u64);
    (0..count).flat_map(|number| upon(parent, 1, |_| (100 + number % 7, epoch(number)))).collect()
}

#[test]
fn strangers_put_no_block_beside_the_chain() {
    let (mut members, left) = divided();
    let flood = flood(&left, MAX_ASIDE + 1);
    let too_few = Refusal::Warrant(WarrantFault::TooFew { found: 0, needed: 3 });
    let refused: Vec<Refusal> =
        flood.iter().flat_map(|one| offer(&mut members[2], std::slice::from_ref(one))).collect();
    assert_eq!((refused.len(), known(&members[2], flood.iter().map(SignedBlock::id))), (flood.len(), 0));
    assert!(refused.iter().all(|refusal| *refusal == too_few));
    // Nor does anybody go on in the epoch of another one.
    assert_eq!(offer(&mut members[2], &upon(&left, 1, |_| (100, Epoch(0)))), [Refusal::Signer]);
    goes_on(&mut members, 1, 20_000);
}

/// Of voters whom the chain here has not come to yet nobody can tell who they are: changes are missing, and blocks wait beside the chain.
#[test]
fn where_a_set_is_not_known_yet_strangers_take_no_place_but_their_own() {
    let (mut members, _) = divided();
    let mut friend = Member::new(7);
    let log = members[1].log();
    friend.learn(log);
    let tip = members[1].group.chain().tip_id();
    friend.write(VoterAsk { block: tip });
    let log = friend.log();
    members[1].learn(log);
    let set = members[1].group.chain().governance().set;
    members[1].write(SetClose { set });
    let effects = members[1].tick(20_000);
    let closing = last_block(&members[1]);
    assert_eq!(told(&effects).len(), 2);
    for other in [0, 3] {
        let log = members[1].log();
        members[other].learn(log);
        for height in 1..=3 {
            let id = members[1].group.chain().at(Height(height)).unwrap().id;
            let signed = members[1].leader.block(&id).unwrap().clone();
            members[other].hear(Message::Blocks(vec![signed]));
        }
        for message in members[other].leader.greet(&members[other].group) {
            if matches!(message, Message::Hold(_)) {
                members[1].hear(message);
            }
        }
    }
    members[1].note();
    members[1].tick(30_000);
    let first = last_block(&members[1]);
    assert_eq!((first.block().set.0, first.warrant().holds.len()), (set.0 + 1, 3));
    // The words name this group, each of them.
    let mut holds = first.warrant().holds.clone();
    let voter = (0..4).map(keypair).find(|voter| voter.author() == holds[0].voter).unwrap();
    holds[0] = Hold::sign(side_ledger::GroupId([9; 32]), holds[0].rank, holds[0].block, &voter);
    let warrant = Warrant { votes: Vec::new(), holds };
    let foreign = SignedBlock::sign(first.block().clone(), &keypair(1), warrant).unwrap();
    let refused = offer(&mut members[2], &[closing.clone(), foreign]);
    assert_eq!(refused, [Refusal::Warrant(WarrantFault::OtherBlock)]);
    assert_eq!(offer(&mut members[2], &[closing, first.clone()]), []);
    let back = Block { epoch: Epoch(0), ..upon(&first, 1, |_| (1, Epoch(1)))[0].block().clone() };
    let back = SignedBlock::sign(back, &keypair(1), Warrant::default()).unwrap();
    assert_eq!(offer(&mut members[2], &[back]), [Refusal::Seat], "no epoch follows a later one");
    assert_eq!((members[2].height(), known(&members[2], [first.id()])), (2, 1));
    // A set begins with words of those who are known here.
    let bare = upon(&last_block(&members[2]), 1, |_| (1, Epoch(1)));
    let next_set = Block { parent: bare[0].id(), height: Height(4), set: first.block().set, ..bare[0].block().clone() };
    let next_set = SignedBlock::sign(next_set, &keypair(1), Warrant::default()).unwrap();
    let refused = offer(&mut members[2], &[bare[0].clone(), next_set]);
    assert_eq!(refused, [Refusal::Warrant(WarrantFault::TooFew { found: 0, needed: 3 })]);

    let flood = flood(&first, MAX_ASIDE_OF_STRANGERS + 100);
    assert_eq!(offer(&mut members[2], &flood).first(), Some(&Refusal::Full));
    assert_eq!(known(&members[2], flood.iter().map(SignedBlock::id)), MAX_ASIDE_OF_STRANGERS);
    let log = members[1].log();
    members[2].learn(log);
    assert_eq!(members[2].height(), 4);
    goes_on(&mut members, 1, 40_000);
}

/// A sealer that was elected seals what does not come to what it says, and the one before goes on.
#[test]
fn a_bad_block_of_a_higher_rank_keeps_nobody_from_the_best_good_one() {
    let (mut members, left) = divided();
    let second = last_block(&members[1]);
    let bad = Block { state_root: [1; 32], ..second.block().clone() };
    let bad = SignedBlock::sign(bad, &keypair(1), second.warrant().clone()).unwrap();
    let first = members[1].group.chain().at(Height(1)).unwrap().id;
    let first = members[1].leader.block(&first).unwrap().clone();
    let mut late = Member::new(3);
    let log = members[1].log();
    late.learn(log);
    let log = members[0].log();
    late.learn(log);
    assert_eq!(offer(&mut late, &[first, left.clone(), bad]), []);
    assert_eq!(late.group.chain().tip_id(), left.id());
    goes_on(&mut members, 1, 20_000);
}

#[test]
fn a_sealer_that_was_replaced_fills_its_own_share_and_goes_on_when_it_is_voted_for_again() {
    let (mut members, left) = divided();
    let share_of_one = MAX_ASIDE / 4;
    let flood = upon(&left, share_of_one + 100, |_| (0, Epoch(0)));
    assert_eq!(offer(&mut members[2], &flood).first(), Some(&Refusal::Full));
    // The left block takes the first place.
    assert_eq!(known(&members[2], flood.iter().map(SignedBlock::id)), share_of_one - 1);
    goes_on(&mut members, 1, 20_000);

    for made in 3..=members[1].height() {
        let block = members[1].group.chain().at(Height(made)).unwrap().id;
        let signed = members[1].leader.block(&block).unwrap().clone();
        members[3].hear(Message::Blocks(vec![signed]));
    }
    share(&mut members);
    for other in &mut members[1..] {
        other.note();
        other.vote(0);
    }
    share(&mut members);
    let second = last_block(&members[1]);
    let ids: Vec<BlockId> = members[1].group.chain().blocks().iter().map(|sealed| sealed.id).collect();
    let chain: Vec<SignedBlock> = ids.iter().map(|id| members[1].leader.block(id).unwrap().clone()).collect();
    assert_eq!(offer(&mut members[0], &chain), []);
    assert_eq!(members[0].group.chain().tip_id(), second.id());
    // Its share is taken, and still it has a place for each block that becomes the end of the chain.
    let mut made = Vec::new();
    for step in 0..3 {
        members[0].tick(60_000 + 2_000 * step);
        made.push(last_block(&members[0]));
        members[0].note();
    }
    assert_eq!(last_block(&members[0]).signer(), key(0));
    let log = members[0].log();
    members[2].learn(log);
    assert_eq!(offer(&mut members[2], &made), []);
    assert_eq!(members[2].group.chain().tip_id(), members[0].group.chain().tip_id());
}
