//! A wallet as users have it: BDK over Esplora.

use bdk_esplora::EsploraAsyncExt;
use bdk_esplora::esplora_client::{AsyncClient, Builder};
use bdk_wallet::{KeychainKind, SignOptions, Wallet};
use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, Transaction, Txid};
use btc_devnet::{Devnet, FundedWallet};

/// Addresses without history after which a scan ends.
const GAP: usize = 20;
/// Requests at once.
const PARALLEL: usize = 4;

pub(crate) struct Purse {
    pub(crate) wallet: Wallet,
    pub(crate) client: AsyncClient,
}

impl Purse {
    /// The wallet that a new chain's coins went to.
    pub(crate) fn funded(devnet: &Devnet) -> Self {
        Self::of(devnet, devnet.wallet())
    }

    /// A wallet of its own, without coins.
    pub(crate) fn empty(devnet: &Devnet) -> Self {
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        Self::of(devnet, &FundedWallet::new(words).unwrap())
    }

    fn of(devnet: &Devnet, wallet: &FundedWallet) -> Self {
        let [receive, change] = wallet.descriptors();
        let wallet = Wallet::create(receive, change).network(Network::Regtest).create_wallet_no_persist().unwrap();
        // Without retries: what a test asks for is answered, or the test fails.
        let client = Builder::new(devnet.url()).timeout(60).max_retries(0).build_async().unwrap();
        Self { wallet, client }
    }

    pub(crate) async fn scan(&mut self) {
        let request = self.wallet.start_full_scan();
        let update = self.client.full_scan(request, GAP, PARALLEL).await.unwrap();
        self.wallet.apply_update(update).unwrap();
    }

    pub(crate) async fn sync(&mut self) {
        let request = self.wallet.start_sync_with_revealed_spks();
        let update = self.client.sync(request, PARALLEL).await.unwrap();
        self.wallet.apply_update(update).unwrap();
    }

    pub(crate) fn address(&mut self) -> Address {
        self.wallet.reveal_next_address(KeychainKind::External).address
    }

    /// A signed payment, not sent.
    pub(crate) fn pay(&mut self, to: &Address, amount: Amount, sat_per_vb: u64) -> Transaction {
        let mut builder = self.wallet.build_tx();
        builder.add_recipient(to.script_pubkey(), amount).fee_rate(FeeRate::from_sat_per_vb(sat_per_vb).unwrap());
        let psbt = builder.finish().unwrap();
        self.sign(psbt)
    }

    /// The same payment at a higher fee rate, signed, not sent.
    pub(crate) fn bump(&mut self, txid: Txid, sat_per_vb: u64) -> Transaction {
        let mut builder = self.wallet.build_fee_bump(txid).unwrap();
        builder.fee_rate(FeeRate::from_sat_per_vb(sat_per_vb).unwrap());
        let psbt = builder.finish().unwrap();
        self.sign(psbt)
    }

    /// All that one coin holds, to `to`; signed, not sent.
    pub(crate) fn spend(&mut self, coin: OutPoint, to: &Address, sat_per_vb: u64) -> Transaction {
        let mut builder = self.wallet.build_tx();
        builder.add_utxo(coin).unwrap().manually_selected_only();
        builder.drain_to(to.script_pubkey()).fee_rate(FeeRate::from_sat_per_vb(sat_per_vb).unwrap());
        let psbt = builder.finish().unwrap();
        self.sign(psbt)
    }

    #[allow(deprecated)]
    fn sign(&mut self, mut psbt: bitcoin::Psbt) -> Transaction {
        assert!(self.wallet.sign(&mut psbt, SignOptions::default()).unwrap(), "every input is ours");
        psbt.extract_tx().unwrap()
    }

    pub(crate) async fn send(&mut self, to: &Address, amount: Amount, sat_per_vb: u64) -> Transaction {
        let transaction = self.pay(to, amount, sat_per_vb);
        self.client.broadcast(&transaction).await.unwrap();
        transaction
    }

    /// The height at which a transaction of this wallet is confirmed; `None`: it waits.
    pub(crate) fn height(&self, txid: Txid) -> Option<u32> {
        let known = self.wallet.get_tx(txid).expect("a transaction of this wallet");
        known.chain_position.confirmation_height_upper_bound()
    }
}
