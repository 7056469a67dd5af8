//! Three members of a shop write offline, merge in different orders, and agree; a fourth person tries to forge a change.
//!
//! Run with `cargo run -p bft-json-crdt --example shop`.

#![allow(clippy::disallowed_macros, reason = "an example prints")]

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::{Applied, BaseCrdt, CounterCrdt, CrdtNode, EnumCrdt, ListCrdt, LwwRegisterCrdt, MapCrdt, TextCrdt};

#[derive(CrdtNode)]
struct Shop {
    name: LwwRegisterCrdt<String>,
    stock: MapCrdt<CounterCrdt>,
    orders: ListCrdt<Order>,
    notes: TextCrdt,
}

#[derive(CrdtNode)]
struct Order {
    item: LwwRegisterCrdt<String>,
    count: CounterCrdt,
    payment: EnumCrdt<Payment>,
}

#[derive(CrdtNode)]
enum Payment {
    Cash,
    Card { number: LwwRegisterCrdt<String> },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A real program draws its seeds from a secure random source, and asks its clock.
    let document = DocumentId([7; 32]);
    let mut ann = BaseCrdt::<Shop>::new(document, Keypair::from_seed(&[1; 32]));
    let mut bob = BaseCrdt::<Shop>::new(document, Keypair::from_seed(&[2; 32]));
    let mut cem = BaseCrdt::<Shop>::new(document, Keypair::from_seed(&[3; 32]));
    let now_ms = 1_764_000_000_000;

    // Ann opens the shop: one change, signed once, taken as a whole by everybody.
    let opening = ann.transact(now_ms, |s| {
        s.name.set("Corner");
        s.stock.entry("apple").add(10);
        s.orders.push(Order { item: "apple".into(), count: 2.into(), payment: Payment::Cash.into() });
        s.notes.push("closed on Monday");
    })?;
    bob.apply(&opening)?;
    cem.apply(&opening)?;

    // All three write at the same time, not seeing each other.
    let from_ann = ann.transact(now_ms + 1, |s| {
        s.name.set("Corner Shop");
        s.stock.entry("apple").add(-2);
    })?;
    let from_bob = bob.transact(now_ms + 1, |s| {
        s.stock.entry("apple").add(-1);
        s.orders.push(Order {
            item: "pear".into(),
            count: 1.into(),
            payment: Payment::Card { number: "4242".into() }.into(),
        });
        s.notes.push(" and Sunday");
    })?;
    let from_cem = cem.transact(now_ms + 1, |s| {
        if let Ok(Some(mut order)) = s.orders.get_mut(0) {
            order.count.add(1);
        }
        s.notes.insert(0, "We are ");
    })?;

    // Mallory takes Bob's true change, empties the stock in it, and signs it with the only key that Mallory has.
    let mallory = Keypair::from_seed(&[66; 32]);
    let forged = Change::sign(&mallory, from_bob.change.header().clone(), from_ann.change.ops());
    let refused = ann.apply(&forged).expect_err("nobody can sign for Bob");
    println!("Mallory writes in Bob's name: {refused}.");
    let mut tampered = from_bob.change.bytes().to_vec();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    println!("Mallory flips a bit on the way: {}.", ann.apply_bytes(tampered).expect_err("the hash covers every bit"));

    // The changes arrive in different orders, twice, and one before what it builds on.
    for change in [&from_bob, &from_cem, &from_bob] {
        ann.apply(change)?;
    }
    let late = bob.transact(now_ms + 2, |s| s.stock.entry("pear").add(7))?;
    if let Applied::Waiting { missing } = cem.apply(&late)? {
        println!("Cem waits for {} change(s).", missing.len());
    }
    for change in [&from_ann, &from_bob] {
        if let Applied::Merged(events) = cem.apply(change)? {
            println!("Cem sees {} event(s).", events.len());
        }
    }
    for change in [&from_cem, &from_ann] {
        bob.apply(change)?;
    }
    ann.apply(&late)?;

    println!("\n{}\n", serde_json::to_string_pretty(&ann.view())?);
    for (name, replica) in [("ann", &ann), ("bob", &bob), ("cem", &cem)] {
        println!("{name}  {} changes  digest {}", replica.replica().len(), hex::encode(replica.digest()));
    }
    assert!(ann.digest() == bob.digest() && bob.digest() == cem.digest());
    let apples = ann.read(|s| Ok::<_, bft_json_crdt::SchemaError>(s.stock.get("apple")?.map_or(0, |n| n.get())))?;
    println!("\n{apples} apples left, whoever you ask.");
    Ok(())
}
