use bft_json_crdt::{CounterCrdt, CrdtNode};

#[derive(CrdtNode)]
struct Twice {
    #[crdt(rename = "b")]
    a: CounterCrdt,
    b: CounterCrdt,
}

#[derive(CrdtNode)]
enum Tag {
    #[crdt(rename = "variant")]
    A,
    B,
}

#[derive(CrdtNode)]
struct Unknown {
    #[crdt(nick = "b")]
    a: CounterCrdt,
}

fn main() {}
