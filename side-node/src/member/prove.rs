//! Proofs for whoever has no node.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use side_ledger::Position;
use side_ledger::block::Height;
use side_seal::Bundle;
use side_seal::bundle::NotProven;
use side_seal::certificate::{CertificateFault, ProveError};

use super::Member;
use crate::daemon::view::Proven;
use crate::error::CommandError;

/// Fewest hexadecimal digits that name a change: with fewer a slip names another one.
const MIN_DIGITS: usize = 6;
/// Most changes that an error lists.
const MAX_LISTED: usize = 4;

impl Member {
    /// Proves what became of the change that `word` names, from the genesis or from the block at a height.
    pub fn prove(&mut self, word: &str, from: Option<u64>) -> Result<Proven, CommandError> {
        let change = self.change_named(word)?;
        let from = Height(from.unwrap_or(0));
        if from > self.core.group.chain().height() {
            return Err(CommandError::user(format!("there is no block at height {from} here")));
        }
        let bundle = Bundle::prove(&mut self.core.group, &self.engine, &change, from);
        let bundle = bundle.map_err(|error| self.not_proven(&change, &error))?;
        let height = bundle.proof.block.height.0;
        Ok(Proven { change: change.to_string(), height, proof: bundle.to_string() })
    }

    fn change_named(&self, word: &str) -> Result<ChangeId, CommandError> {
        if let Ok(position) = word.parse::<Position>() {
            return Ok(position.id);
        }
        if let Some(id) = ChangeId::from_hex(word) {
            return Ok(id);
        }
        let digits = word.to_ascii_lowercase();
        if digits.len() < MIN_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(CommandError::usage(format!(
                "{word:?} names no change: give its id, or at least {MIN_DIGITS} digits of it, as `history` shows them"
            )));
        }
        let replica = self.core.replica();
        let ids = (0..replica.len() as u32).map(|number| replica.id(ChangeIdx(number)));
        let found: Vec<ChangeId> = ids.filter(|id| id.to_string().starts_with(&digits)).take(MAX_LISTED).collect();
        match found.as_slice() {
            [] => Err(CommandError::user(format!("no change here begins with {digits}"))
                .hint("side-node history shows the changes that this node has")),
            [one] => Ok(*one),
            several => {
                let listed: Vec<String> = several.iter().map(ChangeId::to_string).collect();
                Err(CommandError::user(format!("{digits} may mean {}", listed.join(" or "))).hint("give more digits"))
            }
        }
    }

    fn not_proven(&self, change: &ChangeId, error: &NotProven) -> CommandError {
        let failed = CommandError::user(format!("cannot prove what became of {change}: {error}"));
        failed.hint(match error {
            NotProven::Unknown => "wait until it has come here, or ask another node",
            NotProven::Pending => "wait for the next block: status shows how many changes no block covers",
            NotProven::Block(ProveError::NotHeld { .. }) => {
                "run the node with its peers: the voters' words come from them, and `status` shows how many hold the last block"
            }
            NotProven::Block(ProveError::Anchor(CertificateFault::LastOfSet)) => "begin with the block before or after",
            NotProven::Block(_) => "begin with a later block: --from HEIGHT",
        })
    }
}
