//! What a member answers a newcomer. It costs by the number of sets, voters and pieces, not by the history.

use side_ledger::block::{BlockId, Height};
use side_ledger::group::Group;

use super::message::{StateMessage, StateOffer};
use crate::certificate::{Opening, held_at, seal_of, steps};
use crate::engine::Engine;

/// Most bytes of an answer: what fits a message of any transport. Sets and pieces beyond it are served to nobody.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The answers to a newcomer's message, in their order; nothing to what only a newcomer is told.
pub fn serve(group: &mut Group, engine: &Engine, message: &StateMessage) -> Vec<StateMessage> {
    match message {
        StateMessage::Ask { from, known } => vec![answer(group, engine, *from, *known)],
        StateMessage::Want { block, numbers } => pieces(group, *block, numbers),
        StateMessage::State(_) | StateMessage::Piece { .. } | StateMessage::Nothing(_) => Vec::new(),
    }
}

fn answer(group: &mut Group, engine: &Engine, from: BlockId, known: Option<BlockId>) -> StateMessage {
    let offer = offer(group, engine, from, known);
    let fits = offer.map(|offer| offer.map(|offer| StateMessage::State(Box::new(offer))));
    match fits {
        Some(Ok(message)) if message.encode().len() <= MAX_ANSWER_BYTES => message,
        Some(Err(known)) => StateMessage::Nothing(known),
        _ => StateMessage::Nothing(from),
    }
}

/// The state of the last block that enough voters hold, or that is final; `Err` if that is the one that is known.
fn offer(
    group: &mut Group,
    engine: &Engine,
    from: BlockId,
    known: Option<BlockId>,
) -> Option<Result<StateOffer, BlockId>> {
    let anchor = if from == BlockId::origin(group.id()) { Height(0) } else { height_of(group, engine, from)? };
    let height = held_at(group, engine, anchor).ok()?;
    let id = group.chain().at(height)?.id;
    if known == Some(id) {
        return Some(Err(id));
    }
    let steps = steps(group, engine, anchor, height).ok()?;
    let seal = seal_of(group, engine, height).ok()?;
    let anchor = if anchor.0 > 0 { Some(Opening::of(group, anchor)?) } else { None };
    let opening = Opening::of(group, height)?;
    let manifest = group.manifest_at(height)?;
    Some(Ok(StateOffer { anchor, steps, seal, opening, manifest }))
}

fn pieces(group: &Group, block: BlockId, numbers: &[usize]) -> Vec<StateMessage> {
    let chain = group.chain();
    // A newcomer asks for pieces of what was the last held block a moment ago.
    let height = chain.blocks().iter().rev().take(MAX_BACK).find(|sealed| sealed.id == block).map(|s| s.block.height);
    let piece = |number: usize| {
        let piece = chain.piece_at(height?, number)?;
        Some(StateMessage::Piece { block, number, bytes: piece.encode() })
    };
    let pieces: Option<Vec<StateMessage>> = numbers.iter().map(|number| piece(*number)).collect();
    pieces.unwrap_or_else(|| vec![StateMessage::Nothing(block)])
}

/// How many blocks back the state of a block is still told in pieces. What has changed since is put together for each answer.
const MAX_BACK: usize = 64;

/// The height of a block of the chain.
fn height_of(group: &Group, engine: &Engine, id: BlockId) -> Option<Height> {
    let height = engine.block(&id)?.height;
    group.chain().at(height).filter(|sealed| sealed.id == id).map(|_| height)
}
