use bft_json_crdt::CrdtNode;

#[derive(CrdtNode)]
struct Shop {
    tags: Vec<String>,
    maybe: Option<Vec<u8>>,
}

fn main() {}
