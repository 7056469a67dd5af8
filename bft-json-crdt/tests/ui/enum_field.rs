use bft_json_crdt::CrdtNode;

#[derive(CrdtNode)]
enum Payment {
    Cash,
    Card,
}

#[derive(CrdtNode)]
struct Order {
    payment: Payment,
}

fn main() {}
