//! What a type may be, and what becomes of it where others write at the same time or the document does not fit.

use super::*;

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
