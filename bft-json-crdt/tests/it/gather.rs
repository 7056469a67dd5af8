//! The batch writer: what is gathered, when it is signed, and what a failing edit takes back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bft_json_crdt::change::{Change, DocumentId, MAX_SAFE};
use bft_json_crdt::document::TxError;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::TransactError as ReplicaError;
use bft_json_crdt::{
    Applied, BaseCrdt, BatchWriter, Commit, CounterCrdt, CrdtNode, GatherBounds, ListCrdt, LwwRegisterCrdt, MapCrdt,
    TextCrdt, TransactError,
};
use proptest::prelude::*;
use serde_json::json;

#[derive(CrdtNode)]
struct Page {
    title: LwwRegisterCrdt<String>,
    body: TextCrdt,
    tags: ListCrdt<String>,
    items: ListCrdt<Item>,
    counts: MapCrdt<CounterCrdt>,
}

#[derive(CrdtNode, Default)]
struct Item {
    name: LwwRegisterCrdt<String>,
    count: CounterCrdt,
}

fn page(seed: u8) -> BaseCrdt<Page> {
    BaseCrdt::new(DocumentId([7; 32]), Keypair::from_seed(&[seed; 32]))
}

fn writer(seed: u8) -> BatchWriter<Page> {
    page(seed).gather(GatherBounds::default())
}

/// What the others see of what a writer has signed.
fn seen_by_others(writer: &BatchWriter<Page>) -> serde_json::Value {
    let mut peer = page(99);
    for verdict in
        peer.apply_batch(writer.replica().log(bft_json_crdt::causality::ChangeIdx(0)).map(|(_, c)| c)).verdicts
    {
        assert!(matches!(verdict.1, bft_json_crdt::replica::Verdict::Applied), "{verdict:?}");
    }
    peer.view()
}

#[test]
fn typing_is_seen_at_once_and_signed_once() {
    let mut page = writer(1);
    for (n, letter) in "typed one by one".chars().enumerate() {
        let edited = page.edit(10 * n as u64, |p| p.body.push(&letter.to_string())).unwrap();
        assert!(edited.commit.is_none());
        assert_eq!(edited.events.len(), 1);
        assert_eq!(page.read(|p| p.body.len()), n + 1);
    }
    assert_eq!((page.replica().len(), page.gathered_units()), (0, 16));
    assert_eq!(seen_by_others(&page), json!({}));
    let commit = page.flush().unwrap();
    assert!(page.flush().is_none());
    assert_eq!(page.replica().len(), 1);
    assert_eq!(commit.change.header().time_ms, 150);
    assert_eq!(seen_by_others(&page), json!({ "body": "typed one by one" }));
    // The bytes are those of one closure that writes the same.
    let mut other = self::page(1);
    let same = other.transact(150, |p| p.body.push("typed one by one")).unwrap();
    assert_eq!(same.change.bytes(), commit.change.bytes());
    assert_eq!(other.digest(), page.replica().digest());
}

#[test]
fn a_pause_ends_the_gathering() {
    let mut page = writer(1);
    assert_eq!((page.tick(0), page.next_tick_ms()).1, None);
    let _ = page.edit(1_000, |p| p.body.push("a")).unwrap();
    assert_eq!(page.next_tick_ms(), Some(1_000 + GatherBounds::IDLE_MS));
    assert!(page.tick(1_499).is_none());
    let _ = page.edit(1_499, |p| p.body.push("b")).unwrap();
    assert!(page.tick(1_998).is_none());
    // Reading, and edits that write nothing, are no edits.
    let _ = page.edit(1_998, |p| p.body.len()).unwrap();
    let commit = page.tick(1_999).unwrap();
    assert_eq!(commit.change.header().time_ms, 1_499);
    assert!(page.tick(10_000).is_none());
    // A clock that goes back does not keep edits back for ever.
    let _ = page.edit(50_000, |p| p.body.push("c")).unwrap();
    assert!(page.tick(7).is_none());
    assert!(page.tick(507).is_some());
}

#[test]
fn bounds_end_the_gathering() {
    let bounds = GatherBounds { idle_ms: 1_000, age_ms: 3_000, units: 10, bytes: 300 };
    let mut page = page(1).gather(bounds);
    for n in 0..9 {
        assert!(page.edit(n, |p| p.body.push("x")).unwrap().commit.is_none());
    }
    assert!(page.edit(9, |p| p.body.push("x")).unwrap().commit.is_some(), "ten units");
    assert!(page.edit(9, |p| p.title.set("t".repeat(100))).unwrap().commit.is_none());
    assert!(page.edit(9, |p| p.title.set("t".repeat(200))).unwrap().commit.is_some(), "bytes");
    for n in 0..30 {
        assert!(page.edit(100 * n, |p| p.title.set("t")).unwrap().commit.is_none() || n >= 9);
    }
    let _ = page.flush();
    for n in 0..4 {
        assert!(page.edit(900 * n, |p| p.body.push("x")).unwrap().commit.is_none(), "{n}");
    }
    assert!(page.edit(3_600, |p| p.body.push("x")).unwrap().commit.is_some(), "age");
    let _ = page.edit(5_000, |p| p.body.push("x")).unwrap();
    assert!(page.edit(5_900, |p| p.body.push("x")).unwrap().commit.is_none());
    assert!(page.tick(6_899).is_none());
    assert!(page.tick(6_900).is_some());
}

#[test]
fn what_comes_from_elsewhere_ends_the_gathering_first() {
    let mut ann = writer(1);
    let mut bob = page(2);
    let _ = ann.edit(1, |p| p.body.push("ann")).unwrap();
    let from_bob = bob.transact(2, |p| p.body.push("bob")).unwrap();
    let flushed = ann.apply(&from_bob);
    assert!(matches!(flushed.then, Ok(Applied::Merged(_))));
    let commit = flushed.commit.unwrap();
    assert!(commit.change.header().deps.is_empty(), "written before Bob's change was seen");
    bob.apply(&commit).unwrap();
    assert_eq!(bob.view(), ann.view());
    // The next one depends on both, and nothing is flushed that is not there.
    assert!(ann.apply(&from_bob).commit.is_none());
    let _ = ann.edit(3, |p| p.tags.push("x")).unwrap();
    let commit = ann.settled().commit.unwrap();
    assert_eq!(commit.change.header().deps, [from_bob.change.id()]);
    bob.apply(&commit).unwrap();
    let _ = ann.edit(4, |p| p.tags.push("y")).unwrap();
    let ended = ann.finish();
    bob.apply(ended.commit.unwrap()).unwrap();
    assert_eq!(bob.digest(), ended.then.digest());
}

#[test]
fn a_failing_edit_takes_back_only_itself() {
    let mut page = writer(1);
    let _ = page.edit(1, |p| {
        p.title.set("first");
        p.body.push("hello");
        p.items.push(Item { name: "a".into(), count: 1.into() });
    });
    let commit = page.flush().unwrap();
    let _ = page.edit(2, |p| {
        p.body.push(" world");
        p.tags.push("kept");
        p.counts.entry("n").add(2);
    });
    let before = page.view();
    let units = page.gathered_units();
    let check = |page: &BatchWriter<Page>| {
        assert_eq!(page.view(), before);
        assert_eq!(page.gathered_units(), units);
        assert_eq!(page.replica().len(), 1);
    };
    // At the first write, which takes nothing back.
    let error = page.edit(3, |p| p.body.insert(100, "x"));
    assert!(matches!(error, Err(TransactError::Write(TxError::OutOfBounds { index: 100, len: 11 }))), "{error:?}");
    check(&page);
    // Behind writes of every kind.
    let error = page.edit(3, |p| {
        p.body.push("!");
        p.body.delete(0, 3);
        p.title.set("second");
        p.counts.entry("n").add(5);
        p.counts.remove("n");
        p.counts.entry("m").add(5);
        p.tags.push("lost");
        p.tags.move_to(1, 0);
        p.items.push(Item { name: "b".into(), count: 1.into() });
        if let Ok(Some(mut item)) = p.items.get_mut(0) {
            item.count.add(4);
            item.name.set("z");
        }
        p.items.remove(0);
        p.tags.remove(77);
    });
    assert!(matches!(error, Err(TransactError::Write(TxError::OutOfBounds { index: 78, .. }))), "{error:?}");
    check(&page);
    let error = page.try_edit(3, |p| {
        p.body.delete(0, 1);
        p.tags.push("lost");
        Err::<(), _>(TransactError::Aborted)
    });
    assert!(matches!(error, Err(TransactError::Aborted)), "{error:?}");
    check(&page);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _ = page.edit(3, |p| {
            p.tags.push("lost");
            p.items.push(Item::default());
            std::panic::panic_any("the closure's own");
        });
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"the closure's own"));
    check(&page);
    // The gathering goes on, and what it becomes is what others see.
    let _ = page.edit(4, |p| {
        p.body.push("?");
        p.tags.push("more");
        p.counts.entry("m").add(1);
        p.items.push(Item { name: "c".into(), count: 1.into() });
    });
    let second = page.flush().unwrap();
    assert_eq!(second.change.header().previous, Some(commit.change.id()));
    assert_eq!(seen_by_others(&page), page.view());
    assert_eq!(
        page.view(),
        json!({
            "title": "first", "body": "hello world?", "tags": ["kept", "more"], "counts": { "n": 2, "m": 1 },
            "items": [{ "name": "a", "count": 1 }, { "name": "c", "count": 1 }],
        })
    );
}

#[test]
fn an_edit_that_fails_first_leaves_nothing_open() {
    let mut page = writer(1);
    assert!(page.edit(1, |p| p.body.delete(0, 1)).is_err());
    let error = page.edit(1, |p| {
        p.body.push("x");
        p.body.delete(0, 2);
    });
    assert!(error.is_err());
    assert_eq!((page.gathered_units(), page.next_tick_ms()), (0, None));
    assert!(page.flush().is_none());
    assert_eq!(page.view(), json!({}));
    let error = page.edit(MAX_SAFE + 1, |p| p.body.push("x"));
    assert!(matches!(error, Err(TransactError::Replica(ReplicaError::Time(_)))), "{error:?}");
    let _ = page.edit(2, |p| p.body.push("y"));
    let error = page.edit(MAX_SAFE + 1, |p| p.body.push("x"));
    assert!(matches!(error, Err(TransactError::Replica(ReplicaError::Time(_)))), "{error:?}");
    assert!(page.flush().is_some());
    assert_eq!(seen_by_others(&page), json!({ "body": "y" }));
}

#[test]
fn what_is_not_signed_is_not_saved() {
    let mut page = writer(1);
    let _ = page.edit(1, |p| p.body.push("signed"));
    let _ = page.flush();
    let _ = page.edit(1, |p| p.body.push(" and not"));
    let saved = page.replica().save();
    let loaded = BaseCrdt::<Page>::load(&saved.into(), Keypair::from_seed(&[1; 32]), Default::default()).unwrap();
    assert_eq!(loaded.view(), json!({ "body": "signed" }));
}

/// One random edit; the last ones fail, some of them behind writes that hold.
fn edit(p: &mut Page, what: u8, a: usize, b: i64) {
    let key = ["x", "y", "zzz"][a % 3];
    match what % 14 {
        0 => p.title.set(key),
        1 | 2 => p.body.insert(a % (p.body.len() + 1), key),
        3 if !p.body.is_empty() => p.body.delete(a % p.body.len(), 1),
        4 => p.tags.insert(a % (p.tags.len() + 1), key),
        5 if !p.tags.is_empty() => p.tags.remove(a % p.tags.len()),
        6 if !p.tags.is_empty() => p.tags.move_to(a % p.tags.len(), b.unsigned_abs() as usize % p.tags.len()),
        7 => p.items.insert(a % (p.items.len() + 1), Item { name: key.into(), count: b.into() }),
        8 if !p.items.is_empty() => {
            let mut item = p.items.get_mut(a % p.items.len()).unwrap().unwrap();
            item.count.add(b);
            item.name.set(key);
        }
        9 if !p.items.is_empty() => p.items.remove(a % p.items.len()),
        10 => p.counts.entry(key).add(b),
        11 => p.counts.remove(key),
        12 => p.body.set(key),
        _ => {
            p.body.push("lost");
            p.tags.remove(1_000);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, Vec<(u8, usize, i64)>),
    Panic(usize, Vec<(u8, usize, i64)>),
    Flush(usize),
    Send(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let edits = || prop::collection::vec((any::<u8>(), 0..1000usize, -9..9i64), 1..4);
    prop_oneof![
        6 => (0..2usize, edits()).prop_map(|(by, edits)| Step::Edit(by, edits)),
        1 => (0..2usize, edits()).prop_map(|(by, edits)| Step::Panic(by, edits)),
        1 => (0..2usize).prop_map(Step::Flush),
        1 => (0..2usize, 0..2usize).prop_map(|(from, to)| Step::Send(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_gathered_edits_converge_and_are_signed_once(steps in prop::collection::vec(step(), 1..60)) {
        let bounds = GatherBounds { units: 40, ..GatherBounds::default() };
        let mut writers = [page(1).gather(bounds), page(2).gather(bounds)];
        // What each writer has handed out, in order.
        let mut handed: [Vec<Change>; 2] = Default::default();
        for (n, step) in steps.into_iter().enumerate() {
            let now_ms = 100 * n as u64;
            match step {
                Step::Edit(by, edits) => {
                    let before = writers[by].view();
                    match writers[by].edit(now_ms, |p| edits.iter().for_each(|&(what, a, b)| edit(p, what, a, b))) {
                        Ok(edited) => handed[by].extend(edited.commit.map(|commit| commit.change)),
                        Err(_) => prop_assert_eq!(writers[by].view(), before),
                    }
                }
                Step::Panic(by, edits) => {
                    let before = writers[by].view();
                    let panic = catch_unwind(AssertUnwindSafe(|| {
                        let _ = writers[by].edit(now_ms, |p| {
                            edits.iter().for_each(|&(what, a, b)| edit(p, what, a, b));
                            std::panic::panic_any("the closure's own");
                        });
                    }));
                    prop_assert!(panic.is_err());
                    prop_assert_eq!(writers[by].view(), before);
                }
                Step::Flush(by) => {
                    let view = writers[by].view();
                    handed[by].extend(writers[by].flush().map(|commit: Commit| commit.change));
                    prop_assert_eq!(writers[by].view(), view);
                }
                Step::Send(from, to) if from != to => {
                    let changes = handed[from].clone();
                    let flushed = writers[to].apply_batch(&changes);
                    handed[to].extend(flushed.commit.map(|commit| commit.change));
                }
                Step::Send(..) => {}
            }
        }
        for by in 0..2 {
            handed[by].extend(writers[by].flush().map(|commit| commit.change));
        }
        let [a, b] = &mut writers;
        let [from_a, from_b] = &handed;
        let _ = a.apply_batch(from_b);
        let _ = b.apply_batch(from_a);
        // Everything that was signed was handed out, once.
        prop_assert_eq!(a.replica().len(), from_a.len() + from_b.len());
        prop_assert_eq!(a.replica().digest(), b.replica().digest());
        let mut late = page(3);
        late.apply_batch(from_b.iter().chain(from_a));
        prop_assert_eq!(late.digest(), a.replica().digest());
    }
}
