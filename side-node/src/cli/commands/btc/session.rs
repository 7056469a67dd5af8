//! What every wallet command begins with: the node, its wallet, the settings, and how errors become words.

use std::future::Future;
use std::io::Write as _;

use bitcoin::Amount;
use serde_json::{Value, json};
use side_ledger::Name;

use super::{ChainArgs, PayArgs, Steps};
use crate::btc::amount;
use crate::btc::esplora::Esplora;
use crate::btc::network::Network;
use crate::btc::settings::{BtcSettings, Layer};
use crate::btc::transfer::{Order, TransferError, funding_hint};
use crate::btc::wallet::{Balance, Wallet, WalletError, WalletPlace, What};
use crate::cli::Globals;
use crate::config::ConfigFile;
use crate::error::{Blame, CommandError};

/// A node's wallet as a command sees it.
#[derive(Debug)]
pub(in crate::cli::commands) struct Session {
    pub(in crate::cli::commands) name: String,
    pub(in crate::cli::commands) place: WalletPlace,
    pub(in crate::cli::commands) settings: BtcSettings,
    json: bool,
}

/// Runs a command's tasks on this thread.
pub(in crate::cli::commands) fn block_on<T>(
    task: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::io("cannot start a task", &e))?;
    runtime.block_on(async {
        tokio::select! {
            ended = task => ended,
            // What was signed is on disk; whoever waits can go.
            _ = tokio::signal::ctrl_c() => Err(CommandError::user("interrupted")
                .hint("a payment that was made goes on by itself: side-node btc history NODE")),
        }
    })
}

impl Session {
    /// Finds the wallet of a node, and makes one for a node that has none yet.
    pub(in crate::cli::commands) fn new(
        globals: &Globals,
        name: &Name,
        chain: &ChainArgs,
        pay: &PayArgs,
    ) -> Result<Self, CommandError> {
        let home = globals.root()?.node(name.as_str());
        home.require()?;
        let flags = Layer {
            network: chain.network,
            esplora: chain.esplora.clone(),
            fee_rate: pay.fee_rate,
            confirmations: pay.confirmations,
            poll: None,
        };
        let environment = Layer::from_environment(|name| std::env::var(name).ok())?;
        let file = ConfigFile::load(&home.config_file())?.bitcoin;
        let settings = BtcSettings::resolve(&[flags, environment, file], chain.real_money)?;
        let place = WalletPlace::new(&home, settings.network);
        let session = Self { name: name.to_string(), place, settings, json: globals.json };
        if session.place.ensure_seed().map_err(|e| session.error(e))? {
            // Whoever closed stderr does not want to know.
            let _ = writeln!(
                std::io::stderr(),
                "note: {name} had no Bitcoin wallet; made one. Back up its words: side-node btc export {name} --words"
            );
        }
        Ok(session)
    }

    /// The network.
    pub(in crate::cli::commands) fn network(&self) -> Network {
        self.settings.network
    }

    /// The server, once it has shown that it serves this network.
    pub(in crate::cli::commands) async fn connect(&self) -> Result<Esplora, CommandError> {
        self.settings.connect().await.map_err(|e| e.into_command_error(self.network()))
    }

    /// Opens the wallet as it was at the last sync.
    pub(in crate::cli::commands) fn open(&self) -> Result<Wallet, CommandError> {
        Wallet::open(&self.place).map_err(|e| self.error(e))
    }

    /// Opens the wallet: up to date, or as it was if nobody is to be asked.
    pub(in crate::cli::commands) async fn fresh(&self, offline: bool) -> Result<Wallet, CommandError> {
        if offline {
            return self.open();
        }
        let hint = |error: CommandError| match error.blame() {
            Blame::Remote => {
                let next = error.next_step().map_or_else(String::new, |next| format!("{next}; "));
                error.hint(format!("{next}--offline shows what was known at the last sync"))
            }
            _ => error,
        };
        let server = self.connect().await.map_err(hint)?;
        let mut steps = Steps::new(self.json, self.settings.confirmations);
        let synced = crate::btc::sync::sync(&self.place, &server, false, |progress| steps.syncing(progress)).await;
        let (wallet, report) = synced.map_err(|e| hint(self.error(e)))?;
        steps.synced(&report);
        Ok(wallet)
    }

    /// What is to be paid, and how.
    pub(in crate::cli::commands) fn order(&self, to: bitcoin::ScriptBuf, what: What, pay: &PayArgs) -> Order {
        Order {
            to,
            what,
            fee_rate: self.settings.fee_rate,
            max_fee: pay.max_fee,
            confirmations: self.settings.confirmations,
        }
    }

    /// An error of the wallet in words.
    pub(in crate::cli::commands) fn error(&self, error: WalletError) -> CommandError {
        error.into_command_error(self.network(), &self.name)
    }

    /// An error of a payment in words; one for lack of coins says where to send them.
    pub(in crate::cli::commands) fn transfer_error(&self, error: TransferError, server: &Esplora) -> CommandError {
        let (name, network) = (&self.name, self.network());
        let text = error.to_string();
        match error {
            TransferError::NotPaid(WalletError::Insufficient { needed, available, pending }) => {
                let mut wallet = match self.open() {
                    Ok(wallet) => wallet,
                    Err(error) => return error,
                };
                let address = match wallet.address() {
                    Ok(receive) => receive.address,
                    Err(error) => return self.error(error),
                };
                let has = match (available, pending) {
                    (Amount::ZERO, Amount::ZERO) => "has no coins".to_owned(),
                    (Amount::ZERO, pending) => {
                        format!(
                            "has no coins that can be spent yet ({} wait for a confirmation)",
                            amount::show(pending)
                        )
                    }
                    (available, _) => format!("can spend {}", amount::show(available)),
                };
                CommandError::user(format!(
                    "{name} {has} on {network}; the payment needs {}, fee included\n  address of {name}: {address}",
                    amount::show(needed)
                ))
                .hint(funding_hint(network, server.server(), &address, needed))
            }
            TransferError::NotPaid(error) => self.error(error),
            TransferError::NotSent { .. } => CommandError::remote(text).hint(format!(
                "it is sent again by: side-node btc sync {name} --network {network}; do not pay a second time"
            )),
            TransferError::Unwatched { why, .. } => {
                let inner = self.error(*why);
                let hint = format!("see how it stands with: side-node btc history {name} --network {network}");
                match inner.blame() {
                    Blame::Remote => CommandError::remote(text).hint(hint),
                    _ => CommandError::user(text).hint(hint),
                }
            }
        }
    }
}

/// A balance as JSON.
pub(in crate::cli::commands) fn balance_json(balance: &Balance) -> Value {
    let mut value = json!(balance);
    value["spendable_sat"] = json!(balance.spendable().to_sat());
    value["total_sat"] = json!(balance.total().to_sat());
    value
}
