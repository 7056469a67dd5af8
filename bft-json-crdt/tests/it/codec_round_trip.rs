//! Properties of the codec: what is built is what is read, there is one encoding, and arbitrary bytes do no harm.

use bft_json_crdt::change::VERSION;
use bft_json_crdt::ops::Ops;
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use crate::support::{meaning, play, steps, values};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn units_survive_building_encoding_and_decoding(steps in steps(40)) {
        let (builder, said) = play(&steps, false);
        let (units, estimate) = (builder.units(), builder.bytes());
        let ops = builder.finish();
        prop_assert_eq!(ops.units(), units);
        prop_assert_eq!(&meaning(&ops), &said);
        let bytes = ops.encode().unwrap();
        prop_assert!(bytes.len() <= estimate, "{} bytes, estimated {}", bytes.len(), estimate);
        let decoded = Ops::decode(VERSION, &bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&ops), "{:02x?}", bytes);
    }

    #[test]
    fn runs_give_the_same_bytes_as_their_units(steps in steps(40)) {
        let (in_runs, said_in_runs) = play(&steps, false);
        let (singly, said_singly) = play(&steps, true);
        prop_assert_eq!(said_in_runs, said_singly);
        prop_assert_eq!(in_runs.finish().encode().unwrap(), singly.finish().encode().unwrap());
    }

    /// Bytes near real ones: most are refused; what is accepted is the one encoding of what it means.
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        steps in steps(12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut bytes = play(&steps, false).0.finish().encode().unwrap();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = bytes[at].wrapping_add(if byte & 1 == 0 { 1 } else { 0xff }),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Ok(ops) = Ops::decode(VERSION, &bytes) {
            prop_assert_eq!(ops.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(prop_oneof![0..8u8, any::<u8>()], 0..64)) {
        if let Ok(ops) = Ops::decode(VERSION, &bytes) {
            prop_assert_eq!(ops.encode().unwrap(), bytes.clone());
        }
        if let Ok(value) = Value::decode(&bytes) {
            let mut out = Vec::new();
            value.encode(&mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn values_survive(value in values()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).unwrap();
        prop_assert_eq!(value.measure(), Ok(bytes.len()));
        prop_assert_eq!(Value::decode(&bytes), Ok(value.clone()));
        let json = serde_json::Value::from(&value);
        prop_assert_eq!(Value::try_from(json), Ok(value));
    }
}
