//! A wallet without a server: what a scan found is handed in by hand.

use std::os::unix::fs::PermissionsExt as _;

use bdk_wallet::Update;
use bdk_wallet::chain::{BlockId, ConfirmationBlockTime, TxUpdate};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, FeeRate, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Witness, absolute, transaction};

use super::*;
use crate::btc::fees::FeeError;
use crate::btc::scan::Found;
use crate::home::Root;

const COIN: Amount = Amount::from_sat(1_000_000);

struct TestWallet {
    _folder: tempfile::TempDir,
    place: WalletPlace,
}

impl TestWallet {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Root::find(Some(folder.path().join("root"))).unwrap().node("dave");
        let place = WalletPlace::new(&home, Network::Regtest);
        assert!(place.ensure_seed().unwrap());
        assert!(!place.ensure_seed().unwrap());
        Self { _folder: folder, place }
    }

    fn open(&self) -> Wallet {
        Wallet::open(&self.place).unwrap()
    }

    /// A wallet with one confirmed coin.
    fn funded() -> Self {
        let test = Self::new();
        let mut wallet = test.open();
        let script = wallet.address().unwrap().address.script_pubkey();
        wallet.apply(found(&wallet, 10, [(payment_to(script, COIN), Some(5))])).unwrap();
        assert_eq!(wallet.balance().spendable(), COIN);
        drop(wallet);
        test
    }
}

/// A block of a chain that has one block at each height.
fn block(height: u32) -> BlockId {
    let hash = if height == 0 { Network::Regtest.genesis() } else { BlockHash::hash(&height.to_be_bytes()) };
    BlockId { height, hash }
}

/// What a scan would have found: a chain up to `tip`, and transactions in blocks or in the mempool.
fn found(wallet: &Wallet, tip: u32, txs: impl IntoIterator<Item = (Transaction, Option<u32>)>) -> Found {
    let mut update = TxUpdate::default();
    let plan = wallet.plan(false);
    for (tx, height) in txs {
        let txid = tx.compute_txid();
        match height {
            Some(height) => {
                let anchor = ConfirmationBlockTime { block_id: block(height), confirmation_time: 1_700_000_000 };
                update.anchors.insert((anchor, txid));
            }
            None => {
                update.seen_ats.insert((txid, plan.now));
            }
        }
        update.txs.push(tx.into());
    }
    let chain = (1..=tip).fold(plan.chain.get(0).unwrap(), |chain, height| chain.push(block(height)).unwrap());
    Found::for_tests(Update { tx_update: update, chain: Some(chain), ..Update::default() }, plan.now)
}

/// A transaction of a stranger. Different amounts make different transactions.
fn payment_to(script: ScriptBuf, amount: Amount) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), amount.to_sat() as u32),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: amount, script_pubkey: script }],
    }
}

fn stranger() -> ScriptBuf {
    let key = bitcoin::XOnlyPublicKey::from_slice(&[2; 32]).unwrap();
    ScriptBuf::new_p2tr_tweaked(bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key))
}

fn order(amount: u64) -> Payment {
    let fee_rate = FeeRate::from_sat_per_vb_u32(2);
    Payment { to: stranger(), what: What::Exactly(Amount::from_sat(amount)), fee_rate, max_fee: None }
}

#[test]
fn files_are_for_the_user_alone_and_hold_no_secret() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    wallet.commit(&signed).unwrap();
    drop(wallet);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(test.place.folder()), 0o700);
    let seed = test.place.seed().unwrap();
    let words = seed.words();
    let root = seed.root(Network::Regtest);
    let secrets = [words.as_bytes().to_vec(), root.to_string().into_bytes(), root.private_key.secret_bytes().to_vec()];
    for entry in std::fs::read_dir(test.place.folder()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(secrets.iter().all(|secret| !holds(secret)), "{} holds a secret", path.display());
        assert!(!holds(b"tprv"), "{} holds a private key", path.display());
    }
}

#[test]
fn an_address_stays_until_somebody_pays_to_it() {
    let test = TestWallet::new();
    let first = test.open().address().unwrap();
    assert_eq!(test.open().address().unwrap(), first);
    assert!(first.address.to_string().starts_with("bcrt1p"));
    let fresh = test.open().fresh_address().unwrap();
    assert_ne!(fresh.address, first.address);
    let mut wallet = test.open();
    wallet.apply(found(&wallet, 3, [(payment_to(first.address.script_pubkey(), COIN), Some(2))])).unwrap();
    assert_ne!(wallet.address().unwrap().address, first.address);
}

#[test]
fn a_payment_is_on_disk_before_anybody_hears_of_it() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    assert_eq!(signed.amount, Amount::from_sat(10_000));
    assert_eq!(signed.output_to(&stranger()).unwrap().txid, signed.txid);
    // Only built: nothing is taken yet.
    assert!(wallet.outbox().unwrap().is_empty());
    wallet.commit(&signed).unwrap();
    drop(wallet);
    let wallet = test.open();
    let outbox = wallet.outbox().unwrap();
    assert_eq!(outbox.iter().map(|outgoing| &outgoing.tx).collect::<Vec<_>>(), [&signed.tx]);
    assert_eq!(wallet.balance().total(), COIN - signed.amount - signed.fee);
    let history = wallet.history().unwrap();
    assert_eq!((history[0].txid, history[0].state), (signed.txid, State::Pending));
    assert_eq!(history[0].net_sat, -i64::try_from((signed.amount + signed.fee).to_sat()).unwrap());
}

#[test]
fn a_crash_between_outbox_and_wallet_loses_nothing() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    // The first half of a commit.
    wallet.store.put(&signed.tx, now_s(), None).unwrap();
    drop(wallet);
    let wallet = test.open();
    assert_eq!(wallet.balance().total(), COIN - signed.amount - signed.fee);
    assert!(wallet.transaction(&signed.txid).is_some());
}

#[test]
fn coins_of_a_payment_that_a_server_dropped_are_not_spent_again() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    wallet.commit(&signed).unwrap();
    let mut dropped = found(&wallet, 11, []);
    dropped.update.tx_update.evicted_ats.insert((signed.txid, wallet.later(&signed.txid)));
    wallet.apply(dropped).unwrap();
    assert_eq!(wallet.history().unwrap()[0].state, State::Unsent);
    assert!(matches!(wallet.pay(&order(10_000)), Err(WalletError::Insufficient { .. })));
    // Only giving it up frees them.
    wallet.abandon(&signed.txid).unwrap();
    assert!(wallet.outbox().unwrap().is_empty());
    wallet.pay(&order(10_000)).unwrap();
}

#[test]
fn what_is_buried_leaves_the_outbox_and_what_is_not_stays() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    wallet.commit(&signed).unwrap();
    wallet.apply(found(&wallet, 15, [(signed.tx.clone(), Some(11))])).unwrap();
    assert_eq!(wallet.outbox().unwrap().len(), 1, "five deep is not buried");
    wallet.apply(found(&wallet, 16, [])).unwrap();
    assert!(wallet.outbox().unwrap().is_empty());
    assert_eq!(wallet.history().unwrap().iter().map(|entry| entry.confirmations).collect::<Vec<_>>(), [6, 12]);
}

#[test]
fn a_replacement_pays_more_and_one_of_the_two_counts() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let first = wallet.pay(&order(10_000)).unwrap();
    wallet.commit(&first).unwrap();
    let low = wallet.bump(&first.txid, FeeRate::from_sat_per_vb_u32(2), None).unwrap_err();
    assert!(matches!(low, WalletError::BumpTooLow(rate) if rate > FeeRate::from_sat_per_vb_u32(2)), "{low}");
    let least = wallet.least_bump(&first.txid).unwrap();
    let second = wallet.bump(&first.txid, least, None).unwrap();
    assert!(second.fee > first.fee);
    assert_eq!((second.amount, second.replaces), (first.amount, Some(first.txid)));
    wallet.commit(&second).unwrap();
    drop(wallet);
    let mut wallet = test.open();
    assert_eq!(wallet.balance().total(), COIN - second.amount - second.fee);
    let states: HashMap<Txid, State> = wallet.history().unwrap().iter().map(|e| (e.txid, e.state)).collect();
    assert_eq!((states[&first.txid], states[&second.txid]), (State::Replaced, State::Pending));
    assert!(matches!(wallet.bump(&first.txid, least, None), Err(WalletError::Replaced(..))));
    // No node took the replacement: the first one counts again.
    wallet.abandon(&second.txid).unwrap();
    assert_eq!(wallet.balance().total(), COIN - first.amount - first.fee);
    // It is mined after all: too late for another.
    wallet.apply(found(&wallet, 11, [(first.tx.clone(), Some(11))])).unwrap();
    assert!(matches!(wallet.bump(&first.txid, least, None), Err(WalletError::Confirmed(_))));
    assert!(matches!(wallet.bump(&Txid::all_zeros(), least, None), Err(WalletError::NotOurs(_))));
}

#[test]
fn a_reorg_makes_a_payment_pending_again_and_keeps_it_in_the_outbox() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    let signed = wallet.pay(&order(10_000)).unwrap();
    wallet.commit(&signed).unwrap();
    wallet.apply(found(&wallet, 12, [(signed.tx.clone(), Some(11))])).unwrap();
    assert_eq!(wallet.history().unwrap()[0].confirmations, 2);
    // Other blocks from height 11 on.
    let mut reorg = found(&wallet, 10, []);
    let chain = reorg.update.chain.take().unwrap();
    let other = (11..14u32).map(|height| BlockId { height, hash: BlockHash::hash(&[9, height as u8]) });
    reorg.update.chain = Some(chain.extend(other).unwrap());
    wallet.apply(reorg).unwrap();
    assert_eq!(wallet.height(), 13);
    assert_eq!((wallet.history().unwrap()[0].txid, wallet.history().unwrap()[0].state), (signed.txid, State::Pending));
    assert_eq!(wallet.outbox().unwrap().len(), 1);
}

#[test]
fn dust_absurd_fees_and_strangers_unconfirmed_coins_are_refused() {
    let test = TestWallet::funded();
    let mut wallet = test.open();
    assert!(matches!(wallet.pay(&order(329)), Err(WalletError::Dust { .. })));
    wallet.pay(&order(330)).unwrap();
    let at = |rate: u32, amount: u64| Payment { fee_rate: FeeRate::from_sat_per_vb_u32(rate), ..order(amount) };
    assert!(matches!(wallet.pay(&at(1_001, 10_000)), Err(WalletError::Fee(FeeError::RateTooHigh(_)))));
    let error = wallet.pay(&at(100, 10_000)).unwrap_err();
    assert!(matches!(error, WalletError::Fee(FeeError::FeeTooHigh { .. })), "{error}");
    wallet.pay(&Payment { max_fee: Some(Amount::from_sat(20_000)), ..at(100, 10_000) }).unwrap();

    let script = wallet.address().unwrap().address.script_pubkey();
    wallet.apply(found(&wallet, 11, [(payment_to(script, Amount::from_sat(777)), None)])).unwrap();
    let balance = wallet.balance();
    assert_eq!((balance.incoming, balance.spendable()), (Amount::from_sat(777), COIN));
    let everything = wallet.pay(&Payment { what: What::Everything, ..order(0) }).unwrap();
    assert_eq!(everything.amount + everything.fee, COIN);
    assert_eq!(everything.tx.output.len(), 1);
    let WalletError::Insufficient { pending, .. } = wallet.pay(&order(1_000_001)).unwrap_err() else { panic!() };
    assert_eq!(pending, Amount::from_sat(777));
}

#[test]
fn a_database_of_another_seed_or_network_is_refused() {
    let (one, other) = (TestWallet::funded(), TestWallet::funded());
    std::fs::copy(one.place.database_file(), other.place.database_file()).unwrap();
    let error = Wallet::open(&other.place).unwrap_err();
    assert!(matches!(error, WalletError::Foreign { .. }), "{error}");
    let home = Root::find(Some(one._folder.path().join("root"))).unwrap().node("dave");
    let signet = WalletPlace::new(&home, Network::Signet);
    drop(Wallet::open(&signet).unwrap());
    let mutinynet = WalletPlace::new(&home, Network::Mutinynet);
    drop(Wallet::open(&mutinynet).unwrap());
    std::fs::copy(signet.database_file(), mutinynet.database_file()).unwrap();
    let error = Wallet::open(&mutinynet).unwrap_err();
    assert!(error.to_string().contains("of network signet"), "{error}");
}

#[test]
fn two_at_once_wait_for_each_other_and_spend_no_coin_twice() {
    let test = TestWallet::funded();
    let pay = || {
        let mut wallet = test.open();
        let signed = wallet.pay(&order(10_000))?;
        wallet.commit(&signed)?;
        Ok::<_, WalletError>(signed)
    };
    let signed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pay)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let spent: Vec<OutPoint> = signed
        .iter()
        .flat_map(|signed| signed.as_ref().unwrap().tx.input.iter().map(|input| input.previous_output))
        .collect();
    assert_eq!(spent.iter().collect::<HashSet<_>>().len(), spent.len(), "a coin twice: {spent:?}");
    assert_eq!(test.open().outbox().unwrap().len(), 4);
}

#[test]
fn swaps_get_numbers_that_never_come_again() {
    let test = TestWallet::new();
    assert_eq!(test.open().next_swap().unwrap(), 0);
    assert_eq!(test.open().next_swap().unwrap(), 1);
    let wallet = test.open();
    assert_ne!(wallet.swap_key(0).unwrap().secret_bytes(), wallet.swap_key(1).unwrap().secret_bytes());
    assert_eq!(*wallet.swap_preimage(1).unwrap(), *wallet.swap_preimage(1).unwrap());
}
