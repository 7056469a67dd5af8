//! Members, replicas and hand-made changes for the tests of the graph and the replica.

use bft_json_crdt::change::{Change, ChangeId, DocumentId, Header};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::{Keypair, Signature};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::{Incoming, Limits, Outcome, Replica, Verdict};
use bft_json_crdt::value::Value;

/// The document of most tests.
pub(crate) const DOCUMENT: DocumentId = DocumentId([0xd0; 32]);

/// A member's key.
pub(crate) fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// A replica that writes as this member.
pub(crate) fn writer(keypair: &Keypair) -> Replica {
    let mut replica = reader();
    replica.set_writer(Some(keypair.author()));
    replica
}

/// A replica that cannot write.
pub(crate) fn reader() -> Replica {
    Replica::new(DOCUMENT, Limits::default())
}

/// Appends a note to the list "log" and steps the counter "count".
pub(crate) fn note(replica: &mut Replica, keypair: &Keypair, text: &str) -> Change {
    let written = replica.transact(keypair, 1_000, |tx| {
        let log = tx.child(ContainerIdx::ROOT, "log", Kind::List).unwrap();
        tx.push(log, NewElement::Value(Value::String(text.to_owned()))).unwrap();
        let count = tx.child(ContainerIdx::ROOT, "count", Kind::Counter).unwrap();
        tx.add(count, 1).unwrap();
    });
    written.expect("a note can be written").0
}

/// No operations, encoded.
pub(crate) fn no_ops() -> Vec<u8> {
    Ops::default().encode().unwrap()
}

/// A hand-made change after `previous`.
pub(crate) fn craft(keypair: &Keypair, previous: Option<&Change>, deps: &[ChangeId], salt: u64, ops: &[u8]) -> Change {
    Change::sign(keypair, header(keypair, previous, deps, salt), ops)
}

/// The header of a hand-made change.
pub(crate) fn header(keypair: &Keypair, previous: Option<&Change>, deps: &[ChangeId], salt: u64) -> Header {
    let mut deps = deps.to_vec();
    deps.sort();
    Header {
        version: 1,
        document: DOCUMENT,
        author: keypair.author(),
        seq: previous.map_or(1, |change| change.header().seq + 1),
        previous: previous.map(Change::id),
        deps,
        time_ms: salt,
        ops_hash: [0; 32],
    }
}

/// The same change under a signature that is not good.
pub(crate) fn unsigned(change: &Change) -> Change {
    Change::from_parts(change.header().clone(), change.ops(), Signature([1; 64]))
}

/// Hands changes over one by one.
pub(crate) fn give<'a>(replica: &mut Replica, changes: impl IntoIterator<Item = &'a Change>) -> Vec<Verdict> {
    changes.into_iter().map(|change| verdict(&replica.apply(change.clone().into()))).collect()
}

/// Hands changes over in one batch.
pub(crate) fn give_batch<'a>(replica: &mut Replica, changes: impl IntoIterator<Item = &'a Change>) -> Vec<Verdict> {
    let batch = changes.into_iter().map(|change| change.clone().into()).collect();
    replica.apply_batch(batch).verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The only verdict.
pub(crate) fn verdict(outcome: &Outcome) -> Verdict {
    let [(_, verdict)] = outcome.verdicts.as_slice() else { panic!("one change, one verdict") };
    verdict.clone()
}

/// Everything that `replica` would send.
pub(crate) fn all(replica: &Replica) -> Vec<Incoming> {
    replica.log(bft_json_crdt::causality::ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
}

/// Lets replicas exchange proofs and changes, and writers acknowledge, until nothing moves any more.
pub(crate) fn exchange(replicas: &mut [Replica], keys: &[Option<Keypair>]) {
    for _ in 0..100 {
        let before: Vec<_> =
            replicas.iter().map(|replica| (replica.heads_digest(), replica.proofs().count())).collect();
        for to in 0..replicas.len() {
            for from in (0..replicas.len()).filter(|from| *from != to) {
                let proofs: Vec<_> = replicas[from].proofs().cloned().collect();
                for proof in proofs {
                    replicas[to].apply_proof(proof).expect("honest replicas pass on good proofs");
                }
                let changes = all(&replicas[from]);
                replicas[to].apply_batch(changes);
            }
        }
        for (replica, key) in replicas.iter_mut().zip(keys) {
            if replica.needs_acknowledgement() {
                replica.acknowledge(key.as_ref().expect("only writers owe one"), 2_000).unwrap();
            }
        }
        let after: Vec<_> = replicas.iter().map(|replica| (replica.heads_digest(), replica.proofs().count())).collect();
        if before == after {
            return;
        }
    }
    panic!("replicas do not come to rest");
}

/// Asserts that replicas show the same, byte for byte.
pub(crate) fn assert_converged(replicas: &[Replica]) {
    for replica in &replicas[1..] {
        assert_eq!(replica.heads(), replicas[0].heads());
        assert_eq!(replica.heads_digest(), replicas[0].heads_digest());
        assert_eq!(replica.len(), replicas[0].len());
        assert_eq!(replica.digest(), replicas[0].digest());
    }
}
