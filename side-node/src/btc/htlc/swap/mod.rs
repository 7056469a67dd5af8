//! One swap's life as a state machine: a payer who locks and may take back, a payee who claims with a preimage.
//!
//! # Contract
//! [`Swap::handle`] takes an event and returns a [`Step`]: the next state and the effects, which only [`Step::commit`] hands out, after the caller has made the
//! state durable. So nothing is broadcast or shown to anybody before it would survive a crash. Effects may be done twice; those that a crash swallowed come
//! again with the next observation, or from [`Swap::resume`], which the caller asks once after loading.
//!
//! # Rules
//! - Where a swap stands is reckoned from each observation anew. If the chain takes a funding, a claim or a refund back, the stage goes back with it, and
//!   what was made is broadcast again until it is buried.
//! - The payee reveals the preimage for the first time only into a lock with the right script and amount, buried as its amount deserves, that all servers agree
//!   on, with [`reveal_margin`](super::margins::reveal_margin) blocks left and fees that leave room for bumps. Once the preimage is public, holding back
//!   protects nothing, and the claim is pressed as long as the lock is unspent, before and after the timeout.
//! - The payer funds only with [`min_timeout`](super::margins::min_timeout) blocks ahead, takes back once the timeout is reached, and learns the preimage
//!   from any spend that shows it, in a block or the mempool. Having learned it before a refund was made, it leaves the lock to the claim for
//!   [`LATE_CLAIM_GRACE_BLOCKS`](super::margins::LATE_CLAIM_GRACE_BLOCKS), unless the operator or the other leg orders otherwise.
//! - Fees follow [`FEE_SCHEDULE`](super::margins::FEE_SCHEDULE) toward the deadline, and rise on their own when a spend stays unconfirmed.
//! - What a server says is never enough to lose a secret or coins: script and amount are read from the transaction itself, a preimage proves itself, an
//!   unconfirmed spend by the other side changes no decision except that it is outbid.
//!
//! ```text
//!  Offered ─► Accepted ─► Funding ─► Locked ─► Claiming ─► Claimed  ─► Done(Claimed)
//!      └─► Done(Cancelled | Expired)      └──► Refunding ─► Refunded ─► Done(Refunded)      and back, with the chain
//! ```

mod act;
mod event;
mod outlook;
mod payee;
mod payer;

use std::sync::{Arc, OnceLock};

use bitcoin::absolute::Height;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::margins::FeeRates;
use super::script::{Branch, LockScript, ScriptError};
use super::secrets::{PaymentHash, Preimage, SpendKey};
use super::terms::{Acceptance, ChainId, LockKind, Offer, TERMS_VERSION, Terms, TermsError};
use super::transactions::TransactionError;

pub use event::*;
pub use outlook::{Deadline, Outlook, about};

/// The version of a swap's stored state.
pub const SWAP_VERSION: u16 = 1;
/// Most funding transactions kept for one swap: the first and its replacements.
pub const MAX_FUNDINGS: usize = 16;
/// Most claims or refunds kept for one swap. Each costs a quarter more than the one before: from the least rate to the highest take 34 steps.
pub const MAX_SPENDS: usize = 64;

/// Why an event was refused. The swap stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The terms are not acceptable.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The terms have no script.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The transaction cannot be made.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The rules say to wait.
    #[error("not yet: {0}")]
    Hold(Hold),
    /// The event does not fit to where the swap stands.
    #[error("{what} does not fit to a swap that is {stage:?} with us as {role:?}")]
    Stage {
        /// What was tried.
        what: &'static str,
        /// Where the swap stands.
        stage: Stage,
        /// Which side we are.
        role: Role,
    },
    /// The chain has not been looked at yet.
    #[error("the chain has not been looked at yet: is the server reachable?")]
    NoView,
    /// The funding transaction does not hold what the terms say.
    #[error(
        "the funding transaction pays {found} to the lock in {outputs} outputs; exactly one with {agreed} is needed"
    )]
    Funding {
        /// What it pays there in all.
        found: Amount,
        /// In how many outputs.
        outputs: usize,
        /// What the terms say.
        agreed: Amount,
    },
    /// A second funding that could confirm beside the first.
    #[error(
        "the new funding transaction spends no input of {0}: both could confirm. Replace that one by raising its fee"
    )]
    SecondFunding(Txid),
    /// Larger than what is relayed, or without inputs or signatures, or one too many.
    #[error("the funding transaction is {0}")]
    BadFunding(&'static str),
    /// The preimage is of another hash.
    #[error("this preimage does not fit the payment hash {0}")]
    WrongPreimage(PaymentHash),
    /// The place where the coins should go is no ordinary address.
    #[error("coins can be paid out to an ordinary address only")]
    Payout,
    /// The key is for another offer.
    #[error("the key at hand is not the one in the offer")]
    WrongKey,
    /// Coins are locked or a preimage is out: there is no way back but through the chain.
    #[error("coins are at stake: {0}")]
    AtStake(&'static str),
}

/// Why a stored state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    /// Written by another build.
    #[error("the stored swap has version {0}, this build knows version {SWAP_VERSION}: use the build that wrote it")]
    Version(u64),
    /// Not what we wrote.
    #[error("the stored swap is damaged: {0}")]
    Damaged(String),
}

/// What the one who offers decides.
#[derive(Debug, Clone)]
pub struct NewSwap {
    /// Which side of the lock we want to be.
    pub role: Role,
    /// The chain that the lock is to be on.
    pub chain: ChainId,
    /// The kind of output.
    pub kind: LockKind,
    /// The amount.
    pub amount: Amount,
    /// The height from which on the payer can take the coins back.
    pub timeout: Height,
    /// The hash, if we know it.
    pub payment_hash: Option<PaymentHash>,
    /// What only we know.
    pub own: Own,
}

/// What each side keeps to itself.
#[derive(Debug, Clone)]
pub struct Own {
    /// The key for our branch, used for this swap alone.
    pub key: SpendKey,
    /// The preimage, if we are the one to know it.
    pub preimage: Option<Preimage>,
    /// Where the coins go when we claim or take back.
    pub payout: ScriptBuf,
}

/// The next state, and what to do once it is durable.
#[derive(Debug)]
#[must_use = "a step has no effect before it is committed"]
pub struct Step<S = Swap, E = Effect> {
    state: S,
    effects: Vec<E>,
    changed: bool,
}

impl<S, E> Step<S, E> {
    pub(super) fn new(state: S, effects: Vec<E>, changed: bool) -> Self {
        Self { state, effects, changed }
    }

    /// The next state, to look at.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Makes the state durable through `persist` (not asked if nothing changed), then hands out the state and the effects.
    ///
    /// `persist` must return only when the state would survive a power cut. If it fails, there are no effects, and the caller goes on with the state it had.
    ///
    /// # Errors
    /// What `persist` returns.
    pub fn commit<F>(self, persist: impl FnOnce(&S) -> Result<(), F>) -> Result<(S, Vec<E>), F> {
        if self.changed {
            persist(&self.state)?;
        }
        Ok((self.state, self.effects))
    }

    pub(super) fn into_parts(self) -> (S, Vec<E>, bool) {
        (self.state, self.effects, self.changed)
    }
}

/// A swap, as it is stored. It holds secrets: its JSON belongs into a file that only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    version: u16,
    id: SwapId,
    role: Role,
    offer: Offer,
    terms: Option<Terms>,
    acceptance: Option<Acceptance>,
    key: SpendKey,
    preimage: Option<Preimage>,
    /// Whether the preimage left this node or was read from a chain.
    preimage_public: bool,
    payout: ScriptBuf,
    /// Payer: made by our wallet. Payee: seen at the lock's script. The latest stands last. Invariant: at most [`MAX_FUNDINGS`].
    fundings: Vec<RawTransaction>,
    /// Claims or refunds that we made, the latest last. Invariant: at most [`MAX_SPENDS`], their fees rising for one output.
    spends: Vec<Made>,
    /// Whether the lock has ever been in a block.
    was_locked: bool,
    refund_ordered: bool,
    cancelled: bool,
    stage: Stage,
    view: Option<View>,
    #[serde(skip)]
    script: Cached,
}

/// The lock's script, derived once in the life of a process. It follows from the terms, so that it takes no part in comparing states.
#[derive(Debug, Clone, Default)]
struct Cached(OnceLock<Arc<LockScript>>);

impl PartialEq for Cached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Cached {}

/// A claim or refund that we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    branch: Branch,
    transaction: RawTransaction,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    fee: Amount,
    rate: bitcoin::FeeRate,
    /// The tip when it was made.
    at: Height,
}

impl Made {
    fn outpoint(&self) -> OutPoint {
        self.transaction.0.input[0].previous_output
    }
}

/// What was last seen of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    tip: Height,
    median_time: u32,
    servers: Servers,
    fees: FeeRates,
    lock: Option<LockView>,
    hold: Option<Hold>,
}

/// The output at the script that the swap goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockView {
    outpoint: OutPoint,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    value: Amount,
    place: Place,
    spend: Option<SpendView>,
}

/// What spends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpendView {
    txid: Txid,
    branch: Branch,
    place: Place,
    ours: bool,
    /// What it pays, where that can be reckoned (it spends the lock alone).
    #[serde(with = "bitcoin::amount::serde::as_sat::opt")]
    fee: Option<Amount>,
}

impl Swap {
    /// Offers a swap. Seen from `tip`, the timeout must leave enough time.
    ///
    /// # Errors
    /// [`Refusal::Terms`], [`Refusal::Payout`], [`Refusal::WrongPreimage`].
    pub fn offer(new: NewSwap, tip: Height) -> Result<Step, Refusal> {
        check_payout(&new.own.payout)?;
        let own_hash = new.own.preimage.as_ref().map(Preimage::payment_hash);
        if let (Some(own), Some(given)) = (own_hash, new.payment_hash)
            && own != given
        {
            return Err(Refusal::WrongPreimage(given));
        }
        let key = new.own.key.public();
        let offer = Offer {
            version: TERMS_VERSION,
            chain: new.chain,
            kind: new.kind,
            amount: new.amount,
            timeout: new.timeout,
            payment_hash: own_hash.or(new.payment_hash),
            claim_key: (new.role == Role::Payee).then_some(key),
            refund_key: (new.role == Role::Payer).then_some(key),
        };
        offer.check_at(tip)?;
        let message = Message::Offer { offer: offer.clone() };
        let swap = Self::fresh(new.role, offer, new.own);
        let text = format!("swap {} is offered", swap.short_id());
        Ok(Step::new(swap, vec![Effect::Publish(message), notify(Level::Info, text)], true))
    }

    /// Accepts an offer. Our role is the one that it leaves open.
    ///
    /// # Errors
    /// [`Refusal::Terms`] (holes, dust, timeouts, equal keys), [`Refusal::Payout`], [`Refusal::Script`].
    pub fn accept(offer: Offer, own: Own, tip: Height) -> Result<Step, Refusal> {
        check_payout(&own.payout)?;
        offer.check_at(tip)?;
        let role = if offer.claim_key.is_none() { Role::Payee } else { Role::Payer };
        let own_hash = own.preimage.as_ref().map(Preimage::payment_hash);
        let acceptance = Acceptance { payment_hash: own_hash, key: own.key.public() };
        let terms = offer.complete(&acceptance)?;
        LockScript::new(&terms)?;
        let mut swap = Self::fresh(role, offer, own);
        swap.terms = Some(terms);
        swap.acceptance = Some(acceptance.clone());
        swap.stage = Stage::Accepted;
        let text = format!("swap {} is accepted", swap.short_id());
        let message = Message::Accept { swap: swap.id, acceptance };
        Ok(Step::new(swap, vec![Effect::Publish(message), notify(Level::Info, text)], true))
    }

    fn fresh(role: Role, offer: Offer, own: Own) -> Self {
        Self {
            version: SWAP_VERSION,
            id: SwapId::of(&offer),
            role,
            offer,
            terms: None,
            acceptance: None,
            key: own.key,
            preimage: own.preimage,
            preimage_public: false,
            payout: own.payout,
            fundings: Vec::new(),
            spends: Vec::new(),
            was_locked: false,
            refund_ordered: false,
            cancelled: false,
            stage: Stage::Offered,
            view: None,
            script: Cached::default(),
        }
    }

    /// Takes an event. The swap itself stays as it is until the step is committed.
    ///
    /// # Errors
    /// A [`Refusal`]: the event does not fit, or a rule forbids what it asks for. Observations and ticks are never refused for what they say.
    pub fn handle(&self, event: Event) -> Result<Step, Refusal> {
        let mut next = self.clone();
        let mut effects = Vec::new();
        match event {
            Event::Accepted(acceptance) => next.accepted(acceptance, &mut effects)?,
            Event::Funded(transaction) => next.funded(transaction, &mut effects)?,
            Event::Recalled(transaction) => next.recalled(transaction)?,
            Event::Observed(observation) => next.observed(&observation, &mut effects)?,
            Event::Learned { preimage, public } => next.learned(preimage, public, &mut effects)?,
            Event::Command(command) => next.command(command, &mut effects)?,
            Event::Cancelled => next.cancelled_by_other(&mut effects),
            Event::Tick => effects.extend(next.again()),
        }
        let changed = next != *self;
        Ok(Step::new(next, effects, changed))
    }

    /// What a crash may have swallowed: messages and transactions to hand out again. Asked once, after loading.
    pub fn resume(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match (&self.acceptance, self.stage) {
            (None, Stage::Offered) => effects.push(Effect::Publish(Message::Offer { offer: self.offer.clone() })),
            (Some(acceptance), Stage::Accepted) if acceptance.key == self.key.public() => {
                effects.push(Effect::Publish(Message::Accept { swap: self.id, acceptance: acceptance.clone() }));
            }
            (_, Stage::Done(Outcome::Cancelled)) => effects.push(Effect::Publish(Message::Cancel { swap: self.id })),
            _ => {}
        }
        if self.role == Role::Payer && self.stage == Stage::Funding {
            let funded = |raw: &RawTransaction| Message::Funded { swap: self.id, txid: raw.0.compute_txid() };
            effects.extend(self.fundings.last().map(|raw| Effect::Publish(funded(raw))));
        }
        if let (Role::Payer, Some(preimage), true) = (self.role, &self.preimage, self.preimage_public) {
            effects.push(Effect::Revealed(preimage.clone()));
        }
        effects.extend(self.again());
        effects
    }

    /// Reads a stored state.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        let damaged = |error: serde_json::Error| StateError::Damaged(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(SWAP_VERSION) => {}
            Some(version) => return Err(StateError::Version(version)),
            None => return Err(StateError::Damaged("it names no version".to_owned())),
        }
        let swap: Self = serde_json::from_value(value).map_err(damaged)?;
        let whole = swap.spends.iter().all(|made| made.transaction.0.input.len() == 1)
            && swap.fundings.len() <= MAX_FUNDINGS
            && swap.spends.len() <= MAX_SPENDS
            && (swap.spends.is_empty() || swap.terms.is_some())
            && (swap.terms.is_none() || swap.lock_script().is_some());
        if whole { Ok(swap) } else { Err(StateError::Damaged("its transactions are not ours".to_owned())) }
    }

    /// The form that is stored. It holds secrets.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and fixed keys always serialize")
    }

    /// The swap's name.
    pub fn id(&self) -> SwapId {
        self.id
    }
    /// Which side we are.
    pub fn role(&self) -> Role {
        self.role
    }
    /// What it grew from.
    pub fn offer_made(&self) -> &Offer {
        &self.offer
    }
    /// The terms, once both sides agree.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }
    /// Where it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }
    /// The preimage, if we know it.
    pub fn preimage(&self) -> Option<&Preimage> {
        self.preimage.as_ref()
    }
    /// Whether the preimage left this node or was read from a chain.
    pub fn is_preimage_public(&self) -> bool {
        self.preimage_public
    }
    /// Why the payee does not claim yet, as of the last observation.
    pub fn hold(&self) -> Option<Hold> {
        self.view.as_ref()?.hold
    }
    /// The lock's script, for the driver to watch, once both sides agree.
    pub fn lock_script(&self) -> Option<Arc<LockScript>> {
        let terms = self.terms.as_ref()?;
        if let Some(known) = self.script.0.get() {
            return Some(known.clone());
        }
        // Terms whose script is refused are not taken in.
        let script = Arc::new(LockScript::new(terms).ok()?);
        Some(self.script.0.get_or_init(|| script).clone())
    }
    /// The output that our wallet is to make, once both sides agree.
    pub fn funding_output(&self) -> Option<TxOut> {
        Some(self.lock_script()?.output())
    }
    /// The tip, as of the last observation.
    pub fn tip(&self) -> Option<Height> {
        self.view.as_ref().map(|view| view.tip)
    }
    /// Confirmations of the lock, as of the last observation.
    pub fn lock_depth(&self) -> u32 {
        self.view.as_ref().and_then(|view| Some(view.lock.as_ref()?.place.depth(view.tip))).unwrap_or(0)
    }
    /// The transactions that we made or saw as fundings, the latest last.
    pub fn fundings(&self) -> impl Iterator<Item = &Transaction> {
        self.fundings.iter().map(|raw| &raw.0)
    }
    /// The claims or refunds that we made, the latest last.
    pub fn spends(&self) -> impl Iterator<Item = &Transaction> {
        self.spends.iter().map(|made| &made.transaction.0)
    }

    /// The first eight digits of the id, for people.
    pub fn short_id(&self) -> String {
        self.id.to_string()[..8].to_owned()
    }
}

fn check_payout(payout: &ScriptBuf) -> Result<(), Refusal> {
    let ordinary = payout.is_p2wpkh() || payout.is_p2wsh() || payout.is_p2tr() || payout.is_p2pkh() || payout.is_p2sh();
    if ordinary { Ok(()) } else { Err(Refusal::Payout) }
}

fn notify(level: Level, text: String) -> Effect {
    Effect::Notify(Notice { level, text })
}

#[cfg(test)]
mod tests;
