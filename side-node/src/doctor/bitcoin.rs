//! The Esplora servers of the wallet: whether they answer, for the right network, and whether they are at its end.

use std::time::Duration;

use super::{Found, Patient, State};
use crate::btc::esplora::{Esplora, EsploraError};
use crate::btc::network::Network;
use crate::btc::settings::{BtcSettings, Layer};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(4);
/// Most servers that are asked.
const MAX_ASKED: usize = 3;
/// After how many usual times between blocks without one a server is called behind. Blocks come at random: with none for so long, one chain in e^36 is at its end.
const BLOCKS_LATE: u32 = 36;
/// Least time without a block before that is said: a chain with fast blocks may stop for maintenance.
const LEAST_LATE: Duration = Duration::from_secs(3_600);
/// How many blocks servers may be apart: one hears of a block some seconds before another, and blocks may come fast.
const BLOCKS_APART: u32 = 6;

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
        let answered = runtime.block_on(tip(url, settings.network));
        let found = match &answered {
            Ok(tip) => match late(tip.time_ms, patient.now_ms, settings.network) {
                Some(hours) => Found::trouble(
                    format!(
                        "{shown} is behind: its last block of {} is {}, {hours} hours old",
                        settings.network, tip.height
                    ),
                    "name another server: `bitcoin.esplora` in config.toml; payments and swaps that are newer are not seen there. If every server says so, \
                     look at this machine's clock",
                ),
                None => Found::good(format!("{shown} serves {}, and is at block {}", settings.network, tip.height)),
            },
            Err(EsploraError::WrongChain { .. }) => Found::trouble(
                format!("{shown} serves another chain than {}", settings.network),
                "name the network that it serves, or a server of this one: `bitcoin.network` and `bitcoin.esplora` in config.toml",
            ),
            Err(error) => Found::trouble(
                format!("{shown} does not answer: {error}"),
                "check the network, or name another server: `bitcoin.esplora` in config.toml. A devnet: cargo run -p btc-devnet",
            ),
        };
        (shown, found, answered.ok().map(|tip| tip.height))
    };
    let asked: Vec<_> = settings.servers.iter().take(MAX_ASKED).map(ask).collect();
    let highest = asked.iter().filter_map(|(.., height)| *height).max().unwrap_or(0);
    let compare = |(shown, found, height): (String, Found, Option<u32>)| match height {
        Some(height) if found.state == State::Good && highest - height > BLOCKS_APART => Found::trouble(
            format!("{shown} is behind: it is at block {height}, and another server at {highest}"),
            "leave it out of `bitcoin.esplora` in config.toml until it has caught up",
        ),
        _ => found,
    };
    asked.into_iter().map(compare).collect()
}

/// The last block that a server knows.
struct Tip {
    height: u32,
    time_ms: u64,
}

async fn tip(url: &str, network: Network) -> Result<Tip, EsploraError> {
    let server = Esplora::with_patience(url, ANSWER)?;
    server.check_network(network).await?;
    let tip = server.tip().await?;
    // A block that is gone again was replaced by a newer one.
    let header = server.header(&tip.hash).await?;
    Ok(Tip { height: tip.height, time_ms: header.map_or(u64::MAX, |header| u64::from(header.time) * 1_000) })
}

/// How many hours old a last block is, if that is too long. A devnet mines when it is told to.
fn late(time_ms: u64, now_ms: u64, network: Network) -> Option<u64> {
    let most = (network.block_interval() * BLOCKS_LATE).max(LEAST_LATE);
    let age = Duration::from_millis(now_ms.saturating_sub(time_ms));
    (network != Network::Regtest && age > most).then_some(age.as_secs() / 3_600)
}
