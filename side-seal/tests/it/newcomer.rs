//! Whoever has no history comes to the state first: from good members, from liars, and from members that go on meanwhile.

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::block::{Block, BlockId, Height};
use side_ledger::invitation::Checkpoint;
use side_ledger::snapshot::{PIECE, Piece};
use side_ledger::transaction::Transfer;
use side_seal::certificate::{CertificateFault, Seal, can_anchor};
use side_seal::newcomer::{
    Agreement, Newcomer, PATIENCE_MS, Post, REFRESH_MS, StateFault, StateMessage, StateOffer, serve,
};
use side_seal::{Message, SignedBlock, Warrant};

use crate::bundle::Story;
use crate::members::{Member, key, keypair, share};

fn stranger(number: usize) -> AuthorId {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Keypair::from_seed(&seed).author()
}

/// The story with more accounts than two pieces have.
fn rich() -> Story {
    let mut story = Story::whole();
    for by in [0, 1, 2, 3] {
        let pay = |n: usize| Transfer { to: stranger(by * 1_000 + n), amount: 1 }.into();
        // Accounts come up in the order of the changes; each pays many new ones.
        let payments: Vec<_> = (0..if by == 3 { 90 } else { 97 }).map(pay).collect();
        story.members[by].group.write(&payments, &keypair(by), 5).unwrap();
    }
    story.members[0].write(Transfer { to: stranger(9_999), amount: 1 });
    share(&mut story.members);
    story.seal(3);
    story
}

fn checkpoint(story: &Story, height: u64) -> Option<Checkpoint> {
    let sealed = story.members[0].group.chain().at(Height(height))?;
    Some(Checkpoint { rank: sealed.block.rank(), block: sealed.id, state_root: sealed.block.state_root })
}

fn newcomer(story: &Story, height: u64) -> Newcomer {
    Newcomer::new(story.members[0].group.genesis().clone(), checkpoint(story, height))
}

/// What a member answers.
fn answers(story: &mut Story, at: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
    let message = StateMessage::decode(bytes, story.members[0].group.genesis().spec()).unwrap();
    assert_eq!(message.encode(), bytes);
    let answers = story.with_engine(at as usize, |group, engine| serve(group, engine, &message));
    answers.iter().map(StateMessage::encode).collect()
}

/// Carries messages between the newcomer and honest members until nothing more is said. Gives how many bytes came.
fn pump(story: &mut Story, newcomer: &mut Newcomer, post: Option<Post>, now_ms: u64) -> usize {
    let (mut queue, mut bytes) = (Vec::from_iter(post), 0);
    while let Some((member, message)) = queue.pop() {
        for answer in answers(story, member, &message) {
            bytes += answer.len();
            let (post, fault) = newcomer.hear(member, &answer, now_ms);
            assert_eq!(fault, None);
            queue.extend(post);
        }
    }
    bytes
}

/// The newcomer shows what the group's state is.
fn shows(newcomer: &Newcomer, story: &Story) {
    let (view, chain) = (newcomer.view().unwrap(), story.members[0].group.chain());
    assert_eq!((view.id, &view.block), (chain.tip_id(), &chain.tip().unwrap().block));
    assert_eq!(&view.governance, chain.governance());
    assert_eq!(view.accounts(), chain.accounts().len());
    for (key, account) in chain.accounts().iter() {
        assert_eq!(view.account(key), *account);
    }
    assert_eq!(view.changes as usize, story.members[0].group.replica().len());
    assert!(view.standing.holders >= view.standing.quorum);
}

#[test]
fn a_newcomer_comes_to_the_state_from_the_genesis_and_from_any_checkpoint() {
    let mut story = rich();
    let top = story.members[0].height();
    for from in 0..=top {
        if from > 0 && !story.with_engine(0, |group, engine| can_anchor(group, engine, Height(from))) {
            continue;
        }
        let mut newcomer = newcomer(&story, from);
        let post = newcomer.joined(1, 0);
        pump(&mut story, &mut newcomer, post, 0);
        shows(&newcomer, &story);
        assert_eq!(newcomer.progress(), Some((2, 2)));
    }
    // A block that ends its set serves from the genesis.
    let mut newcomer = newcomer(&story, 4);
    let post = newcomer.joined(1, 0);
    pump(&mut story, &mut newcomer, post, 0);
    shows(&newcomer, &story);
}

#[test]
fn what_follows_costs_by_what_has_changed_and_nothing_new_costs_nothing() {
    let mut story = rich();
    let mut newcomer = newcomer(&story, 1);
    let post = newcomer.joined(0, 0);
    let all = pump(&mut story, &mut newcomer, post, 0);
    assert_eq!((newcomer.deadline(), newcomer.tick(REFRESH_MS - 1)), (Some(REFRESH_MS), None));
    let post = newcomer.tick(REFRESH_MS);
    assert!(pump(&mut story, &mut newcomer, post, REFRESH_MS) < 64);
    // A payment within the second piece, by somebody who is in the first.
    let last = *story.members[0].group.chain().accounts().nth(PIECE + 3).unwrap();
    story.members[0].write(Transfer { to: last.0, amount: 1 });
    share(&mut story.members);
    story.seal(3);
    let post = newcomer.tick(3 * REFRESH_MS);
    let some = pump(&mut story, &mut newcomer, post, 3 * REFRESH_MS);
    shows(&newcomer, &story);
    assert!(some <= all + 100, "{some} of {all}");
    // One that lies in one piece with its author brings one piece.
    story.members[0].write(Transfer { to: key(1), amount: 1 });
    share(&mut story.members);
    story.seal(3);
    let post = newcomer.tick(9 * REFRESH_MS);
    let less = pump(&mut story, &mut newcomer, post, 9 * REFRESH_MS);
    shows(&newcomer, &story);
    assert!(less + 4_000 < some, "{less}, {some}");
}

#[test]
fn the_whole_history_executed_comes_to_the_state_that_was_shown() {
    let mut story = rich();
    let mut newcomer = newcomer(&story, 1);
    let post = newcomer.joined(0, 0);
    pump(&mut story, &mut newcomer, post, 0);
    // The history comes in any pieces; until all is there nothing is said.
    let (mut own, log) = (Member::new(5), story.members[2].log());
    let blocks: Vec<SignedBlock> = story.members[2]
        .group
        .chain()
        .blocks()
        .iter()
        .map(|sealed| story.members[2].leader.block(&sealed.id).unwrap().clone())
        .collect();
    own.hear(Message::Blocks(blocks.clone()));
    for changes in log.chunks(3) {
        assert_eq!(newcomer.compare(&own.group), Agreement::Behind);
        own.learn(changes.to_vec());
    }
    assert_eq!(newcomer.compare(&own.group), Agreement::Same);
    assert_eq!(own.group.state_root(), newcomer.view().unwrap().block.state_root);
    // A history that seals something else is told apart.
    let mut other = Member::new(0);
    (0..12).for_each(|n| {
        other.note();
        other.tick(n * 10_000);
    });
    let elsewhere = other.group.chain().at(newcomer.view().unwrap().block.height).unwrap().id;
    assert_eq!(newcomer.compare(&other.group), Agreement::Other(elsewhere));
}

/// Lets member 0 answer, its answer changed on the way; gives what the newcomer finds wrong with it.
fn lied(story: &mut Story, from: u64, change: impl Fn(StateMessage) -> StateMessage) -> StateFault {
    let mut newcomer = newcomer(story, from);
    let spec = story.members[0].group.genesis().spec().clone();
    let mut queue = Vec::from_iter(newcomer.joined(0, 0));
    assert_eq!(newcomer.joined(1, 0), None);
    let mut found = None;
    while let Some((member, message)) = queue.pop() {
        for answer in answers(story, member, &message) {
            let answer =
                if member == 0 { change(StateMessage::decode(&answer, &spec).unwrap()).encode() } else { answer };
            let (post, fault) = newcomer.hear(member, &answer, 0);
            queue.extend(post);
            found = found.or(fault);
        }
    }
    // The liar stopped nobody.
    shows(&newcomer, story);
    found.expect("a lie is found")
}

fn offer(change: impl Fn(&mut StateOffer)) -> impl Fn(StateMessage) -> StateMessage {
    move |message| match message {
        StateMessage::State(mut offer) => {
            change(&mut offer);
            StateMessage::State(offer)
        }
        other => other,
    }
}

fn piece(change: impl Fn(&mut usize, &mut Vec<u8>)) -> impl Fn(StateMessage) -> StateMessage {
    move |message| match message {
        StateMessage::Piece { block, mut number, mut bytes } => {
            change(&mut number, &mut bytes);
            StateMessage::Piece { block, number, bytes }
        }
        other => other,
    }
}

#[test]
fn forged_states_are_refused_and_another_member_is_asked() {
    let mut story = rich();
    let lie = |story: &mut Story, change: &dyn Fn(&mut StateOffer)| lied(story, 1, offer(change));
    let of = StateFault::Certificate;
    // A richer friend, with and without roots to match.
    let richer = |offer: &mut StateOffer| offer.opening.state.accounts_root[0] ^= 1;
    assert_eq!(lie(&mut story, &richer), of(CertificateFault::State));
    assert_eq!(lie(&mut story, &|offer| offer.opening.state.changes += 1), of(CertificateFault::State));
    assert_eq!(lie(&mut story, &|offer| offer.opening.governance.interval_ms += 1), of(CertificateFault::State));
    assert_eq!(lie(&mut story, &|offer| offer.manifest.0[1][0] ^= 1), StateFault::Manifest);
    assert_eq!(lie(&mut story, &|offer| offer.manifest.0.truncate(1)), StateFault::Manifest);
    assert_eq!(lie(&mut story, &|offer| offer.manifest.0.push([1; 32])), StateFault::Manifest);
    // A block of its own, which nobody holds.
    let own = |offer: &mut StateOffer| {
        let Seal::Held { signed, .. } = &mut offer.seal else { panic!() };
        offer.opening.state.accounts_root[0] ^= 1;
        let block = Block { state_root: offer.opening.state.root(), ..signed.block().clone() };
        *signed = SignedBlock::sign(block, &keypair(3), Warrant::default()).unwrap();
    };
    assert!(matches!(lie(&mut story, &own), StateFault::Certificate(CertificateFault::Warrant(_))));
    // A forged checkpoint: its state is not what the invitation says, or it is left out.
    let anchor = |offer: &mut StateOffer| offer.anchor.as_mut().unwrap().governance.interval_ms += 1;
    assert_eq!(lie(&mut story, &anchor), of(CertificateFault::State));
    assert_eq!(lie(&mut story, &|offer| offer.anchor = None), StateFault::Anchor);
    assert_eq!(lie(&mut story, &|offer| drop(offer.steps.remove(0))), of(CertificateFault::Rank));
    let none = lied(&mut story, 0, offer(|offer| offer.anchor = Some(offer.opening.clone())));
    assert_eq!(none, StateFault::Anchor);
}

#[test]
fn a_state_below_the_checkpoint_is_refused() {
    let mut story = Story::beginning();
    let ask = ask_from_genesis(&story);
    let early = answers(&mut story, 0, &ask).remove(0);
    story.note(0);
    story.seal(0);
    let mut newcomer = newcomer(&story, 2);
    let (_, ask) = newcomer.joined(0, 0).unwrap();
    assert_eq!(ask.len(), 34);
    // The member says that it lacks the checkpoint's block; then it tells an old story.
    let nothing = StateMessage::Nothing(checkpoint(&story, 2).unwrap().block).encode();
    let (post, fault) = newcomer.hear(0, &nothing, 0);
    assert_eq!((post, fault), (Some((0, ask_from_genesis(&story))), None));
    assert_eq!(newcomer.hear(0, &early, 0), (None, Some(StateFault::Old)));
}

fn ask_from_genesis(story: &Story) -> Vec<u8> {
    StateMessage::Ask { from: BlockId::origin(story.members[0].group.id()), known: None }.encode()
}

#[test]
fn forged_pieces_are_refused_and_another_member_is_asked() {
    let mut story = rich();
    let lie = |story: &mut Story, change: &dyn Fn(&mut usize, &mut Vec<u8>)| lied(story, 1, piece(change));
    let forged = |change: fn(&mut Piece)| {
        move |_: &mut usize, bytes: &mut Vec<u8>| {
            let mut piece = Piece::decode(bytes).unwrap();
            change(&mut piece);
            *bytes = piece.encode();
        }
    };
    assert_eq!(lie(&mut story, &forged(|piece| piece.0[0].1.balance += 1)), StateFault::Piece);
    assert_eq!(lie(&mut story, &forged(|piece| piece.0.truncate(1))), StateFault::Piece);
    assert_eq!(lie(&mut story, &forged(|piece| piece.0.swap(0, 1))), StateFault::Piece);
    assert_eq!(lie(&mut story, &forged(|piece| piece.0 = Vec::new())), StateFault::Piece);
    assert_eq!(lie(&mut story, &|_, bytes| bytes.truncate(100)), StateFault::Piece);
    assert_eq!(lie(&mut story, &|_, bytes| bytes.push(0)), StateFault::Piece);
    assert_eq!(lie(&mut story, &|number, _| *number = 1 - *number), StateFault::Piece);
    assert!(matches!(
        lied(&mut story, 1, |message| match message {
            StateMessage::Piece { block, number, .. } => StateMessage::Piece { block, number, bytes: vec![0; 1 << 20] },
            other => other,
        }),
        StateFault::Message(_)
    ));
}

#[test]
fn silent_members_are_left_and_good_pieces_stay() {
    let mut story = rich();
    let mut newcomer = newcomer(&story, 1);
    let (first, ask) = newcomer.joined(0, 0).unwrap();
    assert_eq!(first, 0);
    assert_eq!(newcomer.joined(1, 0), None);
    let state = answers(&mut story, 0, &ask).remove(0);
    let (Some((_, want)), None) = newcomer.hear(0, &state, 0) else { panic!() };
    let pieces = answers(&mut story, 0, &want);
    assert_eq!(pieces.len(), 2);
    // What somebody says who was not asked, or twice, counts for nothing.
    assert_eq!(newcomer.hear(1, &pieces[0], 0), (None, None));
    assert_eq!(newcomer.hear(0, &pieces[0], 1), (None, None));
    assert_eq!(newcomer.hear(0, &pieces[0], 1), (None, None));
    assert_eq!(newcomer.hear(0, &state, 1), (None, None));
    assert_eq!(newcomer.progress(), Some((1, 2)));
    assert_eq!((newcomer.deadline(), newcomer.tick(PATIENCE_MS)), (Some(1 + PATIENCE_MS), None));
    let (second, ask) = newcomer.tick(1 + PATIENCE_MS).unwrap();
    assert_eq!(second, 1);
    let state = answers(&mut story, 1, &ask).remove(0);
    let (Some((_, want)), None) = newcomer.hear(1, &state, 9_000) else { panic!() };
    let spec = story.members[0].group.genesis().spec().clone();
    assert!(matches!(StateMessage::decode(&want, &spec), Ok(StateMessage::Want { numbers, .. }) if numbers == [1]));
    // This one goes as well. Nobody is left; whoever comes next is asked.
    assert_eq!(newcomer.left(1, 9_500), None);
    let (third, _) = newcomer.joined(2, 9_600).unwrap();
    assert_eq!(third, 2);
    let post = newcomer.tick(20_000);
    pump(&mut story, &mut newcomer, post, 20_000);
    shows(&newcomer, &story);
}

#[test]
fn a_state_that_moves_on_while_it_is_fetched_is_fetched_all_the_same() {
    let mut story = rich();
    let mut newcomer = newcomer(&story, 1);
    let (_, ask) = newcomer.joined(0, 0).unwrap();
    let state = answers(&mut story, 0, &ask).remove(0);
    let (Some((_, want)), None) = newcomer.hear(0, &state, 0) else { panic!() };
    // Pieces of a block that is no longer the last are put together from what the blocks since have changed.
    story.note(0);
    story.seal(3);
    for answer in answers(&mut story, 0, &want) {
        assert_eq!(newcomer.hear(0, &answer, 0).1, None);
    }
    assert_eq!(newcomer.view().unwrap().block.height.0, story.members[0].height() - 1);
    // Where that is settled, the member says so, and the newcomer asks anew.
    let (_, ask) = newcomer.tick(REFRESH_MS).unwrap();
    let state = answers(&mut story, 0, &ask).remove(0);
    let (Some((_, want)), None) = newcomer.hear(0, &state, 0) else { panic!() };
    story.note(0);
    story.seal(3);
    let height = Height(story.members[0].height());
    story.members[0].group.settle(height);
    let answer = answers(&mut story, 0, &want);
    assert_eq!(answer.len(), 1);
    let (post, fault) = newcomer.hear(0, &answer[0], 0);
    assert_eq!(fault, None);
    pump(&mut story, &mut newcomer, post, 0);
    shows(&newcomer, &story);
}

#[test]
fn members_without_blocks_have_nothing_and_do_no_harm() {
    let mut story = Story::whole();
    story.members[4] = Member::new(4);
    let mut newcomer = newcomer(&story, 1);
    let post = newcomer.joined(4, 0);
    pump(&mut story, &mut newcomer, post, 0);
    assert!(newcomer.view().is_none());
    assert_eq!(newcomer.deadline(), Some(REFRESH_MS));
    let post = newcomer.joined(0, 10);
    pump(&mut story, &mut newcomer, post, 10);
    shows(&newcomer, &story);
}

#[test]
fn the_golden_messages_of_the_state_keep_their_bytes_and_have_no_other() {
    let mut story = Story::beginning();
    let spec = story.members[0].group.genesis().spec().clone();
    let (mut newcomer, mut lines) = (newcomer(&story, 1), Vec::new());
    let mut queue = Vec::from_iter(newcomer.joined(0, 0));
    while let Some((member, message)) = queue.pop() {
        let answers = answers(&mut story, member, &message);
        lines.push(message);
        for answer in answers {
            queue.extend(newcomer.hear(member, &answer, 0).0);
            lines.push(answer);
        }
    }
    let known = newcomer.view().map(|view| view.id);
    lines.push(StateMessage::Ask { from: known.unwrap(), known }.encode());
    lines.push(StateMessage::Nothing(known.unwrap()).encode());
    for bytes in &lines {
        for at in 0..bytes.len() {
            assert!(StateMessage::decode(&bytes[..at], &spec).is_err());
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            if let Ok(other) = StateMessage::decode(&changed, &spec) {
                assert_eq!(other.encode(), changed, "a second encoding passed");
            }
        }
    }
    let text: String = lines.iter().map(|bytes| hex::encode(bytes) + "\n").collect();
    assert_eq!(text, include_str!("../golden/state.hex"));
}
