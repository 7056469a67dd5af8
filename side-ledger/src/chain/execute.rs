//! What a cut comes to: its transactions, in the one order, against accounts and governance.

use std::sync::Arc;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Replica;

use super::{Chain, Fault, Place, RECENT_BLOCKS, Sealed, StateParts, Switch};
use crate::block::{Block, BlockId, Height};
use crate::ledger::{Action, Ledger, Position};
use crate::merkle::{self, Hash};
use crate::receipt::Reason;
use crate::transaction::{Known, Transfer};

impl Chain {
    /// Extends the chain by what `block` seals, without comparing roots; gives the receipts root. After an error the block stands half done at the end of
    /// the chain, for the caller to take back.
    pub(super) fn execute(
        &mut self,
        replica: &Replica,
        ledger: &Ledger,
        block: &Block,
        id: BlockId,
        switch: Option<&Switch>,
        changes: Vec<ChangeIdx>,
    ) -> Result<Hash, Fault> {
        let (height, before) = (block.height, Arc::clone(&self.governance));
        if let Some(switch) = switch {
            Arc::make_mut(&mut self.governance).switch(switch.epoch, &switch.sealers);
        }
        let mut leaves = Vec::with_capacity(changes.len());
        for index in &changes {
            let (lamport, id) = (replica.lamport(*index), replica.id(*index));
            match self.admit(replica, *index, height) {
                Err(reason) => drop(self.verdicts.insert(*index, reason)),
                Ok(author) => {
                    for (offset, action) in ledger.actions(lamport, id) {
                        if let Err(reason) = self.act(author, action) {
                            self.rejected.insert(Position { lamport, id, offset }, reason);
                        }
                    }
                }
            }
            let leaf = merkle::leaf(&self.receipt_of(replica, *index).encode());
            self.pending.remove(&(lamport, id, *index));
            self.places[index.0 as usize] = Place { height: height.0 as u32, leaf: self.log.len() as u32 };
            self.log.push(leaf);
            leaves.push(leaf);
        }
        if !Arc::ptr_eq(&before, &self.governance) {
            Arc::make_mut(&mut self.governance).end_block(&self.accounts, self.rules);
        }
        let electorate = Arc::clone(&self.electorate);
        if self.governance.set != before.set {
            self.electorate = Arc::new(self.governance.electorate());
        }
        let drift = self.accounts.drift();
        let (block, switch, undo) = (block.clone(), switch.cloned(), Some(self.accounts.settle()));
        self.blocks.push(Sealed { id, block, switch, electorate, before, state: StateParts::default(), changes, undo });
        if drift != 0 {
            return Err(Fault::Supply);
        }
        Ok(merkle::root_of(leaves))
    }

    /// Whether a change counts: of a forked chain the branch whose changes came first does, up to where the fork shows; from there on the author is frozen.
    fn admit(&mut self, replica: &Replica, index: ChangeIdx, height: Height) -> Result<AuthorId, Reason> {
        let author = replica.dag().author(index);
        let account = self.accounts.get(&author);
        if account.frozen.is_some() {
            return Err(Reason::Frozen);
        }
        let previous = replica.dag().previous(index).map(|previous| replica.id(previous));
        if account.tip != previous {
            self.accounts.update(&author, |account| account.frozen = Some(height));
            if self.governance.voters.contains(&author) || self.governance.pending.contains_key(&author) {
                Arc::make_mut(&mut self.governance).freeze(author);
            }
            return Err(Reason::Fork);
        }
        let id = replica.id(index);
        self.accounts.update(&author, |account| account.tip = Some(id));
        if account.successor().is_some() {
            // Until the next key seals, the one before has to end the sets.
            return if self.governance.sealers.contains(&author) { Ok(author) } else { Err(Reason::Rotated) };
        }
        if self.closed_group && !account.member {
            return Err(Reason::NotMember);
        }
        Ok(author)
    }

    fn act(&mut self, author: AuthorId, action: Action<'_>) -> Result<(), Reason> {
        let ends_set = matches!(action, Action::Known(Known::SetClose(_)));
        if !ends_set && self.is_rotated(&author) {
            return Err(Reason::Rotated);
        }
        let known = match action {
            Action::Commuting => return Ok(()),
            Action::Malformed => return Err(Reason::Malformed),
            Action::Known(known) => known,
        };
        match known {
            Known::Transfer(transfer) => self.transfer(author, transfer),
            // It counts unsealed; the receipt only tells whether it was one.
            Known::SealersVote(vote) => self.governance.may_vote(&author, vote.set),
            Known::MemberVote(vote) if self.is_rotated(&vote.key) => {
                self.governance.may_vote(&author, vote.set)?;
                Err(Reason::Rotated)
            }
            Known::MemberVote(vote) => {
                Arc::make_mut(&mut self.governance).vote_member(author, vote, &mut self.accounts)
            }
            Known::ParameterVote(vote) => Arc::make_mut(&mut self.governance).vote_parameter(author, vote),
            Known::VoterAsk(ask) => {
                if !self.is_recent(&ask.block) {
                    return Err(Reason::OldBlock);
                }
                Arc::make_mut(&mut self.governance).ask(author)
            }
            Known::SetClose(close) => {
                Arc::make_mut(&mut self.governance).close(&author, close.set, &self.accounts, self.rules)
            }
            Known::KeyRotate(rotate) => self.propose(author, rotate),
            Known::KeyApprove(approve) => self.approve(author, approve),
            // Kinds without an effect on the ledger, and kinds that this build does not know: what they say is for whoever reads them.
            Known::Note(_) | Known::Name(_) | Known::Unknown(_) => Ok(()),
            // The coins are on other chains; what two members say of them changes nothing here.
            Known::SwapOffer(_) | Known::SwapAccept(_) | Known::SwapFunded(_) | Known::SwapCancel(_) => Ok(()),
        }
    }

    fn transfer(&mut self, author: AuthorId, transfer: &Transfer) -> Result<(), Reason> {
        let to = self.heir(&transfer.to)?;
        self.accounts.update(&author, |account| match account.balance.checked_sub(transfer.amount) {
            Some(rest) => {
                account.balance = rest;
                Ok(())
            }
            None => Err(Reason::Balance),
        })?;
        // All balances together fit 64 bits, by the genesis, and what is added was taken away before.
        self.accounts.update(&to, |account| account.balance = account.balance.saturating_add(transfer.amount));
        Ok(())
    }

    fn is_recent(&self, id: &BlockId) -> bool {
        let near = self.blocks.len() < RECENT_BLOCKS;
        (near && *id == BlockId::origin(self.group))
            || self.blocks.iter().rev().take(RECENT_BLOCKS).any(|sealed| sealed.id == *id)
    }
}
