//! Typed access: what a program that uses the derive relies on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::document::TxError;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Limits, Verdict};
use bft_json_crdt::value::ValueError;
use bft_json_crdt::{
    Applied, ApplyError, BaseCrdt, CounterCrdt, CrdtNode, EnumCrdt, Json, ListCrdt, LwwRegisterCrdt, MapCrdt,
    MvRegisterCrdt, SchemaError, SchemaProblem, TextCrdt, TransactError, Untyped,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(CrdtNode, Default)]
struct Shop {
    name: LwwRegisterCrdt<String>,
    stock: MapCrdt<CounterCrdt>,
    orders: ListCrdt<Order>,
    notes: TextCrdt,
    motto: Option<LwwRegisterCrdt<String>>,
    address: Address,
    opinions: MvRegisterCrdt<u8>,
    tags: ListCrdt<String>,
    #[crdt(rename = "log-book")]
    log: ListCrdt<Json<Entry>>,
    till: EnumCrdt<Payment>,
    extra: Untyped,
}

#[derive(CrdtNode, Default)]
struct Address {
    street: LwwRegisterCrdt<String>,
    number: LwwRegisterCrdt<u32>,
}

#[derive(CrdtNode, Default, Debug)]
struct Order {
    item: LwwRegisterCrdt<String>,
    count: CounterCrdt,
    remark: Option<TextCrdt>,
    payment: EnumCrdt<Payment>,
}

#[derive(CrdtNode, Debug)]
enum Payment {
    Cash,
    Card { number: LwwRegisterCrdt<String>, uses: CounterCrdt },
    Credit(CounterCrdt),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Entry {
    who: String,
    at: u64,
}

type Replica = BaseCrdt<Shop>;

fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn shop(seed: u8) -> Replica {
    BaseCrdt::new(DocumentId([7; 32]), keypair(seed))
}

/// Gives `to` all that `from` has.
fn send<T, U>(from: &BaseCrdt<T>, to: &mut BaseCrdt<U>) {
    for (id, verdict) in to.apply_batch(from.changes()).verdicts {
        assert!(matches!(verdict, Verdict::Applied | Verdict::AlreadyKnown), "{id}: {verdict:?}");
    }
}

/// Lets two replicas learn all from one another, and checks that they agree.
fn merge<T, U>(a: &mut BaseCrdt<T>, b: &mut BaseCrdt<U>) {
    send(a, b);
    send(b, a);
    assert_eq!(a.view(), b.view());
    assert_eq!(a.digest(), b.digest());
    assert_eq!(a.heads_digest(), b.heads_digest());
}

#[test]
fn a_replica_can_be_sent_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Replica>();
}

#[test]
fn reads_inside_a_transaction_see_its_writes() {
    let mut shop = shop(1);
    let commit = shop
        .transact(5, |s| {
            s.name.set("Corner");
            assert_eq!(s.name.get(), Ok(Some("Corner".into())));
            s.stock.entry("apple").add(5);
            s.stock.entry("apple").add(-7);
            assert_eq!(s.stock.get("apple").unwrap().unwrap().get(), -2);
            s.stock.entry("pear");
            assert_eq!(s.stock.keys(), ["apple", "pear"]);
            s.notes.push("hallo");
            s.notes.insert(1, "ä");
            s.notes.delete(2, 1);
            assert_eq!(s.notes.get(), "hällo");
            s.notes.set("hällchen");
            assert_eq!((s.notes.len(), s.notes.slice(1, 3)), (8, "äll".into()));
            s.tags.extend(["b", "a", "c"]);
            s.tags.move_to(1, 0);
            s.tags.remove(2);
            assert_eq!(s.tags.iter().collect::<Result<Vec<_>, _>>().unwrap(), ["a", "b"]);
            s.log.push(Entry { who: "ann".into(), at: 1 });
            assert_eq!(s.log.get(0).unwrap().unwrap().who, "ann");
            s.address.number.set(7);
            s.opinions.set(3);
            s.opinions.set(4);
            assert_eq!(s.opinions.get(), Ok(vec![4]));
            "answer"
        })
        .unwrap();
    assert_eq!(commit.value, "answer");
    assert_eq!(commit.change.header().time_ms, 5);
    assert!(!commit.events.is_empty());
    assert_eq!(
        shop.view(),
        json!({
            "name": "Corner", "stock": { "apple": -2, "pear": 0 }, "notes": "hällchen", "tags": ["a", "b"],
            "log-book": [{ "who": "ann", "at": 1 }], "address": { "number": 7 }, "opinions": [4],
        })
    );
}

#[test]
fn a_draft_is_written_whole_and_assignment_replaces() {
    let mut shop = shop(1);
    let order = || Order {
        item: "apple".into(),
        count: 3.into(),
        remark: Some("ripe".into()),
        payment: Payment::Card { number: "1".into(), uses: CounterCrdt::default() }.into(),
    };
    let card = |number: &str, uses: i64| json!({ "variant": "Card", "Card": { "number": number, "uses": uses } });
    shop.transact(0, |s| {
        s.orders.push(order());
        s.orders.insert(0, Order::default());
        let mut edited = order();
        edited.count.add(1);
        edited.remark.as_mut().unwrap().push("!");
        s.orders.push(edited);
    })
    .unwrap();
    let first = json!({ "item": "apple", "count": 3, "remark": "ripe", "payment": card("1", 0) });
    let mut edited = first.clone();
    edited["count"] = 4.into();
    edited["remark"] = "ripe!".into();
    assert_eq!(shop.view(), json!({ "orders": [{ "count": 0 }, first, edited] }));

    shop.transact(0, |s| {
        s.orders.remove(0);
        let mut order = s.orders.get_mut(0).unwrap().unwrap();
        order.item = "pear".into();
        order.count = 10.into();
        order.count.add(1);
        order.remark = None;
        drop(order);
        let mut order = s.orders.get_mut(1).unwrap().unwrap();
        if let Some(Payment::Card { number, uses }) = order.payment.get_mut().unwrap().as_deref_mut() {
            *number = "2".into();
            uses.add(1);
        }
        order.remark.as_mut().unwrap().push("?");
    })
    .unwrap();
    assert_eq!(
        shop.view(),
        json!({ "orders": [
            { "item": "pear", "count": 11, "payment": card("1", 0) },
            { "item": "apple", "count": 4, "remark": "ripe!?", "payment": card("2", 1) },
        ] })
    );

    shop.transact(0, |s| {
        s.orders = [Order::default()].into_iter().collect();
        s.stock = [("fig", CounterCrdt::from(1))].into_iter().collect();
        s.motto = Some("carpe".into());
        s.address = Address { street: "Main".into(), number: 1.into() };
    })
    .unwrap();
    assert_eq!(
        shop.view(),
        json!({ "orders": [{ "count": 0 }], "stock": { "fig": 1 }, "motto": "carpe", "address": { "street": "Main", "number": 1 } })
    );
    shop.transact(0, |s| {
        assert!(s.motto.is_some());
        s.motto = None;
        s.orders = ListCrdt::default();
        // Taking a field leaves an empty one behind.
        let _taken = std::mem::take(&mut s.stock);
        s.address.street.clear();
    })
    .unwrap();
    assert_eq!(shop.view(), json!({ "orders": [], "stock": {}, "address": { "number": 1 } }));
    shop.read(|s| assert!(s.motto.is_none()));
}

#[test]
fn an_assignment_leaves_alone_what_somebody_adds_at_the_same_time() {
    let (mut ann, mut bob) = (shop(1), shop(2));
    ann.transact(0, |s| s.stock.entry("apple").add(5)).unwrap();
    merge(&mut ann, &mut bob);
    ann.transact(0, |s| *s.stock.entry("apple") = 100.into()).unwrap();
    bob.transact(0, |s| s.stock.entry("apple").add(1)).unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view(), json!({ "stock": { "apple": 101 } }));
}

#[test]
fn a_failed_transaction_writes_nothing_and_says_why() {
    let mut shop = shop(1);
    shop.transact(0, |s| s.name.set("Corner")).unwrap();
    let (view, digest) = (shop.view(), shop.digest());
    let check = |shop: &Replica| {
        assert_eq!(shop.view(), view);
        assert_eq!(shop.digest(), digest);
        assert_eq!(shop.replica().len(), 1);
    };
    let long = "k".repeat(1025);
    let error = shop.transact(0, |s| {
        s.name.set("Other");
        s.stock.entry(&long).add(1);
        s.tags.push("never");
    });
    assert!(matches!(error, Err(TransactError::Write(TxError::KeyTooLong(1025)))), "{error:?}");
    check(&shop);
    let error = shop.transact(0, |s| {
        s.tags.push("a");
        s.tags.insert(3, "b");
        s.tags.remove(9);
    });
    assert!(matches!(error, Err(TransactError::Write(TxError::OutOfBounds { index: 3, len: 1 }))), "{error:?}");
    check(&shop);
    let mut text = TextCrdt::from("draft");
    text.insert(9, "x");
    let error = shop.transact(0, move |s| s.notes = text);
    assert!(matches!(error, Err(TransactError::Write(TxError::OutOfBounds { index: 9, len: 5 }))), "{error:?}");
    check(&shop);
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let error = shop.transact(0, |s| s.extra.set("/deep", Kind::Register, &deep));
    assert!(matches!(&error, Err(TransactError::Value { path, .. }) if path == "/extra/deep"), "{error:?}");
    check(&shop);
    let error = shop.transact_json(0, |doc| doc.put_json("/deep", &deep));
    assert!(matches!(error, Err(TransactError::Write(TxError::TooDeep))), "{error:?}");
    check(&shop);
    let error = shop.transact(0, |s| {
        let mut other = LwwRegisterCrdt::default();
        std::mem::swap(&mut s.name, &mut other);
        s.address.street = other;
    });
    assert!(matches!(&error, Err(TransactError::Moved { path }) if path == "/address/street"), "{error:?}");
    check(&shop);
    let error = shop.try_transact(0, |s| {
        s.name.set("Other");
        Err::<(), _>(TransactError::Aborted)
    });
    assert!(matches!(error, Err(TransactError::Aborted)), "{error:?}");
    check(&shop);
    let error = shop.transact(0, |s| {
        let _ = s.name.get();
        s.notes.insert(0, "");
        s.tags.remove_range(0, 0);
    });
    assert!(matches!(error, Err(TransactError::Nothing)), "{error:?}");
    check(&shop);
    // The chain goes on as if none of it had been.
    let commit = shop.transact(0, |s| s.tags.push("good")).unwrap();
    assert_eq!(commit.change.header().seq, 2);
    assert_eq!(shop.view(), json!({ "name": "Corner", "tags": ["good"] }));
}

#[test]
fn values_that_json_cannot_carry_fail_the_transaction() {
    #[derive(CrdtNode)]
    struct Numbers {
        pairs: LwwRegisterCrdt<BTreeMap<(u8, u8), u8>>,
        big: LwwRegisterCrdt<u128>,
        rates: ListCrdt<Json<Rates>>,
    }
    #[derive(Serialize, Deserialize, Clone)]
    enum Rates {
        Many { rates: BTreeMap<String, (Option<f32>, f64)> },
    }
    let rates = |low: Option<f32>, high: f64| Rates::Many { rates: [("eur".to_string(), (low, high))].into() };
    let mut numbers = BaseCrdt::<Numbers>::new(DocumentId([7; 32]), keypair(1));
    let error = numbers.transact(0, |n| n.pairs.set(BTreeMap::from([((1, 2), 3)])));
    assert!(matches!(&error, Err(TransactError::Value { path, .. }) if path == "/pairs"), "{error:?}");
    let error = numbers.transact(0, |n| n.big.set(u128::MAX));
    assert!(matches!(&error, Err(TransactError::Value { path, .. }) if path == "/big"), "{error:?}");
    assert_eq!(numbers.view(), json!({}));
    for bad in [rates(Some(f32::NAN), 1.0), rates(None, f64::INFINITY)] {
        let error = numbers.transact(0, |n| n.rates.push(bad));
        assert!(matches!(&error, Err(TransactError::Value { error: ValueError::NotFinite, .. })), "{error:?}");
    }
    numbers.transact(0, |n| n.rates.push(rates(None, 1.5))).unwrap();
    assert_eq!(numbers.view(), json!({ "rates": [{ "Many": { "rates": { "eur": [null, 1.5] } } }] }));
}

#[test]
fn a_panic_in_a_closure_changes_nothing() {
    let mut shop = shop(1);
    shop.transact(0, |s| s.name.set("Corner")).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _ = shop.transact(0, |s| {
            s.name.set("Other");
            s.orders.push(Order::default());
            let _order = s.orders.get_mut(0);
            std::panic::panic_any("the closure's own");
        });
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"the closure's own"));
    assert_eq!(shop.view(), json!({ "name": "Corner" }));
    let panic = catch_unwind(AssertUnwindSafe(|| shop.read(|_| std::panic::panic_any("again"))));
    assert!(panic.is_err());
    shop.transact(0, |s| s.name.set("Third")).unwrap();
    assert_eq!(shop.view(), json!({ "name": "Third" }));
}

#[test]
fn a_handle_that_outlives_its_closure_is_empty_and_harmless() {
    let mut shop = shop(1);
    let mut smuggled = None;
    shop.transact(0, |s| {
        s.stock.entry("apple").add(5);
        s.tags.push("a");
        smuggled = Some((std::mem::take(&mut s.stock), std::mem::take(&mut s.tags), std::mem::take(&mut s.extra)));
    })
    .unwrap();
    let (mut stock, mut tags, mut extra) = smuggled.unwrap();
    assert!(stock.is_empty() && tags.is_empty() && extra.is_empty());
    stock.entry("pear").add(1);
    stock.remove("apple");
    tags.push("b");
    extra.put_json("/x", &json!(1));
    assert_eq!(tags.get(0), Ok(None));
    // What was taken was replaced by empty drafts.
    assert_eq!(shop.view(), json!({ "extra": {}, "stock": {}, "tags": [] }));
    let error = shop.transact(0, |s| s.tags = tags);
    assert!(matches!(error, Err(TransactError::Moved { .. })), "{error:?}");
}

#[test]
fn members_share_what_they_start_at_the_same_time() {
    let (mut ann, mut bob, mut cem) = (shop(1), shop(2), shop(3));
    for (replica, n) in [(&mut ann, 1), (&mut bob, 10), (&mut cem, 100)] {
        replica
            .transact(0, |s| {
                s.stock.entry("apple").add(n);
                s.tags.push(n.to_string());
                s.notes.push("x");
                s.opinions.set(n as u8);
            })
            .unwrap();
    }
    merge(&mut ann, &mut bob);
    merge(&mut bob, &mut cem);
    merge(&mut ann, &mut cem);
    merge(&mut ann, &mut bob);
    ann.read(|s| {
        assert_eq!(s.stock.get("apple").unwrap().unwrap().get(), 111);
        assert_eq!((s.tags.len(), s.notes.len()), (3, 3));
        let mut opinions = s.opinions.get().unwrap();
        opinions.sort();
        assert_eq!(opinions, [1, 10, 100]);
    });
    cem.transact(0, |s| s.opinions.set(5)).unwrap();
    merge(&mut ann, &mut cem);
    assert_eq!(ann.read(|s| s.opinions.get()), Ok(vec![5]));
}

#[test]
fn concurrent_switches_of_an_enum_lose_nothing() {
    let (mut ann, mut bob) = (shop(1), shop(2));
    ann.transact(0, |s| s.till.set(Payment::Credit(5.into()))).unwrap();
    merge(&mut ann, &mut bob);
    // Both switch away; and Bob, before he does, uses what Ann deletes.
    ann.transact(0, |s| s.till.set(Payment::Cash)).unwrap();
    bob.transact(0, |s| {
        if let Some(Payment::Credit(credit)) = s.till.get_mut().unwrap().as_deref_mut() {
            credit.add(2);
        }
    })
    .unwrap();
    bob.transact(0, |s| s.till.set(Payment::Card { number: "42".into(), uses: 1.into() })).unwrap();
    merge(&mut ann, &mut bob);
    // Bob's switch has the higher lamport.
    assert!(ann.read(|s| s.till.get().unwrap().is_some_and(|p| matches!(*p, Payment::Card { .. }))));
    assert_eq!(ann.read(|s| s.till.leftovers()), ["Cash"]);
    assert_eq!(ann.view(), json!({ "till": { "variant": "Card", "Card": { "number": "42", "uses": 1 }, "Cash": {} } }));

    // An edit in a variant is no switch to it, but it is not lost either.
    ann.transact(0, |s| s.till.set(Payment::Cash)).unwrap();
    bob.transact(0, |s| {
        if let Some(Payment::Card { number, .. }) = s.till.get_mut().unwrap().as_deref_mut() {
            number.set("43");
        }
    })
    .unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(bob.view(), json!({ "till": { "variant": "Cash", "Cash": {}, "Card": { "number": "43" } } }));
    bob.transact(0, |s| s.till.set(Payment::Credit(1.into()))).unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view(), json!({ "till": { "variant": "Credit", "Credit": 1 } }));
    ann.transact(0, |s| s.till.clear()).unwrap();
    assert!(ann.read(|s| s.till.get().unwrap().is_none()));
}

#[test]
fn enums_stand_in_lists_and_maps_as_they_are() {
    #[derive(CrdtNode)]
    struct Ledger {
        all: ListCrdt<Payment>,
        by_name: MapCrdt<Payment>,
    }
    let mut ledger = BaseCrdt::<Ledger>::new(DocumentId([7; 32]), keypair(1));
    ledger
        .transact(0, |l| {
            l.all.push(Payment::Cash);
            l.all.push(Payment::Credit(3.into()));
            *l.all.get_mut(0).unwrap().unwrap() = Payment::Card { number: "1".into(), uses: 0.into() };
            l.by_name.insert("ann", Payment::Credit(1.into()));
            l.by_name.insert("ann", Payment::Cash);
        })
        .unwrap();
    assert_eq!(
        ledger.view(),
        json!({
            "all": [
                { "variant": "Card", "Card": { "number": "1", "uses": 0 } },
                { "variant": "Credit", "Credit": 3 },
            ],
            "by_name": { "ann": { "variant": "Cash", "Cash": {} } },
        })
    );
    ledger.read(|l| assert!(matches!(*l.by_name.get("ann").unwrap().unwrap(), Payment::Cash)));
}

#[test]
fn what_does_not_fit_the_type_is_an_error_with_its_path() {
    let mut honest = shop(1);
    let mut other = BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(2));
    honest.transact(0, |s| s.tags.extend(["good", "better"])).unwrap();
    other
        .transact(0, |doc| {
            doc.put_json("/name", &json!(7));
            doc.put_json("/address", &json!({ "number": -1, "street": { "deep": [] } }));
            doc.put_json("/orders", &json!([5, { "item": "fig", "payment": { "variant": "Barter", "Barter": {} } }]));
            doc.put_json("/stock", &json!({ "apple": "many" }));
            doc.put_json("/till", &json!({ "variant": ["Cash"] }));
            doc.put_json("/motto", &json!(3));
            doc.set("/opinions", Kind::MultiRegister, &json!(300));
            doc.put_json("/tags", &json!([{ "no": "string" }, 5]));
            doc.put_json("/notes", &json!("a register"));
            doc.put_json("/log-book", &json!([1]));
            doc.put_json("/unknown/field", &json!(true));
        })
        .unwrap();
    merge(&mut honest, &mut other);
    let path = |error: &SchemaError| error.path.clone();
    honest.read(|s| {
        assert_eq!(path(&s.name.get().unwrap_err()), "/name");
        assert_eq!(path(&s.address.number.get().unwrap_err()), "/address/number");
        let street = s.address.street.get().unwrap_err();
        assert_eq!(street.problem, SchemaProblem::Kind { expected: "a register", found: "a map" });
        assert_eq!(street.to_string(), "at \"/address/street\": expected a register, found a map");
        assert_eq!(path(&s.orders.get(0).unwrap_err()), "/orders/0");
        let order = s.orders.get(1).unwrap().unwrap();
        assert_eq!(order.item.get(), Ok(Some("fig".into())));
        assert_eq!(order.count.get(), 0);
        let payment = order.payment.get().unwrap_err();
        assert_eq!(path(&payment), "/orders/1/payment");
        assert!(matches!(payment.problem, SchemaProblem::Variant { ref found, .. } if found == "Barter"));
        assert_eq!(path(&s.stock.get("apple").unwrap_err()), "/stock/apple");
        assert!(s.stock.get("pear").unwrap().is_none());
        assert_eq!(path(&s.till.get().unwrap_err()), "/till/variant");
        assert_eq!(path(&s.motto.as_ref().unwrap().get().unwrap_err()), "/motto");
        assert_eq!(path(&s.opinions.get().unwrap_err()), "/opinions");
        let tags: Vec<_> = s.tags.iter().collect();
        assert_eq!(tags.iter().filter(|tag| tag.is_ok()).count(), 2);
        assert_eq!(tags.iter().filter_map(|tag| tag.as_ref().err()).count(), 2);
        assert_eq!(s.notes.get(), "");
        assert_eq!(path(&s.log.get(0).unwrap_err()), "/log-book/0");
        assert_eq!(s.orders.iter().count(), 2);
        let _ = format!("{:?} {:?}", s.orders, s.stock);
    });
    // Writing by type puts things right; what the type does not know stays.
    honest
        .transact(0, |s| {
            s.name.set("Corner");
            s.address.street.set("Main");
            s.stock.entry("apple").add(2);
            s.notes.push("text");
            s.till.set(Payment::Cash);
            s.orders.get_mut(1).unwrap().unwrap().payment.set(Payment::Cash);
        })
        .unwrap();
    merge(&mut honest, &mut other);
    let view = honest.view();
    assert_eq!(view["name"], "Corner");
    assert_eq!(view["address"], json!({ "number": -1, "street": "Main" }));
    assert_eq!(view["stock"], json!({ "apple": 2 }));
    assert_eq!(view["notes"], "text");
    assert_eq!(view["till"], json!({ "variant": "Cash", "Cash": {} }));
    assert_eq!(view["orders"][1]["payment"], json!({ "variant": "Cash", "Cash": {} }));
    assert_eq!(view["unknown"], json!({ "field": true }));
}

#[test]
fn forgeries_are_refused_by_name() {
    let (mut ann, mut bob) = (shop(1), shop(2));
    let first = ann.transact(0, |s| s.name.set("Corner")).unwrap().change;
    let second = ann.transact(0, |s| s.name.set("Other")).unwrap().change;

    // Mallory writes in Ann's name.
    let mallory = keypair(66);
    let mut header = first.header().clone();
    header.time_ms = 1;
    assert_eq!(bob.apply(Change::sign(&mallory, header, first.ops())), Err(ApplyError::Unauthenticated));
    // A flipped bit, anywhere.
    for byte in [0, 1, 40, 70, first.bytes().len() / 2, first.bytes().len() - 1] {
        let mut bytes = first.bytes().to_vec();
        bytes[byte] ^= 1;
        let verdict = bob.apply_bytes(bytes);
        assert!(
            matches!(verdict, Err(ApplyError::Malformed(_) | ApplyError::Unauthenticated) | Ok(Applied::Unsupported)),
            "{verdict:?}"
        );
    }
    // Into another document.
    let mut elsewhere = BaseCrdt::<Shop>::new(DocumentId([8; 32]), keypair(3));
    assert!(matches!(elsewhere.apply(&first), Err(ApplyError::Malformed(_))));
    assert_eq!(bob.view(), json!({}));

    let missing = first.id();
    assert_eq!(bob.apply(second.clone()), Ok(Applied::Waiting { missing: vec![missing] }));
    let Ok(Applied::Merged(events)) = bob.apply_bytes(first.bytes().clone()) else { panic!("it is a good change") };
    assert!(events.len() >= 2, "the change that waited is merged with it");
    assert_eq!(bob.apply(&second), Ok(Applied::AlreadyKnown));
    assert_eq!(bob.digest(), ann.digest());
}

#[test]
fn recorded_elements_stand_in_the_one_order() {
    let (mut ann, mut bob) = (shop(1), shop(2));
    for n in 0..3 {
        ann.transact(0, |s| s.log.record_in_order(Entry { who: "ann".into(), at: n })).unwrap();
        bob.transact(0, |s| s.log.record_in_order(Entry { who: "bob".into(), at: n })).unwrap();
    }
    merge(&mut ann, &mut bob);
    ann.transact(0, |s| s.log.record_in_order(Entry { who: "ann".into(), at: 3 })).unwrap();
    merge(&mut ann, &mut bob);
    let log = bob.read(|s| s.log.iter().map(|entry| entry.unwrap().0).collect::<Vec<_>>());
    // Both wrote at lamport 1, 2 and 3, and then Ann at 4.
    assert_eq!(log.iter().map(|entry| entry.at).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3]);
}

#[test]
fn a_type_may_contain_itself_to_the_depth_of_the_protocol() {
    #[derive(CrdtNode, Default)]
    struct Tree {
        name: LwwRegisterCrdt<String>,
        inner: Option<Box<Tree>>,
        children: Option<ListCrdt<Tree>>,
    }
    fn nested(depth: usize) -> Tree {
        let inner = depth.checked_sub(1).map(|depth| Box::new(nested(depth)));
        Tree { name: depth.to_string().as_str().into(), inner, children: None }
    }
    let mut tree = BaseCrdt::<Tree>::new(DocumentId([7; 32]), keypair(1));
    // The root has depth 0, a register in the n-th inner tree n + 1.
    tree.transact(0, |t| *t = nested(47)).unwrap();
    let error = tree.transact(0, |t| *t = nested(48));
    assert!(matches!(error, Err(TransactError::Write(TxError::TooDeep))), "{error:?}");
    let depth = tree.read(|t| {
        let mut depth = 0;
        let mut at = t;
        while let Some(inner) = &at.inner {
            (at, depth) = (inner, depth + 1);
        }
        depth
    });
    assert_eq!(depth, 47);
    tree.transact(0, |t| t.children = Some([nested(1), nested(0)].into_iter().collect())).unwrap();
    assert_eq!(tree.read(|t| t.children.as_ref().unwrap().get(0).unwrap().unwrap().name.get()), Ok(Some("1".into())));
}

#[test]
fn generics_and_drafts_of_any_shape_work() {
    #[derive(CrdtNode)]
    struct Page<T, U> {
        items: ListCrdt<T>,
        title: LwwRegisterCrdt<U>,
    }
    let mut page = BaseCrdt::<Page<Vec<Option<u8>>, (u8, bool)>>::new(DocumentId([7; 32]), keypair(1));
    page.transact(0, |p| {
        p.items.push(vec![Some(1), None]);
        p.title.set((1, true));
    })
    .unwrap();
    assert_eq!(page.view(), json!({ "items": [[1, null]], "title": [1, true] }));
    let mut nodes = BaseCrdt::<Page<ListCrdt<u64>, u64>>::new(DocumentId([7; 32]), keypair(1));
    nodes
        .transact(0, |p| {
            p.items.push(ListCrdt::from(vec![u64::MAX]));
            p.items.get_mut(0).unwrap().unwrap().push(1u64);
            p.title.set(u64::MAX);
        })
        .unwrap();
    assert_eq!(nodes.view(), json!({ "items": [[u64::MAX, 1]], "title": u64::MAX }));

    // A draft answers like the handle it becomes.
    let mut draft = ListCrdt::<Order>::default();
    draft.push(Order::default());
    draft.insert(0, Order { item: "fig".into(), ..Order::default() });
    draft.move_to(0, 1);
    draft.get_mut(1).unwrap().unwrap().count.add(2);
    assert_eq!(draft.get(1).unwrap().unwrap().count.get(), 2);
    draft.remove(0);
    assert_eq!(draft.len(), 1);
    let mut map = MapCrdt::<ListCrdt<Order>>::default();
    map.insert("a", draft);
    map.entry("b").push(Order::default());
    map.remove("c");
    assert_eq!(map.keys(), ["a", "b"]);
    let mut shop = BaseCrdt::<MapCrdt<ListCrdt<Order>>>::new(DocumentId([7; 32]), keypair(1));
    shop.transact(0, |s| *s = map).unwrap();
    assert_eq!(shop.view(), json!({ "a": [{ "item": "fig", "count": 2 }], "b": [{ "count": 0 }] }));
}

#[test]
fn untyped_paths_reach_everything_and_report_what_they_do_not() {
    let mut doc = BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(1));
    doc.transact(0, |d| {
        d.put_json("/a~1b/~0", &json!([1, { "x": [[], {}] }, "s"]));
        d.insert_json("/a~1b/~0/1", &json!(null));
        d.put_json("/a~1b/~0/0", &json!(2.5));
        d.move_to("/a~1b/~0/0", 3);
        d.add("/n", -4);
        d.edit_text("/t", 0, 0, "abc");
        d.edit_text("/t", 1, 1, "xyz");
        d.ensure("/empty", Kind::Text);
        d.set("/whole", Kind::Register, &json!({ "k": [1, 2] }));
    })
    .unwrap();
    assert_eq!(
        doc.view(),
        json!({ "a/b": { "~": [null, { "x": [[], {}] }, "s", 2.5] }, "n": -4, "t": "axyzc", "empty": "", "whole": { "k": [1, 2] } })
    );
    doc.read(|d| {
        assert_eq!(d.get("/a~1b/~0/1/x/1"), Some(json!({})));
        assert_eq!(d.get("/whole/k/1"), Some(json!(2)));
        assert_eq!(d.get("/a~1b/~0/01"), None);
        assert_eq!(d.get("/nope/x"), None);
        assert_eq!(d.get("nope"), None);
        assert_eq!((d.len(""), d.len("/a~1b/~0"), d.len("/t"), d.len("/n")), (5, 4, 5, 0));
        assert_eq!(d.keys("/a~1b"), ["~"]);
        assert_eq!(d.kind("/t"), Some(Kind::Text));
        assert_eq!(d.kind("/a~1b/~0/0"), None);
    });
    for (path, json) in [
        ("/n/x", json!(1)),
        ("/a~1b/~0/9/x", json!(1)),
        ("/a~1b/~0/x", json!(1)),
        ("", json!(1)),
        ("x", json!(1)),
        ("/a~1b/~0/0/x", json!(1)),
    ] {
        let error = doc.transact(0, |d| d.put_json(path, &json));
        assert!(matches!(&error, Err(TransactError::Path { path: told, .. }) if told == path), "{path}: {error:?}");
    }
    doc.transact(0, |d| d.remove("/a~1b/~0/1")).unwrap();
    doc.transact(0, |d| d.remove("/t")).unwrap();
    assert_eq!(doc.read(|d| d.get("/a~1b/~0")), Some(json!([null, "s", 2.5])));
    doc.transact(0, |d| d.remove("")).unwrap();
    assert_eq!(doc.view(), json!({}));
}

#[test]
fn all_kinds_under_a_key_can_be_listed() {
    let (mut ann, mut bob) = (
        BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(1)),
        BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(2)),
    );
    ann.transact(0, |d| d.put_json("/x", &json!([1]))).unwrap();
    bob.transact(0, |d| d.add("/x", 5)).unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(ann.view(), json!({ "x": 5 }));
    assert_eq!(ann.read(|d| d.kinds("", "x")), [(Kind::Counter, json!(5)), (Kind::List, json!([1]))]);
    ann.transact(0, |d| d.put_json("/x", &json!("settled"))).unwrap();
    merge(&mut ann, &mut bob);
    assert_eq!(bob.read(|d| d.kinds("", "x")), [(Kind::Register, json!("settled"))]);
}

#[test]
fn a_saved_replica_goes_on_where_it_stopped() {
    let mut shop = shop(1);
    shop.transact(0, |s| s.orders.push(Order { item: "fig".into(), ..Order::default() })).unwrap();
    let bytes = shop.save();
    let mut loaded = Replica::load(&bytes.into(), keypair(1), Limits::default()).unwrap();
    assert_eq!((loaded.digest(), loaded.view()), (shop.digest(), shop.view()));
    let commit = loaded.transact(0, |s| s.orders.get_mut(0).unwrap().unwrap().count.add(1)).unwrap();
    assert_eq!(commit.change.header().seq, 2);
    shop.apply(commit).unwrap();
    assert_eq!(shop.view(), json!({ "orders": [{ "item": "fig", "count": 1 }] }));
}

/// One random edit by type; the numbers are taken modulo what there is.
fn edit(s: &mut Shop, what: u8, a: usize, b: i64) {
    let key = ["apple", "pear", "fig"][a % 3];
    let payment = || match a % 3 {
        0 => Payment::Cash,
        1 => Payment::Card { number: b.to_string().as_str().into(), uses: b.into() },
        _ => Payment::Credit(b.into()),
    };
    match what % 22 {
        0 => s.name.set(b.to_string()),
        1 => s.stock.entry(key).add(b),
        2 => s.stock.remove(key),
        3 => *s.stock.entry(key) = b.into(),
        4 => s.orders.insert(
            a % (s.orders.len() + 1),
            Order { item: key.into(), payment: payment().into(), ..Order::default() },
        ),
        5 if !s.orders.is_empty() => s.orders.remove(a % s.orders.len()),
        6 if !s.orders.is_empty() => s.orders.move_to(a % s.orders.len(), b.unsigned_abs() as usize % s.orders.len()),
        7..10 if !s.orders.is_empty() => {
            let index = a % s.orders.len();
            let mut order = s.orders.get_mut(index).unwrap().unwrap();
            match b.rem_euclid(6) {
                0 => order.item.set(key),
                1 => order.count.add(b),
                2 => order.remark = None,
                3 => order.remark.get_or_insert_default().push(key),
                4 => order.payment.set(payment()),
                _ => {
                    if let Some(Payment::Card { number, uses }) = order.payment.get_mut().unwrap().as_deref_mut() {
                        number.set(key);
                        uses.add(b);
                    }
                }
            }
        }
        10 => s.notes.insert(a % (s.notes.len() + 1), key),
        11 if !s.notes.is_empty() => s.notes.delete(a % s.notes.len(), 1),
        12 => s.notes.set(key),
        13 => s.motto = (b % 2 == 0).then(|| key.into()),
        14 => s.opinions.set(b as u8),
        15 => s.tags.insert(a % (s.tags.len() + 1), key),
        16 if !s.tags.is_empty() => s.tags.remove(a % s.tags.len()),
        17 => s.log.record_in_order(Entry { who: key.into(), at: a as u64 }),
        18 => s.till.set(payment()),
        19 => s.address = Address { street: key.into(), number: (a as u32).into() },
        20 => s.extra.put_json(&format!("/{key}"), &json!({ "a": [a, {}], "b": [] })),
        21 => s.extra.add(&format!("/{key}"), b),
        _ => s.tags.push(key),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Edit { by: usize, edits: Vec<(u8, usize, i64)> },
    Send { from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3usize, prop::collection::vec((any::<u8>(), 0..1000usize, -100..100i64), 1..4)).prop_map(|(by, edits)| Step::Edit { by, edits }),
        1 => (0..3usize, 0..3usize).prop_map(|(from, to)| Step::Send { from, to }),
    ]
}

/// JSON that a document can hold: nested less deep than the protocol allows.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| json!(f)),
        ".{0,6}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            prop::collection::btree_map(".{0,4}", inner, 0..5).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_typed_edits_converge(steps in prop::collection::vec(step(), 1..60)) {
        let mut replicas = [shop(1), shop(2), shop(3)];
        for step in steps {
            match step {
                Step::Edit { by, edits } => {
                    let before = replicas[by].view();
                    let written = replicas[by].transact(0, |s| edits.iter().for_each(|&(what, a, b)| edit(s, what, a, b)));
                    match written {
                        Ok(_) => {}
                        // A delete of what is not there, say.
                        Err(TransactError::Nothing) => prop_assert_eq!(replicas[by].view(), before),
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Send { from, to } if from != to => {
                    let changes: Vec<_> = replicas[from].changes().collect();
                    for (_, verdict) in replicas[to].apply_batch(changes).verdicts {
                        prop_assert!(matches!(verdict, Verdict::Applied | Verdict::AlreadyKnown), "{:?}", verdict);
                    }
                }
                Step::Send { .. } => {}
            }
        }
        let [a, b, c] = &mut replicas;
        send(a, b);
        send(b, c);
        send(c, a);
        send(c, b);
        prop_assert_eq!(a.view(), b.view());
        prop_assert_eq!(a.view(), c.view());
        prop_assert_eq!(a.digest(), b.digest());
        prop_assert_eq!(a.digest(), c.digest());
        // And another one that gets all of it at once, last first.
        let mut late = shop(4);
        let mut all: Vec<_> = a.changes().collect();
        all.reverse();
        late.apply_batch(all);
        prop_assert_eq!(late.digest(), a.digest());
        // Honest members who use one type never see a schema error but where `extra` allows anything.
        a.read(|s| {
            s.name.get().unwrap();
            s.orders.iter().for_each(|order| { order.unwrap().payment.get().unwrap(); });
            s.stock.iter().for_each(|(_, count)| { count.unwrap(); });
            s.tags.iter().for_each(|tag| { tag.unwrap(); });
            s.log.iter().for_each(|entry| { entry.unwrap(); });
            s.till.get().unwrap();
            s.opinions.get().unwrap();
        });
    }

    #[test]
    fn json_survives_the_round_trip(json in any_json(), second in any_json()) {
        let mut doc = BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(1));
        doc.transact(0, |d| d.put_json("/x", &json)).unwrap();
        prop_assert_eq!(doc.read(|d| d.get("/x")), Some(json));
        doc.transact(0, |d| d.put_json("/x", &second)).unwrap();
        let mut peer = BaseCrdt::<Untyped>::new(DocumentId([7; 32]), keypair(2));
        send(&doc, &mut peer);
        prop_assert_eq!(peer.read(|d| d.get("/x")), Some(second));
    }
}
