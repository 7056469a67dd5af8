//! What people have a member write.

use bft_json_crdt::value::Value;
use side_ledger::transaction::TRANSACTION_VERSION;
use side_ledger::{Position, Transaction};

use super::{Member, News};
use crate::api::control::Verb;
use crate::error::CommandError;

impl Member {
    /// Writes what a verb asks to be written; `None` if it only asks.
    pub fn say(&mut self, verb: &Verb, now_ms: u64) -> Option<Result<Position, CommandError>> {
        let transaction = match verb {
            Verb::Note { text } => self.note(text),
            Verb::Swap { kind, body } => self.swap(kind, body),
            Verb::History { .. } | Verb::Status | Verb::Peers | Verb::Swaps | Verb::Groups { .. } => return None,
        };
        let written = transaction.and_then(|transaction| self.core.write(transaction, now_ms));
        if let Ok(position) = &written {
            self.news[0].push(News::Entry(*position));
        }
        Some(written)
    }

    fn note(&self, text: &str) -> Result<Transaction, CommandError> {
        Transaction::note(text, self.genesis().spec().limits.note_bytes)
            .map_err(|e| CommandError::user(format!("cannot write the note: {e}")))
    }

    /// Something about a swap.
    fn swap(&self, kind: &str, body: &serde_json::Value) -> Result<Transaction, CommandError> {
        let refused = |why: String| CommandError::usage(format!("cannot say this about a swap: {why}"));
        let value = Value::try_from(body.clone()).map_err(|e| refused(e.to_string()))?;
        let transaction = Transaction { version: TRANSACTION_VERSION, kind: kind.to_owned(), body: value };
        let known = transaction.known(self.genesis().spec().limits.note_bytes).map_err(|e| refused(e.to_string()))?;
        if !known.is_swap() {
            return Err(refused(format!("{kind:?} is no kind of such words")));
        }
        Ok(known.transaction())
    }
}
