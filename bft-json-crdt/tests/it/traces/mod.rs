//! Traces of real text editing end at their end content on every replica, whatever happens to the changes on the way: signed, split in changes of other sizes,
//! shuffled, given twice, saved and loaded, synced, and with liars among the authors.
//!
//! `SIDE_TRACES=folder cargo test --release -p bft-json-crdt --test it traces::` takes all `*.json.gz` of a folder. Without it, traces of like shape are made up.

mod data;

use std::collections::{HashMap, HashSet};

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Known, Limits, Replica};

use self::data::{Dice, Trace, traces};
use crate::world::{DOCUMENT, all, key, reader};

/// How many edits one change holds at most.
const SIZES: [usize; 3] = [256, 7, 1];

/// Sizes whose changes are checked, shuffled and stored on top: a change an edit takes minutes in debug builds.
fn sizes() -> &'static [usize] {
    if cfg!(debug_assertions) { &SIZES[..2] } else { &SIZES }
}

/// The seed of the first liar's key, and of the first bystander's; authors have those below.
const FIRST_LIAR: u8 = 101;
const FIRST_BYSTANDER: u8 = 201;

/// A writer and the trace's last txn that it wrote.
struct Author {
    agent: usize,
    keypair: Keypair,
    replica: Replica,
    last: usize,
}

/// The changes of a trace and those who wrote them.
struct Story {
    authors: Vec<Author>,
    changes: Vec<Change>,
    by_id: HashMap<ChangeId, usize>,
    /// For each txn the change that holds it.
    change_of: Vec<ChangeId>,
}

/// What a replica shows of a trace.
fn text(replica: &Replica) -> String {
    let document = replica.document();
    document.child(ContainerIdx::ROOT, "text", Kind::Text).map(|text| document.text(text)).unwrap_or_default()
}

/// Whether a txn is in another's past.
fn reaches(trace: &Trace, txn: usize, earlier: usize) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![txn];
    while let Some(at) = open.pop() {
        if at == earlier {
            return true;
        }
        // Parents stand before their children.
        open.extend(trace.txns[at].parents.iter().copied().filter(|parent| *parent >= earlier && seen.insert(*parent)));
    }
    false
}

impl Story {
    /// Writes a trace with at most `size` edits a change. After `lies` changes each time, a liar forks its chain in the midst of it.
    fn write(trace: &Trace, size: usize, lies: Option<usize>) -> Self {
        let count = trace.txns.len();
        let mut children = vec![0u32; count];
        trace.txns.iter().flat_map(|txn| &txn.parents).for_each(|parent| children[*parent] += 1);
        // The txn that goes on where this one ends, if it is the same author's and no other does.
        let mut next: Vec<Option<usize>> = vec![None; count];
        for (at, txn) in trace.txns.iter().enumerate() {
            if let [parent] = txn.parents[..]
                && children[parent] == 1
                && trace.txns[parent].agent == txn.agent
            {
                next[parent] = Some(at);
            }
        }
        let change_of = vec![ChangeId([0; 32]); count];
        let mut story = Self { authors: Vec::new(), changes: Vec::new(), by_id: HashMap::new(), change_of };
        let mut written = vec![false; count];
        let mut liars = lies.map(|every| (every, Liar::default()));
        for first in 0..count {
            if written[first] {
                continue;
            }
            let run: Vec<usize> = std::iter::successors(Some(first), |at| next[*at]).take(size).collect();
            let parents: Vec<ChangeId> = trace.txns[first].parents.iter().map(|txn| story.change_of[*txn]).collect();
            let at = story.author(trace, first);
            story.pull(at, parents);
            if let Some((every, liar)) = &mut liars
                && story.changes.len() >= *every * (liar.lies + 1)
            {
                liar.lie(&mut story, at);
            }
            let author = &mut story.authors[at];
            let change = author.replica.transact(&author.keypair, 1, |tx| {
                let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text)?;
                for patch in run.iter().flat_map(|txn| &trace.txns[*txn].patches) {
                    tx.text_delete(text, patch.position, patch.deleted)?;
                    tx.text_insert(text, patch.position, &patch.inserted)?;
                }
                Ok::<_, bft_json_crdt::document::TxError>(())
            });
            let change = change.expect("a trace can be written").0;
            author.last = run[run.len() - 1];
            for txn in run {
                written[txn] = true;
                story.change_of[txn] = change.id();
            }
            story.keep(change);
        }
        let heads: Vec<ChangeId> = story.change_of.clone();
        for at in 0..story.authors.len() {
            story.pull(at, heads.clone());
        }
        story
    }

    fn keep(&mut self, change: Change) {
        self.by_id.insert(change.id(), self.changes.len());
        self.changes.push(change);
    }

    /// Who writes a txn: an author of its agent all of whose knowledge the txn's parents have, or somebody new.
    fn author(&mut self, trace: &Trace, txn: usize) -> usize {
        let agent = trace.txns[txn].agent;
        let fits = |author: &Author| author.agent == agent && reaches(trace, txn, author.last);
        if let Some(at) = self.authors.iter().position(fits) {
            return at;
        }
        assert!(self.authors.len() < usize::from(FIRST_LIAR) - 1, "more authors than keys");
        let keypair = key(self.authors.len() as u8 + 1);
        let mut replica = reader();
        replica.tell_events(false);
        replica.set_writer(Some(keypair.author()));
        self.authors.push(Author { agent, keypair, replica, last: usize::MAX });
        self.authors.len() - 1
    }

    /// Brings these changes, and all that they depend on, to an author.
    fn pull(&mut self, author: usize, mut wanted: Vec<ChangeId>) {
        let replica = &mut self.authors[author].replica;
        let mut missing = HashSet::new();
        while let Some(id) = wanted.pop() {
            if !matches!(replica.knows(&id), Known::Applied(_))
                && let Some(at) = self.by_id.get(&id)
                && missing.insert(*at)
            {
                wanted.extend(self.changes[*at].header().parents());
            }
        }
        let mut missing: Vec<usize> = missing.into_iter().collect();
        missing.sort_unstable();
        replica.apply_batch(missing.into_iter().map(|at| self.changes[at].clone().into()).collect());
        self.acknowledge(author);
    }

    fn acknowledge(&mut self, author: usize) {
        let author = &mut self.authors[author];
        if author.replica.needs_acknowledgement() {
            let said = author.replica.acknowledge(&author.keypair, 1).expect("heads can be acknowledged");
            said.into_iter().for_each(|change| self.keep(change));
        }
    }
}

/// An author who writes into the trace's own text, at any place, and takes out again what it wrote, in two versions of the same change. One is learnt by the
/// author who writes next; the other by a bystander, whose acknowledgement then brings it to all.
#[derive(Default)]
struct Liar {
    lies: usize,
}

impl Liar {
    fn lie(&mut self, story: &mut Story, author: usize) {
        let (liar, bystander) = (key(FIRST_LIAR + self.lies as u8), key(FIRST_BYSTANDER + self.lies as u8));
        self.lies += 1;
        let mut known = all(&story.authors[author].replica);
        let mut dice = Dice(self.lies as u64);
        let mut versions = Vec::new();
        for version in 0..2 {
            let mut replica = reader();
            replica.set_writer(Some(liar.author()));
            replica.apply_batch(known.clone());
            for _ in 0..1 + version {
                let change = replica.transact(&liar, 1, |tx| {
                    let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).expect("a text");
                    for _ in 0..20 {
                        let at = dice.roll(tx.document().len(text) + 1);
                        tx.text_insert(text, at, "lie").expect("there is room");
                        tx.text_delete(text, at, 3).expect("it is there");
                    }
                });
                versions.push(change.expect("a lie is small").0);
            }
        }
        let [one, other @ ..] = &versions[..] else { return };
        let mut honest = reader();
        honest.set_writer(Some(bystander.author()));
        known.extend(other.iter().cloned().map(Incoming::from));
        honest.apply_batch(known);
        let witness = honest.transact(&bystander, 1, |_| ()).expect("whoever saw one version only suspects nothing").0;
        let author_replica = &mut story.authors[author].replica;
        author_replica.apply(one.clone().into());
        for change in other.iter().chain([&witness]) {
            author_replica.apply(change.clone().into());
        }
        assert!(author_replica.is_proven(&liar.author()), "both versions prove the lie");
        versions.push(witness);
        versions.into_iter().for_each(|change| story.keep(change));
        story.acknowledge(author);
    }
}

/// Room for a whole trace that comes in the wrong order.
fn roomy() -> Limits {
    Limits { waiting_changes: usize::MAX, waiting_bytes: usize::MAX, ..Limits::default() }
}

/// A replica that gets these changes, some at a time.
fn told(changes: &[&Change]) -> Replica {
    let mut replica = Replica::new(DOCUMENT, roomy());
    replica.tell_events(false);
    for batch in changes.chunks(1_000) {
        replica.apply_batch(batch.iter().map(|change| (*change).clone().into()).collect());
    }
    replica
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut dice = Dice(seed);
    for at in (1..items.len()).rev() {
        items.swap(at, dice.roll(at + 1));
    }
}

/// Asserts that a replica shows the trace's end and all that `like` shows.
fn assert_ends(trace: &Trace, how: &str, replica: &Replica, like: &Replica) {
    assert!(text(replica) == trace.end, "{}, {how}: the end content", trace.name);
    assert_eq!(replica.heads_digest(), like.heads_digest(), "{}, {how}: heads", trace.name);
    assert_eq!(replica.digest(), like.digest(), "{}, {how}: digests", trace.name);
    assert_eq!(replica.proof_count(), like.proof_count(), "{}, {how}: proofs", trace.name);
    if cfg!(debug_assertions) {
        replica.document().debug_check();
    }
}

/// What must hold of a story however its changes travel.
fn travel(trace: &Trace, story: &Story) {
    let like = &told(&story.changes.iter().collect::<Vec<_>>());
    assert_ends(trace, "in order", like, like);

    let mut shuffled: Vec<&Change> = story.changes.iter().collect();
    shuffle(&mut shuffled, 7);
    assert_ends(trace, "shuffled", &told(&shuffled), like);

    let mut twice: Vec<&Change> = story.changes.iter().chain(&story.changes).collect();
    shuffle(&mut twice, 8);
    assert_ends(trace, "duplicated and shuffled", &told(&twice), like);

    let saved = like.save().into();
    let loaded = Replica::load_archive(&saved, Limits::default(), None).expect("what was saved loads");
    assert_ends(trace, "saved and loaded", &loaded, like);

    let mut from_store = reader();
    from_store.load(all(like)).expect("an own store loads");
    from_store = like.proofs().cloned().fold(from_store, |mut replica, proof| {
        replica.apply_proof(proof);
        replica
    });
    assert_ends(trace, "loaded from a store", &from_store, like);

    let mut fresh = reader();
    crate::sync::sync(&mut told(&story.changes.iter().collect::<Vec<_>>()), &mut fresh);
    assert_ends(trace, "synced", &fresh, like);

    // Two who each know a part learn the rest from each other.
    let half = story.changes.len() / 2;
    let mut one = told(&story.changes.iter().take(half).collect::<Vec<_>>());
    let authors: Vec<_> = one.authors().collect();
    let some = story.changes.iter().filter(|change| Some(&change.author()) != authors.first());
    let mut other = told(&some.collect::<Vec<_>>());
    let rest = story.changes[half..].iter().filter(|change| Some(&change.author()) == authors.first());
    for change in rest {
        other.apply(change.clone().into());
    }
    crate::sync::sync(&mut one, &mut other);
    other.apply_batch(all(&one));
    assert_ends(trace, "each a part", &other, like);
    crate::sync::sync(&mut other, &mut one);
    assert_ends(trace, "each a part", &one, like);
}

#[test]
fn every_trace_ends_at_its_end_content_on_every_replica() {
    for trace in traces() {
        for size in sizes() {
            let story = Story::write(&trace, *size, None);
            for author in &story.authors {
                assert!(text(&author.replica) == trace.end, "{}, {size} edits a change", trace.name);
            }
            travel(&trace, &story);
        }
    }
}

#[test]
fn every_trace_ends_at_its_end_content_among_equivocators() {
    for trace in traces() {
        let changes = Story::write(&trace, SIZES[1], None).changes.len();
        let story = Story::write(&trace, SIZES[1], Some(changes / 4));
        for author in &story.authors {
            assert!(author.replica.proof_count() >= 3, "{}: the liars are known", trace.name);
            assert!(text(&author.replica) == trace.end, "{}, among equivocators", trace.name);
        }
        travel(&trace, &story);
    }
}

/// The made-up traces have what real ones have.
#[test]
fn traces_are_of_both_kinds() {
    let traces = traces();
    let concurrent = |trace: &Trace| trace.txns.iter().any(|txn| txn.parents.len() > 1);
    assert!(traces.iter().any(concurrent) && !traces.iter().all(concurrent));
    for trace in &traces {
        assert!(trace.txns.len() > 100 && trace.end.len() > 100, "{}", trace.name);
    }
}
