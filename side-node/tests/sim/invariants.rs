//! What must hold at every step, by name.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::BlockId;
use side_ledger::block::{Epoch, Rank};
use side_ledger::chain::Chain;

use crate::plan::Evil;
use crate::world::World;

/// What the checks have seen in the whole world.
#[derive(Debug)]
pub(crate) struct Ledgers {
    supply: u64,
    /// What the accounts came to after each block, wherever it was executed.
    states: BTreeMap<BlockId, [u8; 32]>,
    /// The blocks of each rank that were on an honest chain, and who signed them.
    ranks: BTreeMap<Rank, BTreeSet<BlockId>>,
    signers: BTreeMap<BlockId, AuthorId>,
    tips: BTreeMap<usize, BlockId>,
}

impl Ledgers {
    pub(crate) fn new(supply: u64) -> Self {
        Self {
            supply,
            states: BTreeMap::new(),
            ranks: BTreeMap::new(),
            signers: BTreeMap::new(),
            tips: BTreeMap::new(),
        }
    }

    /// Whether a member's chain ends elsewhere than when this was last asked.
    pub(crate) fn has_moved(&mut self, number: usize, tip: BlockId) -> bool {
        self.tips.insert(number, tip) != Some(tip)
    }

    /// How many blocks there were, and at how many ranks more than one.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let forks = self.ranks.values().filter(|blocks| blocks.len() > 1).count();
        (self.states.len() as u64, forks as u64)
    }
}

/// A hash over all accounts.
fn accounts(chain: &Chain) -> [u8; 32] {
    let leaves: Vec<u8> = chain.accounts().iter().flat_map(|(key, account)| account.encode(key)).collect();
    hash("side/1/simulation", &leaves)
}

impl World {
    /// Holds a member to what it must be at every step.
    pub(crate) fn check(&mut self, number: usize) {
        if self.is_evil(number) {
            return;
        }
        self.no_honest_member_is_convicted(number);
        let Some(member) = &self.nodes[number].member else { return };
        let chain = member.group().chain();
        let tip = chain.tip_id();
        if self.nodes[number].checked == Some(tip) {
            return;
        }
        self.nodes[number].checked = Some(tip);
        self.supply_is_conserved(number);
        self.equal_blocks_have_equal_states(number);
        self.one_chain_a_rank(number);
    }

    /// No honest member ever has a proof against another one, nor against itself: neither of a forked chain of changes, nor of a rank that was sealed twice.
    fn no_honest_member_is_convicted(&self, number: usize) {
        let Some(member) = &self.nodes[number].member else { return };
        let keys = |at: usize| self.nodes[at].retired.iter().chain([&self.nodes[at].keypair]).map(Keypair::author);
        let honest: BTreeSet<AuthorId> = self.honest().flat_map(keys).collect();
        let forked = member.group().replica().proofs().find(|proof| honest.contains(&proof.author()));
        assert!(forked.is_none(), "{}: {number} holds a proof that an honest member forked its chain", self.place());
        let sealed = member.engine().proofs().into_iter().find(|guilt| honest.contains(&guilt.sealer));
        assert!(sealed.is_none(), "{}: {number} holds a proof against an honest sealer: {sealed:?}", self.place());
    }

    /// No honest member ever ends the link to another one for a fault, whatever that one passes on of what a liar has made.
    pub(crate) fn no_honest_member_is_blamed(&self, blamed: usize, reason: &str) {
        let place = self.place();
        assert!(self.is_evil(blamed), "{place}: an honest member has ended the link to honest {blamed}: {reason}");
    }

    /// Nothing is made and nothing is lost.
    fn supply_is_conserved(&self, number: usize) {
        let Some(member) = &self.nodes[number].member else { return };
        let chain = member.group().chain();
        let sum = chain.accounts().sum();
        assert_eq!(sum, u128::from(self.ledgers.supply), "{}: supply at {number}", self.place());
    }

    /// Whoever has executed a block has come to what everybody else came to.
    fn equal_blocks_have_equal_states(&mut self, number: usize) {
        let place = self.place();
        let Some(member) = &self.nodes[number].member else { return };
        let chain = member.group().chain();
        let Some(last) = chain.tip() else { return };
        let found = accounts(chain);
        let known = *self.ledgers.states.entry(last.id).or_insert(found);
        assert_eq!(found, known, "{place}: {number} has come to another state than others at block {}", last.id);
    }

    /// At each rank there is one block that others than its sealer hold, unless its sealer lies. What a liar sealed twice is found out: see `whoever_saw_two_has_the_proof`.
    fn one_chain_a_rank(&mut self, number: usize) {
        let place = self.place();
        let evil = (self.plan.evil != Evil::Nobody).then(|| self.nodes[0].keypair.author());
        let Some(member) = &self.nodes[number].member else { return };
        let Some(last) = member.group().chain().tip() else { return };
        if self.plan.bft {
            let blocks = self.ledgers.ranks.entry(last.block.rank()).or_default();
            blocks.insert(last.id);
            assert_eq!(blocks.len(), 1, "{place}: at {:?} two blocks are final", last.block.rank());
            return;
        }
        let signer = member.engine().signer(&last.id).expect("its blocks are known");
        if signer == member.author() {
            // Nobody else may ever have heard of it: a machine that is set back before anybody has may seal another one.
            return;
        }
        self.ledgers.signers.insert(last.id, signer);
        let blocks = self.ledgers.ranks.entry(last.block.rank()).or_default();
        blocks.insert(last.id);
        let liars = blocks.iter().filter(|id| self.ledgers.signers.get(id).copied() == evil).count();
        let by = blocks.iter().map(|id| (id, self.ledgers.signers.get(id))).collect::<Vec<_>>();
        assert!(blocks.len() <= 1 + liars, "{place}: at {:?} honest sealers sealed {by:?}", last.block.rank());
    }

    /// After a restart everything is there that people were told.
    pub(crate) fn check_memory(&self, number: usize) {
        let (place, node) = (self.place(), &self.nodes[number]);
        if self.is_evil(number) {
            return;
        }
        let Some(member) = &node.member else { return };
        for id in &node.told.changes {
            assert!(member.group().replica().index_of(id).is_some(), "{place}: {number} has forgotten change {id}");
        }
        for (height, id) in &node.told.blocks {
            assert!(member.engine().block(id).is_some(), "{place}: {number} has forgotten block {id} at {height:?}");
        }
    }

    /// Two blocks of one rank under one signature that honest members had on their chains are known to all in the end.
    fn whoever_saw_two_has_the_proof(&self) {
        let twice = self.ledgers.ranks.values().any(|blocks| {
            let signers: Vec<_> = blocks.iter().filter_map(|id| self.ledgers.signers.get(id)).collect();
            signers.iter().collect::<BTreeSet<_>>().len() < signers.len()
        });
        if !twice {
            return;
        }
        for number in self.honest() {
            let member = self.nodes[number].member.as_ref().expect("all are on");
            assert!(!member.engine().proofs().is_empty(), "{}: {number} does not know of a double seal", self.place());
        }
    }

    /// In BFT mode a proof that one member's simplex has found reaches all.
    fn a_sealer_that_voted_twice_is_known_to_all(&self) {
        for (number, epoch) in self.honest().flat_map(|number| self.agreement.proven.iter().map(move |at| (number, at)))
        {
            let knows = self.known_epochs(number).contains(epoch);
            assert!(knows, "{}: {number} does not know that a sealer voted twice in {epoch:?}", self.place());
        }
    }

    /// In which epochs, as far as a member knows, the liar voted twice.
    pub(crate) fn known_epochs(&self, number: usize) -> BTreeSet<Epoch> {
        let liar = self.nodes[0].keypair.author();
        let proofs = self.nodes[number].member.iter().flat_map(|member| member.engine().proofs());
        proofs.filter(|guilt| guilt.sealer == liar).map(|guilt| guilt.epoch).collect()
    }

    /// Whether all honest members are on and agree about everything, and nothing waits to be sealed.
    pub(crate) fn is_calm(&self) -> bool {
        let tips = self.tips();
        let agree = tips.iter().all(|tip| tip.is_some() && *tip == tips[0]);
        let all_sealed = || {
            self.honest().all(|number| {
                let member = self.nodes[number].member.as_ref();
                member.is_some_and(|member| member.group().chain().pending() == 0 && !member.is_read_only())
            })
        };
        let heads = || {
            let all: BTreeSet<_> = self
                .honest()
                .filter_map(|number| self.nodes[number].member.as_ref().map(|it| it.group().replica().heads_digest()))
                .collect();
            all.len() == 1
        };
        // What one member's simplex has found is on its way for a moment.
        let known = || self.honest().all(|number| self.known_epochs(number).is_superset(&self.agreement.proven));
        // Whoever wanted another key has it.
        let rotated = || self.nodes.iter().all(|node| node.next.is_none());
        agree && rotated() && all_sealed() && heads() && known()
    }

    /// What must hold once everything has healed.
    pub(crate) fn all_is_well(&mut self) {
        let place = self.place();
        let state = |world: &Self| {
            let all: Vec<String> = (0..world.nodes.len())
                .map(|number| match &world.nodes[number].member {
                    None => format!("{number}: off"),
                    Some(member) => {
                        let (chain, replica) = (member.group().chain(), member.group().replica());
                        let set = member.engine().office(member.group()).set;
                        let votes = member.group().ledger().sealers_votes(set);
                        let votes: Vec<String> = votes
                            .map(|(epoch, voter, _, vote)| format!("{voter:?} in {}: {:?}", epoch.0, vote.sealers))
                            .collect();
                        format!(
                            "{number}: {:?} {} changes, {} pending, {} waiting, {} links, read only {}, sealers {:?} of {:?}, {:?}, to change {:?}, votes {:?}, plan {}",
                            chain.rank(),
                            replica.len(),
                            chain.pending(),
                            replica.kept_aside()[0].0,
                            world.nodes[number].links.len(),
                            member.is_read_only(),
                            chain.governance().sealers,
                            chain.governance().voters,
                            member.engine().office(member.group()),
                            chain.governance().pending,
                            votes,
                            chain.plan(replica).changes.len()
                        )
                    }
                })
                .collect();
            all.join("\n")
        };
        assert!(self.is_calm(), "{place}: it has not come to rest:\n{}", state(self));
        let digests: BTreeSet<[u8; 32]> = self
            .honest()
            .map(|number| self.nodes[number].member.as_ref().expect("all are on").group().replica().digest())
            .collect();
        assert_eq!(digests.len(), 1, "{place}: digests differ");
        for number in self.honest().collect::<Vec<_>>() {
            self.check_memory(number);
        }
        self.whoever_saw_two_has_the_proof();
        self.a_sealer_that_voted_twice_is_known_to_all();
        let (blocks, forks) = self.ledgers.counts();
        (self.tally.blocks, self.tally.forks) = (blocks, forks);
        let proofs = |number: usize| {
            let member = self.nodes[number].member.as_ref().expect("all are on");
            member.engine().proofs().len() + member.group().replica().proofs().count()
        };
        self.tally.proofs = self.honest().map(proofs).max().unwrap_or(0) as u64;
    }
}
