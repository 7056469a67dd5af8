use bft_json_crdt::{CrdtNode, ListCrdt};

struct Reading {
    celsius: f64,
}

#[derive(CrdtNode)]
struct Station {
    last: Reading,
}

#[derive(CrdtNode)]
struct Log {
    all: ListCrdt<Reading>,
}

fn main() {}
