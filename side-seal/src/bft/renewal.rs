//! A further epoch that begins as the present one did: the way back for a sealer that takes no part in the present one, since it may have forgotten votes.
//!
//! - *Renewal* of epoch e with n sealers is epoch e + n: simplex elects the first leader by the epoch's number modulo n, so it has the same sealers and the same first
//!   leader. It takes no decision of people from them.
//! - A sealer that stays out writes the vote for it as soon as it may write. It is an ordinary `vote.sealers`, signed and sealed like any other.
//! - The other voters' nodes write the same vote once that one is final, unless more than a third of the voters are about to begin another epoch.
//! - An epoch that is itself a renewal is renewed after [`RENEWAL_MS`] at the earliest. Whoever lies can cause one change of epochs in that time and no more, and whoever
//!   waits honestly comes back with it: a renewal is for all.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::Epoch;
use side_ledger::genesis::MIN_BFT_FOUNDERS;
use side_ledger::group::Group;
use side_ledger::receipt::Status;
use side_ledger::transaction::{HeldBlock, SealersVote};

use super::Bft;

/// How long an epoch that is a renewal lasts at least before others join in the wish for another one, in ms. A change of epochs costs about half a second without
/// blocks, and a view if the first leader is gone: less than a hundredth of this.
pub const RENEWAL_MS: u64 = 300_000;

impl Bft {
    /// The epoch up to which this sealer takes no part; `None` if it may take part in the present one, or is no sealer of it.
    pub fn stays_out(&self, group: &Group) -> Option<Epoch> {
        let (me, (seat, _)) = (self.me()?, self.next(group));
        let until = self.abstains.filter(|until| seat.epoch <= *until)?;
        (seat.sealers.binary_search(&me).is_ok()).then_some(until)
    }

    /// Whether this node has stopped following, since what is final contradicts itself.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The vote for the renewal of the present epoch that this node is to write now, if it is to: it stays out itself, or another voter has asked.
    pub fn renewal(&self, group: &Group) -> Option<SealersVote> {
        let (chain, governance) = (group.chain(), group.chain().governance());
        let me = self.me().filter(|me| governance.voters.contains(me))?;
        let sealers: Vec<AuthorId> = governance.voters.iter().copied().collect();
        let (present, count) = (governance.epoch, sealers.len() as u64);
        // Where others seal than those who vote, a further epoch would change who does; and where one begins anyway, nothing is to be renewed.
        if self.halted
            || !self.may_seal
            || sealers.len() < MIN_BFT_FOUNDERS
            || sealers != governance.sealers
            || self.next(group).1.is_some()
        {
            return None;
        }
        let epoch = Epoch(present.0 + count);
        let (mut asked, mut voted) = (false, false);
        let mut others: BTreeMap<(Epoch, &[AuthorId]), BTreeSet<AuthorId>> = BTreeMap::new();
        for (other, voter, position, vote) in group.ledger().sealers_votes(governance.set).rev() {
            if other <= present {
                break;
            }
            if !governance.voters.contains(&voter) {
                continue;
            }
            if other != epoch || vote.sealers != sealers || vote.recovery != chain.rank().recovery {
                others.entry((other, &vote.sealers)).or_default().insert(voter);
            } else if voter == me {
                voted = true;
            } else {
                asked |= matches!(group.status(&position), Some(Status::Sealed { .. }));
            }
        }
        // One vote may be a liar's, or be left from an epoch that has passed. More than a third are people who are about to decide.
        let decided_soon = others.values().any(|voters| 3 * voters.len() > sealers.len());
        let joins = asked && !decided_soon && self.now_ms >= self.renewable_ms(group, count);
        if voted || !(joins || self.stays_out(group).is_some()) {
            return None;
        }
        let highest = HeldBlock { rank: chain.rank(), id: chain.tip_id() };
        Some(SealersVote { recovery: chain.rank().recovery, set: governance.set, epoch, sealers, highest })
    }

    /// From when on this node joins in the wish for a renewal.
    fn renewable_ms(&self, group: &Group, count: u64) -> u64 {
        let (blocks, present) = (group.chain().blocks(), group.chain().governance().epoch);
        let first = blocks.partition_point(|sealed| sealed.block.epoch < present);
        let Some(first) = blocks.get(first).map(|sealed| &sealed.block) else { return 0 };
        let before =
            blocks[..first.height.0 as usize - 1].last().map(|sealed| (sealed.block.set, sealed.block.epoch.0));
        let is_renewal = before.is_some_and(|before| before == (first.set, present.0.saturating_sub(count)));
        if is_renewal { first.time_ms.saturating_add(RENEWAL_MS) } else { 0 }
    }
}
