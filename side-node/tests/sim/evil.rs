//! What a liar does to the messages that it sends, and what it makes up. It is built around a member that keeps the rules: whatever it changes is changed on the way
//! out, under its own key.

use bytes::Bytes;
use side_ledger::BlockId;
use side_ledger::block::{Block, Epoch, Height, Rank};
use side_node::error::CommandError;
use side_node::net::{LinkId, Stream};
use side_seal::{DoubleSeal, Hold, Message, SignedBlock, Warrant};

use crate::plan::Evil;
use crate::world::World;

/// Messages that are remembered to be repeated.
const REMEMBERED: usize = 200;

impl World {
    /// A sealer that does not seal: it takes itself for a copy that may be old, and is never told otherwise.
    pub(crate) fn stall(&mut self, number: usize) {
        if let Some(member) = &mut self.nodes[number].member {
            member.distrust(CommandError::user("it stalls"));
        }
    }

    pub(crate) fn remember(&mut self, number: usize, stream: Stream, message: &Bytes) {
        if self.plan.evil == Evil::Floods {
            let heard = &mut self.nodes[number].heard;
            heard.push_back((stream, message.clone()));
            if heard.len() > REMEMBERED {
                heard.pop_front();
            }
        }
    }

    /// What becomes of a message on its way out.
    pub(crate) fn tampered(
        &mut self,
        number: usize,
        link: LinkId,
        stream: Stream,
        message: Bytes,
    ) -> Vec<(Stream, Bytes)> {
        let honest = vec![(stream, message)];
        if !self.is_evil(number) {
            return honest;
        }
        let to = self.nodes[number].links[&link].to;
        let (_, message) = &honest[0];
        match self.plan.evil {
            Evil::Withholds if stream == Stream::Seal => {
                // All of it to one, nothing to the others.
                if to == 1 { honest } else { Vec::new() }
            }
            Evil::WrongRoots if stream == Stream::Seal => match Message::decode(message) {
                Ok(Message::Blocks(blocks)) => {
                    let lie = self.plan.seed.is_multiple_of(2) || to.is_multiple_of(2);
                    let blocks =
                        blocks.into_iter().map(|signed| if lie { self.with_wrong_root(signed) } else { signed });
                    vec![(stream, Message::Blocks(blocks.collect()).encode().into())]
                }
                _ => honest,
            },
            Evil::Floods if self.rng.once_in(4) => {
                let mut all = honest;
                let made_up = self.made_up(number);
                // The flood comes before what is true.
                all.splice(0..0, made_up);
                all
            }
            _ => honest,
        }
    }

    /// The same block with another state root, if it is the liar's own.
    fn with_wrong_root(&self, signed: SignedBlock) -> SignedBlock {
        let keypair = &self.nodes[0].keypair;
        if signed.signer() != keypair.author() {
            return signed;
        }
        let block = Block { state_root: [6; 32], ..signed.block().clone() };
        SignedBlock::sign(block, keypair, signed.warrant().clone()).expect("it can be signed")
    }

    /// Something that nobody asked for.
    fn made_up(&mut self, number: usize) -> Option<(Stream, Bytes)> {
        let kind = self.rng.below(7);
        let random = self.rng.next();
        let node = &self.nodes[number];
        let group = node.member.as_ref()?.group();
        let chain = group.chain();
        let rank = chain.rank();
        let far = Rank { epoch: Epoch(rank.epoch.0 + 1 + random % 100), height: Height(rank.height.0 + 1), ..rank };
        let id = BlockId([random as u8; 32]);
        let next = |rank: Rank| {
            let last = chain.tip()?;
            let block = Block {
                recovery: rank.recovery,
                set: rank.set,
                epoch: rank.epoch,
                height: rank.height,
                parent: last.id,
                ..last.block.clone()
            };
            SignedBlock::sign(block, &node.keypair, Warrant::default()).ok()
        };
        let message = match kind {
            // Words for blocks that there are not, of epochs far ahead.
            0 => Message::Hold(Hold::sign(group.id(), far, id, &node.keypair)),
            // Blocks of epochs that nobody voted for.
            1 => Message::Blocks(vec![next(far)?]),
            // A block without the right to it, or of a parent that nobody knows.
            2 => {
                let mut signed = next(Rank { height: Height(rank.height.0 + 1), ..rank })?.block().clone();
                signed.parent = id;
                Message::Blocks(vec![SignedBlock::sign(signed, &node.keypair, Warrant::default()).ok()?])
            }
            // Asks for nothing.
            3 => Message::Ask { want: id, have: vec![id; 64] },
            // A proof against itself: it is true.
            4 => {
                let one = next(far)?;
                let other = Block { time_ms: one.block().time_ms + 1, ..one.block().clone() };
                let other = SignedBlock::sign(other, &node.keypair, Warrant::default()).ok()?;
                Message::Double(DoubleSeal::new(&one, &other).ok()?)
            }
            5 if !node.heard.is_empty() => {
                let (stream, message) = node.heard[(random % node.heard.len() as u64) as usize].clone();
                // A message of the sync lane out of turn is a fault of its own: of those only the flood of blocks is repeated.
                return (stream == Stream::Seal).then_some((stream, message));
            }
            _ => {
                let garbage: Vec<u8> = (0..random % 50).map(|at| (random >> (at % 57)) as u8).collect();
                let stream = if random.is_multiple_of(2) { Stream::Seal } else { Stream::Sync };
                return random.is_multiple_of(3).then(|| (stream, garbage.into()));
            }
        };
        Some((Stream::Seal, message.encode().into()))
    }
}
