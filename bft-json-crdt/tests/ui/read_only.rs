use bft_json_crdt::{BaseCrdt, CounterCrdt, CrdtNode};

#[derive(CrdtNode)]
struct Shop {
    visits: CounterCrdt,
}

fn look(shop: &BaseCrdt<Shop>) {
    shop.read(|s| s.visits.add(1));
}

fn main() {}
