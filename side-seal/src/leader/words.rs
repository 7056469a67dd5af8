//! How far the voters' words reach.

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::Height;
use side_ledger::group::Group;

use super::Leader;
use super::judge::base_of;

impl Leader {
    /// Up to which height of the chain this voter has given its word; 0 if it has given none for a block of the chain.
    pub fn word_of(&self, group: &Group, voter: &AuthorId) -> Height {
        let on_chain = |height| group.chain().at(height).map(|sealed| sealed.id);
        let word = self.holds.get(voter).filter(|hold| on_chain(hold.rank.height) == Some(hold.block));
        word.map_or(Height(0), |hold| hold.rank.height)
    }

    /// The height of the last block that [more than two thirds](Leader::is_held) of its voters hold; 0 if there is none. Costs by the number of voters, not of
    /// blocks.
    pub fn held_height(&self, group: &Group) -> Height {
        let chain = group.chain();
        let mut words: Vec<u64> = self.holds.keys().map(|voter| self.word_of(group, voter).0).collect();
        words.sort_unstable();
        words.dedup();
        let mut height = words.pop().unwrap_or(0);
        // Between two words, and within a set, nothing changes.
        while let Some(sealed) = chain.at(Height(height)) {
            if self.is_held(group, Height(height)) {
                break;
            }
            let base = base_of(group, sealed.block.set);
            while words.last().is_some_and(|word| *word >= height) {
                words.pop();
            }
            height = base.max(words.last().copied().unwrap_or(0));
        }
        Height(height)
    }
}
