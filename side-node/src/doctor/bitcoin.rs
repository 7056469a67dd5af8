//! The Esplora servers of the wallet: whether they answer, and for the right network.

use std::time::Duration;

use super::{Found, Patient};
use crate::btc::esplora::{Esplora, EsploraError};
use crate::btc::settings::{BtcSettings, Layer};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(4);
/// Most servers that are asked.
const MAX_ASKED: usize = 3;

/// Whether the servers answer. A node that never used its wallet is not asked to have the internet.
pub fn bitcoin(patient: &Patient) -> Vec<Found> {
    let environment = match Layer::from_environment(|name| std::env::var(name).ok()) {
        Ok(environment) => environment,
        Err(error) => return vec![Found::error(&error)],
    };
    let file = patient.config().bitcoin;
    let asked_for = environment != Layer::default() || file != Layer::default();
    // To look costs no money.
    let settings = match BtcSettings::resolve(&[environment, file], true) {
        Ok(settings) => settings,
        Err(error) => return vec![Found::error(&error)],
    };
    let used = patient.home.btc_folder().join(settings.network.name()).exists();
    if !used && !asked_for {
        return vec![Found::skipped("the wallet was never used")];
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Found::skipped(format!("cannot start a task: {error}"))],
    };
    let ask = |url: &String| {
        let shown = crate::config::without_password(url);
        let answered =
            runtime.block_on(async { Esplora::with_patience(url, ANSWER)?.check_network(settings.network).await });
        match answered {
            Ok(()) => Found::good(format!("{shown} serves {}", settings.network)),
            Err(EsploraError::WrongChain { .. }) => Found::trouble(
                format!("{shown} serves another chain than {}", settings.network),
                "name the network that it serves, or a server of this one: `bitcoin.network` and `bitcoin.esplora` in config.toml",
            ),
            Err(error) => Found::trouble(
                format!("{shown} does not answer: {error}"),
                "check the network, or name another server: `bitcoin.esplora` in config.toml. A devnet: cargo run -p btc-devnet",
            ),
        }
    };
    settings.servers.iter().take(MAX_ASKED).map(ask).collect()
}
