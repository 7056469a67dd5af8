use bft_json_crdt::{CounterCrdt, CrdtNode};

#[derive(CrdtNode)]
struct Tuple(CounterCrdt);

#[derive(CrdtNode)]
struct Unit;

#[derive(CrdtNode)]
enum Empty {}

#[derive(CrdtNode)]
enum Wide {
    Pair(CounterCrdt, CounterCrdt),
}

#[derive(CrdtNode)]
union Either {
    a: u8,
    b: u8,
}

fn main() {}
