//! What a closure of a transaction writes, reads and leaves undone.

use super::*;

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
