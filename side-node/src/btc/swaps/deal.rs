//! A swap with what is known of it beside the state machine's own state: the other party, and where its chains are looked at.
//!
//! The form on disk is JSON and holds secrets: it goes into [`super::storage`] and nowhere else.

use bitcoin::absolute::Height;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::btc::htlc::atomic::{Atomic, AtomicError, Leg};
use crate::btc::htlc::secrets::PaymentHash;
use crate::btc::htlc::swap::{Effect, Event, Outlook, Refusal, StateError, Swap, SwapId};
use crate::btc::htlc::terms::ChainId;

/// The version of this form.
const DEAL_VERSION: u64 = 1;

/// Why an event was refused.
#[derive(Debug, Error)]
pub enum Refused {
    /// By the rules of a swap.
    #[error(transparent)]
    Swap(#[from] Refusal),
    /// By the rules of two.
    #[error(transparent)]
    Atomic(#[from] AtomicError),
}

/// Why a stored deal cannot be read.
#[derive(Debug, Error)]
pub enum DealError {
    /// By a later version, or damaged.
    #[error("the stored swap does not read: {0}")]
    Form(String),
    /// The state machine's reason.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The other party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key: only what this key has signed counts.
    pub key: String,
    /// What it was called when the swap began, for display.
    pub name: String,
    /// The id of the group in which the swap was offered: what is said about it is said there, whatever groups the node joins or leaves. The node's default
    /// group if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A chain and its servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPlace {
    /// The chain.
    pub chain: ChainId,
    /// The Esplora servers that are asked, at least one.
    pub servers: Vec<String>,
}

/// The state machine's state.
#[derive(Debug, Clone)]
pub enum State {
    /// One lock.
    Single(Box<Swap>),
    /// Two locks on two chains.
    Atomic(Box<Atomic>),
}

/// A swap as this node keeps it.
#[derive(Debug, Clone)]
pub struct Deal {
    /// The other party.
    pub peer: Peer,
    /// Where each leg's chain is looked at: one place, or two.
    pub places: Vec<ChainPlace>,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// The state.
    pub state: State,
    /// Counts its changes in the store.
    pub revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u64,
    peer: Peer,
    places: Vec<ChainPlace>,
    created_ms: u64,
    /// The state machine's JSON, as text: it reads its own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    single: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    atomic: Option<String>,
}

impl Deal {
    /// Reads a row of the store.
    ///
    /// # Errors
    /// [`DealError`].
    pub fn read(body: &str, revision: u64) -> Result<Self, DealError> {
        let form: Form = serde_json::from_str(body).map_err(|e| DealError::Form(e.to_string()))?;
        if form.version != DEAL_VERSION {
            return Err(DealError::Form(format!("it has version {}, this build knows {DEAL_VERSION}", form.version)));
        }
        let (single, atomic) = (form.single.map(Zeroizing::new), form.atomic.map(Zeroizing::new));
        let (state, legs) = match (single, atomic) {
            (Some(text), None) => (State::Single(Box::new(Swap::from_json(&text)?)), 1),
            (None, Some(text)) => (State::Atomic(Box::new(Atomic::from_json(&text)?)), 2),
            _ => return Err(DealError::Form("it is neither one swap nor two".into())),
        };
        if form.places.len() != legs {
            return Err(DealError::Form("it has not a place for each leg".into()));
        }
        Ok(Self { peer: form.peer, places: form.places, created_ms: form.created_ms, state, revision })
    }

    /// The form for the store.
    pub fn write(&self, state: &State) -> Zeroizing<String> {
        let (single, atomic) = match state {
            State::Single(swap) => (Some(swap.to_json()), None),
            State::Atomic(atomic) => (None, Some(atomic.to_json())),
        };
        let form = Form {
            version: DEAL_VERSION,
            peer: self.peer.clone(),
            places: self.places.clone(),
            created_ms: self.created_ms,
            single,
            atomic,
        };
        Zeroizing::new(serde_json::to_string(&form).expect("texts and numbers always serialize"))
    }

    /// Its name: of the first leg.
    pub fn id(&self) -> SwapId {
        self.legs()[0].id()
    }

    /// The swaps that it consists of, the first leg first.
    pub fn legs(&self) -> Vec<&Swap> {
        match &self.state {
            State::Single(swap) => vec![swap],
            State::Atomic(atomic) => vec![atomic.leg(Leg::First), atomic.leg(Leg::Second)],
        }
    }

    /// The number of the leg with this id.
    pub fn leg_of(&self, id: &SwapId) -> Option<usize> {
        self.legs().iter().position(|swap| swap.id() == *id)
    }

    /// The number of the leg that we fund, if we fund any.
    pub fn paid_leg(&self) -> Option<usize> {
        use crate::btc::htlc::swap::Role;
        match &self.state {
            State::Single(swap) => (swap.role() == Role::Payer).then_some(0),
            State::Atomic(atomic) => Some(usize::from(atomic.paid_leg() == Leg::Second)),
        }
    }

    /// Whether nothing remains to be watched.
    pub fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// The payment hash, once it is agreed or offered.
    pub fn payment_hash(&self) -> Option<PaymentHash> {
        let swap = self.legs()[0];
        swap.terms().map(|terms| terms.payment_hash()).or(swap.offer_made().payment_hash)
    }

    /// What happens next, the leg that matters more first.
    pub fn outlook(&self) -> Vec<(usize, Outlook)> {
        match &self.state {
            State::Single(swap) => vec![(0, swap.outlook())],
            State::Atomic(atomic) => {
                atomic.outlook().into_iter().map(|(leg, outlook)| (number(leg), outlook)).collect()
            }
        }
    }

    /// Whether our leg may be funded now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_fund(&self) -> Result<(), Refused> {
        match &self.state {
            State::Single(swap) => swap.may_fund().map(drop).map_err(Refused::from),
            State::Atomic(atomic) => atomic.may_fund().map(drop).map_err(Refused::from),
        }
    }

    /// What a crash may have swallowed.
    pub fn resume(&self) -> Vec<(usize, Effect)> {
        match &self.state {
            State::Single(swap) => swap.resume().into_iter().map(|effect| (0, effect)).collect(),
            State::Atomic(atomic) => numbered(atomic.resume()),
        }
    }

    /// Takes an event for a leg. `persist` makes the new state durable; only then the state changes and the effects are handed out.
    ///
    /// # Errors
    /// [`Advance::Refused`], or what `persist` returns.
    pub fn handle<E>(
        &mut self,
        leg: usize,
        event: Event,
        persist: impl FnOnce(&Self, &State) -> Result<u64, E>,
    ) -> Result<Vec<(usize, Effect)>, Advance<E>> {
        let mut revision = self.revision;
        let (state, effects) = match &self.state {
            State::Single(swap) => {
                let step = swap.handle(event).map_err(|refusal| Advance::Refused(refusal.into()))?;
                let (swap, effects) = step
                    .commit(|next| {
                        revision = persist(self, &State::Single(Box::new(next.clone())))?;
                        Ok(())
                    })
                    .map_err(Advance::Persist)?;
                (State::Single(Box::new(swap)), effects.into_iter().map(|effect| (0, effect)).collect())
            }
            State::Atomic(atomic) => {
                let which = if leg == 0 { Leg::First } else { Leg::Second };
                let step = atomic.handle(which, event).map_err(|refusal| Advance::Refused(refusal.into()))?;
                let (atomic, effects) = step
                    .commit(|next| {
                        revision = persist(self, &State::Atomic(Box::new(next.clone())))?;
                        Ok(())
                    })
                    .map_err(Advance::Persist)?;
                (State::Atomic(Box::new(atomic)), numbered(effects))
            }
        };
        self.state = state;
        self.revision = revision;
        Ok(effects)
    }

    /// The tip that a leg has last seen.
    pub fn tip(&self, leg: usize) -> Option<Height> {
        self.legs().get(leg)?.tip()
    }
}

impl State {
    /// Whether nothing remains to be watched.
    pub fn is_done(&self) -> bool {
        match self {
            State::Single(swap) => swap.stage().is_done(),
            State::Atomic(atomic) => atomic.is_done(),
        }
    }
}

/// Why [`Deal::handle`] did nothing.
#[derive(Debug)]
pub enum Advance<E> {
    /// The event does not fit, or a rule forbids it.
    Refused(Refused),
    /// The new state could not be made durable.
    Persist(E),
}

fn number(leg: Leg) -> usize {
    usize::from(leg == Leg::Second)
}

pub(super) fn numbered(effects: Vec<(Leg, Effect)>) -> Vec<(usize, Effect)> {
    effects.into_iter().map(|(leg, effect)| (number(leg), effect)).collect()
}
