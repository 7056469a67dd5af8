//! Who belongs to a group, as its ledger has it, and the block that a newcomer may start from.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::AuthorId;
use side_ledger::Admission;
use side_ledger::governance::Subject;
use side_ledger::transaction::vote::Role;

use super::Member;
use crate::daemon::roll::{Ballot, Person, Roll};

impl Member {
    /// Everybody who is a member, votes, seals, owns something, or is about to: this node first, then by name and key.
    pub fn roll(&self) -> Roll {
        let group = &self.core.group;
        let (chain, replica) = (group.chain(), group.replica());
        let (governance, genesis) = (chain.governance(), group.genesis());
        let open = genesis.spec().admission == Admission::Open;
        let accounts: BTreeMap<&AuthorId, _> = chain.accounts().iter().map(|(key, account)| (key, account)).collect();
        let voted_on = governance.ballots.keys().filter_map(|(_, subject)| match subject {
            Subject::Member(key) | Subject::Rotation(key) => Some(*key),
            Subject::Parameter(_) => None,
        });
        let mut keys: BTreeSet<AuthorId> = replica.authors().collect();
        keys.extend(genesis.spec().founders.iter().copied());
        keys.extend(accounts.keys().map(|key| **key));
        keys.extend(governance.voters.iter().copied());
        keys.extend(governance.pending.keys().copied());
        keys.extend(voted_on);
        keys.insert(self.author());
        let person = |key: AuthorId| {
            let account = accounts.get(&key);
            let successor = account.and_then(|account| account.successor());
            Person {
                who: self.who(&key),
                this_node: key == self.author(),
                founder: genesis.is_founder(&key),
                member: successor.is_none() && (open || account.is_some_and(|account| account.member)),
                voter: governance.voters.contains(&key),
                pending: governance.pending.get(&key).map(|joins| if *joins { "voter" } else { "no-voter" }.to_owned()),
                sealer: governance.sealers.contains(&key),
                balance: account.map_or(0, |account| account.balance),
                frozen: account.is_some_and(|account| account.frozen.is_some()),
                replaced_by: successor.map(|new| new.to_string()),
                changes: replica.own_tip(&key).map_or(0, |tip| tip.seq),
            }
        };
        let mut members: Vec<Person> = keys.into_iter().map(person).collect();
        members.sort_by(|a, b| {
            let key = |it: &Person| (!it.this_node, it.who.name.is_none(), it.who.name.clone(), it.who.key.clone());
            key(a).cmp(&key(b))
        });
        Roll {
            group: self.id().to_string(),
            group_name: genesis.name().to_string(),
            admission: if open { "open" } else { "closed" }.to_owned(),
            height: chain.height().0,
            set: governance.set.0,
            quorum: governance.electorate().quorum as u64,
            members,
            ballots: self.ballots(),
        }
    }

    /// Votes on what a key is that have not decided yet.
    fn ballots(&self) -> Vec<Ballot> {
        let governance = self.core.group.chain().governance();
        let mut counted: BTreeMap<(AuthorId, u64), Vec<AuthorId>> = BTreeMap::new();
        for ((voter, subject), choice) in &governance.ballots {
            if let Subject::Member(key) = subject {
                counted.entry((*key, *choice)).or_default().push(*voter);
            }
        }
        let quorum = governance.electorate().quorum;
        let ballot = |((key, choice), voters): ((AuthorId, u64), Vec<AuthorId>)| {
            // Nobody needs its own consent to leave.
            let others = governance.voters.len().saturating_sub(1).max(1);
            let needed = if governance.voters.contains(&key) { quorum.min(others) } else { quorum };
            let role = [(Role::None, "none"), (Role::Member, "member"), (Role::Voter, "voter")];
            let role = role.into_iter().find(|(role, _)| *role as u64 == choice).map_or("", |(_, word)| word);
            Ballot {
                who: self.who(&key),
                role: role.to_owned(),
                voters: voters.iter().map(|voter| self.who(voter)).collect(),
                needed: needed as u64,
            }
        };
        counted.into_iter().map(ballot).collect()
    }
}
