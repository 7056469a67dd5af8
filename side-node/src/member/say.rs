//! What people have a member write.

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;
use side_ledger::transaction::vote::{Parameter, Role};
use side_ledger::transaction::{MemberVote, ParameterVote, TRANSACTION_VERSION, Transfer, VoterAsk};
use side_ledger::{Admission, Position, Transaction};
use side_seal::Engine;
use side_seal::effect::VoteError;

use super::{Member, News};
use crate::api::control::{Ballot, Verb};
use crate::error::CommandError;

/// The key that a name means on this machine.
pub type LocalNames<'a> = &'a dyn Fn(&str) -> Option<AuthorId>;

impl Member {
    /// Writes what a verb asks to be written; `None` if it only asks. Nodes are named as `local` knows them, then as the group does.
    pub fn say(&mut self, verb: &Verb, local: LocalNames<'_>, now_ms: u64) -> Option<Result<Position, CommandError>> {
        let writes = matches!(verb, Verb::Note { .. } | Verb::Swap { .. } | Verb::Send { .. } | Verb::Vote { .. });
        // Of a key whose seat has not moved yet the word and the vote for a sealer still count, and the others may need both to go on.
        let elects = || matches!(self.engine, Engine::Leader(_)) && self.in_force().elects(&self.author());
        let is_election = matches!(verb, Verb::Vote { ballot: Ballot::Leader { .. } });
        if let Some(refused) = self.retired().filter(|_| writes && !(is_election && elects())) {
            return Some(Err(refused));
        }
        let transaction = match verb {
            Verb::Note { text } => self.note(text),
            Verb::Swap { kind, body } => self.swap(kind, body),
            Verb::Send { to, amount } => self.transfer(to, *amount, local),
            Verb::Vote { ballot } => self.vote(ballot, local),
            Verb::History { .. }
            | Verb::Status
            | Verb::Peers
            | Verb::Members
            | Verb::Swaps
            | Verb::Blocks { .. }
            | Verb::Balance
            | Verb::Proof { .. }
            | Verb::Checkpoint
            | Verb::Glance { .. }
            | Verb::Backup { .. }
            | Verb::Events { .. }
            | Verb::Changes { .. }
            | Verb::Import { .. }
            | Verb::Groups { .. } => return None,
        };
        let written = transaction.and_then(|transaction| self.core.write(transaction, now_ms));
        if let Ok(position) = &written {
            self.news[0].push(News::Entry(*position));
            self.watch(*position);
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
        if self.next.is_some() {
            return Err(CommandError::user(
                "this node's key is being rotated, and a swap is bound to the key that it began with",
            )
            .hint("wait until the node goes on under its new key: side-node status"));
        }
        let value = Value::try_from(body.clone()).map_err(|e| refused(e.to_string()))?;
        let transaction = Transaction { version: TRANSACTION_VERSION, kind: kind.to_owned(), body: value };
        let known = transaction.known(self.genesis().spec().limits.note_bytes).map_err(|e| refused(e.to_string()))?;
        if !known.is_swap() {
            return Err(refused(format!("{kind:?} is no kind of such words")));
        }
        Ok(known.transaction())
    }

    /// The key that a word means.
    pub fn resolve(&self, word: &str, local: LocalNames<'_>) -> Result<AuthorId, CommandError> {
        self.core.group.ledger().resolve(word, local).map_err(|error| {
            CommandError::user(crate::output::printable(&error.to_string()))
                .hint("side-node peers lists the members and their keys")
        })
    }

    fn transfer(&self, to: &str, amount: u64, local: LocalNames<'_>) -> Result<Transaction, CommandError> {
        let to = self.resolve(to, local)?;
        if amount == 0 {
            return Err(CommandError::usage("nothing is sent with an amount of 0"));
        }
        Ok(Transfer { to, amount }.into())
    }

    fn vote(&self, ballot: &Ballot, local: LocalNames<'_>) -> Result<Transaction, CommandError> {
        let group = &self.core.group;
        let set = group.chain().governance().set;
        if !self.sealing {
            return Err(CommandError::user(
                "this copy of the node may have forgotten blocks that it gave its word for",
            )
            .hint("let it run with other nodes until it has learnt where their chain ends, then vote"));
        }
        let open = group.genesis().spec().admission == Admission::Open;
        match ballot {
            Ballot::Leader { node } => {
                let vote = self.engine.vote(group, self.resolve(node, local)?);
                return vote.map(Transaction::from).map_err(|error| vote_error(&error));
            }
            Ballot::Ask {} if open => return Ok(VoterAsk { block: group.chain().tip_id() }.into()),
            Ballot::Ask {} => {
                return Err(CommandError::user("the group is closed: its voters decide who becomes one")
                    .hint("one of them votes: side-node vote NODE voter THIS_NODE in"));
            }
            Ballot::Member { .. } if open => {
                return Err(CommandError::user("everybody is a member of an open group")
                    .hint("who votes is decided with: side-node vote NODE voter OTHER in|out"));
            }
            _ => {}
        }
        if !group.chain().governance().voters.contains(&self.author()) {
            return Err(CommandError::user("this node is not a voter").hint("side-node status lists the voters"));
        }
        let role = |node: &str, role| Ok(MemberVote { set, key: self.resolve(node, local)?, role }.into());
        let parameter = |parameter, value| {
            let vote: Transaction = ParameterVote { set, parameter, value }.into();
            let limit = self.genesis().spec().limits.note_bytes;
            let known = vote.known(limit).map_err(|e| CommandError::usage(format!("cannot vote so: {e}")))?;
            Ok(known.transaction())
        };
        match ballot {
            Ballot::Member { node, joins: true } | Ballot::Voter { node, joins: false } => role(node, Role::Member),
            Ballot::Member { node, joins: false } => role(node, Role::None),
            Ballot::Voter { node, joins: true } => role(node, Role::Voter),
            Ballot::Key { node, new } => self.approve(node, new, local),
            Ballot::Interval { ms } => parameter(Parameter::IntervalMs, *ms),
            Ballot::BlockChanges { changes } => parameter(Parameter::BlockChanges, *changes),
            Ballot::Leader { .. } | Ballot::Ask {} => Err(CommandError::bug("a vote was not written")),
        }
    }
}

fn vote_error(error: &VoteError) -> CommandError {
    let command = CommandError::user(format!("cannot vote so: {error}"));
    match error {
        VoteError::NotElector => {
            command.hint("side-node status lists the voters; the present sealer has no vote on itself")
        }
        VoteError::Retired => {
            command.hint("vote for the key that votes in its place: side-node status lists the voters")
        }
        VoteError::Waiting { .. } => command.hint("wait for the others, or vote for another node"),
        _ => command.hint("side-node status tells who seals and who votes"),
    }
}
