use super::super::secrets::{Preimage, SpendKey};
use super::*;

fn key(byte: u8) -> PublicKey {
    SpendKey::from_bytes([byte; 32]).expect("a key").public()
}

fn height(height: u32) -> Height {
    Height::from_consensus(height).expect("a height")
}

fn hash() -> PaymentHash {
    Preimage::from_bytes([7; 32]).payment_hash()
}

fn terms_of(amount: u64, timeout: u32) -> Result<Terms, TermsError> {
    let timeout = height(timeout);
    Terms::new(ChainId::REGTEST, LockKind::P2wsh, Amount::from_sat(amount), hash(), key(1), key(2), timeout)
}

fn offer() -> Offer {
    Offer {
        version: TERMS_VERSION,
        chain: ChainId::REGTEST,
        kind: LockKind::Taproot,
        amount: Amount::from_sat(50_000),
        timeout: height(200),
        payment_hash: None,
        claim_key: None,
        refund_key: Some(key(2)),
    }
}

#[test]
fn refuses_what_could_never_be_claimed() {
    assert_eq!(terms_of(4_999, 200), Err(TermsError::Dust(Amount::from_sat(4_999))));
    let above = Amount::MAX_MONEY.to_sat() + 1;
    assert_eq!(terms_of(above, 200), Err(TermsError::AboveSupply(Amount::from_sat(above))));
    assert_eq!(terms_of(5_000, 0), Err(TermsError::TimeoutHeight(0)));
    assert!(terms_of(5_000, 1).is_ok());
}

#[test]
fn refuses_one_key_for_both_branches_also_as_its_negative() {
    let negative = key(1).negate(super::super::secrets::secp());
    assert_ne!(negative, key(1));
    for refund in [key(1), negative] {
        let terms =
            Terms::new(ChainId::REGTEST, LockKind::P2wsh, Amount::from_sat(9_000), hash(), key(1), refund, height(9));
        assert_eq!(terms, Err(TermsError::EqualKeys));
    }
}

#[test]
fn refuses_short_and_absurd_timeouts() {
    let terms = terms_of(50_000, 1_000).expect("sound");
    assert_eq!(terms.check_at(height(966)), Ok(()));
    let short = TermsError::TimeoutTooShort { timeout: height(1_000), left: 33, least: 34 };
    assert_eq!(terms.check_at(height(967)), Err(short));
    assert!(matches!(terms.check_at(height(2_000)), Err(TermsError::TimeoutTooShort { left: 0, .. })));
    let far = terms_of(50_000, MAX_TIMEOUT_BLOCKS + 11).expect("sound");
    assert!(matches!(far.check_at(height(10)), Err(TermsError::TimeoutTooFar { .. })));
    assert_eq!(far.check_at(height(11)), Ok(()));
}

#[test]
fn refuses_the_wrong_chain() {
    let terms = terms_of(50_000, 200).expect("sound");
    assert_eq!(terms.check_chain(&ChainId::REGTEST), Ok(()));
    let east: ChainId = "regtest:east".parse().expect("a label");
    assert_eq!(
        terms.check_chain(&east),
        Err(TermsError::WrongChain { found: ChainId::REGTEST, expected: east.clone() })
    );
    assert!(terms.check_chain(&ChainId::SIGNET).is_err());
}

#[test]
fn chains_have_one_spelling() {
    for text in ["bitcoin", "testnet4", "signet", "mutinynet", "regtest", "regtest:east-2"] {
        assert_eq!(text.parse::<ChainId>().expect("a chain").to_string(), text);
    }
    for text in
        ["", "Bitcoin", "mainnet", "regtest:", "regtest:EAST", "regtest:a b", "regtest:12345678901234567", "signet:x"]
    {
        assert!(text.parse::<ChainId>().is_err(), "{text}");
    }
    assert_ne!(ChainId::SIGNET, ChainId::MUTINYNET);
    assert_eq!(ChainId::SIGNET.network(), ChainId::MUTINYNET.network());
}

#[test]
fn json_survives_a_round_trip_and_refuses_everything_else() {
    let terms = terms_of(50_000, 200).expect("sound");
    let json = terms.to_json();
    assert_eq!(Terms::from_json(&json), Ok(terms));
    for wrong in [
        json.replace("{\"version\"", "{\"note\":1,\"version\""),
        json.replace("\"version\":1", "\"version\":2"),
        json.replace("50000", "4000"),
        json.replace("50000", "-50000"),
        json.replace("50000", "5e4"),
        json.replace("\"timeout\":200", "\"timeout\":500000000"),
        json.replace("\"timeout\":200", "\"timeout\":200,\"timeout\":200"),
        json.replace("\"p2wsh\"", "\"p2sh\""),
        json.replace("\"claim_key\":\"03", "\"claim_key\":\"05"),
        json.replace(",\"timeout\":200", ""),
        format!("{json}{}", " ".repeat(MAX_TERMS_BYTES)),
    ] {
        assert_ne!(wrong, json);
        assert!(matches!(Terms::from_json(&wrong), Err(TermsError::Json(_))), "{wrong}");
    }
}

#[test]
fn each_field_has_its_part_in_the_id() {
    let base = |chain: ChainId, kind, amount, hash, claim, refund, timeout| {
        Terms::new(chain, kind, Amount::from_sat(amount), hash, key(claim), key(refund), height(timeout))
            .expect("sound")
            .id()
    };
    let other = Preimage::from_bytes([8; 32]).payment_hash();
    let ids = [
        base(ChainId::REGTEST, LockKind::P2wsh, 9_000, hash(), 1, 2, 200),
        base(ChainId::SIGNET, LockKind::P2wsh, 9_000, hash(), 1, 2, 200),
        base(ChainId::REGTEST, LockKind::Taproot, 9_000, hash(), 1, 2, 200),
        base(ChainId::REGTEST, LockKind::P2wsh, 9_001, hash(), 1, 2, 200),
        base(ChainId::REGTEST, LockKind::P2wsh, 9_000, other, 1, 2, 200),
        base(ChainId::REGTEST, LockKind::P2wsh, 9_000, hash(), 3, 2, 200),
        base(ChainId::REGTEST, LockKind::P2wsh, 9_000, hash(), 1, 3, 200),
        base(ChainId::REGTEST, LockKind::P2wsh, 9_000, hash(), 1, 2, 201),
    ];
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn an_acceptance_fills_holes_and_changes_nothing() {
    let fill = |payment_hash, byte| Acceptance { payment_hash, key: key(byte) };
    let terms = offer().complete(&fill(Some(hash()), 1)).expect("complete");
    assert_eq!((terms.claim_key(), terms.refund_key()), (key(1), key(2)));
    assert_eq!(offer().complete(&fill(None, 1)), Err(TermsError::Missing("payment hash")));
    assert_eq!(offer().complete(&fill(Some(hash()), 2)), Err(TermsError::EqualKeys));
    let fixed = Offer { payment_hash: Some(Preimage::from_bytes([8; 32]).payment_hash()), ..offer() };
    assert_eq!(fixed.complete(&fill(Some(hash()), 1)), Err(TermsError::Changed("payment hash")));
    let by_payee = Offer { claim_key: Some(key(1)), refund_key: None, ..offer() };
    assert_eq!(by_payee.complete(&fill(Some(hash()), 2)).expect("complete").refund_key(), key(2));
    assert!(Offer { claim_key: Some(key(1)), ..offer() }.complete(&fill(Some(hash()), 3)).is_err());
    assert!(Offer { refund_key: None, ..offer() }.complete(&fill(Some(hash()), 3)).is_err());
    assert!(matches!(Offer { version: 2, ..offer() }.complete(&fill(None, 1)), Err(TermsError::Version(2))));
    assert_eq!(Offer::from_json(&offer().to_json()), Ok(offer()));
    assert_eq!(offer().check_at(height(166)), Ok(()));
    assert!(offer().check_at(height(167)).is_err());
}
