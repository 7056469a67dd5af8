//! Two nodes that swap: each with a home, a wallet and a desk of its own, and servers of its choice.

use bitcoin::absolute::Height;
use bitcoin::{Amount, FeeRate, ScriptBuf, Txid};
use side_node::btc::esplora::Esplora;
use side_node::btc::htlc::margins::min_timeout;
use side_node::btc::htlc::script::LockScript;
use side_node::btc::htlc::swap::{Outcome, Role, Stage, SwapId};
use side_node::btc::htlc::terms::{ChainId, LockKind};
use side_node::btc::swaps::traffic::Said;
use side_node::btc::swaps::{ChainPlace, Deal, Desk, NewOffer, Peer, Round, Traffic};
use side_node::btc::sync;
use side_node::btc::wallet::{Payment, What};
use side_node::home::{NodeHome, Root};
use tempfile::TempDir;

use crate::chain::Control;

/// What is locked unless a test says otherwise.
pub const AMOUNT: Amount = Amount::from_sat(50_000);
/// Rounds after which a swap that does not end is a failure.
const MAX_ROUNDS: usize = 200;

/// One node.
pub struct Party {
    /// Its swaps.
    pub desk: Desk,
    /// Its name and key in what is handed over.
    pub me: Peer,
    home: NodeHome,
    places: Vec<ChainPlace>,
    _folder: TempDir,
}

impl Party {
    /// A node that asks these servers.
    ///
    /// # Panics
    /// If its folder cannot be made.
    pub fn new(name: &str, places: &[ChainPlace]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = Root::find(Some(folder.path().to_owned())).expect("a root");
        let home = root.node(name);
        for place in places {
            Desk::wallet_place(&home, &place.chain).ensure_seed().expect("a seed");
        }
        let desk = Desk::open(&home, places.to_vec()).expect("a desk");
        Self {
            desk,
            me: Peer { key: name.into(), name: name.into(), group: None },
            home,
            places: places.to_vec(),
            _folder: folder,
        }
    }

    /// Forgets everything that is not on disk.
    ///
    /// # Panics
    /// If the swaps cannot be read back.
    pub fn restart(&mut self) {
        self.desk = Desk::open(&self.home, self.places.clone()).expect("a desk");
    }

    /// Asks other servers from now on.
    ///
    /// # Panics
    /// If the swaps cannot be read back.
    pub fn ask(&mut self, place: &ChainPlace) {
        self.places = vec![place.clone()];
        self.restart();
    }

    /// The folder of this node's Bitcoin things.
    pub fn folder(&self) -> std::path::PathBuf {
        self.home.btc_folder()
    }

    /// Gives its wallet coins.
    ///
    /// # Panics
    /// If the chain does not pay.
    pub async fn fill(&self, chain: &impl Control, place: &ChainPlace) {
        let (mut wallet, _) = self.synced(chain, place).await;
        let address = wallet.address().expect("an address").address;
        drop(wallet);
        chain.fund(&address, Amount::from_sat(10_000_000)).await;
        chain.mine(1).await;
    }

    async fn synced(
        &self,
        chain: &impl Control,
        place: &ChainPlace,
    ) -> (side_node::btc::wallet::Wallet, side_node::btc::sync::Report) {
        let server = Esplora::new(chain.url()).expect("an address");
        let wallet = Desk::wallet_place(&self.home, &place.chain);
        sync::sync(&wallet, &server, false, |_| {}).await.expect("a sync")
    }

    /// What its wallet can spend.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn balance(&self, chain: &impl Control, place: &ChainPlace) -> Amount {
        self.synced(chain, place).await.0.balance().total()
    }

    /// Pays from its wallet, past the swap's rules.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn pay(&self, chain: &impl Control, place: &ChainPlace, to: ScriptBuf, amount: Amount) -> Txid {
        let (mut wallet, _) = self.synced(chain, place).await;
        let fee_rate = FeeRate::from_sat_per_kwu(500);
        let signed = wallet.pay(&Payment { to, what: What::Exactly(amount), fee_rate, max_fee: None }).expect("coins");
        wallet.commit(&signed).expect("a disk");
        chain.submit(&signed.tx).await.expect("a good payment")
    }

    /// A round that no server failure may break.
    ///
    /// # Panics
    /// If it does.
    pub async fn round(&mut self) -> Round {
        self.desk.round(|_, _| {}).await.expect("a round")
    }

    /// A swap as it is on disk.
    ///
    /// # Panics
    /// If it is not there.
    pub fn deal(&self, id: &SwapId) -> Deal {
        self.desk.get(id).expect("a swap")
    }

    /// Where a swap's first leg stands.
    pub fn stage(&self, id: &SwapId) -> Stage {
        self.deal(id).legs()[0].stage()
    }

    /// Takes what it has to say to `to`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn letters(&mut self, to: &Party) -> Traffic {
        let outgoing = self.desk.take_outgoing().expect("letters");
        let author = self.me.clone();
        let said = outgoing.into_iter().map(|letter| Said {
            author: author.clone(),
            to: letter.to,
            at_ms: 0,
            message: letter.message,
        });
        Traffic { me: to.me.key.clone(), said: said.collect() }
    }
}

/// A payer and a payee on one chain.
pub struct Pair {
    /// Pays.
    pub payer: Party,
    /// Is paid.
    pub payee: Party,
    /// The chain, with the payer's servers.
    pub place: ChainPlace,
}

impl Pair {
    /// Two nodes, the payer with coins, each with servers of its own.
    pub async fn new(chain: &impl Control, payer: &[&str], payee: &[&str]) -> Self {
        let place = |servers: &[&str]| ChainPlace {
            chain: ChainId::REGTEST,
            servers: servers.iter().map(|url| (*url).to_owned()).collect(),
        };
        let (one, two) = (place(payer), place(payee));
        let payer = Party::new("dave", std::slice::from_ref(&one));
        payer.fill(chain, &one).await;
        Self { payer, payee: Party::new("sammy", &[two]), place: one }
    }

    /// Two nodes that both ask the chain's own server.
    pub async fn plain(chain: &impl Control) -> Self {
        Self::new(chain, &[chain.url()], &[chain.url()]).await
    }

    /// Offers and accepts.
    ///
    /// # Panics
    /// If a rule forbids it.
    pub async fn agree(&mut self, kind: LockKind) -> SwapId {
        self.agree_for(kind, min_timeout(&ChainId::REGTEST, AMOUNT)).await
    }

    /// [`Self::agree`] with a number of blocks to the timeout.
    ///
    /// # Panics
    /// If a rule forbids it.
    pub async fn agree_for(&mut self, kind: LockKind, blocks: u32) -> SwapId {
        let new = NewOffer { role: Role::Payer, kind, amount: AMOUNT, blocks, payment_hash: None };
        let to = self.payee.me.clone();
        let id = self.payer.desk.offer(&self.place, new, to).await.expect("an offer").id();
        let offer = self.payer.letters(&self.payee);
        let offered = offer.offers().remove(0);
        self.payee.desk.accept(&offered, vec![self.place.clone()]).await.expect("an acceptance");
        let answer = self.payee.letters(&self.payer);
        self.payer.desk.take_in(&answer, &mut Round::default()).await.expect("an answer");
        id
    }

    /// Locks the coins; the transaction waits for a block.
    ///
    /// # Panics
    /// If a rule forbids it.
    pub async fn fund(&mut self, id: &SwapId) {
        self.payer.desk.fund(id, Some(FeeRate::from_sat_per_kwu(500))).await.expect("coins are locked");
    }

    /// Agrees, funds, and buries the lock as deep as it must be, with nobody looking.
    pub async fn lock(&mut self, chain: &impl Control, kind: LockKind) -> SwapId {
        let id = self.agree(kind).await;
        self.fund(&id).await;
        chain.mine(2).await;
        id
    }

    /// Both look once.
    pub async fn rounds(&mut self) {
        self.payer.round().await;
        self.payee.round().await;
    }

    /// Both look and a block comes, again and again, until both have ended; how.
    ///
    /// # Panics
    /// If they do not end.
    pub async fn finish(&mut self, chain: &impl Control, id: &SwapId) -> (Outcome, Outcome) {
        for _ in 0..MAX_ROUNDS {
            self.rounds().await;
            if let (Stage::Done(payer), Stage::Done(payee)) = (self.payer.stage(id), self.payee.stage(id)) {
                return (payer, payee);
            }
            chain.mine(1).await;
        }
        panic!("payer {:?}, payee {:?}", self.payer.deal(id).outlook(), self.payee.deal(id).outlook());
    }

    /// The payer alone looks until its swap has ended; how.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn finish_alone(&mut self, chain: &impl Control, id: &SwapId) -> Outcome {
        for _ in 0..MAX_ROUNDS {
            self.payer.round().await;
            if let Stage::Done(outcome) = self.payer.stage(id) {
                return outcome;
            }
            chain.mine(1).await;
        }
        panic!("{:?}", self.payer.deal(id).outlook());
    }

    /// The lock's script.
    ///
    /// # Panics
    /// If nothing is agreed.
    pub fn lock_script(&self, id: &SwapId) -> std::sync::Arc<LockScript> {
        self.payer.deal(id).legs()[0].lock_script().expect("terms")
    }

    /// The height at which the refund becomes possible.
    pub fn timeout(&self, id: &SwapId) -> Height {
        self.payer.deal(id).legs()[0].offer_made().timeout
    }

    /// Whether the payee has shown the preimage.
    pub fn revealed(&self, id: &SwapId) -> bool {
        self.payee.deal(id).legs()[0].is_preimage_public()
    }
}
