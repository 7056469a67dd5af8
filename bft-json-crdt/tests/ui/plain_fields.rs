use std::collections::{HashMap, HashSet};

use bft_json_crdt::{CrdtNode, MapCrdt};

#[derive(CrdtNode)]
struct Shop {
    name: String,
    visits: u64,
    open: bool,
    prices: HashMap<String, u32>,
    members: HashSet<String>,
    pair: (u8, u8),
    rgb: [u8; 3],
    stock: MapCrdt<u64>,
}

fn main() {}
