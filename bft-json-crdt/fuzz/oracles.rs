//! What must hold for any bytes whatever, one function for each decoder. Fuzz targets and the test that replays seeds and crashers share
//! them. Each panics where a promise is broken and answers whether the bytes were accepted.

use bft_json_crdt::change::{Change, VERSION};
use bft_json_crdt::evidence::{EquivocationProof, Voucher};
use bft_json_crdt::ops::{MAX_UNITS, Ops};
use bft_json_crdt::value::{Value, canonical_json};

/// A change that decodes stands in the one encoding.
pub(crate) fn change(data: &[u8]) -> bool {
    let Ok(change) = Change::decode(bytes::Bytes::copy_from_slice(data)) else { return false };
    let again = Change::from_parts(change.header().clone(), change.ops(), change.signature());
    assert_eq!(again.bytes(), data);
    assert_eq!(again.id(), change.id());
    ops(change.ops());
    true
}

/// Operations that decode stand in the one encoding and keep their bounds.
pub(crate) fn ops(data: &[u8]) -> bool {
    let Ok(ops) = Ops::decode(VERSION, data) else { return false };
    assert_eq!(ops.encode().expect("what was decoded can be encoded"), data);
    let units = ops.units();
    assert!(units <= MAX_UNITS);
    if units < 4096 {
        let mut seen = 0;
        ops.for_each_unit(|offset, _| {
            assert_eq!(offset, seen);
            seen += 1;
        });
        assert_eq!(seen, units);
    }
    true
}

/// A value that decodes stands in the one encoding, and its JSON reads back.
pub(crate) fn value(data: &[u8]) -> bool {
    let Ok(value) = Value::decode(data) else { return false };
    let mut again = Vec::new();
    value.encode(&mut again).expect("what was decoded can be encoded");
    assert_eq!(again, data);
    assert_eq!(value.measure(), Ok(data.len()));
    assert!(canonical_json(&value).len() >= data.len().min(1));
    let json = serde_json::Value::from(&value);
    assert_eq!(Value::try_from(json), Ok(value));
    true
}

/// Evidence that decodes stands in the one encoding; judging it does no harm.
pub(crate) fn evidence(data: &[u8]) -> bool {
    let voucher = Voucher::decode(data);
    if let Ok(voucher) = &voucher {
        assert_eq!(voucher.encode(), data);
        let _ = voucher.0.verify();
    }
    let proof = EquivocationProof::decode(data);
    if let Ok(proof) = &proof {
        assert_eq!(proof.encode(), data);
        let _ = proof.verify();
    }
    voucher.is_ok() || proof.is_ok()
}
