use bitcoin::absolute::{Height, LockTime};
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, TxIn, Txid};
use proptest::prelude::*;

use super::super::secrets::SpendKey;
use super::super::terms::{ChainId, Terms};
use super::*;

fn lock(kind: LockKind) -> LockScript {
    let key = |byte| SpendKey::from_bytes([byte; 32]).expect("a key").public();
    let (amount, hash) = (Amount::from_sat(100_000), Preimage::from_bytes([7; 32]).payment_hash());
    let timeout = Height::from_consensus(200).expect("a height");
    LockScript::new(&Terms::new(ChainId::REGTEST, kind, amount, hash, key(1), key(2), timeout).expect("sound"))
        .expect("a script")
}

fn outpoint() -> OutPoint {
    OutPoint::new(Txid::from_byte_array([5; 32]), 1)
}

fn spend(elements: &[Vec<u8>]) -> Transaction {
    let input = TxIn { previous_output: outpoint(), witness: Witness::from_slice(elements), ..TxIn::default() };
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![] }
}

/// Elements that lie close to what a real witness holds.
fn element() -> impl Strategy<Value = Vec<u8>> {
    let scripts: Vec<Vec<u8>> = [LockKind::P2wsh, LockKind::Taproot]
        .into_iter()
        .flat_map(|kind| [Branch::Claim, Branch::Refund].map(|branch| lock(kind).spent_script(branch).to_bytes()))
        .collect();
    prop_oneof![
        Just(vec![7; 32]),
        Just(vec![7; 31]),
        Just(vec![]),
        Just(vec![0x50]),
        Just(vec![0x50; 33]),
        proptest::sample::select(scripts),
        proptest::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn hostile_witnesses_never_panic_and_never_yield_a_wrong_preimage(
        elements in proptest::collection::vec(element(), 0..7),
        taproot in any::<bool>(),
    ) {
        let lock = lock(if taproot { LockKind::Taproot } else { LockKind::P2wsh });
        let transaction = spend(&elements);
        let shown = elements.contains(&vec![7; 32]);
        prop_assert_eq!(preimage_in(lock.terms().payment_hash(), &transaction).is_some(), shown);
        prop_assert!(!is_signed(&lock, lock.terms().amount(), &transaction));
        match spent_by(&lock, outpoint(), &transaction) {
            Some(SpentBy::Claim(preimage)) => {
                prop_assert!(shown);
                prop_assert_eq!(preimage.payment_hash(), lock.terms().payment_hash());
            }
            Some(SpentBy::Refund | SpentBy::Malformed) => {}
            None => prop_assert!(false, "it does spend the lock"),
        }
    }
}

#[test]
fn an_annex_hides_nothing() {
    let lock = lock(LockKind::Taproot);
    let script = |branch| lock.spent_script(branch).to_bytes();
    let claim = [vec![7; 32], vec![1; 64], script(Branch::Claim), vec![0xc0; 65], vec![0x50, 1, 2]];
    assert!(matches!(spent_by(&lock, outpoint(), &spend(&claim)), Some(SpentBy::Claim(_))));
    let refund = [vec![1; 64], script(Branch::Refund), vec![0xc0; 65], vec![0x50]];
    assert_eq!(spent_by(&lock, outpoint(), &spend(&refund)), Some(SpentBy::Refund));
    assert_eq!(spent_by(&lock, outpoint(), &spend(&[vec![1; 64]])), Some(SpentBy::Malformed));
}

#[test]
fn a_preimage_is_found_in_any_input() {
    let lock = lock(LockKind::P2wsh);
    let mut transaction = spend(&[]);
    let other = TxIn { witness: Witness::from_slice(&[vec![7; 32]]), ..TxIn::default() };
    transaction.input.push(other);
    assert!(preimage_in(lock.terms().payment_hash(), &transaction).is_some());
    assert_eq!(spent_by(&lock, outpoint(), &transaction), Some(SpentBy::Malformed));
}
