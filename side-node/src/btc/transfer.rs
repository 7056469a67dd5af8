//! A payment from its beginning to its confirmations: sync, build, hold fast, send, wait. Commands and drivers differ only in what they print.

use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, FeeRate, ScriptBuf, Txid};

use super::amount::{parse, show};
use super::confirm::{Depth, Depths};
use super::esplora::{Esplora, EsploraError};
use super::fees;
use super::network::Network;
use super::scan::Progress;
use super::sync::{self, Report};
use super::wallet::{Balance, Payment, Signed, Wallet, WalletError, WalletPlace, What};

/// How long a server may be away while confirmations are waited for. The payment is out; only the count stands still.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(120);
/// The shortest pause between two questions about confirmations.
const MIN_POLL: Duration = Duration::from_millis(200);
/// The longest one.
const MAX_POLL: Duration = Duration::from_secs(15);
/// Questions about an unconfirmed payment after which the server is asked whether it still has it.
const POLLS_A_LOOK: u32 = 10;
/// What a devnet's faucet is asked for when a payment lacks coins: this many times the payment, so that the next ones have some, too.
const FUND_TIMES: u64 = 10;

/// How to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The script to pay.
    pub to: ScriptBuf,
    /// How much.
    pub what: What,
    /// The fee rate that a person gave; without one, the server's estimate within bounds.
    pub fee_rate: Option<FeeRate>,
    /// The highest fee that a person allowed.
    pub max_fee: Option<Amount>,
    /// Confirmations to wait for; 0 does not wait.
    pub confirmations: u32,
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The wallet is being brought up to date.
    Syncing(Progress),
    /// It is: what it has, and what else happened.
    Synced(Balance, Report),
    /// The transaction is signed and on disk.
    Signed(Signed),
    /// The server has it.
    Sent(Txid),
    /// So deep it lies.
    Waiting(Depth),
    /// The server does not answer for now, or has lost the transaction and was given it again.
    Trouble(String),
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The transaction.
    pub signed: Signed,
    /// How deep it lies; `None` if nobody waited.
    pub depth: Option<Depth>,
}

/// Why a payment did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Nothing was paid.
    #[error(transparent)]
    NotPaid(#[from] WalletError),
    /// It is signed and on disk, and nobody knows whether it went out: the next sync sends it.
    #[error("the payment {txid} is signed and kept, but the server did not take it: {why}")]
    NotSent {
        /// The transaction.
        txid: Txid,
        /// What the server did.
        why: EsploraError,
    },
    /// It went out; the confirmations are not all there.
    #[error("the payment {txid} was sent and has {confirmations} of {wanted} confirmations, but waiting ended: {why}")]
    Unwatched {
        /// The transaction.
        txid: Txid,
        /// How many it has.
        confirmations: u32,
        /// How many were asked for.
        wanted: u32,
        /// Why waiting ended.
        why: Box<WalletError>,
    },
}

/// Pays and waits.
///
/// # Errors
/// [`TransferError`] says whether anything was paid.
pub async fn transfer(
    place: &WalletPlace,
    server: &Esplora,
    order: &Order,
    mut tell: impl FnMut(Event),
) -> Result<Done, TransferError> {
    let wallet = synced(place, server, &mut tell).await?;
    let fee_rate = fee_rate(server, place.network(), order.fee_rate).await?;
    pay(wallet, server, order, fee_rate, tell).await
}

/// Replaces an unconfirmed payment by one with a higher fee, and waits.
///
/// # Errors
/// As [`transfer`].
pub async fn bump(
    place: &WalletPlace,
    server: &Esplora,
    txid: &Txid,
    order: &Order,
    mut tell: impl FnMut(Event),
) -> Result<Done, TransferError> {
    let mut wallet = synced(place, server, &mut tell).await?;
    let least = wallet.least_bump(txid)?;
    let rate = match order.fee_rate {
        Some(rate) => rate,
        None => {
            drop(wallet);
            let rate = fee_rate(server, place.network(), None).await?.max(least);
            wallet = Wallet::open(place)?;
            rate
        }
    };
    let signed = wallet.bump(txid, rate, order.max_fee)?;
    send(wallet, server, signed, order.confirmations, tell).await
}

/// Brings the wallet up to date, telling about it.
async fn synced(place: &WalletPlace, server: &Esplora, tell: &mut impl FnMut(Event)) -> Result<Wallet, WalletError> {
    let (wallet, report) = sync::sync(place, server, false, |progress| tell(Event::Syncing(progress))).await?;
    tell(Event::Synced(wallet.balance(), report));
    Ok(wallet)
}

async fn pay(
    wallet: Wallet,
    server: &Esplora,
    order: &Order,
    fee_rate: FeeRate,
    tell: impl FnMut(Event),
) -> Result<Done, TransferError> {
    let mut wallet = wallet;
    let payment = Payment { to: order.to.clone(), what: order.what, fee_rate, max_fee: order.max_fee };
    let signed = wallet.pay(&payment)?;
    send(wallet, server, signed, order.confirmations, tell).await
}

async fn send(
    wallet: Wallet,
    server: &Esplora,
    signed: Signed,
    confirmations: u32,
    mut tell: impl FnMut(Event),
) -> Result<Done, TransferError> {
    tell(Event::Signed(signed.clone()));
    let place = wallet.place().clone();
    match sync::send(wallet, server, &signed).await {
        Ok(()) => tell(Event::Sent(signed.txid)),
        Err(WalletError::Server(why)) if !matches!(why, EsploraError::Rejected { .. }) => {
            return Err(TransferError::NotSent { txid: signed.txid, why });
        }
        Err(error) => return Err(error.into()),
    }
    if confirmations == 0 {
        return Ok(Done { signed, depth: None });
    }
    let depth = wait(&place, server, &signed, confirmations, tell).await?;
    Ok(Done { signed, depth: Some(depth) })
}

/// Waits for confirmations. A server that is away for a while, or that loses the payment in a reorg, is no reason to give up.
async fn wait(
    place: &WalletPlace,
    server: &Esplora,
    signed: &Signed,
    wanted: u32,
    mut tell: impl FnMut(Event),
) -> Result<Depth, TransferError> {
    let network = place.network();
    let depths = Depths::new(network, server, place.folder());
    let pause = (network.block_interval() / 10).clamp(MIN_POLL, MAX_POLL);
    let (mut last, mut heard, mut polls) = (None, Instant::now(), 0u32);
    loop {
        let confirmations = last.map_or(0, |depth: Depth| depth.confirmations);
        let unwatched = |why: WalletError| TransferError::Unwatched {
            txid: signed.txid,
            confirmations,
            wanted,
            why: Box::new(why),
        };
        match look(&depths, server, signed, polls, &mut tell).await {
            Ok(depth) => {
                heard = Instant::now();
                if last != Some(depth) {
                    tell(Event::Waiting(depth));
                }
                if depth.confirmations >= wanted {
                    return Ok(depth);
                }
                last = Some(depth);
            }
            Err(error) if error.is_passing() && heard.elapsed() < OUTAGE_PATIENCE => {
                tell(Event::Trouble(error.to_string()));
            }
            Err(error) => return Err(unwatched(error.into())),
        }
        polls = polls.wrapping_add(1);
        if network == Network::Regtest && polls == POLLS_A_LOOK && last.is_some_and(|depth| depth.confirmations == 0) {
            tell(Event::Trouble(format!(
                "a devnet mines when it is told to: curl -X POST {}/devnet/mine",
                server.server()
            )));
        }
        tokio::time::sleep(pause).await;
    }
}

async fn look(
    depths: &Depths,
    server: &Esplora,
    signed: &Signed,
    polls: u32,
    tell: &mut impl FnMut(Event),
) -> Result<Depth, EsploraError> {
    let depth = depths.of(&signed.tx).await?;
    let due = polls % POLLS_A_LOOK == POLLS_A_LOOK - 1;
    if depth.confirmations == 0 && due && server.tx(&signed.txid).await?.is_none() {
        server.broadcast(&signed.tx).await?;
        tell(Event::Trouble(format!("the server had lost the payment {}; it was sent again", signed.txid)));
    }
    Ok(depth)
}

/// The rate that a person gave, else the server's estimate, within bounds.
async fn fee_rate(server: &Esplora, network: Network, given: Option<FeeRate>) -> Result<FeeRate, WalletError> {
    match given {
        Some(rate) => Ok(fees::check_rate(rate)?),
        None => Ok(fees::from_estimates(network, &server.fee_estimates().await?)?),
    }
}

/// What to do for coins: the faucet, or the exact command to type.
pub fn funding_hint(network: Network, server: &str, address: &Address, needed: Amount) -> String {
    match (network, network.faucet()) {
        (Network::Regtest, _) => {
            let sats = needed.to_sat().saturating_mul(FUND_TIMES).clamp(100_000, Amount::ONE_BTC.to_sat() * 10);
            format!(
                "the devnet gives coins: curl -X POST {server}/devnet/fund -d '{{\"address\":\"{address}\",\"sats\":{sats}}}' && curl -X POST {server}/devnet/mine"
            )
        }
        (_, Some(faucet)) => format!("send coins to {address}; the faucet gives some: {faucet}"),
        (_, None) => format!("send at least {} and the fee to {address}", show(needed)),
    }
}

/// Reads an amount, or the word `all`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_what(text: &str) -> Result<What, String> {
    match text.trim() {
        "all" => Ok(What::Everything),
        text => parse(text).map(What::Exactly),
    }
}
