//! What a node does about its swaps: offers, accepts, funds, looks at the chains, and carries out what the state machine asks for.
//!
//! ```text
//!  servers ─► ChainWatch ─► Observation ─┐
//!  group ───► Traffic ─────► Accepted … ─┼─► Deal::handle ─► durable ─► effects: broadcast, publish, tell
//!  operator ─► command ──────────────────┘
//! ```
//! Rule: state, then effects. What a crash swallows in between comes again with the next round.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::absolute::Height;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Txid};

use super::database::StorageError;
use super::deal::{Advance, ChainPlace, Deal, Peer, Refused, State};
use super::error::DeskError;
use super::storage::{Beside, Row, StoredNotice, SwapStore};
use super::traffic::{GroupLink, Offered, Outgoing, Traffic};
use super::watch::{CatchUp, ChainWatch};
use crate::btc::chain::Objection;
use crate::btc::esplora::Esplora;
use crate::btc::fees;
use crate::btc::htlc::atomic::{Atomic, LegPlan};
use crate::btc::htlc::secrets::{PaymentHash, Preimage, SpendKey};
use crate::btc::htlc::swap::{Command, Effect, Event, Level, Message, NewSwap, Notice, Own, Role, Stage, Swap, SwapId};
use crate::btc::htlc::terms::{ChainId, LockKind};
use crate::btc::network::Network;
use crate::btc::sync;
use crate::btc::wallet::{Payment, Wallet, WalletPlace, What};
use crate::clock;
use crate::home::NodeHome;

/// How often an update is tried again because another process wrote first.
const MAX_ATTEMPTS: usize = 5;

/// What somebody offers.
#[derive(Debug, Clone)]
pub struct NewOffer {
    /// Which side of the lock we are.
    pub role: Role,
    /// The kind of output.
    pub kind: LockKind,
    /// The amount.
    pub amount: Amount,
    /// Blocks from the tip to the timeout.
    pub blocks: u32,
    /// The hash, where somebody else knows the preimage.
    pub payment_hash: Option<PaymentHash>,
}

/// One of the two legs of an atomic swap, before it has a timeout.
#[derive(Debug, Clone)]
pub struct NewLeg {
    /// The chain and its servers.
    pub place: ChainPlace,
    /// The kind of output.
    pub kind: LockKind,
    /// The amount.
    pub amount: Amount,
    /// Seconds between two blocks, if not the chain's usual ones.
    pub interval_seconds: Option<u32>,
}

/// What a round did.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What operators should read, with the swap's id.
    pub notices: Vec<(SwapId, StoredNotice)>,
    /// What is wrong with servers, by chain.
    pub objections: BTreeMap<ChainId, Vec<Objection>>,
    /// Chains of which no server was heard.
    pub unheard: Vec<ChainId>,
    /// Transactions that no server took, and why. They are tried again.
    pub refused: Vec<(Txid, String)>,
    /// How many swaps are not over.
    pub open: usize,
}

/// A node's swaps.
#[derive(Debug)]
pub struct Desk {
    home: NodeHome,
    store: SwapStore,
    watches: HashMap<ChainId, Arc<ChainWatch>>,
    /// Servers that a flag, the environment or the configuration names; they go before those of a deal's beginning.
    servers: Vec<ChainPlace>,
    /// Deals whose effects of before a restart were asked for.
    resumed: HashSet<SwapId>,
    /// Legs of which a wallet that comes from a backup has told whether it paid for them.
    recalled: HashSet<(SwapId, usize)>,
}

impl Desk {
    /// Opens the swaps of a node. `servers` go before those that a swap began with.
    ///
    /// # Errors
    /// [`DeskError::Storage`].
    pub fn open(home: &NodeHome, servers: Vec<ChainPlace>) -> Result<Self, DeskError> {
        let store = SwapStore::open(&home.btc_folder())?;
        Ok(Self {
            home: home.clone(),
            store,
            watches: HashMap::new(),
            servers,
            resumed: HashSet::new(),
            recalled: HashSet::new(),
        })
    }

    /// Whether a node has ever had a swap.
    pub fn exists(home: &NodeHome) -> bool {
        home.btc_folder().join(SwapStore::FILE).exists()
    }

    /// The wallet on a chain.
    pub fn wallet_place(home: &NodeHome, chain: &ChainId) -> WalletPlace {
        let name = chain.to_string();
        let (network, label) = name.split_once(':').map_or((name.as_str(), None), |(name, label)| (name, Some(label)));
        let network =
            network.parse::<Network>().expect("every chain's name begins with a network's: a test reads them");
        let place = WalletPlace::new(home, network);
        match label {
            Some(label) => place.labelled(label),
            None => place,
        }
    }

    /// The watch of a chain, opened at the first call; its servers have shown that they serve the network.
    async fn watch(&mut self, place: &ChainPlace) -> Result<Arc<ChainWatch>, DeskError> {
        if let Some(watch) = self.watches.get(&place.chain) {
            return Ok(watch.clone());
        }
        let servers = self.servers.iter().find(|given| given.chain == place.chain).unwrap_or(place).servers.clone();
        let wallet = Self::wallet_place(&self.home, &place.chain);
        let clients = servers.iter().map(|url| Esplora::new(url)).collect::<Result<Vec<_>, _>>();
        let clients = clients.map_err(|error| DeskError::Server { network: wallet.network(), error })?;
        let watch = Arc::new(ChainWatch::open(wallet.network(), clients, wallet.folder().to_owned())?);
        self.watches.insert(place.chain.clone(), watch.clone());
        Ok(watch)
    }

    /// The tip of a chain, after following it. At least one server must be heard.
    ///
    /// # Errors
    /// [`DeskError::Unheard`], [`DeskError::Storage`].
    pub async fn tip(&mut self, place: &ChainPlace, progress: impl Fn(CatchUp) + Sync) -> Result<Height, DeskError> {
        let watch = self.watch(place).await?;
        watch.follow(progress).await?;
        match watch.glance() {
            Some(observation) => Ok(observation.tip),
            None => Err(DeskError::Unheard { chain: place.chain.clone(), why: watch.trouble() }),
        }
    }

    /// A key, a payout address and, if wanted, a preimage of our own, from the wallet on the chain.
    fn own(&self, chain: &ChainId, with_preimage: bool) -> Result<Own, DeskError> {
        let place = Self::wallet_place(&self.home, chain);
        let network = place.network();
        let wallet = |error| DeskError::Wallet { network, error };
        place.ensure_seed().map_err(wallet)?;
        let mut open = Wallet::open(&place).map_err(wallet)?;
        let number = open.next_swap().map_err(wallet)?;
        let payout = open.fresh_address().map_err(wallet)?.address.script_pubkey();
        let key = open.swap_key(number).map_err(wallet)?;
        let key = SpendKey::from_bytes(key.secret_bytes()).expect("a key of the wallet is a key");
        let preimage = match with_preimage {
            true => Some(Preimage::from_bytes(*open.swap_preimage(number).map_err(wallet)?)),
            false => None,
        };
        Ok(Own { key, preimage, payout })
    }

    fn begin(
        &mut self,
        peer: Peer,
        places: Vec<ChainPlace>,
        state: State,
        effects: Vec<(usize, Effect)>,
    ) -> Result<Deal, DeskError> {
        let deal = Deal { peer, places, created_ms: clock::now_ms(), state, revision: 1 };
        let id = deal.id();
        let beside = beside(&deal, &effects);
        self.store.insert(id.as_bytes(), &deal.write(&deal.state), &beside)?;
        self.resumed.insert(id);
        Ok(deal)
    }

    /// Offers a swap of one lock to a member. It is durable when this returns; [`Self::publish`] tells the group.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn offer(&mut self, place: &ChainPlace, new: NewOffer, peer: Peer) -> Result<Deal, DeskError> {
        let tip = self.tip(place, |_| {}).await?;
        let knows = new.role == Role::Payee && new.payment_hash.is_none();
        let own = self.own(&place.chain, knows)?;
        let timeout = tip.to_consensus_u32().checked_add(new.blocks).and_then(|h| Height::from_consensus(h).ok());
        let new = NewSwap {
            role: new.role,
            chain: place.chain.clone(),
            kind: new.kind,
            amount: new.amount,
            timeout: timeout.ok_or(DeskError::Blocks(new.blocks))?,
            payment_hash: new.payment_hash,
            own,
        };
        let step = Swap::offer(new, tip).map_err(Refused::from)?;
        let (swap, effects) = committed(step);
        let effects = effects.into_iter().map(|effect| (0, effect)).collect();
        self.begin(peer, vec![place.clone()], State::Single(Box::new(swap)), effects)
    }

    /// Offers an atomic swap: we pay the first leg and are paid by the second.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn offer_atomic(&mut self, legs: [NewLeg; 2], peer: Peer) -> Result<Deal, DeskError> {
        let mut plans = Vec::new();
        for leg in &legs {
            let tip = self.tip(&leg.place, |_| {}).await?;
            plans.push(LegPlan {
                chain: leg.place.chain.clone(),
                kind: leg.kind,
                amount: leg.amount,
                tip,
                interval_seconds: leg.interval_seconds.unwrap_or_else(|| leg.place.chain.block_interval_seconds()),
            });
        }
        let first = self.own(&legs[0].place.chain, false)?;
        let second = self.own(&legs[1].place.chain, true)?;
        let plans: [LegPlan; 2] = plans.try_into().expect("two legs make two plans");
        let step = Atomic::offer(plans, first, second).map_err(Refused::from)?;
        let (atomic, effects) = committed(step);
        let effects = super::deal::numbered(effects);
        let places = legs.map(|leg| leg.place).into();
        self.begin(peer, places, State::Atomic(Box::new(atomic)), effects)
    }

    /// Accepts an offer. Our role is the one that it leaves open. It is durable when this returns; [`Self::publish`] tells the group.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn accept(&mut self, offered: &Offered, places: Vec<ChainPlace>) -> Result<Deal, DeskError> {
        let mut tips = Vec::new();
        for (offer, place) in offered.legs.iter().zip(&places) {
            if offer.chain != place.chain {
                return Err(DeskError::OtherChain { offered: offer.chain.clone(), given: place.chain.clone() });
            }
            tips.push(self.tip(place, |_| {}).await?);
        }
        match (offered.legs.as_slice(), tips.as_slice()) {
            ([offer], [tip]) => {
                // Whoever is to claim and is not told the hash knows the preimage.
                let knows = offer.claim_key.is_none() && offer.payment_hash.is_none();
                let own = self.own(&offer.chain, knows)?;
                let (swap, effects) = committed(Swap::accept(offer.clone(), own, *tip).map_err(Refused::from)?);
                let effects = effects.into_iter().map(|effect| (0, effect)).collect();
                self.begin(offered.from.clone(), places, State::Single(Box::new(swap)), effects)
            }
            ([first, second], [one, two]) => {
                let own = [self.own(&first.chain, false)?, self.own(&second.chain, false)?];
                let intervals = [first.chain.block_interval_seconds(), second.chain.block_interval_seconds()];
                let step = Atomic::accept([first.clone(), second.clone()], own, [*one, *two], intervals);
                let (atomic, effects) = committed(step.map_err(Refused::from)?);
                let effects = super::deal::numbered(effects);
                self.begin(offered.from.clone(), places, State::Atomic(Box::new(atomic)), effects)
            }
            _ => Err(DeskError::Places),
        }
    }

    /// Pays into the lock: the wallet builds and signs, the swap makes it durable, then it is broadcast.
    ///
    /// # Errors
    /// [`DeskError::Refused`] if the rules say no; [`DeskError::Wallet`] if the coins do not suffice.
    pub async fn fund(&mut self, id: &SwapId, rate: Option<FeeRate>) -> Result<Round, DeskError> {
        let mut round = Round::default();
        self.look(id, &mut round).await?;
        let deal = self.get(id)?;
        deal.may_fund()?;
        let leg = deal.paid_leg().ok_or(DeskError::NothingToFund)?;
        let output = deal.legs()[leg].funding_output().ok_or(DeskError::NothingToFund)?;
        let watch = self.watch(&deal.places[leg]).await?;
        let network = watch.network();
        let server = watch.servers().first().cloned().ok_or(DeskError::Places)?;
        let failed = |error| DeskError::Wallet { network, error };
        let rate = match rate {
            Some(rate) => rate,
            None => {
                let estimates = server.fee_estimates().await.map_err(|error| DeskError::Server { network, error })?;
                fees::from_estimates_clamped(network, &estimates)
            }
        };
        let place = Self::wallet_place(&self.home, &deal.places[leg].chain);
        let (mut wallet, _) = sync::sync(&place, &server, false, |_| {}).await.map_err(failed)?;
        // What was paid already, and forgotten by a backup, is not paid twice.
        if deal.legs()[leg].fundings().next().is_none()
            && let Some(paid) = wallet.paying(&output)
        {
            drop(wallet);
            let mut deal = self.get(id)?;
            let effects = self.advance(&mut deal, leg, Event::Recalled(paid))?;
            self.carry_out(&deal, effects, &mut round).await?;
            return Ok(round);
        }
        let payment =
            Payment { to: output.script_pubkey, what: What::Exactly(output.value), fee_rate: rate, max_fee: None };
        let signed = wallet.pay(&payment).map_err(failed)?;
        // The swap first: coins that lie in a lock which the swap does not know would stay there.
        let mut deal = self.get(id)?;
        let effects = self.advance(&mut deal, leg, Event::Funded(signed.tx.clone()))?;
        wallet.commit(&signed).map_err(failed)?;
        drop(wallet);
        self.carry_out(&deal, effects, &mut round).await?;
        Ok(round)
    }

    /// Gives a swap the operator's word.
    ///
    /// # Errors
    /// [`DeskError::Refused`] if the rules say no.
    pub async fn order(&mut self, id: &SwapId, command: Command) -> Result<Round, DeskError> {
        let mut round = Round::default();
        self.look(id, &mut round).await?;
        let mut deal = self.get(id)?;
        let legs = deal.legs();
        let leg = match command {
            Command::Claim => legs.iter().position(|swap| swap.role() == Role::Payee),
            Command::Refund => legs.iter().position(|swap| swap.role() == Role::Payer),
            Command::GiveUp => Some(0),
        };
        let leg = leg.unwrap_or(0);
        let effects = self.advance(&mut deal, leg, Event::Command(command))?;
        self.carry_out(&deal, effects, &mut round).await?;
        Ok(round)
    }

    /// Reads a swap.
    ///
    /// # Errors
    /// [`DeskError::Unknown`], [`DeskError::Deal`].
    pub fn get(&self, id: &SwapId) -> Result<Deal, DeskError> {
        let row = self.store.get(id.as_bytes())?.ok_or_else(|| DeskError::Unknown(id.to_string()))?;
        read(&row)
    }

    /// The swaps, oldest first; only those that are not over if `open`.
    ///
    /// # Errors
    /// [`DeskError::Storage`], [`DeskError::Deal`].
    pub fn all(&self, open: bool) -> Result<Vec<Deal>, DeskError> {
        self.store.all(open)?.iter().map(read).collect()
    }

    /// The last `limit` swaps, latest first, those that are over after those that are not.
    ///
    /// # Errors
    /// [`DeskError::Storage`], [`DeskError::Deal`].
    pub fn latest(&self, limit: usize) -> Result<Vec<Deal>, DeskError> {
        self.store.latest(limit)?.iter().map(read).collect()
    }

    /// The one swap whose id begins so.
    ///
    /// # Errors
    /// [`DeskError::Unknown`], [`DeskError::Ambiguous`].
    pub fn find(&self, prefix: &str) -> Result<Deal, DeskError> {
        let mut found: Vec<Deal> = self.all(false)?.into_iter().filter(|deal| answers_to(deal, prefix)).collect();
        match found.len() {
            0 => Err(DeskError::Unknown(prefix.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(DeskError::Ambiguous(prefix.to_owned())),
        }
    }

    /// What was said of a swap.
    ///
    /// # Errors
    /// [`DeskError::Storage`].
    pub fn notices(&self, id: &SwapId) -> Result<Vec<StoredNotice>, DeskError> {
        Ok(self.store.notices(id.as_bytes())?)
    }

    /// Handles an event, durably. Another process may have written meanwhile: then its state is read and the event handled anew.
    fn advance(&mut self, deal: &mut Deal, leg: usize, event: Event) -> Result<Vec<(usize, Effect)>, DeskError> {
        for _ in 0..MAX_ATTEMPTS {
            let store = &mut self.store;
            let persist = |deal: &Deal, state: &State| {
                let body = deal.write(state);
                store.update(deal.id().as_bytes(), deal.revision, &body, state.is_done(), &Beside::default())
            };
            match deal.handle(leg, event.clone(), persist) {
                Ok(effects) => return Ok(effects),
                Err(Advance::Refused(refused)) => return Err(refused.into()),
                Err(Advance::Persist(StorageError::Moved)) => *deal = self.get(&deal.id())?,
                Err(Advance::Persist(error)) => return Err(error.into()),
            }
        }
        Err(StorageError::Moved.into())
    }

    /// Does what the state machine asked for. Nothing here fails for a server's sake: it comes again.
    async fn carry_out(
        &mut self,
        deal: &Deal,
        effects: Vec<(usize, Effect)>,
        round: &mut Round,
    ) -> Result<(), DeskError> {
        let beside = beside(deal, &effects);
        self.store.note(deal.id().as_bytes(), &beside)?;
        round.notices.extend(beside.notices.into_iter().map(|notice| (deal.id(), notice)));
        for (leg, effect) in effects {
            match effect {
                Effect::Broadcast(tx) => {
                    let watch = self.watch(&deal.places[leg]).await?;
                    let txid = tx.compute_txid();
                    if let Err(error) = watch.broadcast(&tx).await {
                        tracing::info!(swap = %deal.id(), %txid, %error, "no server took a transaction");
                        round.refused.push((txid, error.to_string()));
                    }
                }
                Effect::Revealed(preimage) => self.spread(&preimage, round).await?,
                Effect::Publish(_) | Effect::Notify(_) => {}
            }
        }
        Ok(())
    }

    /// A preimage that one swap has learnt opens every lock of its hash.
    async fn spread(&mut self, preimage: &Preimage, round: &mut Round) -> Result<(), DeskError> {
        for mut other in self.all(true)? {
            let waits = other.legs().iter().position(|swap| {
                swap.role() == Role::Payee
                    && swap.preimage().is_none()
                    && swap.terms().is_some_and(|terms| terms.payment_hash() == preimage.payment_hash())
            });
            let Some(leg) = waits else { continue };
            let event = Event::Learned { preimage: preimage.clone(), public: true };
            match self.advance(&mut other, leg, event) {
                Ok(effects) => Box::pin(self.carry_out(&other, effects, round)).await?,
                Err(DeskError::Refused(refused)) => {
                    tracing::warn!(swap = %other.id(), %refused, "a preimage is of no use")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes in what the group says: acceptances and withdrawals of our swaps.
    ///
    /// # Errors
    /// [`DeskError::Storage`].
    pub async fn take_in(&mut self, traffic: &Traffic, round: &mut Round) -> Result<(), DeskError> {
        for mut deal in self.all(true)? {
            let ids: Vec<SwapId> = deal.legs().iter().map(|swap| swap.id()).collect();
            for (leg, id) in ids.into_iter().enumerate() {
                let peer = deal.peer.key.clone();
                for message in traffic.from(&peer, id) {
                    let event = match message {
                        Message::Accept { acceptance, .. } if deal.legs()[leg].terms().is_none() => {
                            Event::Accepted(acceptance.clone())
                        }
                        Message::Cancel { .. } => Event::Cancelled,
                        _ => continue,
                    };
                    match self.advance(&mut deal, leg, event) {
                        Ok(effects) => self.carry_out(&deal, effects, round).await?,
                        Err(DeskError::Refused(refused)) => {
                            tracing::info!(swap = %deal.id(), %refused, "a message of the other party is of no use");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the group what it has not been told yet.
    ///
    /// # Errors
    /// The group cannot be told: the messages stay and are told later.
    pub async fn publish(&mut self, link: &GroupLink) -> Result<usize, DeskError> {
        let waiting = self.store.outgoing()?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let traffic = link.traffic().await.map_err(DeskError::Group)?;
        let mut told = 0;
        for (number, outgoing) in self.outgoing_of(waiting)? {
            // A crash may have come between the telling and the noting of it.
            if !traffic.has_said(&outgoing.to, &outgoing.message) {
                link.say(&outgoing).await.map_err(DeskError::Group)?;
                told += 1;
            }
            self.store.published(number)?;
        }
        Ok(told)
    }

    /// Takes the messages that wait, for somebody who hands them over without a group: two nodes of one person on one machine.
    ///
    /// # Errors
    /// [`DeskError::Storage`].
    pub fn take_outgoing(&mut self) -> Result<Vec<Outgoing>, DeskError> {
        let waiting = self.store.outgoing()?;
        let mut taken = Vec::new();
        for (number, outgoing) in self.outgoing_of(waiting)? {
            self.store.published(number)?;
            taken.push(outgoing);
        }
        Ok(taken)
    }

    fn outgoing_of(&self, waiting: Vec<(i64, String)>) -> Result<Vec<(i64, Outgoing)>, DeskError> {
        let read = |(number, body): (i64, String)| {
            let outgoing = serde_json::from_str(&body).map_err(|e| DeskError::Outgoing(e.to_string()))?;
            Ok((number, outgoing))
        };
        waiting.into_iter().map(read).collect()
    }

    /// Looks at the chains of all swaps that are not over, and does what is due.
    ///
    /// # Errors
    /// [`DeskError::Storage`] and the like. Servers that fail are in the [`Round`].
    pub async fn round(&mut self, progress: impl Fn(&ChainId, CatchUp) + Sync) -> Result<Round, DeskError> {
        let mut round = Round::default();
        let deals = self.all(true)?;
        let mut places: BTreeMap<ChainId, ChainPlace> = BTreeMap::new();
        for place in deals.iter().flat_map(|deal| &deal.places) {
            places.entry(place.chain.clone()).or_insert_with(|| place.clone());
        }
        let mut watches = Vec::new();
        for place in places.values() {
            watches.push((place.chain.clone(), self.watch(place).await?));
        }
        let follow = watches.iter().map(|(chain, watch)| watch.follow(|at| progress(chain, at)));
        for followed in futures_util::future::join_all(follow).await {
            followed?;
        }
        for deal in deals {
            self.attend(deal, &mut round).await?;
        }
        round.open = self.all(true)?.len();
        Ok(round)
    }

    /// Follows the chains of one swap and looks at its locks.
    async fn look(&mut self, id: &SwapId, round: &mut Round) -> Result<(), DeskError> {
        let deal = self.get(id)?;
        for place in &deal.places {
            self.watch(place).await?.follow(|_| {}).await?;
        }
        self.attend(deal, round).await
    }

    /// Asks a wallet that comes from a backup whether it has paid into a lock since: the swap does not know, and would let the coins lie there. Once a process; false if the
    /// server does not answer, so that the leg has to wait.
    async fn recall(&mut self, deal: &mut Deal, leg: usize, round: &mut Round) -> Result<bool, DeskError> {
        let swap = deal.legs()[leg];
        let open = swap.role() == Role::Payer && swap.stage() == Stage::Accepted && swap.fundings().next().is_none();
        let (true, Some(output)) = (open, swap.funding_output()) else { return Ok(true) };
        let place = Self::wallet_place(&self.home, &deal.places[leg].chain);
        let network = place.network();
        let failed = |error| DeskError::Wallet { network, error };
        if self.recalled.contains(&(deal.id(), leg)) || !Wallet::was_restored(&place).map_err(failed)? {
            return Ok(true);
        }
        let watch = self.watch(&deal.places[leg]).await?;
        let server = watch.servers().first().cloned().ok_or(DeskError::Places)?;
        let wallet = match sync::sync(&place, &server, false, |_| {}).await {
            Ok((wallet, _)) => wallet,
            Err(error) => {
                tracing::info!(swap = %deal.id(), %error, "cannot tell yet whether this swap was funded after the backup");
                round.unheard.push(deal.places[leg].chain.clone());
                return Ok(false);
            }
        };
        let paid = wallet.paying(&output);
        drop(wallet);
        if let Some(paid) = paid {
            let effects = self.advance(deal, leg, Event::Recalled(paid))?;
            self.carry_out(deal, effects, round).await?;
        }
        self.recalled.insert((deal.id(), leg));
        Ok(true)
    }

    /// Looks at the locks of one swap against chains that were followed, and does what is due.
    async fn attend(&mut self, mut deal: Deal, round: &mut Round) -> Result<(), DeskError> {
        if self.resumed.insert(deal.id()) {
            let effects = deal.resume();
            self.carry_out(&deal, effects, round).await?;
        }
        for leg in 0..deal.places.len() {
            if deal.legs()[leg].stage().is_done() {
                continue;
            }
            if !self.recall(&mut deal, leg, round).await? {
                continue;
            }
            let chain = deal.places[leg].chain.clone();
            let watch = self.watch(&deal.places[leg]).await?;
            let observation = match deal.legs()[leg].lock_script() {
                None => watch.glance(),
                Some(lock) => {
                    let swap = deal.legs()[leg];
                    let known: Vec<Txid> = swap.fundings().chain(swap.spends()).map(|tx| tx.compute_txid()).collect();
                    let look = watch.look(&lock, &known).await;
                    for objection in look.agreement.objections {
                        let objections = round.objections.entry(chain.clone()).or_default();
                        if !objections.contains(&objection) {
                            objections.push(objection);
                        }
                    }
                    look.observation
                }
            };
            let event = match observation {
                Some(observation) => Event::Observed(observation),
                None => {
                    if !round.unheard.contains(&chain) {
                        round.unheard.push(chain);
                    }
                    Event::Tick
                }
            };
            match self.advance(&mut deal, leg, event) {
                Ok(effects) => self.carry_out(&deal, effects, round).await?,
                Err(DeskError::Refused(refused)) => {
                    tracing::warn!(swap = %deal.id(), %refused, "what was seen of the chain is of no use");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn read(row: &Row) -> Result<Deal, DeskError> {
    Deal::read(&row.body, row.revision).map_err(|error| DeskError::Deal { id: hex::encode(row.id), error })
}

/// Whether a text names a swap: its id, or the id of its other leg, or the beginning of one of them.
pub fn answers_to(deal: &Deal, prefix: &str) -> bool {
    prefix.len() >= super::view::MIN_ID_DIGITS
        && deal.legs().iter().any(|swap| swap.id().to_string().starts_with(&prefix.to_ascii_lowercase()))
}

/// A step of a swap that is not stored yet: [`Desk::begin`] stores it before its effects go out.
fn committed<S, E>(step: crate::btc::htlc::swap::Step<S, E>) -> (S, Vec<E>) {
    match step.commit(|_| Ok::<(), std::convert::Infallible>(())) {
        Ok(committed) => committed,
        Err(never) => match never {},
    }
}

fn beside(deal: &Deal, effects: &[(usize, Effect)]) -> Beside {
    let mut beside = Beside::default();
    for (_, effect) in effects {
        match effect {
            Effect::Publish(message) => {
                let Peer { key, group, .. } = deal.peer.clone();
                let outgoing = Outgoing { to: key, group, message: message.clone() };
                beside.outgoing.push(serde_json::to_string(&outgoing).expect("a message always serializes"));
            }
            Effect::Notify(Notice { level, text }) => {
                let level = match level {
                    Level::Info => "info",
                    Level::Warning => "warning",
                    Level::Urgent => "urgent",
                };
                beside.notices.push(StoredNotice { at_ms: clock::now_ms(), level: level.into(), words: text.clone() });
            }
            Effect::Broadcast(_) | Effect::Revealed(_) => {}
        }
    }
    beside
}

/// Where a swap's lock is, if the chain has shown one.
pub fn lock_outpoint(swap: &Swap) -> Option<OutPoint> {
    let script: ScriptBuf = swap.lock_script()?.script_pubkey().to_owned();
    let funding = swap.fundings().last()?;
    let vout = funding.output.iter().position(|output| output.script_pubkey == script)?;
    Some(OutPoint::new(funding.compute_txid(), u32::try_from(vout).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_has_a_wallet_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = crate::home::Root::find(Some(folder.path().to_owned())).unwrap();
        let home = root.node("dave");
        let mut folders = HashSet::new();
        for chain in ["bitcoin", "testnet4", "signet", "mutinynet", "regtest", "regtest:a", "regtest:b"] {
            let place = Desk::wallet_place(&home, &chain.parse().unwrap());
            assert!(folders.insert(place.folder().to_owned()), "{chain}");
        }
    }
}
