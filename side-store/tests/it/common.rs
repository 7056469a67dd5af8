//! Groups and changes to store.

use bft_json_crdt::change::{Change, ChangeId, Header, VERSION};
use bft_json_crdt::identity::Keypair;
use side_ledger::{Admission, Genesis, GroupId, GroupSpec, Limits, Name, Sealing};
use side_store::{LoadBounds, Record, Store};

pub(crate) fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

pub(crate) fn genesis(nonce: u8) -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new("friends").unwrap(),
        created_ms: 1,
        nonce: [nonce; 32],
        founders: vec![keypair(1).author()],
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits::default(),
    })
    .unwrap()
}

/// A signed change; a store does not look into its operations.
pub(crate) fn change(group: GroupId, author: u8, seq: u64, ops: &[u8]) -> Change {
    let keypair = keypair(author);
    let header = Header {
        version: VERSION,
        document: group.document(),
        author: keypair.author(),
        seq,
        previous: (seq > 1).then_some(ChangeId([7; 32])),
        deps: Vec::new(),
        time_ms: seq,
        ops_hash: [0; 32],
    };
    Change::sign(&keypair, header, ops)
}

/// All changes of a group, through pages as small as `bounds`.
pub(crate) fn load_all(store: &mut impl Store, group: &GroupId, bounds: LoadBounds) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = store.load(group, records.len() as u64, bounds).unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}
