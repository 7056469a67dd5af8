//! Random edits by type converge; any JSON comes back as it was.

use super::*;

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
