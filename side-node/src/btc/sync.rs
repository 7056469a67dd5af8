//! Between a wallet and a server: bringing the wallet up to date, sending what it signed. The wallet's lock is never held while a server is waited for.

use bitcoin::Txid;

use super::esplora::{Esplora, EsploraError};
use super::network::Network;
use super::scan::{Found, Progress, scan};
use super::wallet::{Outgoing, Signed, Wallet, WalletError, WalletPlace};

/// Attempts at bringing together what a scan found and what another process did to the wallet meanwhile.
const MAX_ATTEMPTS: usize = 4;

/// What a sync did beside bringing the wallet up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Transactions of ours that the server did not have and took again.
    pub sent_again: Vec<Txid>,
    /// Transactions of ours that the server neither has nor takes, and why.
    pub refused: Vec<(Txid, String)>,
    /// The chain that the wallet knew is gone: a devnet was started afresh.
    pub new_chain: bool,
}

/// Brings a wallet up to date and opens it. `full` looks further than the addresses that were handed out. The server's chain must have been checked
/// ([`Esplora::check_network`]).
///
/// # Errors
/// Any [`WalletError`]; then the wallet on disk is as it was.
pub async fn sync(
    place: &WalletPlace,
    server: &Esplora,
    full: bool,
    mut progress: impl FnMut(Progress),
) -> Result<(Wallet, Report), WalletError> {
    let mut report = Report::default();
    for attempt in 1.. {
        let (plan, outbox) = {
            let wallet = Wallet::open(place)?;
            (wallet.plan(full), wallet.outbox()?)
        };
        let mut found = scan(server, &plan, &mut progress).await?;
        if found.other_chain() && place.network() == Network::Regtest {
            Wallet::open(place)?.forget_chain()?;
            report.new_chain = true;
            continue;
        }
        send_again(server, &outbox, &mut found, &mut report).await;
        let mut wallet = Wallet::open(place)?;
        match wallet.apply(found) {
            Err(WalletError::Disconnected(_)) if attempt < MAX_ATTEMPTS => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok((wallet, report)),
        }
    }
    unreachable!("the last attempt returns")
}

/// Sends what the server should have and has not.
async fn send_again(server: &Esplora, outbox: &[Outgoing], found: &mut Found, report: &mut Report) {
    for outgoing in outbox.iter().filter(|outgoing| outgoing.replaced_by.is_none()) {
        if found.has(&outgoing.txid) {
            continue;
        }
        match server.broadcast(&outgoing.tx).await {
            Ok(()) => {
                found.saw(outgoing);
                report.sent_again.push(outgoing.txid);
            }
            Err(error) => report.refused.push((outgoing.txid, error.to_string())),
        }
    }
}

/// Sends a signed transaction: holds it fast first, closes the wallet, and hands it to the server. If the server refuses it, its coins are free again; if the server does
/// not answer, it stays in the outbox, and the next sync sends it.
///
/// # Errors
/// [`WalletError::Server`] with [`EsploraError::Rejected`] if nothing was paid; with any other error nobody knows, and the outbox has it.
pub async fn send(mut wallet: Wallet, server: &Esplora, signed: &Signed) -> Result<(), WalletError> {
    wallet.commit(signed)?;
    let place = wallet.place().clone();
    drop(wallet);
    match server.broadcast(&signed.tx).await {
        Ok(()) => Ok(()),
        Err(error @ EsploraError::Rejected { .. }) => {
            Wallet::open(&place)?.abandon(&signed.txid)?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}
