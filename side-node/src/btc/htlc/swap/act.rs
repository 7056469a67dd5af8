//! What both sides have in common: taking in events, choosing the output to go by, making and raising spends.

use std::mem::discriminant;

use bitcoin::absolute::Height;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction};

use super::super::margins::{BUMP_AFTER_BLOCKS, BUMP_STEP_PERCENT, burial, confirmations, reveal_margin, scale};
use super::super::script::{Branch, LockScript};
use super::super::secrets::Preimage;
use super::super::terms::{Acceptance, Terms};
use super::super::transactions::{Spend, SpendPlan, TransactionError, outputs_at_lock, rate_within, replacement_fee};
use super::super::witness::{SpentBy, is_signed, preimage_in, spent_by};
use super::{
    Command, Effect, Event, Hold, Level, LockSeen, LockView, MAX_FUNDINGS, MAX_LOCKS_SEEN, MAX_SPENDS,
    MAX_TRANSACTION_BYTES, Made, Message, Observation, Outcome, Place, RawTransaction, Refusal, Role, Servers,
    SpendView, Stage, Swap, View, notify,
};

/// The part of an observation that decisions are made from.
pub(super) struct Scene<'a> {
    pub(super) lock: &'a LockScript,
    pub(super) tip: Height,
    /// Blocks in which a claim still has no competition: from the next one to the one at the timeout.
    pub(super) left: u32,
    /// Blocks since a refund could first have been broadcast; `None` before.
    pub(super) due_since: Option<u32>,
    /// Depth at which an end is an end.
    pub(super) burial: u32,
}

impl Swap {
    pub(super) fn accepted(&mut self, acceptance: Acceptance, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if self.acceptance.as_ref() == Some(&acceptance) {
            return Ok(());
        }
        if self.stage != Stage::Offered {
            return Err(self.misfit("an acceptance"));
        }
        let terms = self.offer.complete(&acceptance)?;
        if let Some(view) = &self.view {
            terms.check_at(view.tip)?;
        }
        LockScript::new(&terms)?;
        self.terms = Some(terms);
        self.acceptance = Some(acceptance);
        self.stage = Stage::Accepted;
        effects.push(notify(Level::Info, format!("swap {} was accepted", self.short_id())));
        Ok(())
    }

    pub(super) fn funded(&mut self, transaction: Transaction, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let Some(terms) = self.terms.clone() else { return Err(self.misfit("a funding transaction")) };
        if self.role != Role::Payer || !matches!(self.stage, Stage::Accepted | Stage::Funding) {
            return Err(self.misfit("a funding transaction"));
        }
        if self.fundings.last().is_some_and(|raw| raw.0 == transaction) {
            effects.push(Effect::Broadcast(transaction));
            return Ok(());
        }
        let servers = self.may_fund()?;
        let Some(lock) = self.lock_script() else { return Err(self.misfit("a funding transaction")) };
        check_funding(&lock, &terms, &transaction)?;
        for earlier in &self.fundings {
            let shared = |input: &bitcoin::TxIn| {
                transaction.input.iter().any(|new| new.previous_output == input.previous_output)
            };
            if !earlier.0.input.iter().any(shared) {
                return Err(Refusal::SecondFunding(earlier.0.compute_txid()));
            }
        }
        if self.fundings.len() >= MAX_FUNDINGS {
            return Err(Refusal::BadFunding("one replacement too many"));
        }
        if servers == Servers::Single {
            let text = "only one server is configured: if it lies about the chain's height, there may be too little time to claim";
            effects.push(notify(Level::Warning, text.to_owned()));
        }
        let txid = transaction.compute_txid();
        self.fundings.push(RawTransaction(transaction.clone()));
        self.stage = Stage::Funding;
        effects.push(Effect::Broadcast(transaction));
        effects.push(Effect::Publish(Message::Funded { swap: self.id, txid }));
        effects.push(notify(Level::Info, format!("swap {} is being funded by {txid}", self.short_id())));
        Ok(())
    }

    pub(super) fn recalled(&mut self, transaction: Transaction) -> Result<(), Refusal> {
        let (Role::Payer, Some(terms), Some(lock)) = (self.role, self.terms.clone(), self.lock_script()) else {
            return Err(self.misfit("a funding transaction"));
        };
        let txid = transaction.compute_txid();
        if self.fundings.len() >= MAX_FUNDINGS || self.fundings.iter().any(|raw| raw.0.compute_txid() == txid) {
            return Ok(());
        }
        check_funding(&lock, &terms, &transaction)?;
        self.fundings.push(RawTransaction(transaction));
        if self.stage == Stage::Accepted {
            self.stage = Stage::Funding;
        }
        Ok(())
    }

    /// Whether the rules allow the payer to lock coins now. A driver asks before it lets the wallet build the transaction.
    ///
    /// # Errors
    /// [`Refusal::Hold`], [`Refusal::Terms`] (too little time left), [`Refusal::NoView`], [`Refusal::Stage`].
    pub fn may_fund(&self) -> Result<Servers, Refusal> {
        let (Role::Payer, Stage::Accepted | Stage::Funding, Some(terms)) = (self.role, self.stage, &self.terms) else {
            return Err(self.misfit("a funding transaction"));
        };
        let view = self.view.as_ref().ok_or(Refusal::NoView)?;
        if view.servers == Servers::Disagree {
            return Err(Refusal::Hold(Hold::ServersDisagree));
        }
        if self.fundings.is_empty() {
            terms.check_at(view.tip)?;
        } else {
            // A replacement needs no slack for somebody being away, but still everything that the claim needs.
            let need = confirmations(terms.chain(), terms.amount()) + reveal_margin(terms.chain(), terms.amount());
            let left = blocks_left(terms, view.tip);
            if left < need {
                return Err(Refusal::Hold(Hold::TooLate { left, need }));
            }
        }
        Ok(view.servers)
    }

    pub(super) fn learned(
        &mut self,
        preimage: Preimage,
        public: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.stage.is_done() {
            return Err(self.misfit("a preimage"));
        }
        let hash = self.terms.as_ref().map(Terms::payment_hash).or(self.offer.payment_hash);
        let Some(hash) = hash else { return Err(self.misfit("a preimage")) };
        if preimage.payment_hash() != hash {
            return Err(Refusal::WrongPreimage(hash));
        }
        self.preimage = Some(preimage);
        self.preimage_public |= public;
        if self.preimage_public {
            // Every minute counts, and there is nothing left to protect: no need to look at the chain first.
            return self.decide(effects);
        }
        if let Some(view) = self.view.as_mut().filter(|view| view.hold == Some(Hold::NoPreimage)) {
            view.hold = None;
        }
        Ok(())
    }

    pub(super) fn command(&mut self, command: Command, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if self.stage.is_done() {
            return Err(self.misfit("a command"));
        }
        match (command, self.role) {
            (Command::Claim, Role::Payee) => match self.view.as_ref().ok_or(Refusal::NoView)?.hold {
                Some(hold) => return Err(Refusal::Hold(hold)),
                None => effects.extend(self.again()),
            },
            (Command::Refund, Role::Payer) => {
                let (Some(terms), Some(view)) = (&self.terms, &self.view) else { return Err(Refusal::NoView) };
                if self.fundings.is_empty() {
                    return Err(self.misfit("a refund"));
                }
                if view.tip < terms.timeout() {
                    let (timeout, tip) = (terms.timeout(), view.tip);
                    return Err(TransactionError::TooEarly { timeout, tip }.into());
                }
                self.refund_ordered = true;
                self.decide(effects)?;
            }
            (Command::GiveUp, Role::Payer) if !self.fundings.is_empty() => {
                return Err(Refusal::AtStake("the funding transaction is out; wait for the claim, or for the refund"));
            }
            (Command::GiveUp, Role::Payee) if self.preimage_public || !self.spends.is_empty() => {
                return Err(Refusal::AtStake("the preimage is out; only the claim brings the coins home"));
            }
            (Command::GiveUp, _) => {
                self.cancel();
                effects.push(Effect::Publish(Message::Cancel { swap: self.id }));
            }
            (Command::Claim, Role::Payer) => return Err(self.misfit("a claim")),
            (Command::Refund, Role::Payee) => return Err(self.misfit("a refund")),
        }
        Ok(())
    }

    pub(super) fn cancelled_by_other(&mut self, effects: &mut Vec<Effect>) {
        // Words of the other side never make us leave coins behind: what is on the chain counts.
        let at_stake = !self.fundings.is_empty() || !self.spends.is_empty() || self.preimage_public;
        if self.stage.is_done() || at_stake {
            return;
        }
        self.cancel();
        effects.push(notify(Level::Info, format!("swap {} was withdrawn by the other side", self.short_id())));
    }

    fn cancel(&mut self) {
        self.cancelled = true;
        self.stage = Stage::Done(Outcome::Cancelled);
    }

    pub(super) fn observed(&mut self, observation: &Observation, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if self.cancelled || self.stage == Stage::Done(Outcome::Expired) {
            return Ok(());
        }
        let mut view = View {
            tip: observation.tip,
            median_time: observation.median_time,
            servers: observation.servers,
            fees: observation.fees,
            lock: None,
            hold: self.hold(),
        };
        let Some(terms) = self.terms.clone() else {
            if observation.tip >= self.offer.timeout {
                self.stage = Stage::Done(Outcome::Expired);
            }
            self.view = Some(view);
            return Ok(());
        };
        let Some(lock) = self.lock_script() else { return Ok(()) };
        self.take_preimage(&terms, observation, effects);
        view.lock = self.choose(&lock, observation);
        self.keep_funding(observation, view.lock.as_ref());
        self.view = Some(view);
        self.decide(effects)
    }

    /// Acts on the view at hand.
    fn decide(&mut self, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let (Some(terms), Some(tip)) = (self.terms.clone(), self.tip()) else { return Ok(()) };
        let before = (self.stage, self.hold());
        let Some(lock) = self.lock_script() else { return Ok(()) };
        let scene = Scene {
            lock: &lock,
            tip,
            left: blocks_left(&terms, tip),
            due_since: tip.to_consensus_u32().checked_sub(terms.timeout().to_consensus_u32()),
            burial: burial(terms.chain(), terms.amount()),
        };
        let hold = match self.role {
            Role::Payer => self.pay(&scene, effects),
            Role::Payee => self.collect(&scene, effects),
        };
        if let Some(view) = &mut self.view {
            view.hold = hold;
        }
        self.tell(before, effects);
        Ok(())
    }

    /// Learns the preimage from any spend that shows it, wherever that stands.
    fn take_preimage(&mut self, terms: &Terms, observation: &Observation, effects: &mut Vec<Effect>) {
        if self.preimage.is_some() && self.preimage_public {
            return;
        }
        let spends = observation.locks.iter().take(MAX_LOCKS_SEEN).filter_map(|seen| seen.spend.as_ref());
        let found = spends.filter_map(|spend| preimage_in(terms.payment_hash(), &spend.transaction)).next();
        let Some(preimage) = found else { return };
        self.preimage = Some(preimage.clone());
        self.preimage_public = true;
        if self.role == Role::Payer {
            effects.push(Effect::Revealed(preimage));
            effects.push(notify(Level::Info, format!("swap {}: the preimage is known", self.short_id())));
        }
    }

    /// The output to go by: the one gone by so far while it stands as well as any; else one that holds enough, the deepest first.
    fn choose(&self, lock: &LockScript, observation: &Observation) -> Option<LockView> {
        let agreed = lock.terms().amount();
        let current = self.view.as_ref().and_then(|view| Some(view.lock.as_ref()?.outpoint));
        let candidates = observation.locks.iter().take(MAX_LOCKS_SEEN).filter_map(|seen| {
            let output = seen.transaction.output.get(usize::try_from(seen.vout).ok()?)?;
            let at_lock = output.script_pubkey.as_script() == lock.script_pubkey();
            // Anybody can pay there. Our own coins are those that our own funding put there.
            let txid = seen.outpoint().txid;
            let own = self.role == Role::Payee || self.fundings.iter().any(|raw| raw.0.compute_txid() == txid);
            (at_lock && own).then_some((seen, output.value))
        });
        let (seen, value) = candidates.max_by_key(|(seen, value)| {
            let outpoint = seen.outpoint();
            let confirmed = seen.place.depth(observation.tip) > 0;
            (
                *value >= agreed,
                confirmed,
                Some(outpoint) == current,
                seen.place.depth(observation.tip),
                *value,
                outpoint,
            )
        })?;
        let spend = seen.spend.as_ref().and_then(|spend| self.read_spend(lock, seen, value, spend));
        Some(LockView { outpoint: seen.outpoint(), value, place: seen.place, spend })
    }

    fn read_spend(
        &self,
        lock: &LockScript,
        seen: &LockSeen,
        value: Amount,
        spend: &super::SpendSeen,
    ) -> Option<SpendView> {
        let txid = spend.transaction.compute_txid();
        let ours = self.spends.iter().any(|made| made.transaction.0.compute_txid() == txid);
        let branch = match spent_by(lock, seen.outpoint(), &spend.transaction)? {
            SpentBy::Claim(_) => Branch::Claim,
            SpentBy::Refund => Branch::Refund,
            // A merkle proof vouches for everything but the witness. There are two branches, and each is one side's alone.
            SpentBy::Malformed if spend.place != Place::Mempool => match (self.role, ours) {
                (Role::Payer, true) | (Role::Payee, false) => Branch::Refund,
                (Role::Payer, false) | (Role::Payee, true) => Branch::Claim,
            },
            SpentBy::Malformed => return None,
        };
        let out: Option<Amount> =
            spend.transaction.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
        // A made-up rival would make us burn the amount in fees: only a signed one counts.
        let fee = out.filter(|_| is_signed(lock, value, &spend.transaction)).and_then(|out| value.checked_sub(out));
        Some(SpendView { txid, branch, place: spend.place, ours, fee })
    }

    /// Keeps the raw funding transaction, so that it can be broadcast again if a reorg drops it.
    fn keep_funding(&mut self, observation: &Observation, chosen: Option<&LockView>) {
        let Some(chosen) = chosen else { return };
        self.was_locked |= chosen.place != Place::Mempool;
        let txid = chosen.outpoint.txid;
        if let Some(known) = self.fundings.iter().position(|raw| raw.0.compute_txid() == txid) {
            // The one in the chain stands last, so that it is the one to be repeated.
            let raw = self.fundings.remove(known);
            self.fundings.push(raw);
            return;
        }
        let seen = observation.locks.iter().find(|seen| seen.outpoint() == chosen.outpoint);
        let Some(seen) = seen.filter(|seen| seen.transaction.total_size() <= MAX_TRANSACTION_BYTES) else { return };
        if self.fundings.len() >= MAX_FUNDINGS {
            self.fundings.remove(0);
        }
        self.fundings.push(RawTransaction(seen.transaction.clone()));
    }

    /// The latest claim or refund that we made for this output.
    pub(super) fn latest(&self, outpoint: OutPoint) -> Option<&Made> {
        self.spends.iter().rev().find(|made| made.outpoint() == outpoint)
    }

    /// Broadcasts our spend of the lock; makes it if there is none yet, raises it if it should pay more. `rate` and `most` are what the schedule says.
    ///
    /// # Errors
    /// None could be made, and there is none from before.
    pub(super) fn press(
        &mut self,
        scene: &Scene<'_>,
        branch: Branch,
        (rate, most): (FeeRate, Amount),
        effects: &mut Vec<Effect>,
    ) -> Result<(), TransactionError> {
        let Some(target) = self.view.as_ref().and_then(|view| view.lock.clone()) else { return Ok(()) };
        let rival = target.spend.as_ref().filter(|spend| spend.branch != branch).and_then(|spend| spend.fee);
        let rival = rival.filter(|_| scene.due_since.is_some());
        let last = self.latest(target.outpoint).cloned();
        let mut plan = SpendPlan {
            lock: scene.lock,
            outpoint: target.outpoint,
            value: target.value,
            payout: self.payout.clone(),
            tip: scene.tip,
            rate,
            least_fee: Amount::ZERO,
        };
        let weight = plan.weight(branch);
        if let Some(last) = &last {
            let step = scale(last.rate, BUMP_STEP_PERCENT);
            let stuck = blocks_between(last.at, scene.tip) >= BUMP_AFTER_BLOCKS;
            let outbid = rival.is_some_and(|fee| fee >= last.fee);
            // After a reorg to a lower tip its lock time may lie ahead: it would have to wait.
            let not_final = last.transaction.0.lock_time.to_consensus_u32() > scene.tip.to_consensus_u32();
            if !(rate >= step || stuck || outbid || not_final) {
                effects.push(Effect::Broadcast(last.transaction.0.clone()));
                return Ok(());
            }
            plan.rate = if stuck || rate >= step { rate.max(step) } else { rate.max(last.rate) };
            plan.least_fee = replacement_fee(last.fee, weight);
        }
        if let Some(fee) = rival {
            plan.least_fee = plan.least_fee.max(replacement_fee(fee, weight));
        }
        if plan.fee(branch) > most {
            plan.rate = rate_within(most, weight);
        }
        let made = if last.is_some() && plan.fee(branch) > most {
            Err(TransactionError::NothingLeft {
                value: target.value,
                fee: plan.fee(branch),
                dust: self.payout.minimal_non_dust(),
            })
        } else {
            self.sign(&plan, branch)
        };
        match (made, last) {
            (Ok(spend), _) => {
                effects.push(Effect::Broadcast(spend.transaction.clone()));
                self.keep_spend(branch, spend, scene.tip);
                Ok(())
            }
            (Err(_), Some(last)) => {
                effects.push(Effect::Broadcast(last.transaction.0));
                Ok(())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn sign(&self, plan: &SpendPlan<'_>, branch: Branch) -> Result<Spend, TransactionError> {
        match (branch, &self.preimage) {
            (Branch::Refund, _) => plan.refund(&self.key),
            (Branch::Claim, Some(preimage)) => plan.claim(preimage, &self.key),
            (Branch::Claim, None) => Err(TransactionError::WrongPreimage),
        }
    }

    fn keep_spend(&mut self, branch: Branch, spend: Spend, at: Height) {
        if self.spends.len() >= MAX_SPENDS {
            self.spends.remove(0);
        }
        self.preimage_public |= branch == Branch::Claim;
        let transaction = RawTransaction(spend.transaction);
        self.spends.push(Made { branch, transaction, fee: spend.fee, rate: spend.rate, at });
    }

    /// What was made and is not settled, to be broadcast once more: the funding first, since the rest hangs on it.
    pub(super) fn again(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(view) = &self.view else {
            // Not a look at the chain since the funding was made: the rules were asked then.
            if self.role == Role::Payer && self.stage == Stage::Funding {
                effects.extend(self.fundings.last().map(|raw| Effect::Broadcast(raw.0.clone())));
            }
            return effects;
        };
        let confirmed = view.lock.as_ref().is_some_and(|lock| lock.place != Place::Mempool);
        if self.keeps_funding_alive(view.tip) && !confirmed && !self.stage.is_done() {
            effects.extend(self.fundings.last().map(|raw| Effect::Broadcast(raw.0.clone())));
        }
        if matches!(self.stage, Stage::Claiming | Stage::Refunding | Stage::Funding | Stage::Locked) {
            let outpoint = view.lock.as_ref().map(|lock| lock.outpoint);
            let last = outpoint.and_then(|outpoint| self.latest(outpoint)).or(self.spends.last());
            effects.extend(last.map(|made| Effect::Broadcast(made.transaction.0.clone())));
        }
        effects
    }

    /// Whether the funding transaction is worth repeating. The payer does so while the payee can still use it, or once it was in a block (then it may
    /// come back any time, and only its claim or refund ends the matter). The payee does so once the preimage is out.
    pub(super) fn keeps_funding_alive(&self, tip: Height) -> bool {
        let Some(terms) = &self.terms else { return false };
        match self.role {
            Role::Payer => self.was_locked || blocks_left(terms, tip) >= reveal_margin(terms.chain(), terms.amount()),
            Role::Payee => self.preimage_public,
        }
    }

    /// Tells the operator what changed.
    fn tell(&self, (stage, hold): (Stage, Option<Hold>), effects: &mut Vec<Effect>) {
        let new_hold = self.hold();
        let same =
            stage == self.stage && hold.map(|hold| discriminant(&hold)) == new_hold.map(|hold| discriminant(&hold));
        if same {
            return;
        }
        let outlook = self.outlook();
        effects.push(notify(outlook.level, format!("swap {}: {}", self.short_id(), outlook.words)));
    }

    pub(super) fn misfit(&self, what: &'static str) -> Refusal {
        Refusal::Stage { what, stage: self.stage, role: self.role }
    }
}

/// Refuses a funding transaction that does not lock exactly what was agreed.
fn check_funding(lock: &LockScript, terms: &Terms, transaction: &Transaction) -> Result<(), Refusal> {
    let outputs = outputs_at_lock(lock, transaction);
    if !matches!(outputs.as_slice(), [(_, value)] if *value == terms.amount()) {
        let found =
            outputs.iter().fold(Amount::ZERO, |sum, (_, value)| sum.checked_add(*value).unwrap_or(Amount::MAX_MONEY));
        return Err(Refusal::Funding { found, outputs: outputs.len(), agreed: terms.amount() });
    }
    if transaction.total_size() > MAX_TRANSACTION_BYTES {
        return Err(Refusal::BadFunding("larger than what is relayed"));
    }
    if transaction.input.is_empty() {
        return Err(Refusal::BadFunding("without inputs"));
    }
    if transaction.input.iter().any(|input| input.witness.is_empty()) {
        // Without a witness the input's script could be changed on the way, and with it the id that the claim depends on.
        return Err(Refusal::BadFunding(
            "not signed, or spends something that is not segwit, so that its id could change",
        ));
    }
    Ok(())
}

/// Blocks in which a claim has no competition, seen from `tip`.
pub(super) fn blocks_left(terms: &Terms, tip: Height) -> u32 {
    blocks_between(tip, terms.timeout())
}

pub(super) fn blocks_between(from: Height, to: Height) -> u32 {
    to.to_consensus_u32().saturating_sub(from.to_consensus_u32())
}

/// Events by name, so that a driver can log them without their secrets.
impl Event {
    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Funded(_) => "funded",
            Self::Recalled(_) => "recalled",
            Self::Observed(_) => "observed",
            Self::Learned { .. } => "learned",
            Self::Command(_) => "command",
            Self::Cancelled => "cancelled",
            Self::Tick => "tick",
        }
    }
}
