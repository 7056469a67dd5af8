//! What a node writes without being told to: its name, a word after a proof of equivocation, the wish to vote, the end of a set of voters, a further epoch.

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::SetNumber;
use side_ledger::transaction::{SetClose, VoterAsk};
use side_ledger::{Admission, Transaction};
use side_seal::Engine;

use super::{Member, News};
use crate::error::CommandError;

/// What was done already, so that it is done once.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// When the engine was last asked to seal.
    pub(super) looked_ms: Option<u64>,
    /// The set that was closed last and the changes of its voters that were pending then.
    closed: Option<(SetNumber, BTreeMap<AuthorId, bool>)>,
    /// The set that was begun last without anything new.
    begun: Option<SetNumber>,
}

impl Member {
    /// What comes before the first round: the group's record and the node's name. Does nothing where nothing can be written.
    pub fn begin(&mut self, now_ms: u64) -> Result<(), CommandError> {
        if self.may_write() {
            let named = self.core.claim_name(now_ms)?;
            self.news[0].extend(named.map(News::Entry));
            self.core.acknowledge_if_owed(now_ms)?;
        }
        Ok(())
    }

    fn may_write(&self) -> bool {
        !self.core.is_read_only() && !self.core.is_convicted() && self.core.is_admitted()
    }

    /// Does what is due. A failure stops nothing: it is tried again with the next round.
    pub(super) fn do_duties(&mut self, now_ms: u64) {
        if !self.may_write() {
            return;
        }
        // Whoever was let in meanwhile has not said its name yet.
        if let Err(error) = self.begin(now_ms) {
            tracing::warn!(%error, "cannot say its name, or acknowledge a proof");
        }
        let done = self.end_set(now_ms).and_then(|()| self.begin_set(now_ms));
        let done = done.and_then(|()| self.begin_anew(now_ms)).and_then(|()| self.ask_to_vote(now_ms));
        let done = done.and_then(|()| self.renew_epoch(now_ms)).and_then(|()| self.propose_key(now_ms));
        if let Err(error) = done {
            tracing::warn!(%error, "cannot write what is due");
        }
    }

    pub(super) fn write_duty(&mut self, transactions: &[Transaction], now_ms: u64) -> Result<(), CommandError> {
        let entries = self.core.write_change(transactions, now_ms)?;
        self.news[0].extend(entries.into_iter().map(News::Entry));
        Ok(())
    }

    /// The sealer ends the set where its voters change and enough of them are there. Once for the same change: a rejected wish is not repeated.
    fn end_set(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let governance = self.core.group.chain().governance();
        if !self.engine.wants_close(&self.core.group) {
            return Ok(());
        }
        let (set, pending) = (governance.set, &governance.pending);
        if self.duties.closed.as_ref().is_some_and(|(closed, what)| *closed == set && what == pending) {
            return Ok(());
        }
        self.duties.closed = Some((set, pending.clone()));
        self.write_duty(&[SetClose { set }.into()], now_ms)
    }

    /// A set is in force from its first block on, and a block seals something. Where nothing else is new the sealer has an empty change for it, or a set
    /// that was decided on would wait for somebody to write a note.
    fn begin_set(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let chain = self.core.group.chain();
        let set = chain.governance().set;
        // In BFT mode whoever votes now seals now.
        let mine = self.sealing
            && matches!(self.engine, Engine::Leader(_))
            && chain.governance().sealers.contains(&self.core.author())
            && !self.engine.abstains(&self.core.group);
        let ended = chain.tip().is_some_and(|tip| tip.block.set < set);
        if !mine || !ended || chain.pending() > 0 || self.duties.begun == Some(set) {
            return Ok(());
        }
        self.duties.begun = Some(set);
        self.write_duty(&[], now_ms)
    }

    /// A sealer that may not go on in its epoch is voted for by others. Where it is the only elector it votes for itself.
    fn begin_anew(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let (group, me) = (&self.core.group, self.core.author());
        if !self.sealing || !self.engine.abstains(group) || self.engine.office(group).electors != 1 {
            return Ok(());
        }
        // It is refused while the last one waits for its block, and where somebody else is the elector.
        match self.engine.vote(group, me) {
            Ok(vote) => self.write_duty(&[vote.into()], now_ms),
            Err(_) => Ok(()),
        }
    }

    /// A sealer that stays out of the present epoch (BFT mode) asks for a further one that begins alike, and the others join in.
    fn renew_epoch(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let Some(vote) = self.engine.renewal(&self.core.group) else { return Ok(()) };
        if let Some(until) = self.engine.stays_out(&self.core.group) {
            let text = format!(
                "this node may have forgotten votes on blocks, so it takes no part in sealing up to epoch {}: it asks the voters' nodes for a further one",
                until.0
            );
            self.news[0].push(News::Notice(text));
        }
        self.write_duty(&[vote.into()], now_ms)
    }

    /// The node of an open group that is no voter asks to become one, once, when it holds what its peers hold. Founders have been voters: one that was
    /// replaced returns if its people want it to.
    fn ask_to_vote(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let (group, me) = (&self.core.group, self.core.author());
        let governance = group.chain().governance();
        let spec = group.genesis().spec();
        let wants = spec.admission == Admission::Open && !group.genesis().is_founder(&me);
        let will = governance.pending.get(&me).copied().unwrap_or_else(|| governance.voters.contains(&me));
        if !wants || will || self.succeeds_another() || !self.sealing || group.ledger().has_asked(&me) {
            return Ok(());
        }
        let current =
            |there: &super::link::Link| there.chain_learnt(&self.engine, group) && there.in_sync(group.replica());
        if !self.links.values().any(current) {
            return Ok(());
        }
        let ask = VoterAsk { block: group.chain().tip_id() };
        self.write_duty(&[ask.into()], now_ms)
    }
}
