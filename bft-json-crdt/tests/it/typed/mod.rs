//! Typed access: what a program that uses the derive relies on. Here stand the types of all of its tests.
//!
//! - `transactions`: what a closure writes, and what it does not
//! - `shapes`: what a type may be, and what becomes of it where others write or the document does not fit
//! - `random`: random edits, and any JSON

mod random;
mod shapes;
mod transactions;

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
