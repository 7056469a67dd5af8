//! Leader mode: what strangers and liars can fill is bounded, and what matters keeps its room.

use side_ledger::block::{Block, BlockId, Epoch, Height, SetNumber};
use side_seal::leader::{MAX_ORPHANS, MAX_PROOFS, MAX_PROOFS_OF_ONE};
use side_seal::{DoubleSeal, Event, Hold, Message, Warrant};

use crate::members::{Member, blocks, key, keypair, share, shown};

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
