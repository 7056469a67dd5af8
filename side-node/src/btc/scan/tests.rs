//! Scans of a small made-up chain, told truly and not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{Address, Transaction};

use super::*;
use crate::btc::fake::{Fake, Reply};
use crate::btc::network::Network;
use crate::btc::wallet::{Wallet, WalletPlace};
use crate::home::Root;

/// A chain with a block at each height, and transactions that each pay one script.
#[derive(Default)]
struct Chain {
    tip: u32,
    /// Blocks from this height on are those of another branch.
    fork: Option<u32>,
    txs: Vec<(ScriptBuf, Transaction, Option<u32>)>,
}

impl Chain {
    fn hash(&self, height: u32) -> BlockHash {
        match (height, self.fork) {
            (0, _) => Network::Regtest.genesis(),
            (height, Some(fork)) if height >= fork => BlockHash::hash(format!("fork {height}").as_bytes()),
            (height, _) => BlockHash::hash(format!("{height}").as_bytes()),
        }
    }

    fn pay(&mut self, to: &Address, sats: u64, height: Option<u32>) -> Txid {
        let tx = Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![bitcoin::TxIn {
                previous_output: OutPoint::new(Txid::all_zeros(), self.txs.len() as u32),
                ..Default::default()
            }],
            output: vec![TxOut { value: Amount::from_sat(sats), script_pubkey: to.script_pubkey() }],
        };
        let txid = tx.compute_txid();
        self.txs.push((to.script_pubkey(), tx, height));
        txid
    }

    fn json(&self, tx: &Transaction, height: Option<u32>) -> String {
        let status = match height {
            Some(height) => format!(
                r#"{{"confirmed":true,"block_height":{height},"block_hash":"{}","block_time":1700000000}}"#,
                self.hash(height)
            ),
            None => r#"{"confirmed":false}"#.to_owned(),
        };
        let output = &tx.output[0];
        format!(
            r#"{{"txid":"{}","version":2,"locktime":0,"vin":[{{"txid":"{}","vout":{},"prevout":null,"scriptsig":"","sequence":{},"is_coinbase":false}}],"vout":[{{"value":{},"scriptpubkey":"{:x}"}}],"size":100,"weight":400,"fee":100,"status":{status}}}"#,
            tx.compute_txid(),
            tx.input[0].previous_output.txid,
            tx.input[0].previous_output.vout,
            tx.input[0].sequence.0,
            output.value.to_sat(),
            output.script_pubkey
        )
    }

    /// Esplora's answer, with pages of 25.
    fn answer(&self, asked: &str) -> Reply {
        let parts: Vec<&str> = asked.trim_start_matches("GET /").split('/').collect();
        match parts[..] {
            ["blocks", "tip", "hash"] => Reply::ok(self.hash(self.tip).to_string()),
            ["block-height", height] => match height.parse() {
                Ok(height) if height <= self.tip => Reply::ok(self.hash(height).to_string()),
                _ => Reply::missing(),
            },
            ["block", hash] => {
                let height = (0..=self.tip).find(|height| self.hash(*height).to_string() == hash);
                height
                    .map_or_else(Reply::missing, |height| Reply::ok(format!(r#"{{"id":"{hash}","height":{height}}}"#)))
            }
            ["scripthash", hash, "txs"] => self.page(hash, None),
            ["scripthash", hash, "txs", "chain", after] => self.page(hash, Some(after)),
            _ => Reply::missing(),
        }
    }

    fn page(&self, hash: &str, after: Option<&str>) -> Reply {
        let of_script = |(script, ..): &&(ScriptBuf, Transaction, Option<u32>)| {
            format!("{:x}", sha256::Hash::hash(script.as_bytes())) == hash
        };
        let mut page: Vec<String> = Vec::new();
        if after.is_none() {
            let waiting = self.txs.iter().filter(of_script).filter(|(.., height)| height.is_none());
            page.extend(waiting.map(|(_, tx, height)| self.json(tx, *height)));
        }
        let confirmed = self.txs.iter().filter(of_script).filter(|(.., height)| height.is_some());
        let mut skipping = after.is_some();
        let rest = confirmed.filter(|(_, tx, _)| {
            let skipped = skipping;
            skipping &= Some(tx.compute_txid().to_string().as_str()) != after;
            !skipped
        });
        page.extend(rest.take(25).map(|(_, tx, height)| self.json(tx, *height)));
        Reply::ok(format!("[{}]", page.join(",")))
    }
}

struct TestWallet {
    _folder: tempfile::TempDir,
    place: WalletPlace,
}

impl TestWallet {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Root::find(Some(folder.path().join("root"))).unwrap().node("dave");
        let place = WalletPlace::new(&home, Network::Regtest);
        place.ensure_seed().unwrap();
        Self { _folder: folder, place }
    }

    fn open(&self) -> Wallet {
        Wallet::open(&self.place).unwrap()
    }

    fn addresses(&self, count: usize) -> Vec<Address> {
        let mut wallet = self.open();
        (0..count).map(|_| wallet.fresh_address().unwrap().address).collect()
    }

    async fn sync(&self, server: &Fake) -> Result<(), ScanError> {
        let plan = self.open().plan(false);
        let found = scan(&Esplora::new(&server.url).unwrap(), &plan, |_| {}).await?;
        self.open().apply(found).unwrap();
        Ok(())
    }

    fn total(&self) -> u64 {
        self.open().balance().total().to_sat()
    }
}

async fn serve(chain: Arc<Mutex<Chain>>) -> Fake {
    Fake::start(move |asked, _| chain.lock().unwrap().answer(asked)).await
}

#[tokio::test]
async fn a_history_of_several_pages_is_read_to_its_end_and_once() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let mut chain = Chain { tip: 100, ..Chain::default() };
    for height in 1..=60 {
        chain.pay(&address, 1_000, Some(height));
    }
    chain.pay(&address, 5, None);
    let server = serve(Arc::new(Mutex::new(chain))).await;
    test.sync(&server).await.unwrap();
    assert_eq!(test.total(), 60_005);
    let pages = server.asked().iter().filter(|asked| asked.contains("/txs/chain/")).count();
    assert_eq!(pages, 2);
}

#[tokio::test]
async fn a_payment_that_left_the_mempool_is_no_coin_any_more() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let chain = Arc::new(Mutex::new(Chain { tip: 10, ..Chain::default() }));
    chain.lock().unwrap().pay(&address, 7_000, None);
    let server = serve(Arc::clone(&chain)).await;
    test.sync(&server).await.unwrap();
    assert_eq!(test.total(), 7_000);
    chain.lock().unwrap().txs.clear();
    test.sync(&server).await.unwrap();
    assert_eq!(test.total(), 0);
}

#[tokio::test]
async fn a_reorg_takes_a_payment_out_of_its_block_and_another_one_confirms_it() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let chain = Arc::new(Mutex::new(Chain { tip: 30, ..Chain::default() }));
    chain.lock().unwrap().pay(&address, 7_000, Some(28));
    let server = serve(Arc::clone(&chain)).await;
    test.sync(&server).await.unwrap();
    assert_eq!(test.open().balance().confirmed.to_sat(), 7_000);
    {
        let mut chain = chain.lock().unwrap();
        (chain.fork, chain.tip) = (Some(27), 31);
        chain.txs[0].2 = None;
    }
    test.sync(&server).await.unwrap();
    assert_eq!(test.open().balance().incoming.to_sat(), 7_000);
    chain.lock().unwrap().txs[0].2 = Some(31);
    test.sync(&server).await.unwrap();
    assert_eq!(test.open().balance().confirmed.to_sat(), 7_000);
    assert_eq!(test.open().history().unwrap()[0].height, Some(31));
}

#[tokio::test]
async fn a_chain_that_moves_during_a_scan_is_read_again() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let chain = Arc::new(Mutex::new(Chain { tip: 30, ..Chain::default() }));
    chain.lock().unwrap().pay(&address, 7_000, Some(30));
    let (held, moves) = (Arc::clone(&chain), AtomicU32::new(0));
    let server = Fake::start(move |asked, _| {
        let mut chain = held.lock().unwrap();
        // The block of the payment goes just after its history was read, once.
        if asked == "GET /blocks/tip/hash" && moves.fetch_add(1, Ordering::SeqCst) == 0 {
            (chain.fork, chain.tip) = (Some(30), 31);
            chain.txs[0].2 = Some(31);
        }
        chain.answer(asked)
    })
    .await;
    test.sync(&server).await.unwrap();
    assert_eq!(test.open().history().unwrap()[0].height, Some(31));
    // A chain that never stands still is given up.
    let height = AtomicU32::new(30);
    let server = Fake::start(move |asked, _| {
        let mut chain = chain.lock().unwrap();
        if asked == "GET /blocks/tip/hash" {
            let next = height.fetch_add(1, Ordering::SeqCst);
            (chain.fork, chain.tip) = (Some(next + 1), next);
            let answer = chain.answer(asked);
            (chain.fork, chain.tip) = (Some(1), next);
            return answer;
        }
        chain.answer(asked)
    })
    .await;
    assert!(test.sync(&server).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_the_wallet_stays_as_it_was() {
    let test = TestWallet::new();
    let addresses = test.addresses(2);
    let mut chain = Chain { tip: 10, ..Chain::default() };
    chain.pay(&addresses[0], 7_000, Some(3));
    let chain = Arc::new(Mutex::new(chain));
    test.sync(&serve(Arc::clone(&chain)).await).await.unwrap();

    // Another script, more than all bitcoin, an id that is not the transaction's, a block that is none; and a good transaction of somebody else.
    let other = {
        let chain = chain.lock().unwrap();
        chain.json(&chain.txs[0].1, Some(3))
    };
    let lies: [fn(&str) -> String; 4] = [
        |honest| honest.replace(r#""scriptpubkey":""#, r#""scriptpubkey":"51"#),
        |honest| honest.replace(r#""value":7000"#, r#""value":2100000000000001"#),
        |honest| honest.replace(r#""locktime":0"#, r#""locktime":1"#),
        |honest| honest.replace(r#""block_height":3,"#, ""),
    ];
    let theirs = {
        let mut elsewhere = Chain { tip: 10, ..Chain::default() };
        elsewhere.pay(&TestWallet::new().addresses(1)[0], 5_000, Some(3));
        elsewhere.json(&elsewhere.txs[0].1, Some(3))
    };
    for lie in lies.map(|lie| lie(&other)).into_iter().chain([theirs]) {
        let (held, said) = (Arc::clone(&chain), format!("[{lie}]"));
        let server = Fake::start(move |asked, _| match asked.starts_with("GET /scripthash/") {
            true => Reply::ok(said.clone()),
            false => held.lock().unwrap().answer(asked),
        })
        .await;
        let error = test.sync(&server).await.unwrap_err();
        assert!(matches!(error, ScanError::Server(EsploraError::Nonsense { .. })), "{error}");
        assert_eq!(test.total(), 7_000);
    }
}

#[tokio::test]
async fn a_server_that_pays_the_wallet_all_bitcoin_twice_overflows_nothing() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let mut chain = Chain { tip: 10, ..Chain::default() };
    for height in 1..4 {
        chain.pay(&address, Amount::MAX_MONEY.to_sat(), Some(height));
    }
    let error = test.sync(&serve(Arc::new(Mutex::new(chain))).await).await.unwrap_err();
    assert!(matches!(error, ScanError::TooMuch { .. }), "{error}");
}

#[tokio::test]
async fn a_page_that_comes_again_and_again_ends_the_scan() {
    let test = TestWallet::new();
    let address = test.addresses(1).remove(0);
    let mut chain = Chain { tip: 100, ..Chain::default() };
    for height in 1..=25 {
        chain.pay(&address, 1_000, Some(height));
    }
    let server = Fake::start(move |asked, _| {
        let first = asked.split("/chain/").next().unwrap();
        chain.answer(first)
    })
    .await;
    test.sync(&server).await.unwrap();
    assert_eq!(test.total(), 25_000);
}

#[tokio::test]
async fn a_full_scan_goes_on_until_twenty_addresses_in_a_row_were_never_used() {
    let (here, there) = (TestWallet::new(), TestWallet::new());
    std::fs::copy(here.place.seed_file(), there.place.seed_file()).unwrap();
    let addresses = here.addresses(60);
    let mut chain = Chain { tip: 10, ..Chain::default() };
    for index in [5, 25, 45] {
        chain.pay(&addresses[index], 1_000, Some(3));
    }
    let server = serve(Arc::new(Mutex::new(chain))).await;
    // The first sync of a wallet is a full one.
    there.sync(&server).await.unwrap();
    assert_eq!(there.total(), 3_000);
    let asked = server.asked().iter().filter(|asked| asked.contains("/scripthash/")).count();
    // Forty-six used or skipped ones, a gap behind them, a gap of change, and no more than a batch beyond.
    assert!((46 + 2 * 20..=46 + 2 * 20 + 32).contains(&asked), "{asked}");
}
