//! Two nodes of this machine that swap with each other, for the driver demos: messages are handed over directly, blocks are mined where a devnet does it.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::Amount;
use side_ledger::Name;

use super::{ChainArgs, Session, progress, report};
use crate::btc::amount;
use crate::btc::esplora::Esplora;
use crate::btc::htlc::swap::SwapId;
use crate::btc::htlc::terms::ChainId;
use crate::btc::swaps::traffic::Said;
use crate::btc::swaps::{ChainPlace, Desk, Offered, Peer, Traffic};
use crate::btc::sync;
use crate::cli::Globals;
use crate::error::CommandError;
use crate::output::print_line;

/// What the wallet keeps beside the amount for fees: two transactions of some hundred bytes at the highest rate of a test network.
const FEES: Amount = Amount::from_sat(50_000);
/// What a devnet's faucet pays to somebody who has too little.
const FAUCET: Amount = Amount::from_sat(10_000_000);
/// How often a devnet is looked at while its index takes in a block.
const DEVNET_PAUSE: Duration = Duration::from_millis(20);

/// One of the two.
pub(in crate::cli::commands) struct Party {
    pub(in crate::cli::commands) session: Session,
    pub(in crate::cli::commands) desk: Desk,
    pub(in crate::cli::commands) me: Peer,
    told: BTreeSet<String>,
}

/// A chain of the demo.
pub(in crate::cli::commands) struct Stage {
    pub(in crate::cli::commands) place: ChainPlace,
    server: Esplora,
    devnet: bool,
}

impl Stage {
    pub(in crate::cli::commands) async fn open(session: &Session, place: ChainPlace) -> Result<Self, CommandError> {
        let network = session.settings.network;
        let failed = |e: crate::btc::esplora::EsploraError| e.into_command_error(network);
        let url = place.servers.first().ok_or_else(|| CommandError::usage("a server is needed"))?;
        let server = Esplora::new(url).map_err(failed)?;
        server.check_network(network).await.map_err(failed)?;
        let devnet = server.is_devnet().await;
        Ok(Self { place, server, devnet })
    }

    /// Brings time on: a devnet mines, elsewhere the world does.
    pub(in crate::cli::commands) async fn wait(&self, session: &Session, blocks: u32) -> Result<(), CommandError> {
        if !self.devnet {
            tokio::time::sleep(session.settings.poll).await;
            return Ok(());
        }
        let failed = |e: crate::btc::esplora::EsploraError| e.into_command_error(session.settings.network);
        let before = self.server.tip().await.map_err(failed)?.height;
        self.server.devnet_mine(blocks).await.map_err(failed)?;
        // Mining is answered when the blocks are in; the index may follow a moment later.
        while self.server.tip().await.map_err(failed)?.height < before + blocks {
            tokio::time::sleep(DEVNET_PAUSE).await;
        }
        Ok(())
    }

    pub(in crate::cli::commands) fn is_devnet(&self) -> bool {
        self.devnet
    }
}

impl Party {
    pub(in crate::cli::commands) fn open(
        globals: &Globals,
        name: &Name,
        chain: &ChainArgs,
        places: &[ChainPlace],
    ) -> Result<Self, CommandError> {
        let session = Session::new(globals, name, chain)?;
        let places = if places.is_empty() { vec![session.place.clone()] } else { places.to_vec() };
        let desk = Desk::open(&session.home, places).map_err(|e| session.error(e))?;
        let key = crate::keys::public(&session.home)?.to_string();
        Ok(Self { me: Peer { key, name: name.to_string(), group: None }, desk, session, told: BTreeSet::new() })
    }

    /// Makes sure that the wallet can pay; a devnet's faucet helps out.
    pub(in crate::cli::commands) async fn afford(&mut self, stage: &Stage, amount: Amount) -> Result<(), CommandError> {
        let place = Desk::wallet_place(&self.session.home, &stage.place.chain);
        let network = place.network();
        let name = self.me.name.clone();
        let failed = |e: crate::btc::wallet::WalletError| e.into_command_error(network, &name);
        place.ensure_seed().map_err(failed)?;
        let (mut wallet, _) = sync::sync(&place, &stage.server, false, |_| {}).await.map_err(failed)?;
        let has = wallet.balance().spendable();
        say(self, &format!("{} has {} on {}", self.me.name, amount::show(has), stage.place.chain));
        if has >= amount + FEES {
            return Ok(());
        }
        let address = wallet.address().map_err(failed)?.address;
        drop(wallet);
        if !stage.is_devnet() {
            let from = network.faucet().unwrap_or("somebody who has some");
            return Err(CommandError::user(format!(
                "{} needs {} on {network}, fees included\n  address of {}: {address}",
                self.me.name,
                amount::show(amount + FEES),
                self.me.name
            ))
            .hint(format!(
                "get coins from {from}, or use a chain of your own: cargo run -p btc-devnet, then --network regtest"
            )));
        }
        let failed = |e: crate::btc::esplora::EsploraError| e.into_command_error(network);
        stage.server.devnet_fund(&address, FAUCET).await.map_err(failed)?;
        stage.wait(&self.session, 1).await?;
        say(self, &format!("the devnet's faucet pays {} to {}", amount::show(FAUCET), self.me.name));
        Ok(())
    }

    /// One round, told to the person who watches.
    pub(in crate::cli::commands) async fn round(&mut self) -> Result<usize, CommandError> {
        let round = self.desk.round(progress).await.map_err(|e| self.session.error(e))?;
        self.tell(&round);
        if let Some(chain) = round.unheard.first() {
            report(&round, &mut BTreeSet::new(), self.session.json());
            return Err(CommandError::remote(format!("no server of {chain} answers")).hint(format!(
                "nothing is lost: go on with side-node htlc resume {} once a server can be reached",
                self.me.name
            )));
        }
        Ok(round.open)
    }

    pub(in crate::cli::commands) fn tell(&mut self, round: &crate::btc::swaps::Round) {
        for (_, notice) in &round.notices {
            if self.told.insert(notice.words.clone()) && !self.session.json() {
                let _ = print_line(&format!("  {:<8} {}", self.me.name, crate::output::printable(&notice.words)));
            }
        }
    }

    /// Takes what waits for the group and hands it to the other one.
    pub(in crate::cli::commands) fn letters(&mut self, to: &Party) -> Result<Traffic, CommandError> {
        let outgoing = self.desk.take_outgoing().map_err(|e| self.session.error(e))?;
        let said = outgoing
            .into_iter()
            .filter(|outgoing| outgoing.to == to.me.key)
            .map(|outgoing| Said {
                author: self.me.clone(),
                to: outgoing.to,
                at_ms: crate::clock::now_ms(),
                message: outgoing.message,
            })
            .collect();
        Ok(Traffic { me: to.me.key.clone(), said })
    }

    /// Takes the other one's answers in.
    pub(in crate::cli::commands) async fn hear(&mut self, traffic: &Traffic) -> Result<(), CommandError> {
        let mut round = crate::btc::swaps::Round::default();
        self.desk.take_in(traffic, &mut round).await.map_err(|e| self.session.error(e))?;
        self.tell(&round);
        Ok(())
    }

    /// Accepts the one offer among the letters.
    pub(in crate::cli::commands) async fn accept(
        &mut self,
        traffic: &Traffic,
        places: Vec<ChainPlace>,
    ) -> Result<SwapId, CommandError> {
        let offers: Vec<Offered> = traffic.offers();
        let offered = offers.first().ok_or_else(|| CommandError::bug("an offer was lost on the way"))?;
        let deal = self.desk.accept(offered, places).await.map_err(|e| self.session.error(e))?;
        Ok(deal.id())
    }

    pub(in crate::cli::commands) async fn fund(&mut self, id: &SwapId) -> Result<(), CommandError> {
        let rate = self.session.settings.fee_rate;
        let round = self.desk.fund(id, rate).await.map_err(|e| self.session.error(e))?;
        self.tell(&round);
        Ok(())
    }

    /// What the wallet has, after a sync.
    pub(in crate::cli::commands) async fn balance(
        &self,
        chain: &ChainId,
        stage: &Stage,
    ) -> Result<Amount, CommandError> {
        let place = Desk::wallet_place(&self.session.home, chain);
        let failed = |e: crate::btc::wallet::WalletError| e.into_command_error(place.network(), &self.me.name);
        let (wallet, _) = sync::sync(&place, &stage.server, false, |_| {}).await.map_err(failed)?;
        Ok(wallet.balance().spendable())
    }
}

/// A line of the demo.
pub(in crate::cli::commands) fn say(party: &Party, text: &str) {
    if !party.session.json() {
        // Whoever closed stdout does not want to know.
        let _ = print_line(text);
    }
}
