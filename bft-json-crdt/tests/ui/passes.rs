// No trait is imported, field names that the macro uses itself are free, the library may be found elsewhere, and generics need no bounds.
mod elsewhere {
    pub use bft_json_crdt as library;
}

use bft_json_crdt::{CounterCrdt, EnumCrdt, Json, ListCrdt, LwwRegisterCrdt, MapCrdt, MvRegisterCrdt, TextCrdt, Untyped};

#[derive(serde::Serialize, serde::Deserialize, Clone)]
pub struct Reading {
    celsius: f64,
}

#[derive(bft_json_crdt::CrdtNode)]
#[crdt(crate = "crate::elsewhere::library")]
pub struct Everything<T, U> {
    place: LwwRegisterCrdt<T>,
    content: ListCrdt<U>,
    key: Option<TextCrdt>,
    r#type: MvRegisterCrdt<String>,
    path: CounterCrdt,
    session: Untyped,
    of: MapCrdt<Inner<U>>,
    readings: ListCrdt<Json<Reading>>,
    rows: ListCrdt<Vec<Option<i64>>>,
    state: EnumCrdt<State<T>>,
    states: ListCrdt<State<T>>,
}

#[derive(bft_json_crdt::CrdtNode)]
pub struct Inner<U> {
    content: ListCrdt<U>,
}

#[derive(bft_json_crdt::CrdtNode)]
pub enum State<T> {
    None,
    Some { place: LwwRegisterCrdt<T>, content: CounterCrdt },
    Deep(Tree),
    Maybe(Option<CounterCrdt>),
}

#[derive(bft_json_crdt::CrdtNode, Default, Debug)]
pub struct Tree {
    name: LwwRegisterCrdt<String>,
    left: Option<Box<Tree>>,
    children: ListCrdt<Tree>,
}

#[derive(bft_json_crdt::CrdtNode)]
#[crdt(bound = "T: bft_json_crdt::CrdtElement")]
pub struct GenericTree<T> {
    value: ListCrdt<T>,
    children: ListCrdt<GenericTree<T>>,
}

#[derive(bft_json_crdt::CrdtNode)]
pub struct Nothing {}

fn is_node<T: bft_json_crdt::CrdtNode>() {}

fn main() {
    is_node::<Everything<u8, String>>();
    is_node::<Everything<Vec<u8>, Tree>>();
    is_node::<GenericTree<bool>>();
}
