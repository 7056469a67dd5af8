//! A party with a disk: it keeps the contract of [`Swap::handle`], and checks that the swap does.

use std::convert::Infallible;

use bitcoin::consensus::encode;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction};

use super::chain::{Chain, START, height};
use crate::btc::htlc::margins::min_timeout;
use crate::btc::htlc::secrets::{Preimage, SpendKey};
use crate::btc::htlc::swap::{
    Command, Effect, Event, Message, NewSwap, Notice, Outcome, Own, Refusal, Role, Stage, Step, Swap,
};
use crate::btc::htlc::terms::{ChainId, LockKind};
use crate::btc::htlc::witness::preimage_in;

pub(crate) struct Party {
    pub(crate) swap: Swap,
    disk: String,
    /// Whether the machine dies after the next write, before it does anything.
    pub(crate) dies: bool,
    pub(crate) messages: Vec<Message>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) broadcast: Vec<Transaction>,
    pub(crate) payout: ScriptBuf,
}

/// Two parties who agreed on a lock, and the payer's coin.
pub(crate) struct Setup {
    pub(crate) payer: Party,
    pub(crate) payee: Party,
    pub(crate) coin: OutPoint,
    pub(crate) preimage: Preimage,
}

impl Party {
    fn new(step: Step, payout: ScriptBuf) -> Self {
        let mut disk = String::new();
        let (swap, effects) = step
            .commit(|swap| {
                disk = swap.to_json();
                Ok::<(), Infallible>(())
            })
            .expect("the disk is fine");
        let (dies, messages, notices, broadcast) = (false, Vec::new(), Vec::new(), Vec::new());
        let mut party = Self { swap, disk, dies, messages, notices, broadcast, payout };
        party.act(effects, None);
        party
    }

    /// Feeds an event, persists, acts.
    pub(crate) fn feed(&mut self, chain: &mut Chain, event: Event) -> Result<(), Refusal> {
        let step = self.swap.handle(event)?;
        let (swap, effects) = step
            .commit(|swap| {
                self.disk = swap.to_json();
                Ok::<(), Infallible>(())
            })
            .expect("the disk is fine");
        self.swap = swap;
        if std::mem::take(&mut self.dies) {
            self.restart(chain);
        } else {
            self.act(effects, Some(chain));
        }
        Ok(())
    }

    /// Comes back from what is on the disk, and from nothing else.
    pub(crate) fn restart(&mut self, chain: &mut Chain) {
        let before = self.swap.clone();
        self.swap = Swap::from_json(&self.disk).expect("our own state");
        assert_eq!(self.swap, before, "what is not on the disk does not exist");
        let effects = self.swap.resume();
        self.act(effects, Some(chain));
    }

    pub(crate) fn look(&mut self, chain: &mut Chain) {
        let Some(lock) = self.swap.lock_script() else { return };
        let observation = chain.observe(&lock);
        self.feed(chain, Event::Observed(observation)).expect("observations are never refused");
    }

    pub(crate) fn command(&mut self, chain: &mut Chain, command: Command) -> Result<(), Refusal> {
        self.feed(chain, Event::Command(command))
    }

    fn act(&mut self, effects: Vec<Effect>, mut chain: Option<&mut Chain>) {
        for effect in effects {
            match effect {
                Effect::Broadcast(transaction) => {
                    let raw = encode::serialize_hex(&transaction);
                    assert!(self.disk.contains(&raw), "broadcast before it was durable");
                    if let Some(chain) = chain.as_deref_mut() {
                        let _ = chain.submit(&transaction);
                    }
                    self.broadcast.push(transaction);
                }
                Effect::Publish(message) => self.messages.push(message),
                Effect::Revealed(preimage) => assert!(self.disk.contains(&preimage.reveal()), "shown before durable"),
                Effect::Notify(notice) => {
                    let secret = self.swap.preimage().map(Preimage::reveal);
                    assert!(secret.is_none_or(|secret| !notice.text.contains(&secret)), "a secret in a notice");
                    self.notices.push(notice);
                }
            }
        }
    }

    pub(crate) fn has_revealed(&self, preimage: &Preimage) -> bool {
        self.broadcast.iter().any(|known| preimage_in(preimage.payment_hash(), known).is_some())
    }

    pub(crate) fn coins(&self, chain: &Chain) -> Amount {
        chain.balance(&self.payout)
    }

    pub(crate) fn done(&self) -> Option<Outcome> {
        match self.swap.stage() {
            Stage::Done(outcome) => Some(outcome),
            _ => None,
        }
    }
}

impl Setup {
    /// The payer offers, the payee accepts; `slack` blocks more than the least timeout.
    pub(crate) fn new(chain: &mut Chain, kind: LockKind, sats: u64, slack: u32) -> Self {
        Self::with_seed(chain, kind, sats, slack, 1)
    }

    pub(crate) fn with_seed(chain: &mut Chain, kind: LockKind, sats: u64, slack: u32, seed: u8) -> Self {
        let (amount, id) = (Amount::from_sat(sats), ChainId::REGTEST);
        let preimage = Preimage::from_bytes([seed + 100; 32]);
        let timeout = height(START + min_timeout(&id, amount) + slack);
        let new =
            NewSwap { role: Role::Payer, chain: id, kind, amount, timeout, payment_hash: None, own: own(seed, None) };
        let payer = Swap::offer(new, chain.tip()).expect("a sound offer");
        let payer_payout = own(seed, None).payout;
        let mut payer = Party::new(payer, payer_payout);
        let Some(Message::Offer { offer }) = payer.messages.pop() else { panic!("no offer") };
        let mine = own(seed + 1, Some(preimage.clone()));
        let payout = mine.payout.clone();
        let mut payee = Party::new(Swap::accept(offer, mine, chain.tip()).expect("acceptable"), payout);
        let Some(Message::Accept { acceptance, .. }) = payee.messages.pop() else { panic!("no acceptance") };
        payer.feed(chain, Event::Accepted(acceptance)).expect("accepted");
        assert_eq!(payer.swap.terms(), payee.swap.terms());
        chain.enforce(payer.swap.lock_script().expect("agreed"));
        let coin = chain.coin(amount + Amount::from_sat(100_000));
        Self { payer, payee, coin, preimage }
    }

    /// The funding transaction, as the payer's wallet makes it.
    pub(crate) fn funding(&self, chain: &Chain) -> Transaction {
        chain.pay(self.coin, self.payer.swap.funding_output().expect("agreed"))
    }

    pub(crate) fn fund(&mut self, chain: &mut Chain) {
        self.payer.look(chain);
        let funding = self.funding(chain);
        self.payer.feed(chain, Event::Funded(funding)).expect("time enough");
    }

    pub(crate) fn look(&mut self, chain: &mut Chain) {
        self.payer.look(chain);
        self.payee.look(chain);
    }

    /// Mines so many blocks one by one, both looking at each.
    pub(crate) fn mine(&mut self, chain: &mut Chain, blocks: u32) {
        for _ in 0..blocks {
            chain.mine(1);
            self.look(chain);
        }
    }

    pub(crate) fn timeout(&self) -> u32 {
        self.payer.swap.terms().expect("agreed").timeout().to_consensus_u32()
    }

    /// Mines until the tip has this height.
    pub(crate) fn mine_to(&mut self, chain: &mut Chain, target: u32) {
        while chain.tip().to_consensus_u32() < target {
            self.mine(chain, 1);
        }
    }
}

pub(crate) fn own(seed: u8, preimage: Option<Preimage>) -> Own {
    let payout = ScriptBuf::from_hex(&format!("0014{}", hex::encode([seed; 20]))).expect("hex");
    Own { key: SpendKey::from_bytes([seed; 32]).expect("a key"), preimage, payout }
}
