//! Undo and redo of one's own edits: with a second member for each kind of edit, and at random.

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Verdict;
use bft_json_crdt::{
    BaseCrdt, BatchWriter, CounterCrdt, CrdtNode, EnumCrdt, GatherBounds, ListCrdt, LwwRegisterCrdt, MapCrdt,
    MvRegisterCrdt, TextCrdt, TransactError, UndoBounds, UndoManager, Untyped,
};
use proptest::prelude::*;
use serde_json::json;

#[derive(CrdtNode)]
struct Page {
    title: LwwRegisterCrdt<String>,
    moods: MvRegisterCrdt<u8>,
    body: TextCrdt,
    tags: ListCrdt<String>,
    items: ListCrdt<Item>,
    counts: MapCrdt<CounterCrdt>,
    note: Option<TextCrdt>,
    state: EnumCrdt<State>,
    extra: Untyped,
}

#[derive(CrdtNode, Default)]
struct Item {
    name: LwwRegisterCrdt<String>,
    count: CounterCrdt,
    remark: Option<TextCrdt>,
    parts: ListCrdt<Item>,
}

#[derive(CrdtNode)]
enum State {
    Open,
    Closed { why: TextCrdt, times: CounterCrdt },
}

type Doc = BaseCrdt<Page>;

fn page(seed: u8) -> Doc {
    BaseCrdt::new(DocumentId([7; 32]), Keypair::from_seed(&[seed; 32]))
}

fn send(from: &Doc, to: &mut Doc) {
    for (id, verdict) in to.apply_batch(from.changes()).verdicts {
        assert!(matches!(verdict, Verdict::Applied | Verdict::AlreadyKnown), "{id}: {verdict:?}");
    }
}

fn merge(a: &mut Doc, b: &mut Doc) {
    send(a, b);
    send(b, a);
    assert_eq!(a.view(), b.view());
    assert_eq!(a.digest(), b.digest());
}

/// Both start from what `start` writes; Ann edits, Bob edits at the same time, they merge, Ann undoes and redoes. Answers the views after each.
fn between(
    start: impl FnOnce(&mut Page),
    ann_edits: impl FnOnce(&mut Page),
    bob_edits: impl FnOnce(&mut Page),
) -> [serde_json::Value; 3] {
    let (mut ann, mut bob) = (page(1), page(2));
    bob.transact(0, start).unwrap();
    merge(&mut ann, &mut bob);
    let mut undo = UndoManager::default();
    undo.edit(&mut ann, 0, ann_edits).unwrap();
    bob.transact(0, bob_edits).unwrap();
    merge(&mut ann, &mut bob);
    let both = ann.view();
    undo.undo(&mut ann, 0).unwrap().expect("something is left");
    merge(&mut ann, &mut bob);
    let undone = ann.view();
    undo.redo(&mut ann, 0).unwrap().expect("something is left");
    merge(&mut ann, &mut bob);
    [both, undone, ann.view()]
}

#[test]
fn undo_of_inserted_text_leaves_what_others_wrote_in_it() {
    let views = between(|p| p.body.push("ad"), |p| p.body.insert(1, "bbb"), |p| p.body.insert(2, "e"));
    assert_eq!(views, [json!({ "body": "abbbde" }), json!({ "body": "ade" }), json!({ "body": "abbbde" })]);
    // Others have deleted a part of it, and written inside it after they saw it.
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    undo.edit(&mut ann, 0, |p| p.body.push("one two three")).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| {
        p.body.delete(0, 4);
        p.body.insert(1, "X");
    })
    .unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view(), json!({ "body": "tXwo three" }));
    undo.undo(&mut ann, 0).unwrap().unwrap();
    assert_eq!(ann.view(), json!({ "body": "X" }));
    undo.redo(&mut ann, 0).unwrap().unwrap();
    // What Bob has deleted stays deleted.
    assert_eq!(ann.view(), json!({ "body": "tXwo three" }));
    merge(&mut ann, &mut bob);
}

#[test]
fn undo_of_deleted_text_puts_it_where_it_stood() {
    let start = |p: &mut Page| p.body.push("say hello world");
    let views = between(start, |p| p.body.delete(4, 6), |p| p.body.insert(7, "XY"));
    let seen = |text: &str| json!({ "body": text });
    assert_eq!(views, [seen("say XYworld"), seen("say helXYlo world"), seen("say XYworld")]);
    // Of text by several, deleted at once.
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    ann.transact(0, |p| p.body.push("ann")).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.body.insert(1, "bob")).unwrap();
    merge(&mut ann, &mut bob);
    undo.edit(&mut ann, 0, |p| p.body.set("")).unwrap();
    assert_eq!(ann.view(), json!({}));
    undo.undo(&mut ann, 0).unwrap().unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(bob.view(), seen("abobnn"));
}

#[test]
fn undo_of_a_register_gives_way_to_others() {
    // Nobody else wrote.
    let views = between(|p| p.title.set("old"), |p| p.title.set("new"), |p| p.tags.push("x"));
    assert_eq!(views.each_ref().map(|view| view["title"].clone()), ["new", "old", "new"]);
    let views = between(|p| p.tags.push("y"), |p| p.title.set("new"), |p| p.tags.push("x"));
    assert_eq!(views[1], json!({ "tags": ["y", "x"] }));
    assert_eq!(views[0], views[2]);
    // Bob wrote after he saw it.
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    undo.edit(&mut ann, 0, |p| p.title.set("ann")).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.title.set("bob")).unwrap();
    merge(&mut ann, &mut bob);
    assert!(undo.undo(&mut ann, 0).unwrap().is_none(), "nothing of it is left");
    assert_eq!(ann.view(), json!({ "title": "bob" }));
    // Bob wrote at the same time, and Ann's write hid his.
    let (mut ann, mut bob) = (page(1), page(2));
    ann.transact(0, |p| p.title.set("start")).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.title.set("bob")).unwrap();
    ann.transact(0, |p| p.tags.push("makes the next one greater")).unwrap();
    undo.edit(&mut ann, 0, |p| p.title.set("ann")).unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view()["title"], "ann");
    undo.undo(&mut ann, 0).unwrap().unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view()["title"], "bob");
    // All values of a multi-value register but the own one.
    let views = between(|p| p.moods.set(1), |p| p.moods.set(2), |p| p.moods.set(3));
    assert_eq!(views[1]["moods"], json!([3]));
}

#[test]
fn undo_of_a_counter_takes_back_the_own_steps() {
    let views =
        between(|p| p.counts.entry("n").add(1), |p| p.counts.entry("n").add(10), |p| p.counts.entry("n").add(100));
    assert_eq!(views, [111, 101, 111].map(|n| json!({ "counts": { "n": n } })));
    // The entry that it made goes again, unless somebody else counts in it.
    let views = between(|p| p.tags.push("x"), |p| p.counts.entry("n").add(i64::MIN), |p| p.tags.push("y"));
    assert_eq!(views[1], json!({ "tags": ["x", "y"] }));
    let views = between(|p| p.tags.push("x"), |p| p.counts.entry("n").add(5), |p| p.counts.entry("n").add(-5));
    assert_eq!(views.map(|view| view["counts"].clone()), [0, -5, 0].map(|n| json!({ "n": n })));
    // Even if the others' steps add up to nothing.
    let views = between(
        |p| p.tags.push("x"),
        |p| p.counts.entry("n").add(5),
        |p| {
            p.counts.entry("n").add(3);
            p.counts.entry("n").add(-3);
        },
    );
    assert_eq!(views[1]["counts"], json!({ "n": 0 }));
    // A step that somebody has deleted is not taken back again.
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    undo.edit(&mut ann, 0, |p| p.counts.entry("n").add(5)).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| {
        p.counts.remove("n");
        p.counts.entry("n").add(2);
    })
    .unwrap();
    merge(&mut ann, &mut bob);
    assert!(undo.undo(&mut ann, 0).unwrap().is_none());
    assert_eq!(ann.view(), json!({ "counts": { "n": 2 } }));
}

#[test]
fn undo_of_list_edits_keeps_what_others_inserted() {
    let start = |p: &mut Page| p.tags.extend(["a", "b", "c"]);
    let tags = |views: [serde_json::Value; 3]| views.map(|view| view["tags"].clone());
    let views = tags(between(start, |p| p.tags.insert(1, "new"), |p| p.tags.insert(1, "x")));
    assert_eq!(views[1], json!(["a", "x", "b", "c"]));
    assert_eq!(views[0].as_array().unwrap().len(), 5);
    let views = tags(between(start, |p| p.tags.remove_range(0, 3), |p| p.tags.insert(2, "x")));
    assert_eq!(views, [json!(["x"]), json!(["a", "b", "x", "c"]), json!(["x"])]);
    // Nodes come back with all that is in them.
    let item =
        || Item { name: "n".into(), count: 3.into(), remark: Some("r".into()), parts: vec![Item::default()].into() };
    let items = |p: &mut Page| p.items.extend([Item::default(), item(), Item::default()]);
    let views = between(items, |p| p.items.remove(1), |p| p.items.remove(0));
    let whole = json!({ "name": "n", "count": 3, "remark": "r", "parts": [{ "count": 0, "parts": [] }] });
    let blank = json!({ "count": 0, "parts": [] });
    assert_eq!(views, [json!([blank]), json!([whole, blank]), json!([blank])].map(|items| json!({ "items": items })));
}

#[test]
fn undo_of_a_move_gives_way_to_others() {
    let start = |p: &mut Page| p.tags.extend(["a", "b", "c", "d"]);
    let tags = |views: [serde_json::Value; 3]| views.map(|view| view["tags"].clone());
    let views = tags(between(start, |p| p.tags.move_to(0, 3), |p| p.tags.insert(0, "x")));
    assert_eq!(
        views,
        [json!(["x", "b", "c", "d", "a"]), json!(["x", "a", "b", "c", "d"]), json!(["x", "b", "c", "d", "a"])]
    );
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    ann.transact(0, start).unwrap();
    undo.edit(&mut ann, 0, |p| p.tags.move_to(0, 3)).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.tags.move_to(3, 1)).unwrap();
    merge(&mut ann, &mut bob);
    assert!(undo.undo(&mut ann, 0).unwrap().is_none(), "Bob has moved it since");
    undo.edit(&mut ann, 0, |p| p.tags.move_to(0, 3)).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.tags.remove(3)).unwrap();
    merge(&mut ann, &mut bob);
    assert!(undo.undo(&mut ann, 0).unwrap().is_none(), "Bob has deleted it");
}

#[test]
fn undo_of_a_removal_leaves_what_others_wrote_there() {
    let start = |p: &mut Page| {
        p.counts.entry("a").add(1);
        p.counts.entry("b").add(2);
        p.note = Some("a note".into());
        p.state.set(State::Closed { why: "because".into(), times: 3.into() });
    };
    let views = between(
        start,
        |p| {
            p.counts.clear();
            p.note = None;
            p.state.set(State::Open);
        },
        |p| {
            p.counts.entry("b").add(40);
            p.note.as_mut().unwrap().insert(2, "long ");
        },
    );
    assert_eq!(views[0], json!({ "counts": { "b": 40 }, "note": "long ", "state": { "variant": "Open", "Open": {} } }));
    assert_eq!(
        views[1],
        json!({
            "counts": { "a": 1, "b": 42 }, "note": "a long note",
            "state": { "variant": "Closed", "Closed": { "why": "because", "times": 3 } },
        })
    );
    assert_eq!(views[2], views[0]);
    // Bob has put something else there since.
    let (mut ann, mut bob) = (page(1), page(2));
    let mut undo = UndoManager::default();
    ann.transact(0, |p| p.extra.put_json("/x", &json!([1, 2]))).unwrap();
    undo.edit(&mut ann, 0, |p| p.extra.remove("/x")).unwrap();
    merge(&mut ann, &mut bob);
    bob.transact(0, |p| p.extra.put_json("/x", &json!("bob"))).unwrap();
    merge(&mut ann, &mut bob);
    assert!(undo.undo(&mut ann, 0).unwrap().is_none());
    assert_eq!(ann.view(), json!({ "extra": { "x": "bob" } }));
}

#[test]
fn edits_are_grouped_by_pauses_and_marks() {
    let mut page = page(1);
    let mut undo = UndoManager::default();
    let push = |undo: &mut UndoManager, page: &mut Doc, now_ms, text: &str| {
        undo.edit(page, now_ms, |p| p.body.push(text)).unwrap();
    };
    let text = |page: &Doc| page.read(|p| p.body.get());
    push(&mut undo, &mut page, 0, "a");
    push(&mut undo, &mut page, 499, "b");
    push(&mut undo, &mut page, 999, "c");
    undo.mark();
    push(&mut undo, &mut page, 1_000, "d");
    undo.begin_group();
    push(&mut undo, &mut page, 1_001, "e");
    push(&mut undo, &mut page, 9_000, "f");
    undo.begin_group();
    undo.end_group();
    push(&mut undo, &mut page, 90_000, "g");
    undo.end_group();
    push(&mut undo, &mut page, 90_001, "h");
    assert_eq!((undo.undo_steps(), text(&page)), (5, "abcdefgh".into()));
    for left in ["abcdefg", "abcd", "abc", "ab", ""] {
        undo.undo(&mut page, 0).unwrap().unwrap();
        assert_eq!(text(&page), left);
    }
    assert!(undo.undo(&mut page, 0).unwrap().is_none());
    assert_eq!((undo.undo_steps(), undo.redo_steps()), (0, 5));
    undo.redo(&mut page, 0).unwrap().unwrap();
    // A new edit ends what can be redone, and joins nothing.
    push(&mut undo, &mut page, 1, "x");
    assert_eq!((undo.undo_steps(), undo.redo_steps()), (2, 0));
    assert!(undo.redo(&mut page, 0).unwrap().is_none());
    undo.undo(&mut page, 0).unwrap().unwrap();
    assert_eq!(text(&page), "ab");
    undo.clear();
    assert!(undo.undo(&mut page, 0).unwrap().is_none() && undo.redo(&mut page, 0).unwrap().is_none());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut page = page(1);
    let bounds = UndoBounds { steps: 3, bytes: 100_000, group_ms: 0 };
    let mut undo = UndoManager::new(bounds);
    for n in 0..10 {
        undo.edit(&mut page, 0, |p| p.body.push(&n.to_string())).unwrap();
    }
    assert_eq!(undo.undo_steps(), 3);
    while undo.undo(&mut page, 0).unwrap().is_some() {}
    assert_eq!(page.read(|p| p.body.get()), "0123456");
    undo.edit(&mut page, 0, |p| p.body.push("8")).unwrap();
    page.transact(0, |p| p.body.push(&"x".repeat(200_000))).unwrap();
    // What is too large to be remembered is forgotten with what stood before it.
    undo.edit(&mut page, 0, |p| p.body.set("")).unwrap();
    assert_eq!(undo.undo_steps(), 0);
    assert!(undo.undo(&mut page, 0).unwrap().is_none());
}

#[test]
fn an_edit_that_fails_is_no_step() {
    let mut page = page(1);
    let mut undo = UndoManager::default();
    assert!(undo.edit(&mut page, 0, |p| p.body.delete(3, 1)).is_err());
    assert!(matches!(undo.edit(&mut page, 0, |p| p.body.len()), Err(TransactError::Nothing)));
    let gave_up = undo.try_edit(&mut page, 0, |p| {
        p.body.push("x");
        Err::<(), _>(TransactError::Aborted)
    });
    assert!(gave_up.is_err());
    assert_eq!(undo.undo_steps(), 0);
    undo.edit(&mut page, 0, |p| p.body.push("y")).unwrap();
    // Numbers of another document mean nothing here.
    let mut other = BaseCrdt::<Page>::new(DocumentId([8; 32]), Keypair::from_seed(&[1; 32]));
    assert!(undo.undo(&mut other, 0).unwrap().is_none());
    assert_eq!(undo.undo_steps(), 0);
}

#[test]
fn undo_works_within_what_is_gathered() {
    let mut page: BatchWriter<Page> = page(1).gather(GatherBounds::default());
    let mut undo = UndoManager::default();
    let mut now_ms = 0;
    for word in ["one ", "two ", "three "] {
        for letter in word.chars() {
            now_ms += 10;
            let _ = undo.edit(&mut page, now_ms, |p| p.body.push(&letter.to_string())).unwrap();
        }
        undo.mark();
    }
    assert_eq!(undo.undo_steps(), 3);
    let _ = undo.undo(&mut page, now_ms).unwrap().unwrap();
    assert_eq!(page.read(|p| p.body.get()), "one two ");
    assert_eq!(page.replica().len(), 0, "still gathered");
    // A failing edit leaves the steps alone.
    assert!(
        undo.edit(&mut page, now_ms, |p| {
            p.body.push("x");
            p.body.delete(100, 1);
        })
        .is_err()
    );
    assert_eq!((undo.undo_steps(), undo.redo_steps()), (2, 1));
    let commit = page.flush().unwrap();
    let _ = undo.redo(&mut page, now_ms).unwrap().unwrap();
    let _ = undo.undo(&mut page, now_ms).unwrap().unwrap();
    let _ = undo.undo(&mut page, now_ms).unwrap().unwrap();
    let _ = undo.redo(&mut page, now_ms).unwrap().unwrap();
    assert_eq!(page.read(|p| p.body.get()), "one two ");
    let flushed = page.finish();
    let mut peer = self::page(2);
    peer.apply(commit).unwrap();
    peer.apply(flushed.commit.unwrap()).unwrap();
    assert_eq!(peer.digest(), flushed.then.digest());
}

/// One random edit; the numbers are taken modulo what there is.
fn edit(p: &mut Page, what: u8, a: usize, b: i64) {
    let key = ["x", "y", "zzz"][a % 3];
    let item = || Item { name: key.into(), count: b.into(), ..Item::default() };
    match what % 24 {
        0 => p.title.set(key),
        1 => p.title.clear(),
        2..5 => p.body.insert(a % (p.body.len() + 1), key),
        5 | 6 if !p.body.is_empty() => {
            let (index, len) = (a % p.body.len(), p.body.len());
            p.body.delete(index, (b.unsigned_abs() as usize).min(len - index));
        }
        7 => p.body.set(key),
        8 => p.tags.insert(a % (p.tags.len() + 1), key),
        9 if !p.tags.is_empty() => p.tags.remove(a % p.tags.len()),
        10 | 11 if !p.tags.is_empty() => p.tags.move_to(a % p.tags.len(), b.unsigned_abs() as usize % p.tags.len()),
        12 => p.items.insert(a % (p.items.len() + 1), item()),
        13..16 if !p.items.is_empty() => {
            let mut at = p.items.get_mut(a % p.items.len()).unwrap().unwrap();
            let parts = at.parts.len();
            match b.rem_euclid(8) {
                0 => at.count.add(b),
                1 => at.name.set(key),
                2 => at.remark = None,
                3 => at.remark.get_or_insert_default().push(key),
                4 => at.parts.insert(a % (parts + 1), item()),
                5 if parts > 1 => at.parts.move_to(0, parts - 1),
                6 if parts > 0 => at.parts.remove(0),
                _ => *at = item(),
            }
        }
        16 if !p.items.is_empty() => p.items.remove(a % p.items.len()),
        17 => p.counts.entry(key).add(b),
        18 => p.counts.remove(key),
        19 => p.note = (b % 2 == 0).then(|| key.into()),
        20 => p.state.set(if b % 2 == 0 { State::Open } else { State::Closed { why: key.into(), times: b.into() } }),
        21 => p.extra.put_json(&format!("/{key}"), &json!({ "a": [a, {}], "b": [] })),
        22 => p.extra.add(&format!("/{key}"), b),
        _ => p.moods.set(b as u8),
    }
}

type Edits = Vec<(u8, usize, i64)>;

fn edits() -> impl Strategy<Value = Edits> {
    prop::collection::vec((any::<u8>(), 0..1000usize, -9..9i64), 1..4)
}

fn apply_edits(p: &mut Page, edits: &Edits) {
    edits.iter().for_each(|&(what, a, b)| edit(p, what, a, b));
}

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, Edits),
    Undo(usize),
    Redo(usize),
    Send(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, edits()).prop_map(|(by, edits)| Step::Edit(by, edits)),
        2 => (0..3usize).prop_map(Step::Undo),
        1 => (0..3usize).prop_map(Step::Redo),
        2 => (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Send(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn undo_of_everything_gives_the_former_view_and_redo_the_later(
        start in prop::collection::vec(edits(), 0..6),
        steps in prop::collection::vec(edits(), 1..25),
        rounds in 1..3usize,
    ) {
        let mut doc = page(1);
        for edits in &start {
            let _ = doc.transact(0, |p| apply_edits(p, edits));
        }
        let mut undo = UndoManager::new(UndoBounds { group_ms: 0, ..UndoBounds::default() });
        let mut views = vec![doc.view()];
        for edits in &steps {
            let count = undo.undo_steps();
            let _ = undo.edit(&mut doc, 0, |p| apply_edits(p, edits));
            if undo.undo_steps() > count {
                views.push(doc.view());
            }
        }
        for _ in 0..rounds {
            for (n, view) in views.iter().enumerate().rev().skip(1) {
                undo.undo(&mut doc, 0).unwrap();
                prop_assert_eq!(&doc.view(), view, "undo to step {}", n);
            }
            for (n, view) in views.iter().enumerate().skip(1) {
                undo.redo(&mut doc, 0).unwrap();
                prop_assert_eq!(&doc.view(), view, "redo to step {}", n);
            }
        }
    }

    #[test]
    fn undo_among_concurrent_members_converges(steps in prop::collection::vec(step(), 1..60)) {
        let mut docs = [page(1), page(2), page(3)];
        let mut managers: [UndoManager; 3] = std::array::from_fn(|_| UndoManager::new(UndoBounds { group_ms: 0, ..UndoBounds::default() }));
        for step in steps {
            match step {
                Step::Edit(by, edits) => match managers[by].edit(&mut docs[by], 0, |p| apply_edits(p, &edits)) {
                    Ok(_) | Err(TransactError::Nothing) => {}
                    Err(error) => prop_assert!(false, "{}", error),
                },
                Step::Undo(by) => drop(managers[by].undo(&mut docs[by], 0).unwrap()),
                Step::Redo(by) => drop(managers[by].redo(&mut docs[by], 0).unwrap()),
                Step::Send(from, to) if from != to => {
                    let changes: Vec<_> = docs[from].changes().collect();
                    for (_, verdict) in docs[to].apply_batch(changes).verdicts {
                        prop_assert!(matches!(verdict, Verdict::Applied | Verdict::AlreadyKnown), "{:?}", verdict);
                    }
                }
                Step::Send(..) => {}
            }
        }
        for manager in 0..3 {
            while managers[manager].undo(&mut docs[manager], 0).unwrap().is_some() {}
        }
        let [a, b, c] = &mut docs;
        send(a, b);
        send(b, c);
        send(c, a);
        send(c, b);
        prop_assert_eq!(a.digest(), b.digest());
        prop_assert_eq!(a.digest(), c.digest());
    }
}
