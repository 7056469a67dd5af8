//! What liars send to a replica, one test for each attack.

use std::time::Instant;

use bft_json_crdt::change::{Change, ChangeId, DocumentId, MAX_DEPS};
use bft_json_crdt::document::InvalidReason;
use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::evidence::{EquivocationProof, MAX_CHAIN, SignedChain, Voucher};
use bft_json_crdt::ops::{OpsBuilder, Ref, Source, Unit};
use bft_json_crdt::replica::{Incoming, Invalid, Known, Limits, Malformed, Replica, Verdict};
use bytes::Bytes;

use crate::world::*;

fn waiting(missing: &[&Change]) -> Verdict {
    Verdict::Waiting { missing: missing.iter().map(|change| change.id()).collect() }
}

/// Operations that delete unit `offset` of a change named by id.
fn delete_of(target: ChangeId, offset: u32) -> Vec<u8> {
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(target).unwrap();
    builder.push(Unit::Delete { target: Ref { source, offset } }).unwrap();
    builder.finish().encode().unwrap()
}

#[test]
fn forged_author() {
    let (alice, mallory) = (key(1), key(2));
    let mut replica = reader();
    // Signed by Mallory, in Alice's name.
    let signature = craft(&mallory, None, &[], 7, &no_ops()).signature();
    let forged = Change::from_parts(header(&alice, None, &[], 7), &no_ops(), signature);
    assert_eq!(give(&mut replica, [&forged]), [Verdict::Unauthenticated]);
    assert_eq!(replica.knows(&forged.id()), Known::Unknown, "nothing is remembered");
    // Mallory's own change with Alice's key put in its place.
    let real = craft(&mallory, None, &[], 7, &no_ops());
    let mut bytes = real.bytes().to_vec();
    let at = bytes.windows(32).position(|window| window == mallory.author().as_bytes()).unwrap();
    bytes[at..at + 32].copy_from_slice(alice.author().as_bytes());
    let forged = Change::decode(bytes.into()).unwrap();
    assert_eq!(forged.author(), alice.author());
    assert_eq!(give_batch(&mut replica, [&forged, &real]), [Verdict::Unauthenticated, Verdict::Applied]);
    assert_eq!(replica.authors().collect::<Vec<_>>(), [mallory.author()]);
    // Mallory's own signature on a change that claims to follow Alice's vouches for nothing of hers, in the frame or as a voucher.
    let forged = unsigned(&craft(&alice, None, &[], 8, &no_ops()));
    let follower = craft(&mallory, Some(&forged), &[], 8, &no_ops());
    let mut replica = reader();
    assert_eq!(give_batch(&mut replica, [&forged, &follower])[0], Verdict::Unauthenticated);
    let voucher = SignedChain::of([&follower]).map(Voucher);
    assert_eq!(verdict(&replica.apply(Incoming { change: forged, voucher })), Verdict::Unauthenticated);
    assert!(replica.is_empty());
}

#[test]
fn tampered_content() {
    let alice = key(1);
    let change = note(&mut writer(&alice), &alice, "pay 10");
    // Other operations under the old hash are not a change at all.
    let at = change.bytes().windows(2).position(|window| window == b"10").unwrap();
    let mut bytes = change.bytes().to_vec();
    bytes[at] = b'9';
    Change::decode(bytes.into()).expect_err("the operations are hashed");
    // With the right hash the id is another, and so the signature is none.
    let ops: Vec<u8> = change.ops().iter().map(|byte| if *byte == b'1' { b'9' } else { *byte }).collect();
    let tampered = Change::from_parts(change.header().clone(), &ops, change.signature());
    assert_ne!(tampered.id(), change.id());
    // A header field likewise.
    let mut header = change.header().clone();
    header.time_ms += 1;
    let shifted = Change::from_parts(header, change.ops(), change.signature());
    let mut replica = reader();
    assert_eq!(give(&mut replica, [&tampered, &shifted]), [Verdict::Unauthenticated, Verdict::Unauthenticated]);
    assert_eq!(give(&mut replica, [&change]), [Verdict::Applied]);
}

#[test]
fn malformed_operations_are_refused_before_the_signature_is_asked() {
    let alice = key(1);
    let mut replica = reader();
    let bad = craft(&alice, None, &[], 0, &[0, 0, 0, 0, 0]);
    for copy in [&bad, &unsigned(&bad)] {
        assert!(matches!(give(&mut replica, [copy])[..], [Verdict::Malformed(Malformed::Ops(_))]));
    }
    assert_eq!(replica.knows(&bad.id()), Known::Unknown);
}

#[test]
fn true_change_with_a_wrong_signature_sent_first() {
    let alice = key(1);
    let mut source = writer(&alice);
    let changes = [note(&mut source, &alice, "one"), note(&mut source, &alice, "two")];
    let mut replica = reader();
    let bad = unsigned(&changes[0]);
    assert_eq!(bad.id(), changes[0].id());
    assert_eq!(give(&mut replica, [&bad]), [Verdict::Unauthenticated]);
    assert_eq!(give(&mut replica, &changes), [Verdict::Applied, Verdict::Applied]);
    // And within one batch.
    let mut replica = reader();
    assert_eq!(give_batch(&mut replica, [&bad, &changes[0]])[1], Verdict::Applied);
    // And as an orphan: it takes no room.
    let mut replica = reader();
    assert_eq!(give(&mut replica, [&unsigned(&changes[1])]), [Verdict::Unauthenticated]);
    assert_eq!(replica.kept_aside(), [(0, 0); 3]);
    assert_eq!(give(&mut replica, [&changes[1]]), [waiting(&[&changes[0]])]);
    assert_eq!(give(&mut replica, [&changes[0]]), [Verdict::Applied]);
    assert_eq!(replica.digest(), source.digest());
}

#[test]
fn tip_that_vouches_for_a_bad_interior_signature() {
    let mallory = key(2);
    let mut source = writer(&mallory);
    let chain: Vec<Change> = (0..5).map(|n| note(&mut source, &mallory, &n.to_string())).collect();
    let bad: Vec<Change> = chain[..4].iter().map(unsigned).collect();

    // In one frame the tip vouches for all of them, and each is kept with its voucher.
    let mut replica = reader();
    let verdicts = give_batch(&mut replica, bad.iter().chain([&chain[4]]));
    assert_eq!(verdicts, vec![Verdict::Applied; 5]);
    assert_eq!(replica.digest(), source.digest());
    let passed_on = all(&replica);
    for (n, incoming) in passed_on.iter().enumerate() {
        assert_eq!(incoming.voucher.as_ref().map(|voucher| voucher.0.headers.len()), (n < 4).then_some(4 - n));
    }
    // Each travels alone with its voucher, and is stored with it.
    let mut third = reader();
    for incoming in passed_on.clone() {
        assert_eq!(verdict(&third.apply(incoming)), Verdict::Applied);
    }
    assert_eq!(third.digest(), source.digest());
    let saved = Replica::load_archive(&third.save().into(), Limits::default(), None).unwrap();
    assert_eq!(all(&saved).iter().filter(|incoming| incoming.voucher.is_some()).count(), 4);
    let mut fourth = reader();
    fourth.load(passed_on.clone()).unwrap();
    assert_eq!(fourth.digest(), source.digest());

    // Without it, it is nothing, whoever else is in the frame.
    let stranger = craft(&key(3), None, &[], 0, &no_ops());
    assert_eq!(
        give_batch(&mut reader(), [&bad[0], &stranger]),
        [Verdict::Unauthenticated, Verdict::Applied],
        "another author does not vouch"
    );
    // A gap on the way, a voucher for another change, a chain that is not linked, and one that is too long: no.
    assert_eq!(
        give_batch(&mut reader(), [&bad[0], &bad[1], &chain[3]]),
        [Verdict::Unauthenticated, Verdict::Unauthenticated, waiting(&[&chain[2]])]
    );
    let wrong = Incoming { change: bad[0].clone(), voucher: passed_on[1].voucher.clone() };
    assert_eq!(verdict(&reader().apply(wrong)), Verdict::Unauthenticated);
    let gap = SignedChain::of([&chain[1], &chain[3]]).map(Voucher);
    assert_eq!(verdict(&reader().apply(Incoming { change: bad[0].clone(), voucher: gap })), Verdict::Unauthenticated);
    let unsigned_tip = SignedChain::of([&chain[1], &unsigned(&chain[2])]).map(Voucher);
    let incoming = Incoming { change: bad[0].clone(), voucher: unsigned_tip };
    assert_eq!(verdict(&reader().apply(incoming)), Verdict::Unauthenticated);
    // `deps` never vouch.
    let dependent = craft(&key(3), None, &[bad[0].id()], 0, &no_ops());
    assert_eq!(give_batch(&mut reader(), [&bad[0], &dependent]), [Verdict::Unauthenticated, waiting(&[&chain[0]])]);
}

#[test]
fn a_tip_vouches_for_so_many_and_no_more() {
    let mallory = key(2);
    let mut chain = vec![craft(&mallory, None, &[], 0, &no_ops())];
    while chain.len() <= MAX_CHAIN {
        chain.push(craft(&mallory, chain.last(), &[], 0, &no_ops()));
    }
    let tip = chain.pop().unwrap();
    let bad: Vec<Change> = chain.iter().map(unsigned).collect();
    let mut replica = reader();
    let verdicts = give_batch(&mut replica, bad.iter().chain([&tip]));
    assert_eq!(verdicts[0], Verdict::Unauthenticated, "{MAX_CHAIN} steps before the tip");
    assert!(verdicts[1..].iter().all(|verdict| matches!(verdict, Verdict::Waiting { .. })));
    let voucher = SignedChain::of(chain[1..].iter().chain([&tip])).map(Voucher);
    assert_eq!(voucher.as_ref().unwrap().0.headers.len(), MAX_CHAIN);
    let incoming = Incoming { change: bad[0].clone(), voucher };
    assert_eq!(verdict(&replica.apply(incoming)), Verdict::Unauthenticated);
    assert_eq!(give(&mut replica, [&chain[0]]), [Verdict::Applied]);
    assert_eq!(replica.len(), MAX_CHAIN + 1);
}

#[test]
fn replay_into_another_document() {
    let alice = key(1);
    let change = note(&mut writer(&alice), &alice, "here");
    let mut other = Replica::new(DocumentId([0xee; 32]), Limits::default());
    assert_eq!(give(&mut other, [&change]), [Verdict::Malformed(Malformed::Document)]);
    // Moving it over changes the id.
    let mut header = change.header().clone();
    header.document = other.document_id();
    let moved = Change::from_parts(header, change.ops(), change.signature());
    assert_eq!(give(&mut other, [&moved]), [Verdict::Unauthenticated]);
    assert!(other.is_empty());
}

#[test]
fn wrong_previous() {
    let (alice, mallory) = (key(1), key(2));
    let mut replica = reader();
    let first = craft(&mallory, None, &[], 0, &no_ops());
    let of_alice = craft(&alice, None, &[], 0, &no_ops());
    give(&mut replica, [&first, &of_alice]);
    let foreign = craft(&mallory, Some(&of_alice), &[], 0, &no_ops());
    let mut skipping = header(&mallory, Some(&first), &[], 0);
    skipping.seq = 3;
    let skipping = Change::sign(&mallory, skipping, &no_ops());
    let invalid = Verdict::Invalid(Invalid::Previous);
    assert_eq!(give(&mut replica, [&foreign, &skipping]), [invalid.clone(), invalid.clone()]);
    // Remembered, and the same whether it waited first or not.
    assert_eq!(give(&mut replica, [&foreign])[0], invalid);
    let mut late = reader();
    assert_eq!(give(&mut late, [&foreign]), [waiting(&[&of_alice])]);
    let outcome = late.apply(of_alice.clone().into());
    assert_eq!(outcome.settled, [(foreign.id(), invalid)]);
    assert_eq!(late.len(), 1);
}

#[test]
fn equivocation_shown_branch_by_branch_to_two_nodes() {
    let (alice, bob, mallory) = (key(1), key(2), key(3));
    let keys = [Some(alice.clone()), Some(bob.clone()), None];
    let mut replicas = [writer(&alice), writer(&bob), reader()];
    let root = note(&mut writer(&mallory), &mallory, "root");
    let branches: Vec<Change> = (0..2).map(|n| craft(&mallory, Some(&root), &[], n, &delete_of_own())).collect();
    for replica in &mut replicas {
        give(replica, [&root]);
    }
    for (replica, branch) in replicas.iter_mut().zip(&branches) {
        assert_eq!(give(replica, [branch]), [Verdict::Applied]);
        assert!(!replica.is_proven(&mallory.author()));
    }
    // Whoever sees the second branch has a proof that convinces anybody, and holds the branch back.
    let outcome = replicas[0].apply(branches[1].clone().into());
    assert_eq!(verdict(&outcome), Verdict::HeldBack);
    let [proof] = &outcome.proofs[..] else { panic!("one proof") };
    proof.verify().unwrap();
    assert_eq!(proof.author(), mallory.author());
    assert!(replicas[0].needs_acknowledgement());
    // The reader saw the first branch, and takes it out again when it learns of the fork.
    give(&mut replicas[2], [&branches[0]]);
    assert!(replicas[2].apply_proof(proof.clone()).unwrap().rebuilt);
    assert_eq!(replicas[2].len(), 0, "nobody else had acknowledged the root");
    assert_eq!(replicas[2].knows(&branches[0].id()), Known::HeldBack);

    exchange(&mut replicas, &keys);
    assert_converged(&replicas);
    for replica in &replicas {
        assert!(branches.iter().all(|branch| replica.index_of(&branch.id()).is_some()), "both were acknowledged");
        assert_eq!(replica.leaves(&mallory.author()).len(), 2);
    }
    // From here on it can add nothing, on any branch.
    let more = craft(&mallory, Some(&branches[0]), &[], 9, &no_ops());
    let more_roots = craft(&mallory, None, &[], 9, &no_ops());
    for replica in &mut replicas {
        assert_eq!(give(replica, [&more, &more_roots]), [Verdict::HeldBack, Verdict::HeldBack]);
    }
    // Unless somebody unproven depends on it.
    let carol = key(4);
    let dependent = craft(&carol, None, &[more.id()], 0, &no_ops());
    for replica in &mut replicas {
        assert_eq!(give(replica, [&dependent]), [Verdict::Applied]);
    }
    assert_converged(&replicas);
}

/// Deletes the first unit of the author's own change before.
fn delete_of_own() -> Vec<u8> {
    let mut builder = OpsBuilder::new();
    builder.push(Unit::Delete { target: Ref { source: Source::Back(1), offset: 0 } }).unwrap();
    builder.finish().encode().unwrap()
}

#[test]
fn a_reference_outside_the_causal_past() {
    let (alice, mallory) = (key(1), key(2));
    let mut source = writer(&alice);
    let (one, two) = (note(&mut source, &alice, "one"), note(&mut source, &alice, "two"));
    let mut replica = reader();
    give(&mut replica, [&one, &two]);
    let reference = Verdict::Invalid(Invalid::Content(InvalidReason::Reference));
    // Held here, but not in the past of the change that names it: everybody must say the same, whoever holds what.
    let outside = craft(&mallory, None, &[one.id()], 0, &delete_of(two.id(), 0));
    assert_eq!(give(&mut replica, [&outside])[0], reference);
    let mut other = reader();
    assert_eq!(give(&mut other, [&one, &outside]), [Verdict::Applied, reference.clone()]);
    // Held by nobody.
    let nowhere = craft(&key(3), None, &[one.id()], 0, &delete_of(ChangeId([9; 32]), 0));
    assert_eq!(give(&mut replica, [&nowhere])[0], reference);
    // In the past it is good.
    let inside = craft(&key(4), None, &[two.id()], 0, &delete_of(two.id(), 0));
    assert_eq!(give(&mut replica, [&inside]), [Verdict::Applied]);
    assert_eq!(replica.len(), 3);
}

#[test]
fn refused_change_whose_dependents_do_not_apply() {
    let (alice, mallory) = (key(1), key(2));
    let bad = craft(&mallory, None, &[], 0, &delete_of(ChangeId([9; 32]), 0));
    let child = craft(&mallory, Some(&bad), &[], 0, &no_ops());
    let dependent = craft(&alice, None, &[bad.id()], 0, &no_ops());
    let grandchild = craft(&alice, Some(&dependent), &[], 0, &no_ops());
    let ancestor = Verdict::Invalid(Invalid::Ancestor);
    let mut replica = reader();
    let verdicts = give(&mut replica, [&bad, &child, &dependent, &grandchild]);
    assert_eq!(verdicts[0], Verdict::Invalid(Invalid::Content(InvalidReason::Reference)));
    assert_eq!(verdicts[1..], vec![ancestor.clone(); 3]);
    assert!(replica.is_empty());
    // The other way round they wait, and fall together.
    let mut replica = reader();
    let verdicts = give(&mut replica, [&grandchild, &dependent, &child]);
    assert_eq!(verdicts, [waiting(&[&dependent]), waiting(&[&bad]), waiting(&[&bad])]);
    let outcome = replica.apply(bad.clone().into());
    let mut settled = outcome.settled;
    settled.sort_by_key(|(id, _)| *id);
    let mut expected = [&child, &dependent, &grandchild].map(|change| (change.id(), ancestor.clone()));
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(settled, expected);
    assert_eq!(replica.kept_aside(), [(0, 0); 3]);
    assert!(replica.is_empty());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what is tested is that it does not take minutes")]
fn a_thousand_branches_of_one_author() {
    let (mallory, alice) = (key(2), key(1));
    let root = craft(&mallory, None, &[], 0, &no_ops());
    let mut flat = vec![root.clone()];
    let mut nested = vec![root.clone()];
    let mut spine = root.clone();
    for n in 0..1_000 {
        flat.push(craft(&mallory, Some(&root), &[], 1 + n, &no_ops()));
        // Each branch forks off the one before: its first change is the second child of what it follows.
        let (first, second) = (
            craft(&mallory, Some(&spine), &[], 1 + n, &no_ops()),
            craft(&mallory, Some(&spine), &[], 5_000 + n, &no_ops()),
        );
        nested.extend([first, second.clone()]);
        spine = second;
    }
    for branches in [flat, nested] {
        // To everybody who sees two of them, they are one proof and a bounded heap.
        let mut replica = writer(&alice);
        let verdicts = give_batch(&mut replica, &branches);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Applied).count(), 2);
        assert_eq!(replica.proofs().count(), 1);
        // Where honest changes had acknowledged each of them alone, all have to be taken, in any order, and everything stays cheap.
        let bobs: Vec<Change> = {
            let mut chain: Vec<Change> = Vec::new();
            for branch in branches.chunks(MAX_DEPS) {
                let deps: Vec<ChangeId> = branch.iter().map(Change::id).collect();
                chain.push(craft(&key(3), chain.last(), &deps, 0, &no_ops()));
            }
            chain
        };
        let started = Instant::now();
        let mut replica = reader();
        give_batch(&mut replica, bobs.iter().rev());
        give_batch(&mut replica, branches.iter().rev());
        assert_eq!(replica.len(), branches.len() + bobs.len());
        let mut forwards = reader();
        let outcome = forwards.apply_batch(branches.iter().chain(&bobs).cloned().map(Incoming::from).collect());
        assert_eq!(forwards.digest(), replica.digest());
        assert_eq!(outcome.proofs.len(), 1);
        // Generous: it takes far below a second; a walk of the graph for each causal question would take minutes.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        let tip = forwards.index_of(&branches.last().unwrap().id()).unwrap();
        assert_eq!(forwards.ancestor_at(tip, 1), forwards.index_of(&root.id()));
    }
}

#[test]
fn dependence_on_an_equivocator() {
    let (alice, mallory, trudy) = (key(1), key(2), key(3));
    let roots: Vec<Change> = (0..2).map(|n| craft(&mallory, None, &[], n, &no_ops())).collect();
    let next = craft(&mallory, Some(&roots[0]), &[], 0, &no_ops());
    // Another equivocator's word does not help.
    let fork: Vec<Change> = (0..2).map(|n| craft(&trudy, None, &[next.id()], n, &no_ops())).collect();
    // An honest member had seen one of them before anybody knew.
    let honest = craft(&alice, None, &[fork[0].id()], 0, &no_ops());

    let mut replica = reader();
    let mut verdicts = give(&mut replica, &roots);
    verdicts.extend(give(&mut replica, [&next, &fork[0], &fork[1]]));
    assert_eq!(verdicts[1..3], [Verdict::HeldBack, Verdict::HeldBack]);
    assert_eq!(verdicts[4], Verdict::HeldBack);
    assert!(replica.is_empty());
    let outcome = replica.apply(honest.clone().into());
    assert_eq!(verdict(&outcome), Verdict::Applied);
    let applied: Vec<ChangeId> = outcome.applied.iter().map(|index| replica.id(*index)).collect();
    assert_eq!(applied, [roots[0].id(), next.id(), fork[0].id(), honest.id()], "what it depends on, and nothing else");
    assert_eq!(replica.knows(&fork[1].id()), Known::HeldBack);

    // In the other order: the dependent waits for exactly what is missing.
    let mut late = reader();
    give(&mut late, [&roots[1], &fork[1], &fork[0]]);
    assert_eq!(give(&mut late, [&honest]), [waiting(&[&next])], "what lies behind the held-back one");
    assert_eq!(late.missing(10), [next.id()]);
    // Of Mallory only one root has been seen here, so that this one waits in its own right.
    assert_eq!(give(&mut late, [&next]), [waiting(&[&roots[0]])]);
    assert_eq!(late.missing(10), [roots[0].id()]);
    assert_eq!(give(&mut late, [&roots[0]]), [Verdict::Applied]);
    assert_eq!(late.digest(), replica.digest());
}

#[test]
fn an_invalid_change_that_took_an_equivocators_changes_along() {
    let (mallory, trudy) = (key(2), key(3));
    let roots: Vec<Change> = (0..2).map(|n| craft(&mallory, None, &[], n, &no_ops())).collect();
    let mut replica = reader();
    give(&mut replica, &roots);
    let empty = replica.digest();
    let bad = craft(&trudy, None, &[roots[0].id()], 0, &delete_of(ChangeId([9; 32]), 0));
    let outcome = replica.apply(bad.clone().into());
    assert_eq!(verdict(&outcome), Verdict::Invalid(Invalid::Content(InvalidReason::Reference)));
    assert_eq!(replica.digest(), empty, "what nobody valid depends on does not show");
    assert!(outcome.applied.is_empty());
    // A second try forks the liar's own chain.
    let again = craft(&trudy, None, &[roots[1].id()], 0, &delete_of(ChangeId([9; 32]), 0));
    let outcome = replica.apply(again.into());
    assert_eq!(verdict(&outcome), Verdict::HeldBack);
    assert!(replica.is_proven(&trudy.author()));
    assert!(!outcome.rebuilt);
}

#[test]
fn unknown_version_and_kind() {
    let (alice, mallory) = (key(1), key(2));
    let mut future = header(&mallory, None, &[], 0);
    future.version = 2;
    let future = Change::sign(&mallory, future, b"whatever comes");
    let mut ops = Vec::new();
    // One run, of an operation that nobody knows yet.
    ops.put(&[1, 99]);
    let unknown = craft(&key(3), None, &[], 0, &ops);
    let child = craft(&mallory, Some(&future), &[], 0, &no_ops());
    let dependent = craft(&alice, None, &[child.id(), unknown.id()], 0, &no_ops());
    let changes = [&future, &unknown, &child, &dependent];
    let mut replica = reader();
    assert_eq!(give(&mut replica, changes), vec![Verdict::Unsupported; 4]);
    assert_eq!(give(&mut replica, changes), vec![Verdict::Unsupported; 4]);
    assert!(replica.is_empty() && replica.heads().is_empty());
    // In the other order.
    let mut late = reader();
    let verdicts = give(&mut late, changes.into_iter().rev());
    assert!(verdicts[..2].iter().all(|verdict| matches!(verdict, Verdict::Waiting { .. })));
    assert!(changes.iter().all(|change| late.knows(&change.id()) == Known::Unsupported));
    assert_eq!(late.heads_digest(), replica.heads_digest());
    // A bad signature comes first, and so does a fault of the header.
    assert_eq!(give(&mut reader(), [&unsigned(&future)]), [Verdict::Unauthenticated]);
    let mut skipping = header(&mallory, Some(&future), &[], 0);
    (skipping.seq, skipping.version) = (7, 2);
    let skipping = Change::sign(&mallory, skipping, b"");
    assert_eq!(give(&mut replica, [&skipping]), [Verdict::Invalid(Invalid::Previous)]);
    // An unsupported dependent does not take an equivocator's changes along.
    let trudy = key(4);
    let forks: Vec<Change> = (0..2).map(|n| craft(&trudy, None, &[], n, &no_ops())).collect();
    give(&mut replica, &forks);
    let mut carrier = header(&key(5), None, &[forks[0].id()], 0);
    carrier.version = 2;
    let carrier = Change::sign(&key(5), carrier, b"");
    assert_eq!(give(&mut replica, [&carrier]), [Verdict::Unsupported]);
    assert!(replica.is_empty());
}

/// Fewer here, because in a test build each signature takes its time; the bound does not depend on the number.
#[test]
fn a_million_orphans() {
    flood_with_orphans(40_000);
}

#[test]
#[ignore = "takes minutes in a test build: the slow suite runs it"]
fn a_whole_million_orphans() {
    flood_with_orphans(1_000_000);
}

fn flood_with_orphans(orphans: u64) {
    let (alice, mallory) = (key(1), key(2));
    let limits = Limits { waiting_changes: 1_000, waiting_bytes: 1 << 20, ..Limits::default() };
    let mut replica = Replica::new(DOCUMENT, limits);
    // An honest change waits among them, and is not what goes.
    let mut source = writer(&alice);
    let honest = [note(&mut source, &alice, "one"), note(&mut source, &alice, "two")];
    assert_eq!(give(&mut replica, [&honest[1]]), [waiting(&[&honest[0]])]);
    let mut evicted = 0;
    for from in (0..orphans).step_by(4_000) {
        let batch = (from..from + 4_000).map(|n| {
            // Each at its own place of the chain, so that they fork nothing; each names a change that nobody has.
            let mut header = header(&mallory, None, &[], 0);
            (header.seq, header.previous) = (2 + n, Some(ChangeId([7; 32])));
            Change::sign(&mallory, header, &no_ops()).into()
        });
        let outcome = replica.apply_batch(batch.collect());
        evicted += outcome.evicted.len();
        let [(changes, bytes), ..] = replica.kept_aside();
        assert!(changes <= limits.waiting_changes && bytes <= limits.waiting_bytes, "{changes} changes, {bytes} bytes");
    }
    assert!(evicted as u64 > orphans - 1_001);
    assert_eq!(replica.knows(&honest[1].id()), Known::Waiting);
    assert_eq!(give(&mut replica, [&honest[0]]), [Verdict::Applied]);
    assert_eq!(replica.digest(), source.digest());
}

#[test]
fn an_evicted_change_can_be_fetched_again() {
    let alice = key(1);
    let mut source = writer(&alice);
    let chain: Vec<Change> = (0..10).map(|n| note(&mut source, &alice, &n.to_string())).collect();
    let mut replica = Replica::new(DOCUMENT, Limits { waiting_changes: 3, ..Limits::default() });
    let outcome = replica.apply_batch(chain[1..].iter().cloned().map(Incoming::from).collect());
    assert_eq!(outcome.evicted, chain[1..7].iter().map(Change::id).collect::<Vec<_>>(), "the oldest go first");
    give(&mut replica, [&chain[0]]);
    assert_eq!(replica.missing(10), [chain[6].id()]);
    give(&mut replica, &chain[1..7]);
    assert_eq!(replica.digest(), source.digest());
    assert_eq!(replica.kept_aside(), [(0, 0); 3]);
}

#[test]
fn held_back_changes_are_bounded() {
    let (mallory, alice) = (key(2), key(1));
    let limits = Limits { held_back_changes: 50, ..Limits::default() };
    let mut replica = Replica::new(DOCUMENT, limits);
    let forks: Vec<Change> = (0..500).map(|n| craft(&mallory, None, &[], n, &no_ops())).collect();
    give_batch(&mut replica, &forks);
    assert_eq!(replica.kept_aside()[1].0, 50);
    // One that was pushed out comes in when an honest change depends on it and it is fetched again.
    let dependent = craft(&alice, None, &[forks[3].id()], 0, &no_ops());
    assert_eq!(give(&mut replica, [&dependent]), [waiting(&[&forks[3]])]);
    assert_eq!(give(&mut replica, [&forks[3]]), [Verdict::Applied]);
    assert_eq!(replica.len(), 2);
}

#[test]
fn what_waits_of_an_author_is_held_back_once_its_fork_is_proven() {
    let mallory = key(2);
    let roots: Vec<Change> = (0..2).map(|n| craft(&mallory, None, &[], n, &no_ops())).collect();
    let next = craft(&mallory, Some(&roots[0]), &[], 0, &no_ops());
    let proof = EquivocationProof::new(SignedChain::of([&roots[0]]).unwrap(), SignedChain::of([&roots[1]]).unwrap());
    let proof = proof.unwrap();
    let mut replica = reader();
    assert_eq!(give(&mut replica, [&next]), [waiting(&[&roots[0]])]);
    assert_eq!(replica.missing(10), [roots[0].id()]);
    assert_eq!(replica.apply_proof(proof.clone()).unwrap().proofs[0], proof);
    assert_eq!(replica.knows(&next.id()), Known::HeldBack);
    assert!(replica.missing(10).is_empty(), "nobody wants it, so nothing is fetched for it");
    assert!(replica.apply_proof(proof.clone()).unwrap().proofs.is_empty(), "no news");
    // A proof from another document convicts nobody here, and neither does one whose signature is not good.
    let mut other = Replica::new(DocumentId([0xee; 32]), Limits::default());
    assert!(other.apply_proof(proof.clone()).is_none());
    let mut forged = proof;
    forged.b.signature = roots[0].signature();
    forged.a.signature = roots[0].signature();
    assert!(reader().apply_proof(forged).is_none());
}

#[test]
fn a_damaged_store_names_the_record() {
    let (alice, bob) = (key(1), key(2));
    let mut source = writer(&alice);
    for n in 0..5 {
        note(&mut source, &alice, &n.to_string());
        note(&mut source, &bob, &n.to_string());
    }
    let stored = all(&source);
    let load = |stored: Vec<Incoming>| {
        let mut replica = reader();
        let result = replica.load(stored).map(|_| ());
        assert_eq!(replica.is_empty(), result.is_err());
        result
    };
    load(stored.clone()).unwrap();
    use bft_json_crdt::replica::LoadFault;
    let fault = |stored| load(stored).map_err(|error| (error.position, error.fault)).unwrap_err();
    let mut missing = stored.clone();
    missing.remove(4);
    assert_eq!(fault(missing), (4, LoadFault::Parent));
    let mut unsigned_tip = stored.clone();
    unsigned_tip[8].change = unsigned(&stored[8].change);
    assert_eq!(fault(unsigned_tip), (8, LoadFault::Signature));
    let mut interior = stored.clone();
    interior[3].change = unsigned(&stored[3].change);
    load(interior).expect("the tip vouches for what is before it");
    // A voucher for something else is no voucher.
    let mut misplaced = stored.clone();
    misplaced[3].voucher = SignedChain::of([&stored[6].change]).map(Voucher);
    assert_eq!(fault(misplaced), (3, LoadFault::Signature));
    let bytes: Bytes = source.save().into();
    let again = Replica::load_archive(&bytes, Limits::default(), Some(alice.author())).unwrap();
    assert_eq!(again.digest(), source.digest());
    for at in [0, 13, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        assert!(Replica::load_archive(&damaged.into(), Limits::default(), None).is_err(), "byte {at}");
        assert!(Replica::load_archive(&bytes.slice(..at), Limits::default(), None).is_err(), "cut at {at}");
    }
}
