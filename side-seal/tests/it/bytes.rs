//! The bytes that travel: golden ones, and hostile ones.

use side_ledger::GroupId;
use side_ledger::block::{Block, BlockId, Epoch, Height, Rank, Recovery, SetNumber};
use side_seal::{DoubleSeal, Hold, Message, SignedBlock, Warrant};

use crate::bft::rules::samples as bft_samples;
use crate::members::{Member, keypair, share};

fn samples() -> Vec<Message> {
    let mut members = Member::founders();
    members[0].note();
    share(&mut members);
    let one = members[0].forge(0, |block| block, Warrant::default());
    let twin = members[0].forge(0, |block| Block { time_ms: block.time_ms + 1, ..block }, Warrant::default());
    for at in [1, 2, 3] {
        members[at].vote(1);
    }
    share(&mut members);
    members[1].tick(5);
    let switched = members[1].leader.block(&members[1].group.chain().tip_id()).unwrap().clone();
    assert!(!switched.warrant().votes.is_empty());
    let rank = Rank { recovery: Recovery(0), set: SetNumber(1), epoch: Epoch(2), height: Height(300) };
    let hold = Hold::sign(GroupId([9; 32]), rank, BlockId([5; 32]), &keypair(1));
    let warrant = Warrant { votes: Vec::new(), holds: vec![hold] };
    let with_holds = SignedBlock::sign(one.block().clone(), &keypair(0), warrant).unwrap();
    vec![
        Message::Blocks(vec![one.clone(), switched]),
        Message::Blocks(vec![with_holds]),
        Message::Hold(hold),
        Message::Double(DoubleSeal::new(&twin, &one).unwrap()),
        Message::Ask { want: BlockId([1; 32]), have: vec![BlockId([2; 32]), BlockId([3; 32])] },
    ]
    .into_iter()
    .chain(bft_samples())
    .collect()
}

#[test]
fn the_golden_messages_keep_their_bytes() {
    let lines: String = samples().iter().map(|message| hex::encode(message.encode()) + "\n").collect();
    assert_eq!(lines, include_str!("../golden/messages.hex"));
}

#[test]
fn what_is_not_the_one_encoding_is_refused() {
    for message in samples() {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Message::decode(&longer).is_err());
        for at in (0..bytes.len()).step_by(3) {
            for flip in [1u8, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(other) = Message::decode(&changed) {
                    assert_eq!(other.encode(), changed, "a second encoding passed");
                    // Signatures cover everything but votes, which are judged when the block is, and what an ask asks for; certificates and evidence are
                    // checked by whoever knows the sealers.
                    assert_ne!(other, message);
                    let unchecked = matches!(other, Message::Blocks(_) | Message::Ask { .. });
                    assert!(unchecked || matches!(other, Message::Final(_) | Message::Evidence(_)), "{other:?}");
                }
            }
        }
    }
    assert!(Message::decode(&[99, 1, 2]).is_err());
}
