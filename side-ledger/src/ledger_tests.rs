//! The history does not depend on the order of arrival, keeps everything that was signed, and names nobody wrongly.

use super::*;
use bft_json_crdt::change::{DocumentId, Header, VERSION};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{Anchor, ContainerEntry};
use proptest::prelude::*;

/// A change with these operations as a ledger sees it. The bytes of the operations do not matter to the ledger; they only tell the ids apart.
fn change(seed: u8, seq: u64, salt: u64) -> Change {
    let keypair = Keypair::from_seed(&[seed; 32]);
    let header = Header {
        version: VERSION,
        document: DocumentId([0; 32]),
        author: keypair.author(),
        seq,
        previous: (seq > 1).then_some(ChangeId([seq as u8; 32])),
        deps: Vec::new(),
        time_ms: 1_000 + seq,
        ops_hash: [0; 32],
    };
    Change::sign(&keypair, header, &salt.to_be_bytes())
}

fn entry(parent: Parent, kind: Kind) -> ContainerEntry {
    ContainerEntry { parent, kind }
}

fn insert(list: u32, values: Vec<Value>) -> Run {
    Run::Insert { list: ContainerNo(list), anchor: Anchor::Start, elements: Elements::Values(values) }
}

/// Operations that insert `values` into the root's list of transactions.
fn transactions(values: Vec<Value>) -> Ops {
    Ops {
        foreign: Vec::new(),
        containers: vec![entry(Parent::Key(ContainerNo::ROOT, TRANSACTIONS_KEY.into()), Kind::List)],
        runs: vec![insert(1, values)],
    }
}

fn note(text: &str) -> Value {
    Transaction::note(text, 100).unwrap().to_value()
}

fn claim(name: &str) -> Value {
    Transaction::name(&Name::new(name).unwrap()).to_value()
}

fn ledger() -> Ledger {
    Ledger::new(&Limits { note_bytes: 100, ..Limits::default() }, Rules::First)
}

fn author(seed: u8) -> AuthorId {
    Keypair::from_seed(&[seed; 32]).author()
}

fn bodies(ledger: &Ledger) -> Vec<serde_json::Value> {
    ledger.after(None).map(|entry| entry.body).collect()
}

#[test]
fn entries_stand_in_the_one_order_whatever_arrives_first() {
    let changes = [(3, change(1, 1, 1), "c"), (1, change(2, 1, 2), "a"), (2, change(3, 1, 3), "b")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut ledger = ledger();
        for at in order {
            let (lamport, change, text) = &changes[at];
            assert_eq!(ledger.absorb(*lamport, change, &transactions(vec![note(text)])).len(), 1);
        }
        assert_eq!(bodies(&ledger), ["a", "b", "c"]);
    }
}

#[test]
fn only_inserts_into_the_roots_list_of_transactions_count_and_offsets_count_units() {
    let root = || ContainerNo::ROOT;
    let ops = Ops {
        foreign: Vec::new(),
        containers: vec![
            entry(Parent::Key(root(), "transactions".into()), Kind::Map),
            entry(Parent::Key(root(), "transactions".into()), Kind::List),
            entry(Parent::Key(root(), "other".into()), Kind::List),
            entry(Parent::Key(ContainerNo(1), "transactions".into()), Kind::List),
        ],
        runs: vec![
            insert(3, vec![note("other list"), note("other list")]),
            insert(4, vec![note("nested list")]),
            Run::Ensure(ContainerNo(2)),
            insert(2, vec![note("first"), note("second")]),
            Run::Insert { list: ContainerNo(2), anchor: Anchor::Start, elements: Elements::Container(Kind::Map) },
            insert(2, vec![note("third")]),
        ],
    };
    let mut ledger = ledger();
    let offsets: Vec<u32> = ledger.absorb(1, &change(1, 1, 0), &ops).iter().map(|position| position.offset).collect();
    assert_eq!(offsets, [4, 5, 6, 7]);
    let entries = ledger.latest(10);
    assert_eq!(entries[0].body, "first");
    assert_eq!((entries[2].kind.as_str(), entries[2].version), (MALFORMED_KIND, 0));
    assert_eq!(entries[3].body, "third");
}

#[test]
fn nothing_that_was_signed_disappears_and_malformed_ones_say_why() {
    let unknown = Transaction { version: 3, kind: "transfer".into(), body: Value::Int(5) };
    let values = vec![Value::Null, note("fine"), Value::String("bare".into()), unknown.to_value()];
    let mut ledger = ledger();
    ledger.absorb(1, &change(1, 1, 0), &transactions(values));
    let entries: Vec<Entry> = ledger.after(None).collect();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, [MALFORMED_KIND, "note", MALFORMED_KIND, "transfer"]);
    assert!(entries[0].problem.is_some() && entries[1].problem.is_none());
    assert_eq!(entries[2].body, "bare");
    assert_eq!((entries[3].version, &entries[3].body), (3, &serde_json::json!(5)));
}

#[test]
fn a_note_longer_than_the_group_allows_is_malformed() {
    let mut ledger = ledger();
    let long = Transaction::note(&"x".repeat(101), 1000).unwrap().to_value();
    ledger.absorb(1, &change(1, 1, 0), &transactions(vec![long]));
    assert_eq!(ledger.latest(1)[0].kind, MALFORMED_KIND);
}

#[test]
fn a_change_with_more_transactions_than_count_fills_no_memory() {
    let mut ledger = ledger();
    let added = ledger.absorb(1, &change(1, 1, 0), &transactions(vec![Value::Null; 200_000]));
    assert_eq!((added.len(), ledger.len()), (MAX_TRANSACTIONS + 1, MAX_TRANSACTIONS + 1));
    assert_eq!(ledger.latest(1)[0].problem, Some(TransactionError::TooMany.to_string()));
}

#[test]
fn absorbing_twice_changes_nothing_and_a_rebuild_forgets_what_was_dropped() {
    let (kept, dropped) = (change(1, 1, 1), change(2, 1, 2));
    let mut ledger = ledger();
    ledger.flag_equivocator(author(2));
    for _ in 0..2 {
        ledger.absorb(1, &kept, &transactions(vec![note("kept"), claim("ann")]));
        ledger.absorb(1, &dropped, &transactions(vec![note("dropped"), claim("ann")]));
    }
    assert_eq!(ledger.len(), 4);
    assert!(ledger.resolve("ann", |_| None).is_err());
    ledger.rebuild([(1, &kept, transactions(vec![note("kept"), claim("ann")]))]);
    assert_eq!(ledger.len(), 2);
    assert_eq!(ledger.resolve("ann", |_| None), Ok(author(1)));
    assert!(ledger.is_equivocator(&author(2)));
}

#[test]
fn pages_follow_on_one_another() {
    let mut ledger = ledger();
    for seq in 1..=10 {
        ledger.absorb(seq, &change(1, seq, 0), &transactions(vec![note(&seq.to_string())]));
    }
    let mut shown: Vec<Entry> = Vec::new();
    while let page @ [_, ..] = &ledger.after(shown.last().map(Entry::position).as_ref()).take(3).collect::<Vec<_>>()[..]
    {
        shown.extend_from_slice(page);
    }
    assert_eq!(shown.len(), 10);
    assert_eq!(shown, ledger.latest(100));
    assert_eq!(ledger.latest(2), shown[8..]);
    let position = shown[4].position();
    assert_eq!(position.to_string().parse(), Ok(position));
    assert_eq!(ledger.get(&position).as_ref(), Some(&shown[4]));
    assert_eq!("1.2".parse::<Position>(), Err(PositionError));
}

#[test]
fn entries_pass_through_json() {
    let mut ledger = ledger();
    ledger.flag_equivocator(author(1));
    ledger.absorb(7, &change(1, 1, 0), &transactions(vec![note("hi"), claim("ann"), Value::Null]));
    for entry in ledger.after(None) {
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
    }
    let json = serde_json::to_value(&ledger.latest(3)[0]).unwrap();
    assert_eq!(json["author"], author(1).to_string());
    assert_eq!(
        (&json["name"], &json["seq"], &json["kind"], &json["body"]),
        (&"ann".into(), &1.into(), &"note".into(), &"hi".into())
    );
    assert_eq!(json["equivocator"], true);
}

#[test]
fn names_are_looked_up_in_order_and_ambiguity_is_an_error() {
    let mut ledger = ledger();
    ledger.absorb(5, &change(1, 1, 1), &transactions(vec![claim("ann")]));
    let (ann, bob, eve) = (author(1), author(2), author(3));
    let none = |_: &str| None;
    assert_eq!(ledger.resolve("ann", none), Ok(ann));
    // The local registry goes before what others claim; a whole key before everything.
    assert_eq!(ledger.resolve("ann", |name| (name == "ann").then_some(bob)), Ok(bob));
    assert_eq!(ledger.resolve(&eve.to_string(), |_| Some(bob)), Ok(eve));
    // The beginning of a member's key.
    assert_eq!(ledger.resolve(&ann.to_string()[..MIN_PREFIX_DIGITS], none), Ok(ann));
    assert_eq!(ledger.resolve(&ann.to_string()[..8].to_uppercase(), none), Ok(ann));
    assert!(matches!(ledger.resolve(&ann.to_string()[..3], none), Err(ResolveError::Unknown(_))));
    assert!(matches!(ledger.resolve("nobody", none), Err(ResolveError::Unknown(_))));
    // Another key claims the name with an earlier place in the one order: it is shown, but never taken silently.
    ledger.absorb(1, &change(3, 1, 2), &transactions(vec![claim("ann")]));
    assert_eq!(ledger.owner(&Name::new("ann").unwrap()), Some(eve));
    assert_eq!(ledger.resolve("ann", none), Err(ResolveError::Ambiguous { text: "ann".into(), keys: vec![eve, ann] }));
    let told_apart = ledger.name_of(&ann).unwrap();
    assert_eq!(told_apart, format!("ann~{}", &ann.to_string()[..8]));
    assert_eq!(ledger.resolve(&told_apart, none), Ok(ann));
    assert_eq!(ledger.name_of(&eve).unwrap(), "ann");
}

#[test]
fn a_name_that_looks_like_anothers_key_catches_nobodys_money() {
    let mut ledger = ledger();
    let victim = author(1);
    ledger.absorb(1, &change(1, 1, 1), &transactions(vec![note("x")]));
    ledger.absorb(2, &change(2, 1, 2), &transactions(vec![claim(&victim.to_string()[..8])]));
    assert!(matches!(ledger.resolve(&victim.to_string()[..8], |_| None), Err(ResolveError::Ambiguous { .. })));
}

#[test]
fn the_last_claim_is_what_a_member_is_called_and_earlier_names_stay_bound() {
    let mut ledger = ledger();
    ledger.absorb(2, &change(1, 2, 2), &transactions(vec![claim("new")]));
    ledger.absorb(1, &change(1, 1, 1), &transactions(vec![claim("old")]));
    assert_eq!(ledger.name_of(&author(1)).unwrap(), "new");
    assert_eq!(ledger.resolve("old", |_| None), Ok(author(1)));
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_history_and_names(
        claims in proptest::collection::vec((1u8..5, 1u64..6, 0usize..3), 1..12),
        seed: u64,
    ) {
        let names = ["ann", "bob", "eve"];
        let changes: Vec<(u64, Change, Ops)> = claims
            .iter()
            .enumerate()
            .map(|(nth, (by, lamport, name))| {
                (*lamport, change(*by, 1, nth as u64), transactions(vec![note("n"), claim(names[*name])]))
            })
            .collect();
        let mut first = ledger();
        for (lamport, change, ops) in &changes {
            first.absorb(*lamport, change, ops);
        }
        let mut shuffled = changes.clone();
        shuffled.sort_by_key(|(_, change, _)| seed.wrapping_mul(u64::from(change.id().0[0]) + 1).rotate_left(17));
        let mut second = ledger();
        for (lamport, change, ops) in &shuffled {
            second.absorb(*lamport, change, ops);
        }
        prop_assert_eq!(first.latest(100), second.latest(100));
        for name in names {
            prop_assert_eq!(first.resolve(name, |_| None), second.resolve(name, |_| None));
        }
    }
}
