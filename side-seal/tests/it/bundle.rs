//! Proofs that need no node: what they show, and what shows nothing.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use proptest::prelude::*;
use side_ledger::block::{Block, Epoch, Height, SetNumber};
use side_ledger::group::Group;
use side_ledger::receipt::Reason;
use side_ledger::transaction::{SetClose, Transfer, VoterAsk};
use side_seal::bundle::{Anchor, Bundle, BundleError, MAX_BUNDLE_BYTES, NotProven, Trusted};
use side_seal::certificate::{Authority, CertificateFault, Opening, ProveError, Seal, Step, can_anchor, held_at};
use side_seal::warrant::WarrantFault;
use side_seal::{Engine, Hold, Leader, SignedBlock, Warrant};

use crate::members::{Member, carry, key, keypair, share};

/// Members with a chain of three sets and three epochs, and a change in the first of its blocks that pays 3 and fails to pay 1,000.
pub(crate) struct Story {
    pub(crate) members: Vec<Member>,
    paid: ChangeId,
    now_ms: u64,
}

impl Story {
    pub(crate) fn beginning() -> Self {
        let mut story = Self { members: Member::founders().into(), paid: ChangeId([0; 32]), now_ms: 0 };
        let pay = |amount| Transfer { to: key(3), amount }.into();
        let by = &mut story.members[1];
        story.paid = by.group.write(&[pay(3), pay(1_000)], &keypair(1), 5).unwrap().change.id();
        share(&mut story.members);
        story.seal(0);
        story
    }

    /// Everybody hears of a block that this one seals, and of the words.
    pub(crate) fn seal(&mut self, by: usize) {
        self.now_ms += 10_000;
        let height = self.members[by].height();
        let effects = self.members[by].tick(self.now_ms);
        carry(&mut self.members, effects);
        assert!(self.members.iter().all(|member| member.height() == height + 1));
    }

    fn close(&mut self, by: usize) {
        let set = self.members[by].group.chain().governance().set;
        self.members[by].write(SetClose { set });
        share(&mut self.members);
        self.seal(by);
        assert_eq!(self.members[by].group.chain().governance().set, SetNumber(set.0 + 1));
    }

    pub(crate) fn note(&mut self, by: usize) {
        self.members[by].note();
        share(&mut self.members);
    }

    fn switch(&mut self, voters: &[usize], to: usize) {
        for at in voters {
            self.members[*at].vote(to);
        }
        share(&mut self.members);
        self.seal(to);
        assert_eq!(self.members[0].group.chain().governance().sealers, [key(to)]);
    }

    pub(crate) fn whole() -> Self {
        let mut story = Self::beginning();
        // Two switches in one set: the first leaves no trace in a proof.
        story.switch(&[1, 2, 3], 2);
        story.switch(&[1, 2, 3], 1);
        let mut friend = Member::new(4);
        friend.learn(story.members[0].log());
        story.members.push(friend);
        let blocks = story.members[0].group.chain().blocks().iter();
        let blocks = blocks.map(|sealed| story.members[0].leader.block(&sealed.id).unwrap().clone()).collect();
        story.members[4].hear(side_seal::Message::Blocks(blocks));
        let tip = story.members[4].group.chain().tip_id();
        story.members[4].write(VoterAsk { block: tip });
        share(&mut story.members);
        // The first sealer leaves with the words of those who stay; the next set ends as a new epoch begins.
        story.close(1);
        story.note(1);
        story.seal(1);
        story.close(1);
        story.switch(&[2, 3], 3);
        story.note(3);
        story.seal(3);
        let rank = story.members[0].group.chain().rank();
        assert_eq!((rank.set, rank.epoch), (SetNumber(2), Epoch(3)));
        story
    }

    fn prove(&mut self, by: usize, from: u64) -> Bundle {
        self.try_prove(by, self.paid, from).unwrap()
    }

    fn try_prove(&mut self, by: usize, id: ChangeId, from: u64) -> Result<Bundle, NotProven> {
        self.with_engine(by, |group, engine| Bundle::prove(group, engine, &id, Height(from)))
    }

    /// Calls what asks for either mode's engine.
    pub(crate) fn with_engine<T>(&mut self, at: usize, call: impl FnOnce(&mut Group, &Engine) -> T) -> T {
        let member = &mut self.members[at];
        let engine = Engine::Leader(Box::new(std::mem::replace(&mut member.leader, Leader::new(None))));
        let came_to = call(&mut member.group, &engine);
        if let Engine::Leader(leader) = engine {
            member.leader = *leader;
        }
        came_to
    }
}

/// Whatever came about in a simulated group: if its last blocks are held, what was sealed up to there is proven from the genesis and from a block in the middle. Tells how often.
pub(crate) fn all_is_proven(group: &mut Group, engine: &Engine) -> usize {
    let Ok(held) = held_at(group, engine, Height(1)) else { return 0 };
    let mut proven = 0;
    for number in [0, group.replica().len() / 2, group.replica().len() - 1] {
        let index = ChangeIdx(number as u32);
        let id = group.replica().id(index);
        if group.chain().sealed_at(index).is_none_or(|height| height > held) {
            continue;
        }
        for from in [0, held.0 / 3, held.0 / 2, held.0] {
            if from > 0 && !can_anchor(group, engine, Height(from)) {
                continue;
            }
            let ends_set = group
                .chain()
                .governance_after(held)
                .is_some_and(|after| after.set > group.chain().at(held).unwrap().block.set);
            if from == held.0 && ends_set {
                continue;
            }
            let bundle = Bundle::prove(group, engine, &id, Height(from)).unwrap();
            let read: Bundle = bundle.to_string().parse().unwrap();
            let verified = read.verify(&trusted(&read)).unwrap();
            assert_eq!((read, verified.receipt.id), (bundle, id));
            proven += 1;
        }
    }
    proven
}

fn trusted(bundle: &Bundle) -> Trusted {
    let checkpoint = match &bundle.anchor {
        Anchor::Genesis => None,
        Anchor::Checkpoint { block, .. } => Some(block.id().unwrap()),
    };
    Trusted { group: Some(bundle.group()), checkpoint }
}

fn fault(bundle: &Bundle) -> Option<BundleError> {
    // What is changed in memory has to be refused as a file as well.
    let text = bundle.to_string();
    text.parse::<Bundle>().and_then(|bundle| bundle.verify(&trusted(&bundle))).err()
}

#[test]
fn a_proof_is_checked_with_nothing_beside_it() {
    let mut story = Story::beginning();
    let bundle = story.prove(2, 0);
    let text = bundle.to_string();
    assert!(text.len() < 3_000, "{}", text.len());
    let read: Bundle = format!(" {text}\n").parse().unwrap();
    assert_eq!(read, bundle);
    let verified = read.verify(&Trusted::default()).unwrap();
    assert_eq!((verified.standing.holders, verified.standing.voters, verified.standing.quorum), (4, 4, 3));
    assert_eq!((verified.receipt.id, verified.receipt.verdict), (story.paid, None));
    let came_to: Vec<_> =
        verified.transactions.iter().map(|(entry, reason)| (&*entry.kind, entry.author, *reason)).collect();
    assert_eq!(came_to, [("transfer", key(1), None), ("transfer", key(1), Some(Reason::Balance))]);
    assert_eq!(Some(verified.block), story.members[0].group.chain().at(Height(1)).map(|sealed| sealed.id));
    // Another group is meant.
    let meant = Trusted { group: Some(side_ledger::GroupId([1; 32])), checkpoint: None };
    assert_eq!(read.verify(&meant), Err(BundleError::OtherGroup(bundle.group())));
}

#[test]
fn a_proof_follows_the_members_from_set_to_set_whatever_it_begins_with() {
    let mut story = Story::whole();
    let bundle = story.prove(0, 0);
    let kinds: Vec<&str> = bundle
        .steps
        .iter()
        .map(|step| match step {
            Step::Epoch(_) => "epoch",
            Step::Close { authority: Authority::Words(_), .. } => "words",
            Step::Close { authority: Authority::Epoch(_), .. } => "votes",
            Step::Votes(_) | Step::Ended { .. } => "of the other mode",
        })
        .collect();
    assert_eq!(kinds, ["epoch", "words", "votes"]);
    let top = story.members[0].height();
    let (mut begun, mut last) = (0, bundle.encode().len());
    for from in 0..=top {
        if from > 0 && !story.with_engine(0, |group, engine| can_anchor(group, engine, Height(from))) {
            let refused = story.try_prove(0, story.paid, from);
            assert_eq!(refused, Err(NotProven::Block(ProveError::Anchor(CertificateFault::LastOfSet))));
            continue;
        }
        begun += 1;
        let bundle = story.prove(0, from);
        let read: Bundle = bundle.to_string().parse().unwrap();
        assert_eq!(read, bundle);
        let verified = read.verify(&trusted(&read)).unwrap();
        assert_eq!((verified.receipt.id, verified.transactions.len()), (story.paid, 2));
        assert_eq!(verified.block, story.members[0].group.chain().tip_id());
        if from > 0 {
            // Without its checkpoint it is refused.
            let Some(id) = trusted(&read).checkpoint else { panic!("it begins with a checkpoint") };
            let unnamed = Trusted { checkpoint: None, ..trusted(&read) };
            assert_eq!(read.verify(&unnamed), Err(BundleError::OtherCheckpoint(id)));
        }
        last = last.min(bundle.encode().len());
    }
    assert_eq!(begun, top - 1, "two blocks end a set");
    assert!(last < bundle.encode().len() / 2, "what is near is short");
}

#[test]
fn what_no_block_covers_or_too_few_hold_is_not_proven() {
    let mut story = Story::beginning();
    let written = story.members[0].note();
    share(&mut story.members);
    assert_eq!(story.try_prove(0, written.id, 0), Err(NotProven::Pending));
    assert_eq!(story.try_prove(0, ChangeId([9; 32]), 0), Err(NotProven::Unknown));
    // Sealed, and nobody else has said that it holds it.
    story.members[0].tick(50_000);
    let few = ProveError::NotHeld { have: 1, voters: 4, needed: 3 };
    assert_eq!(story.try_prove(0, written.id, 0), Err(NotProven::Block(few)));
    // What was sealed before is proven by the block before.
    let bundle = story.prove(0, 0);
    assert_eq!(bundle.proof.block.height, Height(1));
    assert_eq!(fault(&bundle), None);
}

#[test]
fn words_for_later_blocks_count_for_those_before() {
    let mut story = Story::beginning();
    // Each block reaches one member more than the next.
    for reach in [4, 3, 2] {
        story.note(0);
        story.now_ms += 10_000;
        let effects = story.members[0].tick(story.now_ms);
        carry(&mut story.members[..reach], effects);
    }
    let bundle = story.prove(0, 0);
    let Seal::Held { links, holds, .. } = &bundle.seal else { panic!() };
    assert_eq!((bundle.proof.block.height, links.len(), holds.len()), (Height(3), 1, 3));
    let bundle_voter = holds[2].voter;
    assert_eq!(fault(&bundle), None);
    let with = |change: &dyn Fn(&mut Vec<Block>, &mut Vec<Hold>)| {
        let mut changed = bundle.clone();
        let Seal::Held { links, holds, .. } = &mut changed.seal else { panic!() };
        change(links, holds);
        fault(&changed)
    };
    let other = Some(BundleError::Certificate(WarrantFault::OtherBlock.into()));
    let few = Some(BundleError::Certificate(WarrantFault::TooFew { found: 2, needed: 3 }.into()));
    let elector = Some(BundleError::Certificate(WarrantFault::Elector.into()));
    assert_eq!(with(&|_, holds| holds.truncate(2)), few);
    assert_eq!(with(&|links, _| links.clear()), other);
    assert_eq!(with(&|_, holds| holds[1] = holds[0]), elector);
    assert_eq!(with(&|_, holds| holds.swap(0, 1)), elector);
    let parent = Some(BundleError::Certificate(CertificateFault::Parent));
    assert_eq!(with(&|links, _| links[0].time_ms += 1), other);
    assert_eq!(with(&|links, _| links[0].parent.0[0] ^= 1), parent);
    // A block that nobody's word is about has no place in it.
    story.note(0);
    let more = story.members[0].forge(0, |block| block, Warrant::default()).block().clone();
    assert_eq!(with(&|links, _| links.push(more.clone())), other);
    // Nor has a stranger's word.
    let stranger = |hold: &Hold| Hold::sign(hold.group, hold.rank, hold.block, &keypair(9));
    assert_eq!(with(&|_, holds| holds[2] = stranger(&holds[2])), elector);
    // Nor a voter's word that names another group.
    let voter = (0..4).map(keypair).find(|voter| voter.author() == bundle_voter).unwrap();
    let group = side_ledger::GroupId([9; 32]);
    let foreign = |hold: &Hold| Hold::sign(group, hold.rank, hold.block, &voter);
    assert_eq!(
        with(&|_, holds| holds[2] = foreign(&holds[2])),
        Some(BundleError::Certificate(CertificateFault::Group))
    );
}

#[test]
fn forged_steps_lead_nowhere() {
    let mut story = Story::whole();
    let good = story.prove(0, 0);
    let with = |change: &dyn Fn(&mut Vec<Step>)| {
        let mut changed = good.clone();
        change(&mut changed.steps);
        match fault(&changed) {
            Some(BundleError::Certificate(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(&|steps| drop(steps.remove(0))), CertificateFault::Rank);
    assert_eq!(with(&|steps| drop(steps.remove(1))), CertificateFault::Rank);
    assert_eq!(with(&|steps| steps.swap(0, 1)), CertificateFault::Rank);
    assert_eq!(with(&|steps| steps.truncate(2)), CertificateFault::Rank);
    // The sealer gives the next set a friend of its own: it signs, but the voters' words are for another block.
    let closing = |steps: &mut Vec<Step>, forge: &dyn Fn(&mut Opening), signer: usize| {
        let Step::Close { last, opening, authority: Authority::Words(holds) } = &mut steps[1] else { panic!() };
        forge(opening);
        opening.state.governance = opening.governance.hash();
        let block = Block { state_root: opening.state.root(), ..last.block().clone() };
        *last = SignedBlock::sign(block, &keypair(signer), Warrant::default()).unwrap();
        (last.clone(), holds.clone())
    };
    let friend = |opening: &mut Opening| opening.governance.voters.extend([key(7)]);
    assert_eq!(with(&|steps| drop(closing(steps, &friend, 1))), CertificateFault::NextSet);
    let stays = |opening: &mut Opening| opening.governance.voters.extend([key(0)]);
    assert_eq!(with(&|steps| drop(closing(steps, &stays, 1))), WarrantFault::OtherBlock.into());
    assert_eq!(with(&|steps| drop(closing(steps, &stays, 2))), CertificateFault::Signer);
    // With the sealer's own word, a stranger's, and one of another voter that it holds what is below, it is still not enough.
    let words = |steps: &mut Vec<Step>, voters: &[usize]| {
        let (last, _) = closing(steps, &stays, 1);
        let mut voters: Vec<_> = voters.iter().map(|at| keypair(*at)).collect();
        voters.sort_by_key(|keypair| keypair.author());
        let forged =
            voters.iter().map(|voter| Hold::sign(last.block().group, last.block().rank(), last.id(), voter)).collect();
        let Step::Close { authority, .. } = &mut steps[1] else { panic!() };
        *authority = Authority::Words(forged);
    };
    assert_eq!(with(&|steps| words(steps, &[1, 2])), WarrantFault::TooFew { found: 2, needed: 3 }.into());
    assert_eq!(with(&|steps| words(steps, &[1, 2, 7])), WarrantFault::Elector.into());
    // An opening of another block.
    let state = with(&|steps| {
        let Step::Close { opening, .. } = &mut steps[1] else { panic!() };
        opening.state.changes += 1;
    });
    assert_eq!(state, CertificateFault::State);
    // Votes for another sealer, and an epoch that goes back.
    let stolen = with(&|steps| {
        let Step::Epoch(first) = &mut steps[0] else { panic!() };
        *first = SignedBlock::sign(first.block().clone(), &keypair(2), first.warrant().clone()).unwrap();
    });
    assert_eq!(stolen, CertificateFault::Signer);
    let below = with(&|steps| {
        let Step::Epoch(first) = &mut steps[0] else { panic!() };
        let block = Block { parent: side_ledger::BlockId([7; 32]), ..first.block().clone() };
        *first = SignedBlock::sign(block, &keypair(1), first.warrant().clone()).unwrap();
    });
    assert_eq!(below, CertificateFault::Parent);
}

#[test]
fn a_forged_checkpoint_is_refused() {
    let mut story = Story::whole();
    let bundle = story.prove(0, 5);
    let Anchor::Checkpoint { block, opening } = bundle.anchor.clone() else { panic!() };
    let with = |block: &Block, opening: &Opening| {
        let anchor = Anchor::Checkpoint { block: Box::new(block.clone()), opening: Box::new(opening.clone()) };
        fault(&Bundle { anchor, ..bundle.clone() })
    };
    assert_eq!(with(&block, &opening), None);
    let mut richer = opening.clone();
    richer.governance.voters.insert(key(7));
    assert_eq!(with(&block, &richer), Some(BundleError::Certificate(CertificateFault::State)));
    richer.state.governance = richer.governance.hash();
    assert_eq!(with(&block, &richer), Some(BundleError::Certificate(CertificateFault::State)));
    // With a block of its own to match, it is another block, which its reader did not name.
    let forged = Block { state_root: richer.state.root(), ..*block.clone() };
    let anchor = Anchor::Checkpoint { block: Box::new(forged.clone()), opening: richer };
    let other = Bundle { anchor, ..bundle.clone() };
    let id = forged.id().unwrap();
    assert_eq!(other.verify(&trusted(&bundle)), Err(BundleError::OtherCheckpoint(id)));
    // Of another rank than its state, or of another group.
    let raised = Block { epoch: Epoch(3), ..*block.clone() };
    assert_eq!(with(&raised, &opening), Some(BundleError::Certificate(CertificateFault::State)));
    let elsewhere = Block { group: side_ledger::GroupId([1; 32]), ..*block };
    assert_eq!(with(&elsewhere, &opening), Some(BundleError::Certificate(CertificateFault::Group)));
}

#[test]
fn the_golden_bundles_keep_their_bytes() {
    let mut story = Story::whole();
    let lines = [0, 5].map(|from| story.prove(0, from).to_string() + "\n").concat();
    assert_eq!(lines, include_str!("../golden/bundles.txt"));
}

#[test]
fn no_other_byte_of_a_proof_is_taken() {
    let bundle = Story::beginning().prove(0, 0);
    let bytes = bundle.encode();
    for at in 0..bytes.len() {
        assert!(Bundle::decode(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let shown = Bundle::decode(&changed).and_then(|other| {
            assert_eq!(other.encode(), changed, "a second encoding passed");
            other.verify(&Trusted::default())
        });
        assert!(shown.is_err(), "byte {at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Bundle::decode(&longer).is_err());
    assert_eq!(Bundle::decode(&vec![1; MAX_BUNDLE_BYTES + 1]), Err(BundleError::TooLong));
    assert_eq!(Bundle::decode(&[2]), Err(BundleError::Version(2)));
    let text = bundle.to_string();
    assert_eq!("".parse::<Bundle>(), Err(BundleError::Text));
    assert_eq!(text[1..].parse::<Bundle>(), Err(BundleError::Text));
    assert_eq!((text.clone() + "=").parse::<Bundle>(), Err(BundleError::Text));
    assert!((text + "A").parse::<Bundle>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn no_flipped_bit_of_a_long_proof_passes(at in any::<prop::sample::Index>(), bit in 0u8..8, from in prop::sample::select(vec![0u64, 5])) {
        use std::sync::OnceLock;
        static BYTES: OnceLock<[(Vec<u8>, Trusted); 2]> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let mut story = Story::whole();
            [0, 5].map(|from| { let bundle = story.prove(0, from); (bundle.encode(), trusted(&bundle)) })
        });
        let (bytes, trusted) = &bytes[usize::from(from == 5)];
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(Bundle::decode(&changed).and_then(|other| other.verify(trusted)).is_err(), "byte {}", at);
    }
}
